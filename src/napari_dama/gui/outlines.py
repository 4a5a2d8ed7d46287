"""Outlines edited in the picture, with napari's own brush, eraser and bucket, and a few tools that it has not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_dama.cells.correction_records import draft_record
from napari_dama.cells.outlines import apply_changes, changes_between
from napari_dama.cells.tidy import delete, merge, split_by_path, split_by_seeds
from napari_dama.errors import DamaError, SettingsError
from napari_dama.gui import tooltips
from napari_dama.gui.arrive import add_hidden
from napari_dama.gui.layers import KEY
from napari_dama.gui.outline_edit import Known, Part, begin, outcome_of
from napari_dama.gui.outline_files import OutlineFiles
from napari_dama.gui.place import bare, view_region
from napari_dama.gui.preferences import read_preferences
from napari_dama.gui.style import beside, heading, muted, narrow, say
from napari_dama.gui.turns import Turns
from napari_dama.gui.work import Report, Stop, Work
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import LABELS
from napari_dama.slides.region import Region
from napari_dama.slides.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import napari
    from numpy.typing import NDArray

    from napari_dama.gui.result_layers import OpenResult
    from napari_dama.gui.results_tab import ResultsTab
    from napari_dama.gui.session import Session

HOW: Final = (
    "Paint, erase and fill with napari's tools (left). Click cells to choose them, Ctrl adds. Nothing changes in the result "
    "until you keep it."
)


class OutlinePanel(QWidget):
    """Begin, tools, keep and discard.

    Signals
    -------
    failed(error), noted(text)
        For the message area.
    """

    failed = QtSignal(object)
    noted = QtSignal(str)

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
        self.annotator = session.annotator
        self.part: Part | None = None
        self.layer: Any = None
        self.line: Any = None
        self.work: Work | None = None
        self.clearing: Turns | None = None
        self.chosen: list[int] = []
        self._seeds: list[tuple[float, float]] = []
        self._tool = ""
        self._draft: NDArray[np.uint32] | None = None
        self._top = 0
        self.files = OutlineFiles(self.annotator, self)
        self._build()
        self.timer = QTimer(self)
        self.timer.timeout.connect(self.save_draft)
        self.files.written.connect(self._on_written)
        self.files.failed.connect(self.failed.emit)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        self._sync()

    def _build(self) -> None:
        self.start = narrow(QPushButton("Edit outlines here"), tooltips.OUTLINES_EDIT)
        self.note = muted(QLabel())
        self.new = narrow(QPushButton("New cell"), tooltips.OUTLINES_NEW)
        self.delete = narrow(QPushButton("Delete"), tooltips.OUTLINES_DELETE)
        self.merge = narrow(QPushButton("Merge"), tooltips.OUTLINES_MERGE)
        self.cut = narrow(QPushButton("Split: line"), tooltips.OUTLINES_LINE)
        self.seeds = narrow(QPushButton("Split: 2 clicks"), tooltips.OUTLINES_SEEDS)
        self.keep = narrow(QPushButton("Keep"), tooltips.OUTLINES_KEEP)
        self.discard = narrow(QPushButton("Discard"), tooltips.OUTLINES_DISCARD)
        self.cut.setCheckable(True)
        self.seeds.setCheckable(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(heading("Outlines"))
        layout.addWidget(self.start)
        layout.addWidget(self.note)
        layout.addLayout(beside(self.new, self.merge, self.delete))
        layout.addLayout(beside(self.cut, self.seeds))
        layout.addLayout(beside(self.keep, self.discard))
        self.start.clicked.connect(self.begin)
        self.new.clicked.connect(self.new_cell)
        self.merge.clicked.connect(partial(self._try, self.merge_chosen))
        self.delete.clicked.connect(partial(self._try, self.delete_chosen))
        self.cut.toggled.connect(self._on_cut)
        self.seeds.toggled.connect(self._on_seeds)
        self.keep.clicked.connect(self.keep_all)
        self.discard.clicked.connect(self.discard_all)

    @property
    def editing(self) -> bool:
        """Whether outlines are being edited."""
        return self.part is not None

    @property
    def settled(self) -> bool:
        """Whether no outlines are edited, and the copy that was is out of the window."""
        return not self.editing and (self.clearing is None or not self.clearing.going)

    # -- begin and end -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Lay a copy of the outlines in view over the picture."""
        result = self.results.result
        if result is None or self.editing or self.work is not None or not self.annotator.is_open:
            return
        try:
            shape = result.levels[0].shape
            self._show(begin(result.path, view_region([self.results.layer], (int(shape[0]), int(shape[1])))))
        except DamaError as error:
            self.failed.emit(error)

    def go_on(self, draft: dict[str, Any]) -> None:
        """Bring back outlines that were being edited when napari ended."""
        result = self.results.result
        if result is None or self.editing:
            return
        y0, y1, x0, x1 = draft["box"]
        region = Region(y0, y1, x0, x1)
        try:
            part = Part(region, LabelImage.open(result.path / LABELS, mode="r").read(region))
            edited = part.before.copy()
            apply_changes(edited, draft["changes"])
        except DamaError as error:
            self.failed.emit(error)
            return
        self._show(part)
        self._put(edited)
        self._draft = edited
        self.noted.emit("Outlines that were not kept yet when napari ended are back: keep or discard them.")

    def _show(self, part: Part) -> None:
        below = self.results.layer
        self.part, self._draft, self.chosen = part, part.before, []
        self._top = max(self.annotator.new_label() - 1, int(part.before.max(initial=0)))
        scale = np.asarray(below.scale[-2:], float)
        offset = np.asarray(below.translate[-2:], float) + scale * (part.region.y0, part.region.x0)
        options = {
            "name": "Outlines being edited",
            "scale": tuple(scale),
            "translate": tuple(offset),
            "units": tuple(below.units[-2:]),
            "opacity": 0.5,
            "metadata": {
                KEY: {"role": "outlines", "slide": self.results.result.slide if self.results.result else ""}
            },
        }
        self.layer, _ = add_hidden(self.viewer, (part.before.copy(), options, "labels"))
        below.visible = False
        self.viewer.layers.selection.active = self.layer
        self.timer.start(int(1000 * max(read_preferences().outline_seconds, 0.5)))
        self._sync()
        QTimer.singleShot(0, self._into_view)

    def _into_view(self) -> None:
        """Draw the copy, and scroll to the tools; a turn after the layer was made."""
        if not self.editing or self.layer is None:
            return
        if self.clearing is not None:
            self.clearing.finish()
        self.layer.visible = True
        place = self.parentWidget()
        while place is not None and not isinstance(place, QScrollArea):
            place = place.parentWidget()
        if place is not None:
            place.ensureWidgetVisible(self)

    def keep_all(self) -> None:
        """Take the outlines over into the result."""
        part, result = self.part, self.results.result
        if part is None or result is None or self.work is not None:
            return
        cells = self.session.cells
        task = partial(
            _outcome,
            part=part,
            edited=np.asarray(bare(self.layer).data).astype(np.uint32),
            result=result,
            known=Known(
                cells.table,
                dict(zip(cells.labels.tolist(), cells.types.tolist(), strict=True)),
                frozenset(self.annotator.reviewed.tolist()),
            ),
            number=self.annotator.number(),
            next_label=max(self._top, self.annotator.new_label() - 1) + 1,
        )
        self.work = Work(task, self)
        self.work.finished.connect(self._on_outcome)
        self.work.failed.connect(self._on_failed)
        self.work.start()
        self._sync()

    def _on_outcome(self, record: dict[str, Any] | None) -> None:
        self.work = None
        try:
            if record is None:
                self._end()
                self.noted.emit("No outline was changed.")
                return
            self.annotator.change_outlines(record)
            self._end()
        except DamaError as error:
            self.failed.emit(error)
            self._sync()
            return
        come, gone = len(record["come"]), len(record["gone"])
        self.noted.emit(f"Outlines kept: {come} cells drawn, {gone} before. Ctrl+Z takes it back.")

    def leave(self) -> None:
        """Another result is opened: keep what was drawn as a draft of this one."""
        if not self.editing:
            return
        self.save_draft()
        layer, self.layer, self.part, self._draft = self.layer, None, None, None
        self.timer.stop()
        self._set_tool("")
        QTimer.singleShot(0, partial(_remove, self.viewer, layer))
        self._sync()

    def discard_all(self) -> None:
        """Leave the result as it is."""
        if self.editing and self.work is None:
            self._end()

    def _end(self) -> None:
        """Take the layer away; the draft is settled."""
        part, drafted = self.part, self._draft is not None and self.part is not None
        if part is not None and drafted and self._draft is not part.before:
            region = part.region
            box = (region.y0, region.y1, region.x0, region.x1)
            self.annotator.note(draft_record(self.annotator.number(), box, []))
        self.part = self._draft = None
        self.timer.stop()
        self._set_tool("")
        layer, self.layer = self.layer, None
        self._sync()
        if self.clearing is not None:
            self.clearing.finish()
        self.clearing = Turns(self._clear(layer), self)
        self.clearing.start()

    def _clear(self, layer: Any) -> Iterator[None]:
        """Show the result again and take the edited copy away, in steps: napari takes its time for each."""
        below = self.results.layer
        if below is not None and below in self.viewer.layers and not self.editing:
            below.visible = True
            self.viewer.layers.selection.active = below
        yield
        _remove(self.viewer, layer)

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self.failed.emit(error)
        self._sync()

    def _on_written(self) -> None:
        """Show what is on the disk now; napari keeps what it read of a lazy image otherwise."""
        result, layer = self.results.result, self.results.layer
        if result is None or layer is None or layer not in self.viewer.layers:
            return
        levels = fresh_levels(result.path)
        layer.data = levels if len(levels) > 1 else levels[0]

    def save_draft(self) -> None:
        """Record what was drawn so far, so that it is there when napari dies."""
        part, layer = self.part, bare(self.layer)
        if part is None or layer is None or self.work is not None:
            return
        now = np.asarray(layer.data).astype(np.uint32)
        if self._draft is not None and np.array_equal(now, self._draft):
            return
        region = part.region
        box = (region.y0, region.y1, region.x0, region.x1)
        try:
            self.annotator.note(draft_record(self.annotator.number(), box, changes_between(part.before, now)))
        except DamaError as error:
            self.failed.emit(error)
            return
        self._draft = now

    # -- tools -------------------------------------------------------------------------------------------------

    def new_cell(self) -> None:
        """Take the brush with a number that no cell has."""
        if self.layer is None:
            return
        self._top = max(self._top, int(np.max(bare(self.layer).data)), self.annotator.new_label() - 1) + 1
        self.layer.selected_label = self._top
        self.layer.mode = "paint"
        self.viewer.layers.selection.active = self.layer
        self.note.setText(f"Paint cell {self._top}; press the button again for another one.")

    def merge_chosen(self) -> None:
        """Join the chosen cells."""
        edited = self._copy()
        label = merge(edited, self.chosen)
        self._put(edited)
        self.chosen = [label]
        self._sync()

    def delete_chosen(self) -> None:
        """Take the chosen cells out."""
        if not self.chosen:
            raise SettingsError("Choose the cells to delete first: click one, Ctrl adds.")
        edited = self._copy()
        delete(edited, self.chosen)
        self._put(edited)
        self.chosen = []
        self._sync()

    def cut_along(self, path: NDArray[np.float64]) -> None:
        """Split cells along a line of points (n, 2) in pixels of the part."""
        edited = self._copy()
        new = split_by_path(edited, path, self._top + 1)
        self._top += len(new)
        self._put(edited)

    def part_between(self, one: tuple[float, float], two: tuple[float, float]) -> None:
        """Split a cell between two spots in it."""
        edited = self._copy()
        self._top = max(self._top, split_by_seeds(edited, one, two, self._top + 1))
        self._put(edited)

    def _copy(self) -> NDArray[np.uint32]:
        if self.layer is None:
            raise SettingsError("Press 'Edit outlines here' first.")
        return np.asarray(bare(self.layer).data).astype(np.uint32)

    def _put(self, edited: NDArray[np.uint32]) -> None:
        """Put labels into the layer in a way that napari's own undo knows."""
        where = np.nonzero(np.asarray(bare(self.layer).data) != edited)
        if len(where[0]):
            self.layer.visible = True  # napari writes only into pixels that it has taken to be drawn
            self.layer.data_setitem(where, edited[where])

    def _set_tool(self, tool: str) -> None:
        self._tool, self._seeds = tool, []
        for button, name in ((self.cut, "line"), (self.seeds, "seeds")):
            button.blockSignals(True)
            button.setChecked(tool == name)
            button.blockSignals(False)
        if self.line is not None and tool != "line":
            if self.line in self.viewer.layers:
                self.viewer.layers.remove(self.line)
            self.line = None
            if self.layer is not None:
                self.viewer.layers.selection.active = self.layer

    def _on_cut(self, wanted: bool) -> None:
        """Draw a line with napari's own tool; it cuts when it is drawn."""
        self._set_tool("line" if wanted else "")
        if wanted and self.layer is not None:
            self.line = self.viewer.add_shapes(
                None,
                ndim=2,
                name="Cut along a line",
                scale=tuple(self.layer.scale),
                translate=tuple(self.layer.translate),
                units=tuple(self.layer.units),
                edge_color="white",
                edge_width=1,
                metadata={KEY: {"role": "cut"}},
            )
            self.line.mode = "add_line"
            self.line.events.data.connect(self._on_line)
        self._sync()

    def _on_line(self, event: Any) -> None:
        if str(getattr(event, "action", "")).rsplit(".", 1)[-1].lower() == "added":
            QTimer.singleShot(0, self._cut_drawn)

    def _cut_drawn(self) -> None:
        if self.line is None or not len(self.line.data):
            return
        path = np.asarray(self.line.data[-1], float)[:, -2:]
        self.line.selected_data = set(range(len(self.line.data)))
        self.line.remove_selected()
        self._try(partial(self.cut_along, path))

    def _on_seeds(self, wanted: bool) -> None:
        self._set_tool("seeds" if wanted else "")
        if wanted and self.layer is not None:
            self.layer.mode = "pan_zoom"
            self.viewer.layers.selection.active = self.layer
        self._sync()

    def _on_mouse(self, viewer: Any, event: Any) -> Iterator[None]:
        """Choose the cell that is clicked, or take a spot for the split."""
        if self.layer is None or viewer.layers.selection.active is None:
            return
        if bare(viewer.layers.selection.active) is not bare(self.layer) or self.layer.mode != "pan_zoom":
            return
        begin = tuple(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.subtract(begin, event.pos)).max() <= 3:
            place = self.layer.world_to_data(tuple(event.position))[-2:]
            self.click((float(place[0]), float(place[1])), more="Control" in event.modifiers)

    def click(self, place: tuple[float, float], *, more: bool = False) -> None:
        """Choose the cell at a place in pixels of the part, or take the place for the split."""
        if self._tool == "seeds":
            self._seeds.append(place)
            if len(self._seeds) == 2:
                one, two = self._seeds
                self._seeds = []
                self._try(partial(self.part_between, one, two))
            self._sync()
            return
        y, x = round(place[0]), round(place[1])
        data = bare(self.layer).data
        label = int(data[y, x]) if 0 <= y < data.shape[0] and 0 <= x < data.shape[1] else 0
        if not more:
            self.chosen = []
        if label and label in self.chosen:
            self.chosen.remove(label)
        elif label:
            self.chosen.append(label)
            self.layer.selected_label = label
        self._sync()

    def _try(self, do: Any, *_: Any) -> None:
        try:
            do()
        except DamaError as error:
            self.failed.emit(error)

    # -- view --------------------------------------------------------------------------------------------------

    def _sync(self) -> None:
        on = self.editing
        busy = self.work is not None
        self.start.setVisible(not on)
        self.start.setEnabled(self.annotator.is_open and not busy)
        for widget in (self.new, self.delete, self.merge, self.cut, self.seeds, self.keep, self.discard):
            widget.setVisible(on)
            widget.setEnabled(not busy)
        text = ""
        if busy:
            text = "Measuring the cells anew..."
        elif on and self._tool == "line":
            text = "Draw a line right across a cell, from outside to outside."
        elif on and self._tool == "seeds":
            text = (
                "Click two spots in the same cell, one in each half."
                if not self._seeds
                else "And the other half."
            )
        elif on:
            text = HOW + (f" Chosen: {', '.join(map(str, self.chosen[:8]))}." if self.chosen else "")
        say(self.note, text)

    def sync(self) -> None:
        """Follow what is open."""
        if self.results.result is not None:
            self.files.folder = self.results.result.path
        self._sync()

    def _on_removed(self, event: Any) -> None:
        """The user took the layer away: that discards."""
        if self.layer is not None and bare(event.value) is bare(self.layer):
            self.layer = None
            self._end()
        elif self.line is not None and bare(event.value) is bare(self.line):
            self.line = None
            self._set_tool("")
            self._sync()
        elif self.editing and self.results.layer is None:
            self._end()

    def close_down(self) -> None:
        """Save the draft, and let go of the viewer."""
        self.timer.stop()
        if self.clearing is not None:
            self.clearing.let_go()
        if self.editing and self.annotator.is_open:
            self.save_draft()
        if self.work is not None:
            self.work.let_go()
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        if self._on_mouse in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._on_mouse)
        self.files.close()


def _outcome(
    progress: Report,
    stop: Stop,
    *,
    part: Part,
    edited: NDArray[np.uint32],
    result: OpenResult,
    known: Known,
    number: int,
    next_label: int,
) -> dict[str, Any] | None:
    from contextlib import nullcontext
    from pathlib import Path

    there = bool(result.slide) and Path(result.slide).exists()
    with open_slide(result.slide) if there else nullcontext() as slide:
        return outcome_of(
            part, edited, result.path, known, number=number, next_label=next_label, slide=slide, pixel_um=result.pixel_um
        )  # fmt: skip


def _remove(viewer: Any, layer: Any) -> None:
    if layer is not None and layer in viewer.layers:
        viewer.layers.remove(layer)


def fresh_levels(folder: Path) -> list[Any]:
    """Return a result's labels as lazy arrays that no cache knows."""
    import uuid

    import dask.array

    read: Any = dask.array.from_zarr
    levels = LabelImage.open(folder / LABELS, mode="r").levels
    return [read(level, name=f"labels-{uuid.uuid4().hex}") for level in levels]
