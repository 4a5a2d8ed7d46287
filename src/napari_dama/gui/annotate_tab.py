"""Tab *Annotate*: give types by keys, go to the next doubtful cell, draw outlines; all is saved as it is done."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QCheckBox, QLabel, QLineEdit, QPushButton, QWidget

from napari_dama.errors import DamaError
from napari_dama.gui import tooltips
from napari_dama.gui.annotate import find_corrections
from napari_dama.gui.annotate_keys import ROLES, AnnotateKeys
from napari_dama.gui.box_select import BoxSelect
from napari_dama.gui.cell_table import UNTYPED, untyped
from napari_dama.gui.class_list import ClassList, class_rows
from napari_dama.gui.improve import ImprovePanel
from napari_dama.gui.layers import about
from napari_dama.gui.next_cell import NextCell
from napari_dama.gui.outlines import OutlinePanel
from napari_dama.gui.place import camera_of
from napari_dama.gui.recolour import Later
from napari_dama.gui.style import Tab, beside, heading, muted, narrow, say, wrapped
from napari_dama.gui.table_files import TableFiles, table_text
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_dama.cells.correction_records import Who
    from napari_dama.gui.annotate import Found
    from napari_dama.gui.results_tab import ResultsTab
    from napari_dama.gui.session import Session

SMALLEST_CELL_PX = 24
"""A cell that is gone to is shown at least so wide, pixels of the screen."""


class AnnotateTab(Tab):
    """Thin view of ``session.annotator`` and ``session.cells``.

    Signals
    -------
    gallery_asked
        The user wants many cells side by side.
    """

    gallery_asked = QtSignal()

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
        self.state = session.state.annotate
        self.cells = session.cells
        self.annotator = session.annotator
        self.work: Work | None = None
        self.suggested = 0
        self.next = NextCell(self.annotator, self)
        self.box = BoxSelect(viewer, self.cells, self._layer_to_select, self._wants_box)
        self.keys = AnnotateKeys(viewer, self._key_map())
        self.later = Later(self._on_later, self)
        self._build()
        self.table = TableFiles(self.annotator, session.keeper, self.outlines.files, self)
        self.table.changed.connect(self._sync_table)
        self.timer = QTimer(self)
        self.timer.timeout.connect(self._sync_saved)
        self.timer.start(500)
        self.cells.reset.connect(self._on_reset)
        self.cells.classes_changed.connect(self._sync_classes)
        self.cells.selection_changed.connect(self._sync_selection)
        self.cells.rows_changed.connect(self._sync_classes)
        self.annotator.edited.connect(self._on_edited)
        self.annotator.changed.connect(self._sync_edits)
        self.state.events.everywhere.connect(self._sync_keys)
        self.next.found.connect(self._on_found)
        self.next.failed.connect(self._on_failed)
        viewer.layers.selection.events.active.connect(self._sync_keys)
        self._sync()

    def _build(self) -> None:
        self.hint = muted(QLabel())
        self.saved = wrapped(QLabel())
        self.saved.setToolTip(tooltips.ANNOTATE_SAVED)
        self.selected = wrapped(QLabel())
        self.box_button = narrow(QPushButton("Box"), tooltips.ANNOTATE_BOX)
        self.box_button.setCheckable(True)
        self.deselect = narrow(QPushButton("Deselect"), tooltips.ANNOTATE_DESELECT)
        self.confirm = narrow(QPushButton("Confirm"), tooltips.ANNOTATE_CONFIRM)
        self.classes = ClassList()
        self.add = narrow(QLineEdit(), tooltips.ANNOTATE_ADD)
        self.add.setPlaceholderText("New class...")
        self.undo = narrow(QPushButton("Undo"), tooltips.ANNOTATE_UNDO)
        self.redo = narrow(QPushButton("Redo"), tooltips.ANNOTATE_REDO)
        self.edits = muted(QLabel())
        self.next_button = narrow(QPushButton("Next cell"), tooltips.NEXT_CELL)
        self.advance = QCheckBox("Go on by itself")
        self.advance.setToolTip(tooltips.NEXT_ADVANCE)
        self.reason = muted(QLabel())
        self.outlines = OutlinePanel(self.viewer, self.session, self.results)
        self.improve = ImprovePanel(self.session, self.results)
        self.gallery = narrow(QPushButton("Gallery..."), tooltips.GALLERY)
        self.everywhere = QCheckBox("Keys in every tab")
        self.everywhere.setToolTip(tooltips.ANNOTATE_EVERYWHERE)
        self.keys_note = muted(QLabel())
        self.in_table = muted(QLabel())
        self.in_table.setToolTip(tooltips.ANNOTATE_TABLE)
        self._add(self.hint, self.saved, self.in_table, heading("Selected"), self.selected)
        self.column.addLayout(beside(self.box_button, self.deselect, self.confirm))
        self._add(heading("Give a type"), self.keys_note, self.classes, self.add)
        self.column.addLayout(beside(self.undo, self.redo))
        self.column.addWidget(self.edits)
        self.column.addWidget(heading("Where to look"))
        self.column.addLayout(beside(self.next_button, self.gallery))
        self._add(self.reason, self.advance, self.everywhere, self.outlines, self.improve)
        self.column.addStretch()
        self.box_button.toggled.connect(self._on_box)
        self.deselect.clicked.connect(self._on_deselect)
        self.confirm.clicked.connect(self.confirm_selected)
        self.classes.given.connect(self.give)
        self.classes.renamed.connect(partial(self._try, self.annotator.rename_class))
        self.classes.coloured.connect(partial(self._try, self.annotator.colour_class))
        self.classes.deleted.connect(partial(self._try, self.annotator.delete_class))
        self.add.returnPressed.connect(self._on_add)
        self.outlines.failed.connect(self.failed.emit)
        self.outlines.noted.connect(self.noted.emit)
        self.improve.failed.connect(self.failed.emit)
        self.improve.noted.connect(self.noted.emit)
        self.undo.clicked.connect(self.undo_last)
        self.redo.clicked.connect(self.redo_last)
        self.next_button.clicked.connect(self.go_on)
        self.gallery.clicked.connect(self.gallery_asked.emit)
        self.advance.toggled.connect(self._on_advance)
        self.everywhere.toggled.connect(self._on_everywhere)

    def _add(self, *widgets: QWidget) -> None:
        for widget in widgets:
            self.column.addWidget(widget)

    def _key_map(self) -> dict[str, Any]:
        keys: dict[str, Any] = {str(place + 1): partial(self.give_key, place) for place in range(9)}
        keys |= {"0": partial(self.give, UNTYPED), "Enter": self.confirm_selected, "N": self.go_on}
        return keys | {"Control-Z": self.undo_last, "Control-Shift-Z": self.redo_last}

    # -- opening -----------------------------------------------------------------------------------------------

    def _on_reset(self) -> None:
        """Read what was corrected on this slide before, in a thread."""
        if self.work is not None:
            self.work.let_go()
            self.work = None
        self.suggested = 0
        self.outlines.leave()
        result = self.results.result
        self.table.follow(None if result is None or not self.cells.is_open else result.path)
        self.annotator.close()
        if result is None or not self.cells.is_open:
            self._sync()
            return
        self.next.result = result.path

        def task(progress: Report, stop: Stop) -> Found:
            return find_corrections(result.slide, result.path, result.made)

        self.work = Work(task, self)
        self.work.finished.connect(self._on_corrections)
        self.work.failed.connect(self._on_failed)
        self.work.start()
        self._sync()

    def _on_corrections(self, found: Found) -> None:
        self.work = None
        result = self.results.result
        if result is None:
            return
        if found.caught_up:  # the files on the disk were behind the journal
            self.results.load()
            return
        try:
            notes = self.annotator.open(found, result.pixel_um)
        except DamaError as error:
            self._on_failed(error)
            return
        self._sync()
        if notes:
            self.noted.emit(" ".join(notes))
        if found.own.draft is not None:
            self.outlines.go_on(found.own.draft)

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self.failed.emit(error)
        self._sync()

    # -- correcting --------------------------------------------------------------------------------------------

    def give_key(self, place: int) -> None:
        """Give the selected cells the class of a key, counted from 0."""
        names = list(self.cells.classes)
        if place < len(names):
            self.give(names[place])
        elif self.annotator.is_open:
            self.noted.emit(
                f"There is no class with the key {place + 1} yet: type its name under 'New class'."
            )

    def give(self, name: str) -> None:
        """Give the selected cells a type."""
        self._act(partial(self.annotator.give, types=name, who=self._who()))

    def confirm_selected(self) -> None:
        """Say that the selected cells are what they are called."""
        self._act(self.annotator.confirm)

    def _act(self, do: Any) -> None:
        selected = self.cells.selected
        if not len(selected):
            if self.cells.is_open:
                self.noted.emit("Select cells first: click one, or drag a box with Shift held.")
            return
        if self._try(do, selected) and self.state.advance and len(selected) == 1:
            self.go_on()

    def _who(self) -> Who:
        selected = self.cells.selected
        if len(selected) == 1:
            return "next" if int(selected[0]) == self.suggested else "click"
        return "box"

    def undo_last(self) -> None:
        """Take back the last edit."""
        self._try(self.annotator.undo)

    def redo_last(self) -> None:
        """Do again what was taken back last."""
        self._try(self.annotator.redo)

    def _try(self, do: Any, *what: Any) -> bool:
        try:
            do(*what)
        except DamaError as error:
            self.failed.emit(error)
            return False
        return True

    def _on_add(self) -> None:
        if self._try(self.annotator.add_class, self.add.text()):
            self.add.clear()

    # -- where to look -----------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Go to the most informative cell; the one that was suggested and not answered is passed over."""
        if not self.annotator.is_open:
            return
        waiting = self.suggested if self.suggested and not self.annotator.is_reviewed(self.suggested) else 0
        self.reason.setText("Looking for the cell to learn most from...")
        self.next.ask(skip=waiting)

    def _on_found(self, suggestion: Any) -> None:
        if suggestion is None:
            self.suggested = 0
            self.reason.setText("Every cell was looked at.")
            return
        self.suggested = suggestion.label
        self.cells.select([suggestion.label])
        self.show_cell(suggestion.label)
        self.reason.setText(f"Cell {suggestion.label}. {suggestion.reason}")

    def show_cell(self, label: int) -> None:
        """Bring a cell to the middle of the view, large enough to be judged."""
        row = int(self.cells.rows_of(label)[0])
        layer = self.results.layer
        if row < 0 or layer is None:
            return
        one = self.cells.table.iloc[row]
        world = layer.data_to_world((float(one["y"]), float(one["x"])))[-2:]
        camera = camera_of(self.viewer)
        camera.center = (*camera.center[:-2], float(world[0]), float(world[1]))
        pixel = float(layer.scale[-1])
        area = float(one["area_um2"]) if "area_um2" in one and np.isfinite(one["area_um2"]) else 80.0
        width = (
            2 * np.sqrt(area / np.pi) * (pixel / self.annotator.pixel_um if self.annotator.pixel_um else 1)
        )
        if width * camera.zoom < SMALLEST_CELL_PX:
            camera.zoom = 2 * SMALLEST_CELL_PX / width

    # -- view --------------------------------------------------------------------------------------------------

    def _sync(self) -> None:
        on = self.annotator.is_open
        for widget in (self.box_button, self.classes, self.add, self.next_button, self.gallery, self.advance):
            widget.setEnabled(on)
        if on:
            text = "Click a cell, or drag with Shift held over several; then press the key of its type."
        elif self.work is not None:
            text = "Reading what was corrected on this slide before..."
        else:
            text = "Analyse a slide or open a result first; then correct its cells here."
        self.hint.setText(text)
        self.reason.setText("" if not self.suggested else self.reason.text())
        self.outlines.sync()
        self._sync_classes()
        self._sync_selection()
        self._sync_edits()
        self._sync_keys()
        self._sync_saved()
        self._sync_table()

    def _sync_classes(self) -> None:
        rows = class_rows(self.cells.classes, self.cells.counts(), self.annotator.reviewed_counts())
        self.classes.show_rows(rows if self.cells.is_open else [])

    def _on_edited(self, labels: NDArray[np.int64]) -> None:
        self._sync_selection()
        self.later.name(labels)

    def _on_later(self, labels: NDArray[np.int64]) -> None:
        self._sync_classes()

    def _sync_selection(self) -> None:
        selected = self.cells.selected
        rows = self.cells.rows_of(selected) if len(selected) else np.zeros(0, np.int64)
        names, counts = np.unique(self.cells.types[rows].astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        parts = [f"{counts[i]} {'without type' if names[i] == UNTYPED else names[i]}" for i in order[:4]]
        parts += ["..."] if len(names) > 4 else []
        if len(selected) == 1:
            known = " (reviewed)" if self.annotator.is_reviewed(int(selected[0])) else ""
            kind = untyped(names[0])
            self.selected.setText(f"Cell {int(selected[0])}: {kind}{known}")
        elif len(selected):
            self.selected.setText(f"{len(selected)} cells: {', '.join(parts)}")
        else:
            self.selected.setText("No cell.")
        for widget in (self.deselect, self.confirm):
            widget.setEnabled(self.annotator.is_open and len(selected) > 0)

    def _sync_edits(self) -> None:
        undo, redo = self.annotator.undo_text, self.annotator.redo_text
        self.undo.setEnabled(self.annotator.is_open and bool(undo))
        self.redo.setEnabled(self.annotator.is_open and bool(redo))
        say(self.edits, f"Last: {undo}" if undo else "")
        self._sync_saved()

    def _sync_saved(self) -> None:
        saved = self.annotator.saved
        found = self.annotator.found
        if found is None:
            text = ""
        elif saved.why_not:
            text = f"<b>NOT SAVED</b> ({saved.pending}): {saved.why_not}. It is tried again."
        elif saved.pending:
            text = "Saving..."
        elif saved.at:
            text = f"✓ Saved {_ago(time.time() - saved.at)}, in {found.path.name}"
        else:
            text = f"Saved as you go, in {found.path.name}"
        if text != self.saved.text():
            say(self.saved, text)
            self.saved.setStyleSheet("color: #e5534b;" if saved.why_not else "")

    def _sync_table(self) -> None:
        say(self.in_table, table_text(self.table) if self.annotator.is_open else "")

    def _sync_keys(self) -> None:
        shown = self.state.everywhere or self.isVisible()
        wanted = self.annotator.is_open and shown and not self.outlines.editing
        (self.keys.hold if wanted else self.keys.release)()
        active = self.viewer.layers.selection.active
        stranger = active is not None and about(active).get("role") not in ROLES
        note = ""
        if wanted and stranger:
            note = (
                f"The layer '{active.name}' is active, and 1 to 9 are its own keys: choose the layer of the cells in "
                "napari's list to give types."
            )
        say(self.keys_note, note)

    def showEvent(self, event: object) -> None:
        """The tab comes to the front: the keys count, on the layer of the cells."""
        super().showEvent(event)  # type: ignore[arg-type]
        layer = self.results.layer
        if self.annotator.is_open and layer is not None and layer in self.viewer.layers:
            self.viewer.layers.selection.active = layer
        self._sync_keys()

    def hideEvent(self, event: object) -> None:
        """Another tab is in front."""
        super().hideEvent(event)  # type: ignore[arg-type]
        if not self.state.everywhere:
            self.keys.release()

    def _layer_to_select(self) -> Any:
        layer = self.results.layer
        shown = layer is not None and layer.visible and self.annotator.is_open
        return layer if shown and (self.isVisible() or self.state.everywhere) else None

    def _wants_box(self) -> bool:
        return self.state.box

    def _on_box(self, wanted: bool) -> None:
        self.state.box = wanted

    def _on_deselect(self) -> None:
        self.cells.select([])

    def _on_advance(self, wanted: bool) -> None:
        self.state.advance = wanted

    def _on_everywhere(self, wanted: bool) -> None:
        self.state.everywhere = wanted

    def close_down(self) -> None:
        """Save what is left, and let go of the viewer."""
        self.timer.stop()
        if self.work is not None:
            self.work.let_go()
        self.later.forget()
        self.keys.release()
        self.box.let_go()
        self.next.close()
        self.table.close()
        self.outlines.close_down()
        self.improve.close_down()
        self.cells.reset.disconnect(self._on_reset)
        self.cells.classes_changed.disconnect(self._sync_classes)
        self.cells.selection_changed.disconnect(self._sync_selection)
        self.cells.rows_changed.disconnect(self._sync_classes)
        self.annotator.edited.disconnect(self._on_edited)
        self.annotator.changed.disconnect(self._sync_edits)
        self.state.events.everywhere.disconnect(self._sync_keys)
        self.viewer.layers.selection.events.active.disconnect(self._sync_keys)
        self.annotator.close()


def _ago(seconds: float) -> str:
    if seconds < 2:
        return "now"
    if seconds < 90:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago"
