"""The histogram of the marker at hand, with the contrast as handles and the model's normalisation as a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.measured import measured_stats
from napari_dama.gui.style import muted, say
from napari_dama.gui.work import Report, Stop, Work
from napari_dama.slides.intensity import CLIP, COFACTOR

if TYPE_CHECKING:
    from napari_dama.gui.markers import Marker, Markers
    from napari_dama.gui.session import Session
    from napari_dama.slides.histogram import Histogram
    from napari_dama.slides.intensity import IntensityStats

HEIGHT_PX: Final = 118
WAIT_MS: Final = 120
"""Stepping quickly through markers reads only the one that it ends at."""


class HistogramPlot(QWidget):
    """Follows the open slide's marker at hand; pixels are read in a thread.

    Signals
    -------
    failed(error)
        The slide could not be read.
    measured(stats)
        The ends by which the model scales every marker, where they were not known yet.
    """

    failed = QtSignal(object)
    measured = QtSignal(object)

    def __init__(self, session: Session, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.markers: Markers | None = None
        self.marker: Marker | None = None
        self.histogram: Histogram | None = None
        self.work: Work | None = None
        self._known: dict[tuple[str, int], Histogram] = {}
        self._build()
        self._wait = QTimer(self)
        self._wait.setSingleShot(True)
        self._wait.setInterval(WAIT_MS)
        self._wait.timeout.connect(self._read)

    def _build(self) -> None:
        self.title = QLabel()
        self.title.setStyleSheet("font-weight: bold;")
        self.plot: Any = pg.PlotWidget(self)
        self.plot.setToolTip(tooltips.HISTOGRAM)
        self.plot.setMinimumSize(60, HEIGHT_PX)
        self.plot.setFixedHeight(HEIGHT_PX)
        self.plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.plot.viewport().setAttribute(Qt.WidgetAttribute.WA_AcceptTouchEvents, False)
        self.item: Any = self.plot.getPlotItem()
        self.item.setMenuEnabled(False)
        self.item.hideButtons()
        self.item.hideAxis("left")
        self.item.setMouseEnabled(x=False, y=False)
        self.bars = self.item.plot([0, 1], [0], stepMode="center", fillLevel=0)
        self.curve = self.item.plot([], [])
        self.ends = [pg.InfiniteLine(angle=90, movable=False) for _ in range(2)]
        self.region: Any = pg.LinearRegionItem(values=(0, 1), movable=True, swapMode="block")
        self.region.setZValue(-5)
        for item in (*self.ends, self.region):
            self.item.addItem(item)
        self.region.sigRegionChanged.connect(self._on_region)
        self.text = muted(QLabel())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for widget in (self.title, self.plot, self.text):
            layout.addWidget(widget)
        self.colour()

    def follow(self, markers: Markers | None) -> None:
        """Show another slide's marker at hand, None for no slide."""
        if self.markers is not None:
            self.markers.current_changed.disconnect(self._on_current)
        self.markers = markers
        if markers is not None:
            markers.current_changed.connect(self._on_current)
        self._on_current()

    def forget(self) -> None:
        """Count anew, as after the slide's pixels or channels changed."""
        self._known = {}

    def _on_current(self) -> None:
        if self.marker is not None:
            self.marker.events.disconnect(self._sync)
        self.marker = None if self.markers is None else self.markers[self.markers.current]
        if self.marker is not None:
            self.marker.events.connect(self._sync)
        self.histogram = self._known.get(self._key)
        self._show_bars()
        self._sync()
        if self.marker is not None and (self.histogram is None or self.marker.low is None):
            self._wait.start()

    @property
    def _key(self) -> tuple[str, int]:
        return (self.session.state.slide, -1 if self.marker is None else self.marker.index)

    def _read(self) -> None:
        if self.marker is None or self.work is not None or self.session.slide is None:
            return
        if not self.isVisible():
            return  # showEvent begins it
        key, unknown = self._key, self.marker.low is None
        try:
            slide = self.session.reopen()
        except (ValueError, OSError) as error:
            self.failed.emit(error)
            return

        def task(progress: Report, stop: Stop) -> Any:
            from napari_dama.slides.histogram import marker_histogram

            with slide:
                return key, marker_histogram(slide, key[1]), measured_stats(slide) if unknown else None

        self.work = Work(task, self)
        self.work.finished.connect(self._on_read)
        self.work.failed.connect(self._on_failed)
        self.work.start()

    def _on_read(self, found: tuple[tuple[str, int], Histogram, IntensityStats | None]) -> None:
        self.work = None
        key, histogram, stats = found
        self._known[key] = histogram
        if stats is not None and key[0] == self.session.state.slide:
            self.measured.emit(stats)
        if key == self._key:
            self.histogram = histogram
            self._show_bars()
            self._sync()
        else:
            self._on_current()

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self.failed.emit(error)

    def _show_bars(self) -> None:
        if self.histogram is None:
            self.bars.setData([0, 1], [0])
            return
        self.bars.setData(self.histogram.edges, np.log10(1.0 + self.histogram.counts))

    def _sync(self, event: object = None) -> None:
        marker = self.marker
        self.setVisible(marker is not None)
        if marker is None:
            return
        say(self.title, marker.name)
        top = 1.0
        if self.histogram is not None and len(self.histogram.counts):
            top = max(float(np.log10(1.0 + self.histogram.counts.max())), 0.5)
        left, right = self._span(marker)
        self.item.setXRange(left, right, padding=0.02)
        self.item.setYRange(0, top * 1.05, padding=0)
        colour = QColor(marker.colour)
        self.bars.setPen(pg.mkPen(colour, width=1))
        fill = QColor(colour)
        fill.setAlpha(110)
        self.bars.setBrush(fill)
        self.region.blockSignals(True)
        self.region.setRegion(marker.contrast)
        self.region.blockSignals(False)
        known = marker.low is not None and marker.high is not None
        for line in self.ends:
            line.setVisible(known)
        self.curve.setVisible(known)
        if marker.low is not None and marker.high is not None:
            self.ends[0].setValue(marker.low)
            self.ends[1].setValue(marker.high)
            x = np.linspace(left, right, 200)
            self.curve.setData(
                x, model_value(x, marker.low, marker.high) / model_value(1.0, 0.0, 1.0) * top / 1.35
            )
        say(self.text, sentence(marker, self.histogram))

    def _span(self, marker: Marker) -> tuple[float, float]:
        """Return the intensities from the left to the right of the plot."""
        ends = [*marker.contrast]
        if marker.low is not None and marker.high is not None:
            ends += [marker.low, marker.high]
        if self.histogram is not None and self.histogram.pixels:
            ends += [float(self.histogram.edges[0]), float(self.histogram.edges[-1])]
        return min(ends), max(ends)

    def _on_region(self) -> None:
        low, high = self.region.getRegion()
        if self.marker is not None and high > low:
            self.marker.contrast = (float(low), float(high))

    def colour(self) -> None:
        """Take the colours of the theme."""
        palette = self.palette()
        ink, ground = palette.windowText().color(), palette.window().color()
        self.plot.setBackground(ground)
        axis = self.item.getAxis("bottom")
        axis.setPen(pg.mkPen(ink, width=1))
        axis.setTextPen(pg.mkPen(ink))
        axis.enableAutoSIPrefix(False)
        axis.setStyle(tickTextOffset=2)
        self.curve.setPen(pg.mkPen(ink, width=1))
        for line in self.ends:
            line.setPen(pg.mkPen(ink, width=1, style=Qt.PenStyle.DashLine))
        band = QColor(ink)
        band.setAlpha(35)
        self.region.setBrush(band)
        self.region.setHoverBrush(band)
        for line in self.region.lines:
            line.setPen(pg.mkPen(ink, width=3))
            line.setHoverPen(pg.mkPen("#5b9bd5", width=5))

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow a change of napari's theme."""
        kinds = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if event is not None and event.type() in kinds and hasattr(self, "text"):
            self.colour()
        super().changeEvent(event)

    def showEvent(self, event: object) -> None:
        """Read what was not read while nobody looked."""
        super().showEvent(event)  # type: ignore[arg-type]
        if self.marker is not None and (self.histogram is None or self.marker.low is None):
            self._wait.start()

    def close_down(self) -> None:
        """Let go of the markers and of what is being read."""
        self._wait.stop()
        if self.work is not None:
            self.work.let_go()
            self.work = None
        if self.marker is not None:
            self.marker.events.disconnect(self._sync)
            self.marker = None
        if self.markers is not None:
            self.markers.current_changed.disconnect(self._on_current)
            self.markers = None


def model_value(intensity: Any, low: float, high: float) -> Any:
    """Return what the model sees for an intensity; see `napari_dama.slides.intensity.normalise`."""
    t = np.clip((np.asarray(intensity, float) - low) / (high - low), 0.0, CLIP)
    return np.arcsinh(COFACTOR * t) / np.arcsinh(COFACTOR)


def sentence(marker: Marker, histogram: Histogram | None) -> str:
    """Say in plain words what the lines in the histogram mean."""
    if histogram is None:
        return "Counting pixels ..."
    shown = f"Shown: {number(marker.contrast[0])} to {number(marker.contrast[1])} (drag the edges)."
    if marker.low is None or marker.high is None:
        return shown
    return f"{shown} Model (dashed): dark at {number(marker.low)}, bright at {number(marker.high)}."


def number(value: float) -> str:
    """Write an intensity: whole numbers in full, small ones with three digits."""
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"
