"""Tab 1, *Channels*: every marker of the slide, how it is shown, and which of the model's channels it feeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.layers import layers_of, scale_of
from napari_dama.gui.marker_row import MarkerRowWidget
from napari_dama.gui.resolve import choose
from napari_dama.gui.style import Tab, heading, muted, narrow, say, wrapped

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.session import Session


class ChannelsTab(Tab):
    """Thin view of ``state.channels`` and of the slide's image layers."""

    def __init__(self, viewer: napari.Viewer, session: Session, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session
        self.rows: list[MarkerRowWidget] = []
        self._build()
        # layers come and go one by one: the list is built once they are all there
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self._follow_layers)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        session.slide_changed.connect(self._rebuild)
        session.plan_changed.connect(self._sync)
        session.state.channels.events.pixel_um.connect(self._rescale)
        self._rebuild()

    def _build(self) -> None:
        self.pixel_edit = narrow(QLineEdit(), tooltips.PIXEL_SIZE)
        self.pixel_edit.setPlaceholderText("unknown: type it here")
        self.pixel_edit.editingFinished.connect(self._on_pixel_typed)
        self.pixel_note = muted(QLabel())
        pixel = QHBoxLayout()
        pixel.addWidget(QLabel("Pixel size"))
        pixel.addWidget(self.pixel_edit)
        pixel.addWidget(QLabel("µm"))
        self.show_all = narrow(QPushButton("Show all"), tooltips.SHOW_ALL)
        self.show_used = narrow(QPushButton("Show used"), tooltips.SHOW_USED)
        self.reset = narrow(QPushButton("Match again"), tooltips.RESET_MAP)
        self.show_all.clicked.connect(self._on_show_all)
        self.show_used.clicked.connect(self._on_show_used)
        self.reset.clicked.connect(self._on_reset)
        buttons = QHBoxLayout()
        for button in (self.show_all, self.show_used, self.reset):
            buttons.addWidget(button)
        titles = QHBoxLayout()
        titles.addWidget(heading("Marker"), stretch=1)
        titles.addWidget(heading("feeds the model as"))
        self.list = QVBoxLayout()
        self.list.setSpacing(2)
        self.problem = wrapped(QLabel())
        self.problem.setStyleSheet("border-left: 4px solid #d9534f; padding-left: 6px;")
        self.absent = muted(QLabel())
        self.types = muted(QLabel())
        self.notes = muted(QLabel())
        self.column.addLayout(pixel)
        self.column.addWidget(self.pixel_note)
        self.column.addWidget(self.problem)
        self.column.addLayout(titles)
        self.column.addLayout(self.list)
        self.column.addLayout(buttons)
        for label in (self.absent, self.types, self.notes):
            self.column.addWidget(label)
        self.column.addStretch()

    def _rebuild(self) -> None:
        for row in self.rows:
            row.close_down()
            self.list.removeWidget(row)
            row.deleteLater()
        self.rows = []
        for layer in self._layers():
            row = MarkerRowWidget(layer)
            row.feeds_chosen.connect(self._on_feeds)
            self.rows.append(row)
            self.list.addWidget(row)
        self._sync()

    def _on_layers(self, event: object = None) -> None:
        self._later.start()

    def _follow_layers(self) -> None:
        if [row.layer for row in self.rows] != self._layers():
            self._rebuild()

    def _layers(self) -> list[Any]:
        return layers_of(self.viewer.layers, "marker", self.session.state.slide)

    def _sync(self) -> None:
        slide, plan, pixel = self.session.slide, self.session.plan, self.session.pixel
        self.setEnabled(slide is not None)
        if slide is None or plan is None:
            for label in (self.problem, self.absent, self.types, self.notes, self.pixel_note):
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
        model_markers = self.session.panel.names
        by_marker = {row.marker: row for row in plan.rows}
        for row in self.rows:
            if row.marker in by_marker:
                row.set_plan(by_marker[row.marker], model_markers)

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
        placing = scale_of(self.session.pixel.pixel_um)
        layers = [
            layer
            for role in ("marker", "truth", "cells", "live", "mark")
            for layer in layers_of(self.viewer.layers, role, self.session.state.slide)
        ]
        if not layers or tuple(layers[0].scale[-2:]) == placing["scale"]:
            return
        for layer in layers:
            layer.scale, layer.units = placing["scale"], placing["units"]
        self.viewer.reset_view()

    def _on_feeds(self, marker: str, feeds: str) -> None:
        plan = self.session.plan
        if plan is not None:
            channels = self.session.state.channels
            channels.chosen = choose(plan, channels.chosen, marker, feeds or None)

    def _on_reset(self) -> None:
        self.session.state.channels.chosen = {}

    def _on_show_all(self) -> None:
        for layer in self._layers():
            layer.visible = True

    def _on_show_used(self) -> None:
        for row in self.rows:
            row.layer.visible = row.is_used

    def close_down(self) -> None:
        """Let go of the layers."""
        self._later.stop()
        for row in self.rows:
            row.close_down()
        self.viewer.layers.events.inserted.disconnect(self._on_layers)
        self.viewer.layers.events.removed.disconnect(self._on_layers)
        self.session.slide_changed.disconnect(self._rebuild)
        self.session.plan_changed.disconnect(self._sync)
        self.session.state.channels.events.pixel_um.disconnect(self._rescale)
