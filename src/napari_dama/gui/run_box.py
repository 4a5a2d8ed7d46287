"""The choice of where and when a run runs, with the cluster's settings behind a button."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_dama.errors import DamaError
from napari_dama.gui import tooltips
from napari_dama.gui.run_choice import RUNS, cluster_hint, why_off
from napari_dama.gui.style import muted, narrow, say

if TYPE_CHECKING:
    from napari_dama.gui.state import TrainState


class RunBox(QWidget):
    """Thin view of ``state.run`` and ``state.cluster``; ``hint`` is to be put where it has the whole width.

    Signals
    -------
    cluster_asked
        The user wants to see the cluster's settings and the script.
    hinted
        The hint says something else, and may need another height.
    """

    cluster_asked = QtSignal()
    hinted = QtSignal()

    def __init__(self, state: TrainState, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = state
        self.box = narrow(QComboBox(), tooltips.RUN_WHERE)
        for choice in RUNS:
            self.box.addItem(choice.title, choice.key)
        self.button = QPushButton("...")
        self.button.setFixedWidth(32)
        self.button.setToolTip(tooltips.RUN_SETTINGS)
        self.hint = muted(QLabel())
        self.hint.hide()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box, stretch=1)
        layout.addWidget(self.button)
        self.box.activated.connect(self._on_chosen)
        self.button.clicked.connect(self.cluster_asked)
        state.events.run.connect(self.sync)
        state.events.cluster.connect(self.sync)
        self.sync()

    def sync(self, event: object = None) -> None:
        """Show what is chosen, and which entries can be."""
        for index, choice in enumerate(RUNS):
            why = why_off(choice.key)
            item = self.box.model().item(index)  # type: ignore[union-attr]
            item.setEnabled(not why)
            self.box.setItemData(index, why or choice.tip, Qt.ItemDataRole.ToolTipRole)
        self.box.setCurrentIndex(max(self.box.findData(self.state.run), 0))
        try:
            text = cluster_hint(self.state.cluster) if self.state.run == "cluster" else ""
        except DamaError as error:
            text = str(error)
        if text != self.hint.text():
            say(self.hint, text)
            self.hinted.emit()

    def _on_chosen(self, index: int) -> None:
        self.state.run = self.box.itemData(index)

    def close_down(self) -> None:
        """Stop listening."""
        self.state.events.run.disconnect(self.sync)
        self.state.events.cluster.disconnect(self.sync)
