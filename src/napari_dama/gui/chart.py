"""A small painted widget: horizontal bars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter
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
