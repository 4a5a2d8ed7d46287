"""A confusion matrix: counts and shares of each true class, painted; a table that one sees at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

    from napari_dama.gui.confusion_file import Confusion

ROW_PX = 34
HEAD_PX = 34
BLUE = "#56b4e9"


class ConfusionView(QWidget):
    """Rows are true classes, columns guesses; a cell says how many and which share of its row, and is bluer the more."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.matrix: Confusion | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_matrix(self, matrix: Confusion | None) -> None:
        """Show a matrix; None shows nothing."""
        self.matrix = matrix
        self.setVisible(matrix is not None)
        if matrix is not None:
            self.setFixedHeight(HEAD_PX + ROW_PX * len(matrix.classes))
            lines = [
                f"true {name}: "
                + ", ".join(f"{matrix.counts[row][i]} as {other}" for i, other in enumerate(matrix.classes))
                for row, name in enumerate(matrix.classes)
            ]
            self.setToolTip("\n".join(lines))
            self.setAccessibleDescription("; ".join(lines))
        self.update()

    def sizeHint(self) -> QSize:
        """Return the height of the rows."""
        return QSize(200, HEAD_PX + ROW_PX * len(self.matrix.classes) if self.matrix else 1)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint names, squares, counts and shares."""
        if self.matrix is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = painter.font()
        font.setPointSizeF(max(font.pointSizeF() * 0.85, 6.5))
        painter.setFont(font)
        metrics = painter.fontMetrics()
        classes = self.matrix.classes
        names = min(max(metrics.horizontalAdvance(name) for name in classes) + 8, self.width() // 3)
        side = (self.width() - names) / len(classes)
        ink = self.palette().windowText().color()
        middle = Qt.AlignmentFlag.AlignCenter
        painter.setPen(ink)
        painter.drawText(QRectF(0, 0, names, HEAD_PX), middle, "true \\\nguess")
        for column, name in enumerate(classes):
            box = QRectF(names + column * side, 0, side, HEAD_PX)
            text = metrics.elidedText(name, Qt.TextElideMode.ElideRight, int(side) - 2)
            painter.drawText(box, middle, text)
        for row, name in enumerate(classes):
            top = HEAD_PX + row * ROW_PX
            painter.setPen(ink)
            text = metrics.elidedText(name, Qt.TextElideMode.ElideRight, names - 4)
            painter.drawText(QRectF(0, top, names, ROW_PX), Qt.AlignmentFlag.AlignVCenter, text)
            for column in range(len(classes)):
                box = QRectF(names + column * side + 1, top + 1, side - 2, ROW_PX - 2)
                share = self.matrix.share(row, column)
                ground = QColor(BLUE)
                ground.setAlphaF(0.08 + 0.92 * share)
                painter.fillRect(box, ground)
                painter.setPen(QColor("black") if share > 0.55 else ink)
                painter.drawText(box, middle, f"{self.matrix.counts[row][column]}\n{share:.0%}")
        painter.end()
