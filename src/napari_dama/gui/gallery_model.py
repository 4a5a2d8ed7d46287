"""The pictures of a gallery as a list for Qt, and how one is drawn: only what is seen is ever drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import QAbstractListModel, QModelIndex, QRect, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QStyle, QStyledItemDelegate

from napari_dama.gui.cell_table import colour_of_type, untyped

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from qtpy.QtCore import QObject

    from napari_dama.gui.cells_model import CellsModel

CROP_PX: Final = 72
"""Side of a picture on the screen."""
FRAME_PX: Final = 4


class CropModel(QAbstractListModel):
    """Labels in the order in which they are shown, and their pictures as they come."""

    def __init__(
        self, cells: CellsModel, reviewed: Callable[[int], bool], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.cells = cells
        self.reviewed = reviewed
        self.labels: list[int] = []
        self.pictures: dict[int, QPixmap] = {}
        self._row: dict[int, int] = {}

    def show(self, labels: list[int]) -> None:
        """Show cells; their pictures follow."""
        self.beginResetModel()
        self.labels = labels
        self.pictures = {}
        self._row = {label: row for row, label in enumerate(labels)}
        self.endResetModel()

    def add_pictures(self, labels: NDArray[np.int64], crops: list[NDArray[np.uint8]]) -> None:
        """Take pictures (h, w, 3) of cells (n,)."""
        rows = []
        for label, crop in zip(labels.tolist(), crops, strict=True):
            if label in self._row:
                self.pictures[label] = _pixmap(crop)
                rows.append(self._row[label])
        if rows:
            self.dataChanged.emit(self.index(min(rows)), self.index(max(rows)))

    def refresh(self) -> None:
        """Draw all again: types or colours changed."""
        if self.labels:
            self.dataChanged.emit(self.index(0), self.index(len(self.labels) - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Count the cells."""
        return 0 if parent is not None and parent.isValid() else len(self.labels)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Tell a cell's name, for tooltips and those who cannot see the pictures."""
        if not index.isValid() or role not in (
            Qt.ItemDataRole.ToolTipRole,
            Qt.ItemDataRole.AccessibleTextRole,
        ):
            return None
        label = self.labels[index.row()]
        kind = self.cells.type_of(label)
        done = ", reviewed" if self.reviewed(label) else ""
        return f"Cell {label}: {untyped(kind)}{done}"


class CropDelegate(QStyledItemDelegate):
    """Draws a picture in a frame of its type's colour; a tick where it was reviewed."""

    def __init__(self, model: CropModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._model = model
        side = CROP_PX + 2 * FRAME_PX + 4
        self.size = QSize(side, side)

    def sizeHint(self, option: Any, index: Any) -> QSize:
        """Return the size of every picture."""
        return self.size

    def paint(self, painter: QPainter | None, option: Any, index: Any) -> None:
        """Draw one picture."""
        if painter is None:
            return
        model = self._model
        label = model.labels[index.row()]
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        box = QRect(option.rect.topLeft(), self.size).adjusted(2, 2, -2, -2)
        colour = QColor(colour_of_type(model.cells.type_of(label), model.cells.classes))
        painter.save()
        painter.fillRect(box, colour)
        inside = box.adjusted(FRAME_PX, FRAME_PX, -FRAME_PX, -FRAME_PX)
        picture = model.pictures.get(label)
        if picture is None:
            painter.fillRect(inside, QColor(60, 60, 60))
        else:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawPixmap(inside, picture)
        if chosen:
            painter.setPen(QPen(QColor("white"), 3))
            painter.drawRect(inside.adjusted(1, 1, -2, -2))
            painter.fillRect(inside, QColor(255, 255, 255, 50))
        if model.reviewed(label):
            spot = QRect(inside.right() - 15, inside.bottom() - 15, 15, 15)
            painter.fillRect(spot, QColor(0, 0, 0, 170))
            painter.setPen(QPen(QColor("white"), 1))
            painter.drawText(spot, Qt.AlignmentFlag.AlignCenter, "✓")
        painter.restore()


def _pixmap(crop: NDArray[np.uint8]) -> QPixmap:
    data = np.ascontiguousarray(crop)
    height, width = data.shape[:2]
    image = QImage(data.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image)
