"""The gallery: cells of a type side by side, the most doubtful first, to be corrected where they are seen."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import QItemSelectionModel, QSize, Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QLabel,
    QListView,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_dama.errors import DamaError
from napari_dama.gui import tooltips
from napari_dama.gui.cell_table import UNTYPED, untyped
from napari_dama.gui.docked import Docked
from napari_dama.gui.gallery_crops import crop_pictures, shown_markers
from napari_dama.gui.gallery_model import CROP_PX, CropDelegate, CropModel
from napari_dama.gui.style import beside, muted, narrow, say, wrapped
from napari_dama.gui.work import Report, Stop, Work
from napari_dama.predict.informative import doubts

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_dama.gui.results_tab import ResultsTab
    from napari_dama.gui.session import Session

PAGE: Final = 500
"""Cells that are shown at once; *More* shows as many again."""
CROP_UM: Final = 24.0
EVERY: Final = ""


class CropList(QListView):
    """The pictures; keys and clicks are told to the gallery.

    Signals
    -------
    key_pressed(text)
        ``1`` to ``9``, ``0``, ``Enter``, ``undo`` or ``redo``.
    """

    key_pressed = QtSignal(str)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setSpacing(0)
        self.setMinimumSize(QSize(100, 120))
        self.setAccessibleName("Pictures of cells")

    def keyPressEvent(self, event: Any) -> None:
        """Take the keys of annotation; the others move the selection as in every list."""
        text = _KEYS.get(event.key(), "")
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            text = ("redo" if shift else "undo") if event.key() == Qt.Key.Key_Z else ""
        if text:
            self.key_pressed.emit(text)
            return
        super().keyPressEvent(event)


_KEYS: Final[dict[int, str]] = {
    **{getattr(Qt.Key, f"Key_{digit}"): str(digit) for digit in range(10)},
    Qt.Key.Key_Return: "Enter",
    Qt.Key.Key_Enter: "Enter",
}


class Gallery(Docked):
    """Thin view of the open result's cells as pictures.

    Signals
    -------
    failed(error), noted(text)
        For the message area.
    cell_asked(label)
        A picture was double-clicked: show the cell on the slide.
    """

    failed = QtSignal(object)
    noted = QtSignal(str)
    cell_asked = QtSignal(int)

    def __init__(
        self,
        viewer: napari.Viewer,
        session: Session,
        results: ResultsTab,
        *,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session
        self.results = results
        self.cells = session.cells
        self.annotator = session.annotator
        self.work: Work | None = None
        self.closed = False
        self._shown = PAGE
        self._count = 0
        self.model = CropModel(self.cells, self.annotator.is_reviewed, self)
        self._build()
        self.cells.reset.connect(self._on_reset)
        self.cells.rows_changed.connect(self.reload)
        self.cells.classes_changed.connect(self._sync_types)
        self.cells.types_changed.connect(self._on_edited)
        self.annotator.edited.connect(self._on_edited)
        self._on_reset()

    def _build(self) -> None:
        self.type_box = narrow(QComboBox(), tooltips.GALLERY_TYPE)
        self.unseen = QCheckBox("Only not reviewed")
        self.unseen.setToolTip(tooltips.GALLERY_UNSEEN)
        self.again = narrow(QPushButton("Refresh"), tooltips.GALLERY_AGAIN)
        self.more = narrow(QPushButton("More"), tooltips.GALLERY_MORE)
        self.right = narrow(QPushButton("Confirm"), tooltips.ANNOTATE_CONFIRM)
        self.note = wrapped(QLabel())
        self.help = muted(QLabel())
        self.list = CropList()
        self.list.setModel(self.model)
        self.delegate = CropDelegate(self.model, self.list)
        self.list.setItemDelegate(self.delegate)
        self.list.setGridSize(self.delegate.size)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(4)
        layout.addLayout(beside(self.type_box, self.again))
        layout.addWidget(self.unseen)
        layout.addWidget(self.list, stretch=1)
        layout.addLayout(beside(self.right, self.more))
        layout.addWidget(self.note)
        layout.addWidget(self.help)
        self.setMinimumWidth(200)
        self.type_box.activated.connect(self._on_type)
        self.unseen.toggled.connect(self._on_type)
        self.again.clicked.connect(self.reload)
        self.more.clicked.connect(self._on_more)
        self.right.clicked.connect(partial(self._on_key, "Enter"))
        self.list.key_pressed.connect(self._on_key)
        self.list.doubleClicked.connect(self._on_double)
        selection = self.list.selectionModel()
        if selection is not None:
            selection.selectionChanged.connect(self._sync_note)

    # -- what is shown -----------------------------------------------------------------------------------------

    def _on_reset(self) -> None:
        self._sync_types()
        self.reload()

    def _sync_types(self) -> None:
        chosen = self.type_box.currentData()
        self.type_box.clear()
        self.type_box.addItem("every type", EVERY)
        for name, count in self.cells.counts().items():
            shown = untyped(name)
            self.type_box.addItem(f"{shown} ({count})", name)
        self.type_box.setCurrentIndex(max(self.type_box.findData(chosen), 0))
        keys = [f"{place + 1} {name}" for place, name in enumerate(list(self.cells.classes)[:9])]
        say(self.help, "Keys: " + ", ".join([*keys, "0 no type", "Enter confirm"]) if keys else "")

    def show_type(self, name: str) -> None:
        """Show the cells of one type."""
        self.type_box.setCurrentIndex(max(self.type_box.findData(name), 0))
        self._on_type()

    def _on_type(self) -> None:
        self._shown = PAGE
        self.reload()

    def _on_more(self) -> None:
        self._shown += PAGE
        self.reload()

    def reload(self) -> None:
        """Order the cells anew and cut their pictures, in a thread."""
        if self.closed:
            return
        if self.work is not None:
            self.work.let_go()
            self.work = None
        result = self.results.result
        if result is None or not self.cells.is_open:
            self.model.show([])
            self._count = 0
            self._sync_note()
            return
        task = partial(
            self._task,
            kind=self.type_box.currentData() or EVERY,
            unseen=self.annotator.reviewed if self.unseen.isChecked() else None,
            markers=shown_markers(self.viewer.layers, result.slide),
            table=self.cells.table,
            types=self.cells.types.copy(),
            limit=self._shown,
            result=result,
        )
        self.work = Work(task, self)
        self.work.progressed.connect(self._on_pictures)
        self.work.finished.connect(self._on_finished)
        self.work.failed.connect(self._on_failed)
        self.work.start()

    def _task(self, progress: Report, stop: Stop, **what: Any) -> int:
        from napari_dama.predict.labels import LabelImage
        from napari_dama.predict.record import LABELS
        from napari_dama.slides.slide import open_slide

        labels, total = _order(what["table"], what["types"], what["kind"], what["unseen"], what["limit"])
        progress(labels)
        result = what["result"]
        if not len(labels):
            return total
        rows = np.searchsorted(what["table"]["label"].to_numpy(np.int64), labels)
        centres = what["table"][["y", "x"]].to_numpy(float)[rows]
        picture = LabelImage.open(result.path / LABELS, mode="r")
        with open_slide(result.slide) as slide:
            pictures = crop_pictures(
                slide,
                centres,
                what["markers"],
                side_px=max(8, round(CROP_UM / result.pixel_um)),
                wanted_px=CROP_PX,
                outlines=picture.read,
                numbers=labels,
                stop=stop,
            )
            for found, crops in pictures:
                progress((labels[found], crops))
        return total

    def _on_pictures(self, what: Any) -> None:
        if isinstance(what, tuple):
            self.model.add_pictures(*what)
        else:
            self.model.show([int(label) for label in what])
            self._sync_note()

    def _on_finished(self, total: int) -> None:
        self.work = None
        self._count = total
        self._sync_note()

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self.failed.emit(error)

    @property
    def selected(self) -> NDArray[np.int64]:
        """Labels (n,) of the selected pictures, in their order."""
        rows = sorted(index.row() for index in self.list.selectedIndexes())
        return np.array([self.model.labels[row] for row in rows], dtype=np.int64)

    def select(self, labels: list[int]) -> None:
        """Select pictures."""
        selection = self.list.selectionModel()
        if selection is None:
            return
        selection.clearSelection()
        for row, label in enumerate(self.model.labels):
            if label in labels:
                selection.select(self.model.index(row), QItemSelectionModel.SelectionFlag.Select)

    def _sync_note(self) -> None:
        shown, chosen = len(self.model.labels), len(self.list.selectedIndexes())
        total = max(self._count, shown)
        text = f"{shown} of {total:,} cells".replace(",", " ") + (f", {chosen} selected" if chosen else "")
        if not self.cells.is_open:
            text = "Open a result to see its cells."
        elif not shown and self.work is None:
            text = "No cell of this kind."
        self.note.setText(text)
        self.more.setEnabled(shown < total)
        self.right.setEnabled(chosen > 0)

    # -- correcting --------------------------------------------------------------------------------------------

    def _on_key(self, key: str) -> None:
        try:
            if key in ("undo", "redo"):
                (self.annotator.undo if key == "undo" else self.annotator.redo)()
            elif not len(self.selected):
                self.noted.emit("Select pictures first: click one, Shift or Ctrl adds.")
            elif key == "Enter":
                self.annotator.confirm(self.selected)
            else:
                self._give(int(key))
        except DamaError as error:
            self.failed.emit(error)

    def _give(self, key: int) -> None:
        names = [UNTYPED, *self.cells.classes]
        if key < len(names):
            self.annotator.give(self.selected, names[key], "gallery")
        else:
            self.noted.emit(f"There is no class with the key {key} yet.")

    def _on_edited(self, labels: NDArray[np.int64]) -> None:
        self.model.refresh()

    def _on_double(self, index: Any) -> None:
        label = self.model.labels[index.row()]
        self.cells.select([label])
        self.cell_asked.emit(label)

    def close_down(self) -> None:
        """Stop the work and listen no more; safe to call twice."""
        if self.closed:
            return
        self.closed = True
        if self.work is not None:
            self.work.let_go()
        self.cells.reset.disconnect(self._on_reset)
        self.cells.rows_changed.disconnect(self.reload)
        self.cells.classes_changed.disconnect(self._sync_types)
        self.cells.types_changed.disconnect(self._on_edited)
        self.annotator.edited.disconnect(self._on_edited)


def _order(
    table: Any, types: NDArray[Any], kind: str, reviewed: NDArray[np.int64] | None, limit: int
) -> tuple[NDArray[np.int64], int]:
    """Return the labels to show, the most doubtful first, and how many there are in all."""
    labels = table["label"].to_numpy(np.int64)
    wanted = np.ones(len(labels), bool) if kind == EVERY else types == kind
    if reviewed is not None:
        wanted &= ~np.isin(labels, reviewed)
    rows = np.flatnonzero(wanted)
    doubt = doubts(table, types)[rows]
    return labels[rows[np.argsort(-doubt, kind="stable")[:limit]]], len(rows)
