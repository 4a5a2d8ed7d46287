"""One marker in the list of channels: shown or not, colour, contrast, and what it feeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QCheckBox, QColorDialog, QComboBox, QGridLayout, QLabel, QPushButton, QWidget
from superqt import QDoubleRangeSlider

from napari_dama.gui import tooltips
from napari_dama.gui.layers import about, colour_ramp, shown_colour
from napari_dama.gui.resolve import NOT_USED
from napari_dama.gui.style import muted, narrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.gui.resolve import MarkerRow


class MarkerRowWidget(QWidget):
    """Two lines: the marker with what it feeds, and its contrast.

    Signals
    -------
    feeds_chosen(marker, model marker)
        The user chose a model channel, or none (empty text).
    """

    feeds_chosen = QtSignal(str, str)

    def __init__(self, layer: Any, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.layer = layer
        self.marker = str(about(layer)["marker"])
        self._build()
        layer.events.visible.connect(self._sync)
        layer.events.colormap.connect(self._sync)
        layer.events.contrast_limits.connect(self._sync)
        self._sync()

    def _build(self) -> None:
        self.shown = QCheckBox()
        self.shown.setToolTip(tooltips.SHOW_MARKER)
        self.swatch = QPushButton()
        self.swatch.setFixedSize(18, 18)
        self.swatch.setToolTip(tooltips.COLOUR)
        self.name = narrow(QLabel(self.marker), self.marker)
        self.feeds = QComboBox()
        self.feeds.setFixedWidth(116)
        self.feeds.setToolTip(tooltips.FEEDS)
        self.contrast = narrow(QDoubleRangeSlider(Qt.Orientation.Horizontal), tooltips.CONTRAST)  # type: ignore[no-untyped-call]
        self.how = muted(QLabel())
        self.how.setWordWrap(False)
        self.how.setFixedWidth(116)
        self.how.setToolTip(tooltips.HOW)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 2, 0, 4)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(0)
        grid.addWidget(self.shown, 0, 0)
        grid.addWidget(self.swatch, 0, 1)
        grid.addWidget(self.name, 0, 2)
        grid.addWidget(self.feeds, 0, 3)
        grid.addWidget(self.contrast, 1, 1, 1, 2)
        grid.addWidget(self.how, 1, 3)
        grid.setColumnStretch(2, 1)
        low, high = self._range()
        self.contrast.setRange(low, high)
        self.shown.toggled.connect(self._on_shown)
        self.swatch.clicked.connect(self._on_swatch)
        self.contrast.valueChanged.connect(self._on_contrast)
        self.feeds.activated.connect(self._on_feeds)

    def _range(self) -> tuple[float, float]:
        low, high = self.layer.contrast_limits
        return low - 0.15 * (high - low), high + 0.6 * (high - low)

    @property
    def is_used(self) -> bool:
        """Whether the marker feeds the model."""
        return bool(self.feeds.currentData())

    def set_plan(self, row: MarkerRow, model_markers: Sequence[str]) -> None:
        """Show what the marker feeds and why."""
        self.feeds.clear()
        self.feeds.addItem(NOT_USED, "")
        for name in model_markers:
            self.feeds.addItem(name, name)
        self.feeds.setCurrentIndex(max(self.feeds.findData(row.feeds or ""), 0))
        self.feeds.setEnabled(bool(model_markers))
        self.how.setText(row.how)

    def _sync(self, event: object = None) -> None:
        self.shown.setChecked(bool(self.layer.visible))
        self.swatch.setStyleSheet(
            f"background-color: {shown_colour(self.layer)}; border: 1px solid #808080; border-radius: 3px;"
        )
        low, high = self.layer.contrast_limits
        blocked = self.contrast.blockSignals(True)
        if high > self.contrast.maximum():
            self.contrast.setMaximum(high)
        self.contrast.setValue((max(low, self.contrast.minimum()), high))
        self.contrast.blockSignals(blocked)

    def _on_shown(self, shown: bool) -> None:
        self.layer.visible = shown

    def _on_swatch(self) -> None:
        colour = QColorDialog.getColor(QColor(shown_colour(self.layer)), self, f"Colour of {self.marker}")
        if colour.isValid():
            self.set_colour(colour.name())

    def set_colour(self, colour: str) -> None:
        """Give the marker a colour ``#rrggbb``."""
        self.layer.colormap = colour_ramp(colour)

    def _on_contrast(self, limits: tuple[float, float]) -> None:
        low, high = limits
        if high > low:
            self.layer.contrast_limits = (low, high)

    def _on_feeds(self, index: int) -> None:
        self.feeds_chosen.emit(self.marker, str(self.feeds.itemData(index) or ""))

    def close_down(self) -> None:
        """Let go of the layer."""
        self.layer.events.visible.disconnect(self._sync)
        self.layer.events.colormap.disconnect(self._sync)
        self.layer.events.contrast_limits.disconnect(self._sync)
