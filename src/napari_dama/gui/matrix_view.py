"""A matrix that is painted: names, and coloured fields with numbers; a click on a field tells which one it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QPointF, QRectF, QSizeF, Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QPen
from qtpy.QtWidgets import QToolTip

from napari_dama.gui.cell_colours import ramp
from napari_dama.gui.painted import (
    CENTRE,
    LEFT_MIDDLE,
    RIGHT_MIDDLE,
    PaintedPlot,
    elided,
    image_of,
    small_font,
    upright,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtGui import QMouseEvent, QPainter
    from qtpy.QtWidgets import QWidget

BAR_PX = 10
GAP_PX = 1.0
DIVERGING = ((0x21, 0x66, 0xAC), (0xF2, 0xF2, 0xF2), (0xB2, 0x18, 0x2B))


@dataclass(frozen=True)
class Matrix:
    """What a `MatrixView` shows.

    Attributes
    ----------
    rows, columns
        Names.
    values : (R, C)
        Colour of each field; NaN has none.
    texts
        Text of each field, R x C; empty writes none.
    limits
        Values of the first and the last colour.
    colormap
        napari's name, or ``diverging`` (blue, white at 0, red).
    swatches
        Colours ``#rrggbb`` of rows and columns, by name.
    row_title, column_title, title
        What rows, columns and colours are.
    tips
        Text of each field's tooltip, R x C.
    clickable
        Whether a click on a field does something.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    limits: tuple[float, float]
    texts: tuple[tuple[str, ...], ...] = ()
    colormap: str = "viridis"
    swatches: dict[str, str] = field(default_factory=dict)
    row_title: str = ""
    column_title: str = ""
    title: str = ""
    tips: tuple[tuple[str, ...], ...] = ()
    clickable: bool = True

    def colours(self) -> NDArray[np.uint8]:
        """RGBA of each field (R, C, 4); transparent where there is no value."""
        low, high = self.limits
        share = np.clip((np.nan_to_num(self.values, nan=low) - low) / (high - low or 1.0), 0, 1)
        table = palette_of(self.colormap)
        out = table[(share * (len(table) - 1)).round().astype(np.int64)]
        out[~np.isfinite(self.values)] = 0
        return out


def palette_of(name: str) -> NDArray[np.uint8]:
    """Return the colours (n, 4) of a colormap, or of the diverging one."""
    if name != "diverging":
        return (ramp(name) * 255).round().astype(np.uint8)
    stops = np.array(DIVERGING, np.float64)
    at = np.linspace(0, 1, 201)
    rgb = np.stack([np.interp(at, [0, 0.5, 1], stops[:, i]) for i in range(3)], axis=1)
    return np.concatenate([rgb, np.full((201, 1), 255.0)], axis=1).round().astype(np.uint8)


class MatrixView(PaintedPlot):
    """Paints a `Matrix` into whatever room there is.

    Signals
    -------
    clicked(row, column)
        A field was clicked.
    """

    clicked = QtSignal(int, int)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
        self.matrix: Matrix | None = None
        self.hovered: tuple[int, int] | None = None
        self._grid = QRectF()

    def show_matrix(self, matrix: Matrix | None) -> None:
        """Show a matrix; None shows nothing."""
        self.matrix = matrix
        self.hovered = None
        if matrix is not None:
            self.setMinimumHeight(min(max(self.least_px, 110 + 20 * len(matrix.rows)), 900))
            self.setAccessibleDescription("; ".join(tip for row in matrix.tips for tip in row))
        self.update()

    def field_at(self, place: QPointF) -> tuple[int, int] | None:
        """Return the row and column at a place of the widget, None beside the fields."""
        if self.matrix is None or not self._grid.contains(place):
            return None
        rows, columns = self.matrix.values.shape
        row = int((place.y() - self._grid.top()) / self._grid.height() * rows)
        column = int((place.x() - self._grid.left()) / self._grid.width() * columns)
        return min(row, rows - 1), min(column, columns - 1)

    def field_centre(self, row: int, column: int) -> QPointF:
        """Return the middle of a field, in the widget as it was painted last."""
        assert self.matrix is not None
        rows, columns = self.matrix.values.shape
        x = self._grid.left() + (column + 0.5) / columns * self._grid.width()
        return QPointF(x, self._grid.top() + (row + 0.5) / rows * self._grid.height())

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Tell which field was clicked."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton and self.matrix is not None:
            found = self.field_at(event.position())
            if found is not None and self.matrix.clickable:
                self.clicked.emit(*found)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Frame the field under the mouse and say what it holds."""
        if event is None or self.matrix is None:
            return
        found = self.field_at(event.position())
        if found != self.hovered:
            self.hovered = found
            hand = found is not None and self.matrix.clickable
            self.setCursor(Qt.CursorShape.PointingHandCursor if hand else Qt.CursorShape.ArrowCursor)
            self.update()
        if found is not None and self.matrix.tips:
            QToolTip.showText(event.globalPosition().toPoint(), self.matrix.tips[found[0]][found[1]], self)

    def leaveEvent(self, event: QEvent | None) -> None:
        """Take the frame away."""
        self.hovered = None
        self.update()

    def draw(self, painter: QPainter, size: QSizeF, ink: QColor, ground: QColor) -> None:
        """Paint names, fields, numbers, and the colour bar."""
        matrix = self.matrix
        if matrix is None or not matrix.values.size:
            return
        small_font(painter)
        metrics = painter.fontMetrics()
        line = metrics.height()
        room = max((metrics.horizontalAdvance(name) for name in matrix.rows), default=0) + 20
        left = min(float(room), size.width() * 0.36)
        names = max((metrics.horizontalAdvance(name) for name in matrix.columns), default=0) + 20
        above = min(float(names), size.height() * 0.3, 130.0)
        head = line + 2 if matrix.column_title else 2
        foot = BAR_PX + 2 * line + 8 if matrix.title else 4
        top = head + above
        grid = QRectF(left, top, max(size.width() - left - 2, 10), max(size.height() - top - foot, 10))
        self._grid = grid
        painter.setPen(ink)
        if matrix.column_title:
            painter.drawText(
                QRectF(left, 0, grid.width(), line),
                CENTRE,
                elided(painter, matrix.column_title, grid.width()),
            )
        if matrix.row_title:
            painter.drawText(
                QRectF(0, top - line - 2, left - 4, line),
                LEFT_MIDDLE,
                elided(painter, matrix.row_title, left - 4),
            )
        self._draw_names(painter, matrix, grid, left, above, ink)
        self._draw_fields(painter, matrix, grid, ink)
        if matrix.title:
            self._draw_bar(painter, matrix, grid, size, line, ink)

    def _draw_names(
        self, painter: QPainter, matrix: Matrix, grid: QRectF, left: float, above: float, ink: QColor
    ) -> None:
        height, width = grid.height() / len(matrix.rows), grid.width() / len(matrix.columns)
        for row, name in enumerate(matrix.rows):
            y = grid.top() + row * height
            colour = matrix.swatches.get(name)
            gap = 14 if colour else 4
            if colour:
                painter.fillRect(QRectF(left - 12, y + height / 2 - 4, 8, 8), QColor(colour))
            painter.setPen(ink)
            painter.drawText(
                QRectF(0, y, left - gap, height), RIGHT_MIDDLE, elided(painter, name, left - gap - 2)
            )
        for column, name in enumerate(matrix.columns):
            x = grid.left() + (column + 0.5) * width
            colour = matrix.swatches.get(name)
            gap = 14 if colour else 4
            if colour:
                painter.fillRect(QRectF(x - 4, grid.top() - 12, 8, 8), QColor(colour))
            painter.setPen(ink)
            upright(painter, name, x, grid.top() - gap, above - gap)

    def _draw_fields(self, painter: QPainter, matrix: Matrix, grid: QRectF, ink: QColor) -> None:
        rows, columns = matrix.values.shape
        height, width = grid.height() / rows, grid.width() / columns
        colours = matrix.colours()
        fits = matrix.texts and height >= painter.fontMetrics().height() - 1
        for row in range(rows):
            for column in range(columns):
                box = QRectF(grid.left() + column * width, grid.top() + row * height, width, height)
                box.adjust(GAP_PX, GAP_PX, -GAP_PX, -GAP_PX)
                red, green, blue, alpha = (int(v) for v in colours[row, column])
                painter.fillRect(box, QColor(red, green, blue, alpha))
                if fits and (text := matrix.texts[row][column]):
                    lines = text.split("\n")
                    if height < 2 * painter.fontMetrics().height():
                        lines = lines[:1]
                    widest = max(painter.fontMetrics().horizontalAdvance(part) for part in lines)
                    if widest <= width - 2:
                        bright = 0.3 * red + 0.59 * green + 0.11 * blue > 140
                        painter.setPen(QColor("black" if bright else "white") if alpha else ink)
                        painter.drawText(box, CENTRE, "\n".join(lines))
        if self.hovered is not None and matrix.clickable:
            row, column = self.hovered
            box = QRectF(grid.left() + column * width, grid.top() + row * height, width, height)
            painter.setPen(QPen(ink, 1.5))
            painter.drawRect(box)

    def _draw_bar(
        self, painter: QPainter, matrix: Matrix, grid: QRectF, size: QSizeF, line: int, ink: QColor
    ) -> None:
        top = grid.bottom() + 4
        bar = QRectF(grid.left(), top, grid.width(), BAR_PX)
        painter.drawImage(bar, image_of(palette_of(matrix.colormap)[None]))
        painter.setPen(ink)
        low, high = matrix.limits
        below = QRectF(bar.left(), bar.bottom() + 1, bar.width(), line)
        painter.drawText(below, LEFT_MIDDLE, f"{low:.3g}")
        painter.drawText(below, CENTRE, f"{(low + high) / 2:.3g}")
        painter.drawText(below, RIGHT_MIDDLE, f"{high:.3g}")
        title = QRectF(0, below.bottom(), size.width() - 2, line)
        painter.drawText(title, RIGHT_MIDDLE, elided(painter, matrix.title, size.width() - 4))
