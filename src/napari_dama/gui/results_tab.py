"""Tab 3, *Results*: the cells in their types' colours, a legend that hides and shows, and the facts of a clicked cell."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QFormLayout, QLabel, QPushButton, QWidget

from napari_dama.errors import DamaError
from napari_dama.gui import tooltips
from napari_dama.gui.cell_card import CellCard
from napari_dama.gui.cell_table import cell_facts, feature_table, type_rows
from napari_dama.gui.export_menu import ExportMenu
from napari_dama.gui.layers import marker_colours
from napari_dama.gui.legend import Legend
from napari_dama.gui.recolour import Later, recolour_types, sync_features
from napari_dama.gui.result_layers import (
    OpenResult,
    add_result,
    colour_result,
    label_at,
    live_layer,
    mark_cell,
    read_result,
)
from napari_dama.gui.style import Tab, heading, muted, narrow, say
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    from collections.abc import Iterator

    import napari
    from numpy.typing import NDArray

    from napari_dama.gui.cell_table import CellFacts
    from napari_dama.gui.session import Session

REFRESH_S = 0.7
CLICK_PX = 3
"""A click may move so far, pixels of the screen."""


class ResultsTab(Tab):
    """Thin view of ``state.results``.

    Signals
    -------
    explain_asked
        The user wants the clicked cell explained.
    """

    explain_asked = QtSignal()

    def __init__(self, viewer: napari.Viewer, session: Session, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session
        self.state = session.state.results
        self.cells = session.cells
        self.result: OpenResult | None = None
        self.layer: Any = None
        self.live: Any = None
        self.work: Work | None = None
        self._refreshed = 0.0
        self.later = Later(self._on_later, self)
        self._build()
        self.state.events.path.connect(self.load)
        self.state.events.hidden.connect(self._recolour)
        self.state.events.colour_by.connect(self._recolour)
        self.state.events.selected.connect(self._on_selected)
        self.cells.selection_changed.connect(self._on_selection)
        self.cells.types_changed.connect(self._on_types)
        self.cells.rows_changed.connect(self._on_rows)
        self.cells.classes_changed.connect(self._on_rows)
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        viewer.layers.events.removed.connect(self._on_removed)
        self._sync()

    def _build(self) -> None:
        self.open_button = narrow(QPushButton("Open a result folder..."), tooltips.OPEN_RESULT)
        self.summary = muted(QLabel())
        self.colour_box = narrow(QComboBox(), tooltips.COLOUR_BY_TYPE)
        self.colour_box.addItem("their type", "type")
        self.colour_box.addItem("cell, at random", "instance")
        self.outlines = QCheckBox("Outlines only")
        self.outlines.setToolTip(tooltips.OUTLINES)
        self.legend = Legend()
        self.legend_title = heading("Cells")
        self.card = CellCard()
        self.export = ExportMenu(self.viewer)
        self.export.failed.connect(self.failed)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Colour by", self.colour_box)
        form.addRow("", self.outlines)
        self.column.addWidget(self.open_button)
        self.column.addWidget(self.summary)
        self.column.addLayout(form)
        self.column.addWidget(self.legend_title)
        self.column.addWidget(self.legend)
        self.column.addWidget(self.card)
        self.column.addWidget(self.export)
        self.column.addStretch()
        self.open_button.clicked.connect(self._on_open)
        self.colour_box.activated.connect(self._on_colour)
        self.outlines.toggled.connect(self._on_outlines)
        self.legend.hidden_changed.connect(self._on_hidden)
        self.card.explain.clicked.connect(self.explain_asked.emit)

    @property
    def has_result(self) -> bool:
        """Whether a result is open or being opened."""
        return self.result is not None or self.work is not None

    def open_folder(self, folder: str) -> None:
        """Open a result folder, anew when it is open already: it may have grown."""
        with self.state.events.blocked():
            self.state.path = folder
        self.load()

    def load(self, path: str | None = None) -> None:
        """Read the folder that the state names in a thread, then show it."""
        if not self.state.path or self.work is not None:
            return
        folder = Path(self.state.path)

        def task(progress: Report, stop: Stop) -> OpenResult:
            return read_result(folder)

        self.work = Work(task, self)
        self.work.finished.connect(self._on_loaded)
        self.work.failed.connect(self._on_failed)
        self.summary.setText(f"Reading {folder.name} ...")
        self.work.start()

    def _on_loaded(self, result: OpenResult) -> None:
        self.work = None
        self._drop_live()
        try:
            self.layer = add_result(self.viewer, self.session, result)
        except DamaError as error:
            self._on_failed(error)
            return
        self.result = result
        with self.state.events.blocked():
            self.state.hidden = frozenset()
            self.state.selected = 0
            self.state.colour_by = "type" if "type" in result.cells else "instance"
        self.cells.open(result.cells, result.colours)
        self.legend.show_rows(type_rows(self.cells.frame, self.cells.classes))
        self.outlines.setChecked(False)
        self._recolour()
        self._sync()

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self.state.path = ""
        self._sync()
        self.failed.emit(error)

    def show_live(self, folder: str) -> None:
        """Show the cells of a running analysis so far; at most every ``REFRESH_S`` seconds."""
        now = time.monotonic()
        if now - self._refreshed < REFRESH_S:
            return
        self._refreshed = now
        if self.live is None or self.live not in self.viewer.layers:
            self.live = live_layer(self.viewer, self.session, Path(folder))
        if self.live is not None:
            self.live.refresh()

    def _drop_live(self) -> None:
        if self.live is not None and self.live in self.viewer.layers:
            self.viewer.layers.remove(self.live)
        self.live = None

    def _sync(self) -> None:
        shown = self.result is not None
        self.colour_box.setEnabled(shown and self.cells.typed)
        self.outlines.setEnabled(shown)
        self.legend_title.setVisible(shown)
        self.legend.setVisible(shown)
        self.export.set_result(self.result, self.layer, self.state.hidden)
        self.colour_box.setCurrentIndex(max(self.colour_box.findData(self.state.colour_by), 0))
        say(
            self.summary,
            self.result.summary
            if self.result
            else "Analyse a slide, or open what an earlier analysis wrote.",
        )
        self._sync_cell()

    def _sync_cell(self) -> None:
        facts = None
        if self.result is not None and self.state.selected:
            facts = self._facts()
        self.card.setVisible(self.result is not None)
        shown = {} if self.result is None else marker_colours(self.viewer.layers, self.result.slide)
        self.card.show_cell(facts, self.result, shown)
        can_explain = self.session.card is not None and "reconstruct" in self.session.card.tasks
        self.card.explain.setEnabled(facts is not None and can_explain)

    def _recolour(self) -> None:
        if self.result is not None and self.layer is not None:
            colour_result(self.layer, self.cells, self.state.colour_by, self.state.hidden)
            self._sync()

    def selected_centre(self) -> tuple[float, float] | None:
        """Return the centre (y, x) of the clicked cell in level-0 pixels, None when none is."""
        if self.result is None or not self.state.selected:
            return None
        facts = self._facts()
        return None if facts is None else (facts.y, facts.x)

    def _facts(self) -> CellFacts | None:
        row = int(self.cells.rows_of(self.state.selected)[0])
        if row < 0:
            return None
        one = self.cells.table.iloc[[row]]
        if self.cells.typed:
            one = one.assign(type=self.cells.types[row])
        return cell_facts(one, self.state.selected)

    def _on_mouse(self, viewer: Any, event: Any) -> Iterator[None]:
        """Tell a click from a drag; a click on a cell selects it."""
        begin = getattr(event, "pos", None)
        yield
        dragged = False
        while event.type == "mouse_move":
            dragged = True
            yield
        if begin is not None:  # quick drags may come without a move
            dragged = float(np.abs(np.subtract(begin, event.pos)).max()) > CLICK_PX
        if not dragged and self.layer is not None and self.layer.visible and self.layer.mode == "pan_zoom":
            self.select_at(tuple(event.position), more="Control" in getattr(event, "modifiers", ()))

    def select_at(self, position: tuple[float, ...], *, more: bool = False) -> None:
        """Select the cell at a position in world coordinates, if there is one; with ``more`` beside those selected."""
        label = label_at(self.layer, position)
        if label and self.result is not None:
            others = [int(other) for other in self.cells.selected if other != label] if more else []
            again = more and label in self.cells.selected
            self.cells.select(others if again else [*others, label])

    def _on_selected(self) -> None:
        wanted = self.state.selected
        selected = self.cells.selected
        if wanted != (int(selected[-1]) if len(selected) else 0):
            self.cells.select([wanted] if wanted else [])
        self._sync_cell()

    def _on_selection(self) -> None:
        selected = self.cells.selected
        self.state.selected = int(selected[-1]) if len(selected) else 0
        if self.layer is not None and self.result is not None and self.state.selected:
            mark_cell(self.viewer, self.layer, self.result, self.cells, self.state.selected)

    def _on_types(self, labels: NDArray[np.int64]) -> None:
        """Colours follow at once what was corrected, in place; legend and table a moment later."""
        if self.layer is None:
            return
        if self.state.colour_by == "type" and not recolour_types(self.layer, self.cells, labels):
            self._recolour()
        self.later.name(labels)

    def _on_later(self, labels: NDArray[np.int64]) -> None:
        if self.layer is None:
            return
        sync_features(self.layer, self.cells, labels)
        self.legend.show_rows(type_rows(self.cells.frame, self.cells.classes), hidden=self.state.hidden)
        self._sync()

    def _on_rows(self) -> None:
        """Colours, legend and table follow cells and classes that were changed."""
        if self.layer is None:
            return
        self.layer.features = feature_table(self.cells.frame)
        self.legend.show_rows(type_rows(self.cells.frame, self.cells.classes), hidden=self.state.hidden)
        self._recolour()

    def _on_open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Result folder of an analysis")
        if folder:
            self.open_folder(folder)

    def _on_colour(self, index: int) -> None:
        self.state.colour_by = self.colour_box.itemData(index)

    def _on_outlines(self, wanted: bool) -> None:
        if self.layer is not None:
            self.layer.contour = 2 if wanted else 0

    def _on_hidden(self, hidden: frozenset[str]) -> None:
        self.state.hidden = hidden

    def _on_removed(self, event: Any) -> None:
        if event.value is self.layer:
            self.layer = self.result = None
            with self.state.events.blocked():
                self.state.path, self.state.selected = "", 0
            self.cells.close()
            self._sync()

    def close_down(self) -> None:
        """Let go of the viewer."""
        if self.work is not None:
            self.work.let_go()
        self.export.close_down()
        self.viewer.mouse_drag_callbacks.remove(self._on_mouse)
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self.state.events.path.disconnect(self.load)
        self.state.events.hidden.disconnect(self._recolour)
        self.state.events.colour_by.disconnect(self._recolour)
        self.state.events.selected.disconnect(self._on_selected)
        self.cells.selection_changed.disconnect(self._on_selection)
        self.cells.types_changed.disconnect(self._on_types)
        self.cells.rows_changed.disconnect(self._on_rows)
        self.cells.classes_changed.disconnect(self._on_rows)
        self.later.forget()
