"""The colour bar of the results: which colour is which value, with the colormap and the range to choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QImage, QPainter
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget
from superqt import QDoubleRangeSlider

from napari_dama.gui import tooltips
from napari_dama.gui.cell_card import number
from napari_dama.gui.cell_colours import COLORMAPS, DOUBT, ramp
from napari_dama.gui.style import beside, muted, narrow, say

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

    from napari_dama.gui.cell_colours import CellColours

BAR_PX = 14
DEFAULT_RANGE = (2.0, 98.0)


class Gradient(QWidget):
    """A strip of a colormap with its values below."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.ticks: tuple[str, ...] = ()
        self._image = QImage()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_ramp(self, name: str, ticks: tuple[str, ...]) -> None:
        """Show a colormap with values, evenly apart, under it."""
        self.ticks = ticks
        colours = np.ascontiguousarray((ramp(name) * 255).round().astype(np.uint8))
        self._image = QImage(
            colours.tobytes(), len(colours), 1, 4 * len(colours), QImage.Format.Format_RGBA8888
        ).copy()
        self.setAccessibleDescription(" to ".join(ticks))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        """Return the height of the strip and a line of text."""
        return QSize(120, BAR_PX + self.fontMetrics().height() + 4)

    minimumSizeHint = sizeHint

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint the strip and its values."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(QRectF(0, 0, self.width(), BAR_PX), self._image)
        painter.setPen(self.palette().windowText().color())
        below = QRectF(0, BAR_PX + 1, self.width(), self.height() - BAR_PX - 1)
        flags = (Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignHCenter, Qt.AlignmentFlag.AlignRight)
        for text, flag in zip(self.ticks, flags, strict=False):
            painter.drawText(below, flag | Qt.AlignmentFlag.AlignTop, text)
        painter.end()


class ColourBar(QWidget):
    """Colour bar with its title and unit, the colormap's name, and the percentiles that get the first and last colour.

    Signals
    -------
    colormap_chosen(str), range_chosen(float, float)
        The user wants other colours, or another range (percentiles).
    """

    colormap_chosen = QtSignal(str)
    range_chosen = QtSignal(float, float)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = muted(QLabel())
        self.gradient = Gradient()
        self.colormap_box = narrow(QComboBox(), tooltips.COLORMAP)
        self.colormap_box.addItems(list(COLORMAPS))
        self.slider = narrow(QDoubleRangeSlider(Qt.Orientation.Horizontal), tooltips.COLOUR_RANGE)  # type: ignore[no-untyped-call]
        self.slider.setRange(0.0, 100.0)
        self.slider.setValue(DEFAULT_RANGE)
        self.reset = QPushButton("2-98 %")
        self.reset.setToolTip(tooltips.COLOUR_RANGE_RESET)
        self.range_text = QLabel()
        self.note = muted(QLabel())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.title)
        layout.addWidget(self.gradient)
        layout.addLayout(beside(self.colormap_box, self.range_text, self.reset))
        layout.addWidget(self.slider)
        layout.addWidget(self.note)
        self.colormap_box.textActivated.connect(self.colormap_chosen)
        self.slider.valueChanged.connect(self._on_slider)
        self.reset.clicked.connect(self._on_reset)

    def show_colours(self, colours: CellColours, colormap: str, low: float, high: float) -> None:
        """Show what the colours of the cells mean."""
        bottom, top = colours.limits
        unit = f" ({colours.unit})" if colours.unit else ""
        self.title.setText(f"{colours.title[:1].upper()}{colours.title[1:]}{unit}")
        ticks = (bottom, (bottom + top) / 2, top)
        shares = colours.by == DOUBT or colours.by.startswith("p_")
        texts = [f"{tick:.2f}" if shares else number(tick) for tick in ticks]
        self.gradient.show_ramp(colormap, (texts[0], texts[1], texts[2]))
        self.colormap_box.setCurrentText(colormap)
        self.range_text.setText(f"{low:.0f} to {high:.0f} %")
        self.reset.setVisible((low, high) != DEFAULT_RANGE)
        self.slider.blockSignals(True)
        self.slider.setValue((low, high))
        self.slider.blockSignals(False)
        missing = f"{colours.missing:,} cells without a value are grey.".replace(",", " ")
        say(self.note, missing if colours.missing else "")

    def _on_slider(self, values: tuple[float, float]) -> None:
        self.range_chosen.emit(round(float(values[0]), 1), round(float(values[1]), 1))

    def _on_reset(self) -> None:
        self.range_chosen.emit(*DEFAULT_RANGE)
