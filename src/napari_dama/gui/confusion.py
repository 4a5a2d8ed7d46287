"""A confusion matrix: counts and shares of each true class, painted; a table that one sees at a glance.

Few classes fill the width. Many keep a size that can be read: their names stand upright above the columns, and the columns
scroll beside the names of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QEvent, QPoint, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QHelpEvent, QPainter
from qtpy.QtWidgets import QAbstractScrollArea, QFrame, QSizePolicy, QToolTip, QWidget

if TYPE_CHECKING:
    from qtpy.QtGui import QFontMetrics, QPaintEvent, QResizeEvent

    from napari_dama.gui.confusion_file import Confusion

ROW_PX: Final = 34
HEAD_PX: Final = 34
LEAST_SIDE_PX: Final = 30
"""Narrower columns cannot hold a count."""
UPRIGHT_PX: Final = 96
"""Longest name that stands upright; longer ones are shortened."""
BLUE: Final = "#56b4e9"


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are painted: width of row names and of a column, height of the heads, whether these stand upright."""

    names: int
    side: float
    head: int
    upright: bool


def places_of(classes: tuple[str, ...], metrics: QFontMetrics, width: int) -> Places:
    """Resolve the room there is: names lie where they fit, and columns are never too narrow for a count."""
    longest = max(metrics.horizontalAdvance(name) for name in classes)
    names = min(longest + 8, width // 3)
    side = max((width - names) / len(classes), float(LEAST_SIDE_PX))
    upright = longest + 4 > side
    head = min(longest, UPRIGHT_PX) + 10 if upright else HEAD_PX
    return Places(names, side, max(head, HEAD_PX), upright)


def short_count(count: int) -> str:
    """Say a count in at most four characters: ``9999``, ``12k``, ``3M``."""
    if count < 10_000:
        return str(count)
    return f"{count // 1000}k" if count < 1_000_000 else f"{count // 1_000_000}M"


class ConfusionView(QAbstractScrollArea):
    """Rows are true classes, columns guesses; a cell says how many and which share of its row, and is bluer the more."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.matrix: Confusion | None = None
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(60)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)

    def show_matrix(self, matrix: Confusion | None) -> None:
        """Show a matrix; None shows nothing."""
        self.matrix = matrix
        self.setVisible(matrix is not None)
        if matrix is not None:
            lines = [
                f"true {name}: "
                + ", ".join(f"{matrix.counts[row][i]} as {other}" for i, other in enumerate(matrix.classes))
                for row, name in enumerate(matrix.classes)
            ]
            self.setToolTip("\n".join(lines))
            self.setAccessibleDescription("; ".join(lines))
            self._fit()
        self._room.update()

    @property
    def places(self) -> Places:
        """Where things are painted now."""
        classes = () if self.matrix is None else self.matrix.classes
        return places_of(classes or ("",), self._room.fontMetrics(), self._room.width())

    def field_at(self, point: QPoint) -> tuple[int, int] | None:
        """Return the row and column at a point of the viewport, None beside the fields."""
        if self.matrix is None:
            return None
        places = self.places
        if point.x() < places.names or point.y() < places.head:
            return None
        column = int((point.x() - places.names + self._shift) // places.side)
        row = (point.y() - places.head) // ROW_PX
        count = len(self.matrix.classes)
        return (row, column) if row < count and column < count else None

    def field_text(self, row: int, column: int) -> str:
        """Say what a field means, with whole names."""
        if self.matrix is None:
            return ""
        true, guess = self.matrix.classes[row], self.matrix.classes[column]
        count, share = self.matrix.counts[row][column], self.matrix.share(row, column)
        what = "found as such" if row == column else f"taken for {guess}"
        return f"true {true}: {count} {what}, {share:.1%} of them"

    def sizeHint(self) -> QSize:
        """Return the height of the rows."""
        return QSize(200, self.height() if self.matrix else 1)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Fit the new width."""
        super().resizeEvent(event)
        self._fit()

    def viewportEvent(self, event: QEvent | None) -> bool:
        """Say of each field what it means."""
        if event is not None and event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            field = self.field_at(event.pos())
            text = self.field_text(*field) if field is not None else self.toolTip()
            QToolTip.showText(event.globalPos(), text, self._room)
            return True
        return super().viewportEvent(event)

    @property
    def _room(self) -> QWidget:
        room = self.viewport()
        return self if room is None else room

    @property
    def _shift(self) -> int:
        bar = self.horizontalScrollBar()
        return 0 if bar is None else bar.value()

    def _fit(self) -> None:
        """Set the height, and how far the columns scroll."""
        bar = self.horizontalScrollBar()
        if self.matrix is None or bar is None:
            return
        places, count = self.places, len(self.matrix.classes)
        beyond = round(places.names + places.side * count - self._room.width())
        bar.setRange(0, max(beyond, 0))
        bar.setPageStep(max(self._room.width() - places.names, 1))
        bar.setSingleStep(round(places.side))
        below = bar.sizeHint().height() if beyond > 0 else 0
        height = places.head + ROW_PX * count + below
        if height != self.height():
            self.setFixedHeight(height)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint names, squares, counts and shares."""
        if self.matrix is None:
            return
        painter = QPainter(self._room)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = painter.font()
        font.setPointSizeF(max(font.pointSizeF() * 0.85, 6.5))
        painter.setFont(font)
        places = self.places
        painter.save()
        painter.setClipRect(QRectF(places.names, 0, self._room.width() - places.names, self._room.height()))
        painter.translate(places.names - self._shift, 0)
        self._paint_heads(painter, places)
        self._paint_fields(painter, places)
        painter.restore()
        self._paint_names(painter, places)
        painter.end()

    def _paint_heads(self, painter: QPainter, places: Places) -> None:
        if self.matrix is None:
            return
        metrics = painter.fontMetrics()
        painter.setPen(self.palette().windowText().color())
        for column, name in enumerate(self.matrix.classes):
            if not places.upright:
                box = QRectF(column * places.side, 0, places.side, places.head)
                painter.drawText(box, Qt.AlignmentFlag.AlignCenter, name)
                continue
            text = metrics.elidedText(name, Qt.TextElideMode.ElideRight, places.head - 6)
            painter.save()
            painter.translate((column + 0.5) * places.side, places.head - 4)
            painter.rotate(-90)
            box = QRectF(0, -places.side / 2, places.head - 4, places.side)
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)
            painter.restore()

    def _paint_fields(self, painter: QPainter, places: Places) -> None:
        if self.matrix is None:
            return
        ink = self.palette().windowText().color()
        for row in range(len(self.matrix.classes)):
            top = places.head + row * ROW_PX
            for column in range(len(self.matrix.classes)):
                box = QRectF(column * places.side + 1, top + 1, places.side - 2, ROW_PX - 2)
                share = self.matrix.share(row, column)
                ground = QColor(BLUE)
                ground.setAlphaF(0.08 + 0.92 * share)
                painter.fillRect(box, ground)
                painter.setPen(QColor("black") if share > 0.55 else ink)
                text = f"{short_count(self.matrix.counts[row][column])}\n{share:.0%}"
                painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    def _paint_names(self, painter: QPainter, places: Places) -> None:
        if self.matrix is None:
            return
        metrics = painter.fontMetrics()
        painter.setPen(self.palette().windowText().color())
        head = QRectF(0, 0, places.names, places.head)
        corner = Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft
        painter.drawText(head, corner if places.upright else Qt.AlignmentFlag.AlignCenter, "true \\\nguess")
        for row, name in enumerate(self.matrix.classes):
            text = metrics.elidedText(name, Qt.TextElideMode.ElideRight, places.names - 4)
            box = QRectF(0, places.head + row * ROW_PX, places.names, ROW_PX)
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, text)
