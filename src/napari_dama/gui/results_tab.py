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
from napari_dama.gui.arrive import add_hidden, bring_slide, reveal
from napari_dama.gui.cell_card import CellCard
from napari_dama.gui.cell_colours import INSTANCE, TYPE, legend_rows
from napari_dama.gui.cell_table import cell_facts, feature_table, group_facts
from napari_dama.gui.colour_bar import ColourBar
from napari_dama.gui.export_menu import ExportMenu
from napari_dama.gui.features_table import FeaturesLink
from napari_dama.gui.layers import about, marker_colours
from napari_dama.gui.legend import Legend
from napari_dama.gui.plots import open_plots
from napari_dama.gui.recolour import Later, recolour_types, sync_features
from napari_dama.gui.result_layers import (
    OpenResult,
    colour_result,
    label_at,
    live_layer,
    make_room,
    mark_cells,
    read_result,
    result_layer,
    slide_missing,
)
from napari_dama.gui.shown_colours import ShownColours
from napari_dama.gui.style import Tab, beside, heading, muted, narrow, say, wrapped
from napari_dama.gui.turns import Turns
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Thread

    import napari
    from numpy.typing import NDArray

    from napari_dama.gui.cell_table import CellFacts
    from napari_dama.gui.plots import PlotsPanel
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
        self.shown = ShownColours(self.cells, self.state)
        self.features_link = FeaturesLink(viewer, self.cells, self)
        self.plots: PlotsPanel | None = None
        self.result: OpenResult | None = None
        self.layer: Any = None
        self.live: Any = None
        self.work: Work | Turns | None = None
        self._refreshed = 0.0
        self._listed: list[tuple[str, str, str]] = []
        self.later = Later(self._on_later, self)
        self._build()
        self.watch_kept = Later(self._on_judged, self)
        self.state.events.path.connect(self.load)
        self.shown.changed.connect(self._recolour)
        self.state.events.selected.connect(self._on_selected)
        self.cells.selection_changed.connect(self._on_selection)
        self.cells.types_changed.connect(self._on_types)
        self.cells.rows_changed.connect(self._on_rows)
        self.cells.columns_changed.connect(self._on_rows)
        session.keeper.changed.connect(self._judge_later)
        session.annotator.changed.connect(self._judge_later)
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        viewer.layers.events.removed.connect(self._on_removed)
        self._sync()

    def _build(self) -> None:
        self.open_button = narrow(QPushButton("Open a result folder..."), tooltips.OPEN_RESULT)
        self.summary = muted(QLabel())
        self.colour_box = narrow(QComboBox(), tooltips.COLOUR_BY_TYPE)
        self.outlines = QCheckBox("Outlines only")
        self.outlines.setToolTip(tooltips.OUTLINES)
        self.legend = Legend()
        self.legend_title = heading("Cells")
        self.colour_bar = ColourBar()
        self.colour_problem = muted(QLabel())
        self.kept_note = wrapped(QLabel())
        self.kept_note.setStyleSheet("border-left: 4px solid #e0a030; padding-left: 6px;")
        self.kept_note.setToolTip(tooltips.RESULT_OUTDATED)
        self.plots_button = narrow(QPushButton("Plots..."), tooltips.PLOTS)
        self.table_button = narrow(QPushButton("Table..."), tooltips.FEATURES_TABLE)
        self.card = CellCard()
        self.export = ExportMenu(self.viewer)
        self.export.failed.connect(self.failed)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Colour by", self.colour_box)
        form.addRow("", self.outlines)
        self.column.addWidget(self.open_button)
        self.column.addWidget(self.summary)
        self.column.addLayout(beside(self.plots_button, self.table_button))
        self.column.addLayout(form)
        self.column.addWidget(self.kept_note)
        self.column.addWidget(self.colour_problem)
        self.column.addWidget(self.colour_bar)
        self.column.addWidget(self.legend_title)
        self.column.addWidget(self.legend)
        self.column.addWidget(self.card)
        self.column.addWidget(self.export)
        self.column.addStretch()
        self.open_button.clicked.connect(self._on_open)
        self.colour_box.activated.connect(self._on_colour)
        self.outlines.toggled.connect(self._on_outlines)
        self.legend.hidden_changed.connect(self._on_hidden)
        self.legend.colour_chosen.connect(self.cells.colour_class)
        self.colour_bar.colormap_chosen.connect(self._on_colormap)
        self.colour_bar.range_chosen.connect(self._on_range)
        self.plots_button.clicked.connect(self._on_plots)
        self.table_button.clicked.connect(self._on_table)
        self.card.deselect.clicked.connect(self._on_deselect)
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
        if isinstance(self.work, Turns):
            self.work.finish()
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
        self.work = Turns(self._show(result), self)
        self.work.finished.connect(self._on_shown)
        self.work.failed.connect(self._on_failed)
        self.work.start()

    def _show(self, result: OpenResult) -> Iterator[Thread | None]:
        """Show what was read, in steps: its slide, its layer, what follows from its cells, and then the cells."""
        if slide_missing(self.viewer, result):
            yield from bring_slide(self.viewer, self.session, result.slide)
        self._drop_live()
        make_room(self.viewer, self.session, result)
        yield None
        layer, _ = add_hidden(self.viewer, result_layer(result))
        yield None
        if layer not in self.viewer.layers:  # the user took it away
            return
        self.layer, self.result = layer, result
        with self.state.events.blocked():
            self.state.hidden = self.state.hidden_values = frozenset()
            self.state.selected = 0
            self.state.colour_by = TYPE if "type" in result.cells else INSTANCE
        self.outlines.setChecked(False)
        self.cells.open(result.cells, result.colours)
        self.session.keeper.open(result.kept)
        yield None
        if layer in self.viewer.layers:
            layer.visible = True

    def _on_shown(self) -> None:
        self.work = None
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
        if self.live is not None and about(self.live).get("result") != folder:
            self._drop_live()
        if self.live is None or self.live not in self.viewer.layers:
            self.live = None
            found = live_layer(self.viewer, Path(folder))
            if found is not None:
                self.live, _ = add_hidden(self.viewer, found)
                reveal(self.live)
        elif self.live.visible:
            self.live.refresh()

    def _drop_live(self) -> None:
        if self.live is not None and self.live in self.viewer.layers:
            self.viewer.layers.remove(self.live)
        self.live = None

    def _sync(self) -> None:
        shown = self.result is not None
        for widget in (self.colour_box, self.outlines, self.plots_button, self.table_button):
            widget.setEnabled(shown)
        self.legend_title.setVisible(shown)
        self.legend.setVisible(shown)
        self.export.set_result(self.result, self.layer, self.state.hidden)
        self._sync_colours()
        say(
            self.summary,
            self.result.summary
            if self.result
            else "Analyse a slide, or open what an earlier analysis wrote.",
        )
        self._sync_cell()

    def _sync_colours(self) -> None:
        """Let the list, the legend and the colour bar say what the colours are."""
        colours = self.shown.colours
        wanted = [(choice.key, choice.title, choice.group) for choice in self.shown.choices]
        if wanted != self._listed:
            self._listed = wanted
            self.colour_box.clear()
            for place, (key, title, group) in enumerate(wanted):
                if place and group != wanted[place - 1][2]:
                    self.colour_box.insertSeparator(self.colour_box.count())
                self.colour_box.addItem(title, key)
        self.colour_box.setCurrentIndex(max(self.colour_box.findData(colours.by), 0))
        say(self.colour_problem, self.shown.problem)
        self.colour_bar.setVisible(self.result is not None and colours.kind == "number")
        if colours.kind == "number":
            self.colour_bar.show_colours(colours, self.state.colormap, self.state.low, self.state.high)
        words = colours.kind == "category" and colours.by != TYPE
        self.legend.show_rows(
            colours.rows if words else legend_rows(self.cells),
            hidden=self.state.hidden_values if words else self.state.hidden,
            recolours=not words,
        )
        self.legend_title.setText("Values" if words else "Cells")

    def _sync_cell(self) -> None:
        facts = None
        if self.result is not None and self.state.selected:
            facts = self._facts()
        self.card.setVisible(self.result is not None)
        shown = {} if self.result is None else marker_colours(self.viewer.layers, self.result.slide)
        if self.result is not None and len(self.cells.selected) > 1:
            group = group_facts(self.cells, self.cells.selected)
            self.card.show_group(group, self.result, shown, self.cells.classes)
            return
        self.card.show_cell(facts, self.result, shown, self.cells.classes)
        can_explain = self.session.card is not None and "reconstruct" in self.session.card.tasks
        self.card.explain.setEnabled(facts is not None and can_explain)

    def _recolour(self) -> None:
        if self.result is not None and self.layer is not None:
            colour_result(self.layer, self.cells, self.shown.colours, self.state.hidden)
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
        self._sync_cell()
        if self.layer is not None and self.result is not None:
            mark_cells(self.viewer, self.layer, self.result, self.cells, selected)
        self.features_link.follow()

    def _on_types(self, labels: NDArray[np.int64]) -> None:
        """Colours follow at once what was corrected, in place; legend and table a moment later."""
        if self.layer is None:
            return
        if not recolour_types(self.layer, self.cells, labels) and self.shown.colours.by == TYPE:
            self._recolour()
        self.later.name(labels)

    def _on_later(self, labels: NDArray[np.int64]) -> None:
        if self.layer is None:
            return
        sync_features(self.layer, self.cells, labels)
        if self.shown.colours.by != TYPE and self.state.hidden:
            self._recolour()
        self._sync()

    def _on_rows(self) -> None:
        """The layer's table follows cells that were changed and columns that were computed; colours follow `shown`."""
        if self.layer is not None:
            self.layer.features = feature_table(self.cells.frame)

    def _judge_later(self) -> None:
        self.watch_kept.name(np.zeros(0, np.int64))

    def _on_judged(self, _: NDArray[np.int64]) -> None:
        say(self.kept_note, self.session.keeper.sentence)

    def _on_open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Result folder of an analysis")
        if folder:
            self.open_folder(folder)

    def _on_colour(self, index: int) -> None:
        with self.state.events.hidden_values.blocked():
            self.state.hidden_values = frozenset()
        self.state.colour_by = self.colour_box.itemData(index)

    def _on_colormap(self, name: str) -> None:
        self.state.colormap = name

    def _on_range(self, low: float, high: float) -> None:
        with self.state.events.low.blocked():
            self.state.low = low
        self.state.high = high
        self.shown.refresh()

    def _on_deselect(self) -> None:
        self.cells.select([])

    def _on_plots(self) -> None:
        self.plots = open_plots(self.viewer, self.session, self.shown, self.plots)

    def _on_table(self) -> None:
        if self.layer is not None:
            try:
                self.features_link.open(self.layer)
            except DamaError as error:
                self.failed.emit(error)

    def _on_outlines(self, wanted: bool) -> None:
        if self.layer is not None:
            self.layer.contour = 2 if wanted else 0

    def _on_hidden(self, hidden: frozenset[str]) -> None:
        if self.shown.colours.kind == "category" and self.shown.colours.by != TYPE:
            self.state.hidden_values = hidden
        else:
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
        self.shown.changed.disconnect(self._recolour)
        self.shown.let_go()
        self.features_link.let_go()
        if self.plots is not None:
            self.plots.close_down()
        self.state.events.selected.disconnect(self._on_selected)
        self.cells.selection_changed.disconnect(self._on_selection)
        self.cells.types_changed.disconnect(self._on_types)
        self.cells.rows_changed.disconnect(self._on_rows)
        self.cells.columns_changed.disconnect(self._on_rows)
        self.session.keeper.changed.disconnect(self._judge_later)
        self.session.annotator.changed.disconnect(self._judge_later)
        self.watch_kept.forget()
        self.later.forget()
