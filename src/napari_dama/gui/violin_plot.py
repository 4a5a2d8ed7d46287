"""How a column is spread in each type, painted: violins with quartiles, or boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSizeF, Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QToolTip

from napari_dama.gui.painted import CENTRE, RIGHT_MIDDLE, PaintedPlot, elided, nice_ticks, small_font, upright

if TYPE_CHECKING:
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QWidget

    from napari_dama.evaluate.profiles import Spread

Kind = Literal["violin", "box"]


class ViolinPlot(PaintedPlot):
    """One shape per type over a shared axis.

    Signals
    -------
    clicked(type)
        A type's shape was clicked.
    """

    clicked = QtSignal(str)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
        self.spread: Spread | None = None
        self.colours: dict[str, str] = {}
        self.title = ""
        self.kind: Kind = "violin"
        self._grid = QRectF()

    def show_spread(self, spread: Spread | None, colours: dict[str, str], title: str, kind: Kind) -> None:
        """Show how a column is spread; ``title`` says what it is, with its unit."""
        self.spread, self.colours, self.title, self.kind = spread, colours, title, kind
        if spread is not None:
            self.setAccessibleDescription("; ".join(self._tip(i) for i in range(len(spread.types))))
        self.update()

    def type_at(self, place: QPointF) -> str | None:
        """Return the type whose shape is at a place."""
        if self.spread is None or not self.spread.types or not self._grid.contains(place):
            return None
        share = (place.x() - self._grid.left()) / self._grid.width()
        return self.spread.types[min(int(share * len(self.spread.types)), len(self.spread.types) - 1)]

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Tell which type was clicked."""
        if event is not None and (name := self.type_at(event.position())) is not None:
            self.clicked.emit(name)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Say the numbers of the type under the mouse."""
        if event is None or self.spread is None:
            return
        name = self.type_at(event.position())
        if name is not None:
            tip = self._tip(self.spread.types.index(name))
            QToolTip.showText(event.globalPosition().toPoint(), tip, self)

    def _tip(self, place: int) -> str:
        assert self.spread is not None
        low, quarter, median, three, high = self.spread.quantiles[place]
        return (
            f"{self.spread.types[place]}: {self.spread.n_cells[place]} cells, median {median:.4g}, middle half "
            f"{quarter:.4g} to {three:.4g}, 90 % within {low:.4g} to {high:.4g}, mean {self.spread.mean[place]:.4g}"
        )

    def draw(self, painter: QPainter, size: QSizeF, ink: QColor, ground: QColor) -> None:
        """Paint the axis, and a shape per type."""
        spread = self.spread
        if spread is None or not spread.types:
            return
        small_font(painter)
        metrics = painter.fontMetrics()
        line = metrics.height()
        low, high = float(spread.grid[0]), float(spread.grid[-1])
        ticks = nice_ticks(low, high, 5)
        texts = [f"{tick:.6g}" for tick in ticks]
        left = line + 6 + max((metrics.horizontalAdvance(text) for text in texts), default=0)
        count = len(spread.types)
        width = max(size.width() - left - 4, 10) / count
        widest = max(metrics.horizontalAdvance(name) for name in spread.types)
        upwards = widest > width - 4
        foot = min(widest + 8.0, size.height() * 0.3) if upwards else line + 4.0
        grid = QRectF(left, 4, width * count, max(size.height() - foot - line - 8, 10))
        self._grid = grid
        faint = QColor(ink)
        faint.setAlpha(50)
        for tick, text in zip(ticks, texts, strict=True):
            y = self._y(tick, grid)
            painter.setPen(QPen(faint, 1))
            painter.drawLine(QPointF(grid.left(), y), QPointF(grid.right(), y))
            painter.setPen(ink)
            painter.drawText(QRectF(0, y - line / 2, left - 4, line), RIGHT_MIDDLE, text)
        length = min(metrics.horizontalAdvance(self.title) + 2.0, grid.height())
        upright(painter, self.title, line / 2, grid.center().y() + length / 2, length)
        for place, name in enumerate(spread.types):
            middle = grid.left() + (place + 0.5) * width
            colour = QColor(self.colours.get(name, "#39d0d8"))
            painter.setClipRect(grid)
            self._draw_shape(painter, place, middle, width, grid, colour, ink)
            painter.setClipping(False)
            painter.setPen(ink)
            if upwards:
                text = elided(painter, name, foot - 4)
                start = grid.bottom() + 4 + min(float(metrics.horizontalAdvance(text)) + 2, foot - 4)
                upright(painter, name, middle, start, start - grid.bottom() - 4)
            else:
                box = QRectF(middle - width / 2, grid.bottom() + 2, width, line)
                painter.drawText(box, CENTRE, elided(painter, name, width))
            n = f"{spread.n_cells[place]}"
            box = QRectF(middle - width / 2, size.height() - line - 1, width, line)
            painter.drawText(box, CENTRE, elided(painter, f"n={n}" if width > 44 else n, width))

    def _y(self, value: float, grid: QRectF) -> float:
        assert self.spread is not None
        low, high = float(self.spread.grid[0]), float(self.spread.grid[-1])
        return float(grid.bottom() - (value - low) / (high - low) * grid.height())

    def _draw_shape(
        self,
        painter: QPainter,
        place: int,
        middle: float,
        width: float,
        grid: QRectF,
        colour: QColor,
        ink: QColor,
    ) -> None:
        spread = self.spread
        assert spread is not None
        if not spread.n_cells[place]:
            return
        low, quarter, median, three, high = (self._y(float(v), grid) for v in spread.quantiles[place])
        half = min(width * 0.44, 60.0)
        fill = QColor(colour)
        fill.setAlpha(200)
        thin = 0.16 if self.kind == "violin" else 0.6
        painter.setPen(QPen(ink, 1))
        painter.setBrush(fill)
        if self.kind == "violin":
            ys = [self._y(float(v), grid) for v in spread.grid]
            seen = np.flatnonzero(spread.density[place] > 1e-3)
            right = [QPointF(middle + half * spread.density[place, i], ys[i]) for i in seen]
            left = [QPointF(middle - half * spread.density[place, i], ys[i]) for i in seen[::-1]]
            painter.drawPolygon(QPolygonF(right + left))
            inner = QColor(ink)
            inner.setAlpha(150)
            painter.setBrush(inner)
            painter.setPen(Qt.PenStyle.NoPen)
        else:
            painter.drawLine(QPointF(middle, low), QPointF(middle, high))
        painter.drawRect(QRectF(middle - half * thin, three, 2 * half * thin, quarter - three))
        mark = QColor("white") if self.kind == "violin" else ink
        painter.setPen(QPen(mark, 2))
        painter.drawLine(QPointF(middle - half * thin, median), QPointF(middle + half * thin, median))
