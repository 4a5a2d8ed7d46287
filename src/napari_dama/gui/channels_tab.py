"""Tab 1, *Channels*: every marker of the slide, how it is shown, and which of the model's channels it feeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.histogram_plot import HistogramPlot
from napari_dama.gui.layers import about, has_file, layers_of, place_layer, scale_of
from napari_dama.gui.marker_actions import MarkerActions
from napari_dama.gui.marker_book import MarkerBook
from napari_dama.gui.marker_check import MarkerCheck
from napari_dama.gui.marker_keys import MarkerKeys
from napari_dama.gui.marker_layers import take_stats
from napari_dama.gui.marker_row import MarkerRowWidget
from napari_dama.gui.marker_tools import MarkerTools
from napari_dama.gui.resolve import choose
from napari_dama.gui.style import Tab, heading, muted, narrow, say, wrapped

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.markers import Markers
    from napari_dama.gui.session import Session


class ChannelsTab(Tab):
    """Thin view of the open slide's `Markers` and of ``state.channels``.

    Signals
    -------
    relinked(slide)
        The slide without a file was saved, and is now this file.
    """

    relinked = QtSignal(str)

    def __init__(self, viewer: napari.Viewer, session: Session, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session
        self.book = MarkerBook(viewer)
        self.markers: Markers | None = None
        self.rows: list[MarkerRowWidget] = []
        self._seen: set[str] = set()
        self.check = MarkerCheck(session, self)
        self.deeds = MarkerActions(viewer, session, self.book, self.check, self)
        self._build()
        # layers come and go one by one: the list is built once they are all there
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self._follow_layers)
        self._connect()
        self._rebuild()
        self._seen = {markers.slide for markers in self.book}
        self.keys = MarkerKeys(viewer, self.step, self.toggle_solo)

    def _build(self) -> None:
        self.pixel_edit = narrow(QLineEdit(), tooltips.PIXEL_SIZE)
        self.pixel_edit.setPlaceholderText("unknown: type it here")
        self.pixel_note = muted(QLabel())
        pixel = QHBoxLayout()
        pixel.addWidget(QLabel("Pixel size"))
        pixel.addWidget(self.pixel_edit)
        pixel.addWidget(QLabel("µm"))
        self.tools = MarkerTools(self.session, self.book)
        self.histogram = HistogramPlot(self.session)
        self.unlike = wrapped(QLabel())
        self.unlike.setStyleSheet("border-left: 4px solid #e0a030; padding-left: 6px;")
        self.unlike.setToolTip(tooltips.MARKER_CHECK)
        titles = QHBoxLayout()
        titles.addWidget(heading("Marker"), stretch=1)
        titles.addWidget(heading("feeds the model as"))
        self.list = QVBoxLayout()
        self.list.setSpacing(2)
        self.reset = narrow(QPushButton("Match again"), tooltips.RESET_MAP)
        self.problem = wrapped(QLabel())
        self.problem.setStyleSheet("border-left: 4px solid #d9534f; padding-left: 6px;")
        self.absent = muted(QLabel())
        self.types = muted(QLabel())
        self.notes = muted(QLabel())
        self.column.addLayout(pixel)
        for widget in (self.pixel_note, self.problem, self.unlike, self.tools, self.histogram):
            self.column.addWidget(widget)
        self.column.addLayout(titles)
        self.column.addLayout(self.list)
        self.column.addWidget(self.reset)
        for label in (self.absent, self.types, self.notes):
            self.column.addWidget(label)
        self.column.addStretch()

    def _connect(self) -> None:
        self.viewer.layers.events.inserted.connect(self._on_layers)
        self.viewer.layers.events.removed.connect(self._on_layers)
        self.viewer.layers.selection.events.active.connect(self._on_active)
        self.session.layers_arrived.connect(self._on_layers)
        self.session.slide_changed.connect(self._rebuild)
        self.session.plan_changed.connect(self._sync)
        self.session.state.channels.events.pixel_um.connect(self._rescale)
        self.pixel_edit.editingFinished.connect(self._on_pixel_typed)
        self.reset.clicked.connect(self._on_reset)
        self.check.changed.connect(self._sync_check)
        self.histogram.failed.connect(self.failed)
        self.histogram.measured.connect(self._on_measured)
        tools = self.tools
        tools.stepped.connect(self.step)
        tools.solo_asked.connect(self.toggle_solo)
        tools.all_asked.connect(self._on_show_all)
        tools.used_asked.connect(self._on_show_used)
        deeds = self.deeds
        tools.rename_asked.connect(deeds.ask_names)
        tools.undo_asked.connect(deeds.undo_names)
        tools.mapping_asked.connect(deeds.show_mapping)
        tools.split_asked.connect(deeds.split)
        tools.save_asked.connect(deeds.ask_file)
        deeds.changed.connect(self._sync)
        deeds.relinked.connect(self.relinked)
        deeds.failed.connect(self.failed)
        deeds.noted.connect(self.noted)
        tools.presets.failed.connect(self.failed)
        tools.presets.noted.connect(self.noted)

    def _rebuild(self) -> None:
        slide = self.session.slide
        self.book.sync()
        if slide is not None:
            self.book.complete(self.session.state.slide, slide.markers)
        found = None if slide is None else self.book.get(self.session.state.slide)
        if found is not self.markers:
            self._leave()
            self.markers = self.session.markers = found
            if found is not None:
                found.current_changed.connect(self._on_current)
                found.solo_changed.connect(self._sync_tools)
                found.order_changed.connect(self._relist)
        self.histogram.follow(found)
        self._relist()

    def _leave(self) -> None:
        if self.markers is not None:
            self.markers.current_changed.disconnect(self._on_current)
            self.markers.solo_changed.disconnect(self._sync_tools)
            self.markers.order_changed.disconnect(self._relist)
        self.markers = self.session.markers = None

    def _relist(self) -> None:
        """Build the rows anew where they are not the markers in their order."""
        markers = self.markers
        wanted = [] if markers is None else [markers[index] for index in markers.order]
        if len(wanted) == len(self.rows) and all(
            row.state is marker for row, marker in zip(self.rows, wanted, strict=True)
        ):
            self._sync()
            return
        for row in self.rows:
            row.close_down()
            self.list.removeWidget(row)
            row.deleteLater()
        self.rows = []
        for marker in wanted:
            row = MarkerRowWidget(marker)
            row.feeds_chosen.connect(self._on_feeds)
            row.picked.connect(self._on_picked)
            row.solo_asked.connect(self._on_solo_row)
            self.rows.append(row)
            self.list.addWidget(row)
        self._sync()
        self._on_current()

    def _on_layers(self, event: object = None) -> None:
        if not self.session.arriving:
            self._later.start()

    def _follow_layers(self) -> None:
        if self.book.sync():
            self._rebuild()
        now = {markers.slide: markers for markers in self.book}
        for slide, markers in now.items():
            if slide not in self._seen:
                self.tools.presets.apply_default(markers)
        self._seen = set(now)

    def _layers(self) -> list[Any]:
        return layers_of(self.viewer.layers, "marker", self.session.state.slide)

    def _sync(self) -> None:
        slide, plan, pixel = self.session.slide, self.session.plan, self.session.pixel
        self.setEnabled(slide is not None)
        self._sync_tools()
        if slide is None or plan is None:
            for label in (self.problem, self.absent, self.types, self.notes, self.pixel_note, self.unlike):
                label.setVisible(False)
            return
        typed = self.session.state.channels.pixel_um
        value = typed if typed is not None else slide.pixel_um
        if not self.pixel_edit.hasFocus():
            self.pixel_edit.setText("" if value is None else f"{value:.6g}")
        say(self.pixel_note, pixel.sentence)
        say(self.problem, plan.problem)
        say(self.absent, plan.absent_sentence)
        say(self.types, "" if self.session.card is None else self.session.types.reason)
        notes = [note for note in slide.notes if "pixel_um" not in note]  # that is what the line above says
        say(self.notes, "About this file: " + " ".join(notes) if notes else "")
        if self.markers is not None:
            self.markers.follow_plan(plan)
        model_markers = self.session.panel.names
        by_index = {row.index: row for row in plan.rows}
        for row in self.rows:
            if row.state.index in by_index:
                row.set_plan(by_index[row.state.index], model_markers)
        self._sync_check()

    def _sync_tools(self) -> None:
        self.tools.sync(self.markers, on_file=has_file(self.session.state.slide), saving=self.deeds.saving)

    def _sync_check(self) -> None:
        say(self.unlike, "\n".join(finding.sentence for finding in self.check.findings))

    def _on_current(self) -> None:
        for row in self.rows:
            row.set_current(self.markers is not None and row.state.index == self.markers.current)

    def _on_picked(self, index: int) -> None:
        if self.markers is None:
            return
        self.markers.current = index
        layer = next((layer for layer in self._layers() if about(layer).get("index") == index), None)
        if layer is not None and not self.markers.one_at_a_time:
            self.viewer.layers.selection.active = layer  # napari's own layer controls are then about it

    def _on_active(self, event: object = None) -> None:
        """The user chose a layer in napari's list."""
        facts = {} if (layer := self.viewer.layers.selection.active) is None else about(layer)
        mine = facts.get("role") == "marker" and facts.get("slide") == self.session.state.slide
        if (
            mine
            and self.markers is not None
            and not self.markers.one_at_a_time
            and not self._later.isActive()
            and not self.session.arriving
        ):
            index = int(facts["index"])
            if index < len(self.markers):
                self.markers.current = index

    def _on_solo_row(self, index: int) -> None:
        if self.markers is not None:
            self.markers.toggle_solo(index)

    def step(self, by: int) -> None:
        """Show the next (1) or previous (-1) marker alone."""
        if self.markers is not None:
            self.markers.step(by)

    def toggle_solo(self) -> None:
        """Show the marker at hand alone, and back."""
        if self.markers is not None:
            self.markers.toggle_solo()
            self._sync_tools()

    def _on_show_all(self) -> None:
        if self.markers is not None:
            self.markers.show(marker.index for marker in self.markers.all if marker.has_layer)

    def _on_show_used(self) -> None:
        if self.markers is not None:
            self.markers.show(m.index for m in self.markers.all if m.has_layer and m.feeds)

    def _on_pixel_typed(self) -> None:
        text = self.pixel_edit.text().strip().replace(",", ".").removesuffix("um").removesuffix("µm").strip()
        slide = self.session.slide
        if slide is None:
            return
        if not text:
            self.session.state.channels.pixel_um = None
        else:
            try:
                value = float(text)
            except ValueError:
                self.pixel_note.setText(
                    f"'{text}' is no number: type the width of a pixel in µm, such as 0.5."
                )
                return
            shown = "" if slide.pixel_um is None else f"{slide.pixel_um:.6g}"
            self.session.state.channels.pixel_um = None if text == shown else value

    def _rescale(self) -> None:
        pixel_um = self.session.pixel.pixel_um
        layers = [
            layer
            for role in ("marker", "truth", "cells", "live", "mark")
            for layer in layers_of(self.viewer.layers, role, self.session.state.slide)
        ]
        if not layers or tuple(layers[0].scale[-2:]) == scale_of(pixel_um)["scale"]:
            return
        for layer in layers:
            place_layer(layer, pixel_um)
        self.viewer.reset_view()

    def _on_feeds(self, marker: str, feeds: str) -> None:
        plan = self.session.plan
        if plan is not None:
            channels = self.session.state.channels
            channels.chosen = choose(plan, channels.chosen, marker, feeds or None)

    def _on_reset(self) -> None:
        self.session.state.channels.chosen = {}

    def _on_measured(self, stats: Any) -> None:
        if self.markers is not None:
            take_stats(self.markers, stats, self.book.layers(self.markers.slide))

    def close_down(self) -> None:
        """Let go of the layers."""
        self._later.stop()
        self.keys.close()
        self.deeds.close_down()
        for row in self.rows:
            row.close_down()
        self.histogram.close_down()
        self.check.close_down()
        self.tools.close_down()
        self._leave()
        self.viewer.layers.events.inserted.disconnect(self._on_layers)
        self.viewer.layers.events.removed.disconnect(self._on_layers)
        self.viewer.layers.selection.events.active.disconnect(self._on_active)
        self.session.layers_arrived.disconnect(self._on_layers)
        self.session.slide_changed.disconnect(self._rebuild)
        self.session.plan_changed.disconnect(self._sync)
        self.session.state.channels.events.pixel_um.disconnect(self._rescale)
        self.book.close()
