"""Two small painted widgets: horizontal bars, and a curve over steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPaintEvent

ROW_PX = 18


class BarChart(QWidget):
    """One bar per line, with its name on the left and its value on the right."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bars: tuple[tuple[str, float, str, str], ...] = ()
        self._full = 1.0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_bars(self, bars: Sequence[tuple[str, float, str, str]], *, full: float) -> None:
        """Show bars.

        Parameters
        ----------
        bars : sequence of (name, value, value as text, colour)
            From top to bottom.
        full : float
            The value of a bar of full length.
        """
        self.bars = tuple(bars)
        self._full = full if full > 0 else 1.0
        self.setFixedHeight(max(len(self.bars) * ROW_PX, 1))
        self.setAccessibleDescription(", ".join(f"{name} {text}" for name, _, text, _ in self.bars))
        self.update()

    def sizeHint(self) -> QSize:
        """Return the height of the rows."""
        return QSize(200, len(self.bars) * ROW_PX)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint the bars."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = painter.fontMetrics()
        names = min(
            max((metrics.horizontalAdvance(bar[0]) for bar in self.bars), default=0) + 8, self.width() // 2
        )
        values = max((metrics.horizontalAdvance(bar[2]) for bar in self.bars), default=0) + 8
        room = max(self.width() - names - values, 10)
        ink = self.palette().windowText().color()
        for row, (name, value, text, colour) in enumerate(self.bars):
            top = row * ROW_PX
            painter.setPen(ink)
            elided = metrics.elidedText(name, Qt.TextElideMode.ElideRight, names - 6)
            painter.drawText(QRectF(0, top, names, ROW_PX), Qt.AlignmentFlag.AlignVCenter, elided)
            painter.drawText(
                QRectF(self.width() - values, top, values, ROW_PX),
                Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight,
                text,
            )
            share = min(max(value / self._full, 0.0), 1.0) if math.isfinite(value) else 0.0
            ground = QColor(ink)
            ground.setAlpha(35)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(ground)
            painter.drawRoundedRect(QRectF(names, top + 4, room, ROW_PX - 8), 2, 2)
            painter.setBrush(QColor(colour))
            if share > 0:
                painter.drawRoundedRect(QRectF(names, top + 4, max(room * share, 2.0), ROW_PX - 8), 2, 2)
        painter.end()


class CurveChart(QWidget):
    """A curve over steps, with its first and last values written at the axes."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.xs: tuple[float, ...] = ()
        self.ys: tuple[float, ...] = ()
        self.setMinimumHeight(140)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_curve(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """Show a curve; values that are no numbers are left out."""
        kept = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
        self.xs = tuple(x for x, _ in kept)
        self.ys = tuple(y for _, y in kept)
        self.update()

    def sizeHint(self) -> QSize:
        """Return a height that suits a narrow dock."""
        return QSize(200, 140)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint axes and curve."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().windowText().color()
        metrics = painter.fontMetrics()
        line = metrics.height()
        if len(self.xs) < 2:
            painter.setPen(ink)
            painter.drawText(QRectF(self.rect()), Qt.AlignmentFlag.AlignCenter, "The loss appears here.")
            painter.end()
            return
        low, high = min(self.ys), max(self.ys)
        high = high if high > low else low + 1.0
        texts = (f"{high:.3g}", f"{low:.3g}")
        left = max(metrics.horizontalAdvance(text) for text in texts) + 8
        box = QRectF(left, line + 4, self.width() - left - 6, self.height() - 2 * line - 10)
        faint = QColor(ink)
        faint.setAlpha(70)
        painter.setPen(QPen(faint, 1))
        painter.drawRect(box)
        painter.setPen(ink)
        painter.drawText(QRectF(0, 0, self.width(), line), Qt.AlignmentFlag.AlignLeft, "Loss")
        right = Qt.AlignmentFlag.AlignRight
        painter.drawText(QRectF(0, box.top() - 2, left - 4, line), right, texts[0])
        painter.drawText(QRectF(0, box.bottom() - line + 2, left - 4, line), right, texts[1])
        painter.drawText(
            QRectF(left, box.bottom() + 2, box.width(), line), Qt.AlignmentFlag.AlignLeft, f"{self.xs[0]:.0f}"
        )
        painter.drawText(QRectF(left, box.bottom() + 2, box.width(), line), right, f"step {self.xs[-1]:.0f}")
        span = max(self.xs[-1] - self.xs[0], 1e-9)
        points = QPolygonF(
            [
                QPointF(
                    box.left() + (x - self.xs[0]) / span * box.width(),
                    box.bottom() - (y - low) / (high - low) * box.height(),
                )
                for x, y in zip(self.xs, self.ys, strict=True)
            ]
        )
        painter.setPen(QPen(QColor("#4fa3ff"), 1.8))
        painter.drawPolyline(points)
        painter.end()
