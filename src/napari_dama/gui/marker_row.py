"""One marker in the list of channels: shown or not, colour, contrast, and what it feeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QCheckBox, QColorDialog, QComboBox, QGridLayout, QLabel, QPushButton, QWidget
from superqt import QDoubleRangeSlider

from napari_dama.gui import tooltips
from napari_dama.gui.resolve import NOT_USED
from napari_dama.gui.style import muted, narrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QMouseEvent

    from napari_dama.gui.markers import Marker
    from napari_dama.gui.resolve import MarkerRow


class MarkerRowWidget(QWidget):
    """Two lines, a thin view of one `Marker`: its name with what it feeds, and its contrast.

    Signals
    -------
    feeds_chosen(marker, model marker)
        The user chose a model channel, or none (empty text).
    picked(index), solo_asked(index)
        The name was clicked; clicked twice.
    """

    feeds_chosen = QtSignal(str, str)
    picked = QtSignal(int)
    solo_asked = QtSignal(int)

    def __init__(self, marker: Marker, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = marker
        self._build()
        marker.events.connect(self._sync)
        self._sync()

    def _build(self) -> None:
        self.shown = QCheckBox()
        self.swatch = QPushButton()
        self.swatch.setFixedSize(18, 18)
        self.swatch.setToolTip(tooltips.COLOUR)
        self.name = narrow(QLabel())
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

    @property
    def marker(self) -> str:
        """Name of the marker."""
        return self.state.name

    def _range(self) -> tuple[float, float]:
        low, high = self.state.contrast
        return low - 0.15 * (high - low), high + 0.6 * (high - low)

    @property
    def is_used(self) -> bool:
        """Whether the marker feeds the model."""
        return bool(self.feeds.currentData())

    def set_plan(self, row: MarkerRow, model_markers: Sequence[str]) -> None:
        """Show what the marker feeds and why."""
        known = [self.feeds.itemData(i) for i in range(self.feeds.count())]
        if known != ["", *model_markers]:
            self.feeds.clear()
            self.feeds.addItem(NOT_USED, "")
            for name in model_markers:
                self.feeds.addItem(name, name)
        self.feeds.setCurrentIndex(max(self.feeds.findData(row.feeds or ""), 0))
        self.feeds.setEnabled(bool(model_markers))
        self.how.setText(row.how)

    def set_current(self, current: bool) -> None:
        """Mark the row as that of the marker at hand, or no more."""
        self.name.setStyleSheet("font-weight: bold; text-decoration: underline;" if current else "")

    def _sync(self, event: object = None) -> None:
        marker = self.state
        self.name.setText(marker.name)
        self.name.setToolTip(f"{marker.name}. {tooltips.MARKER_NAME}")
        for widget in (self.shown, self.swatch, self.contrast):
            widget.setEnabled(marker.has_layer)
        self.shown.setToolTip(tooltips.SHOW_MARKER if marker.has_layer else tooltips.NO_LAYER)
        blocked = self.shown.blockSignals(True)
        self.shown.setChecked(marker.visible)
        self.shown.blockSignals(blocked)
        self.swatch.setStyleSheet(
            f"background-color: {marker.colour}; border: 1px solid #808080; border-radius: 3px;"
        )
        low, high = marker.contrast
        blocked = self.contrast.blockSignals(True)
        if high > self.contrast.maximum():
            self.contrast.setMaximum(high)
        if low < self.contrast.minimum():
            self.contrast.setMinimum(low)
        if high - low < 0.02 * (self.contrast.maximum() - self.contrast.minimum()):
            self.contrast.setRange(*self._range())  # else both handles would lie on one spot
        self.contrast.setValue((low, high))
        self.contrast.blockSignals(blocked)

    def _on_shown(self, shown: bool) -> None:
        self.state.visible = shown

    def _on_swatch(self) -> None:
        colour = QColorDialog.getColor(QColor(self.state.colour), self, f"Colour of {self.marker}")
        if colour.isValid():
            self.set_colour(colour.name())

    def set_colour(self, colour: str) -> None:
        """Give the marker a colour ``#rrggbb``."""
        self.state.colour = colour

    def _on_contrast(self, limits: tuple[float, float]) -> None:
        low, high = limits
        if high > low:
            self.state.contrast = (low, high)

    def _on_feeds(self, index: int) -> None:
        self.feeds_chosen.emit(self.marker, str(self.feeds.itemData(index) or ""))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """A click on the row, beside its widgets, takes the marker in hand."""
        self.picked.emit(self.state.index)
        super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """A second click shows it alone."""
        self.solo_asked.emit(self.state.index)
        super().mouseDoubleClickEvent(event)

    def close_down(self) -> None:
        """Let go of the marker."""
        self.state.events.disconnect(self._sync)
