"""Curves of a run over its steps, drawn by pyqtgraph in the colours of napari's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyqtgraph as pg
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_dama.gui.curves import COLOURS
from napari_dama.gui.style import muted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.gui.curves import Curve

HEIGHT_PX = 190


class CurvePlot(QWidget):
    """One plot with a legend above it: values over steps.

    Parameters
    ----------
    title : str
        What the upright axis shows, with its unit.
    """

    def __init__(self, title: str, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = title
        self.unit = "step"
        self.curves: tuple[Curve, ...] = ()
        self.plot: Any = pg.PlotWidget(self)
        self.item: Any = self.plot.getPlotItem()
        self.legend = muted(QLabel())  # above the plot, so that it covers no curve however narrow the dock is
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.items: dict[str, Any] = {}
        self.item.setMenuEnabled(False)
        self.item.hideButtons()
        self.item.setClipToView(True)
        self.item.showGrid(x=True, y=True, alpha=0.25)
        self.plot.setMinimumSize(60, HEIGHT_PX)
        self.plot.setFixedHeight(HEIGHT_PX)
        self.plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.plot.viewport().setAttribute(Qt.WidgetAttribute.WA_AcceptTouchEvents, False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.legend)
        layout.addWidget(self.plot)
        self.colour()

    def show_curves(self, curves: Sequence[Curve]) -> None:
        """Show curves; those that are drawn already only get their new points."""
        self.curves = tuple(curves)
        names = [curve.name for curve in self.curves]
        if names != list(self.items):
            self._begin_anew()
        for curve in self.curves:
            self.items[curve.name].setData(curve.x, curve.y)
        points = {curve.name: "o" if len(curve.x) <= 12 else None for curve in self.curves}
        for name, symbol in points.items():
            self.items[name].setSymbol(symbol)
        said = ", ".join(f"{c.title} {c.y[-1]:.4g}" for c in self.curves if len(c.y))
        self.setAccessibleDescription(f"{self.title}: {said}")

    def set_title(self, title: str, unit: str = "step") -> None:
        """Say what the upright axis shows, and what is counted along the other one."""
        if title and (title, unit) != (self.title, self.unit):
            self.title, self.unit = title, unit
            self.colour()

    def set_log(self, on: bool) -> None:
        """Draw values on a logarithmic axis, or on a plain one."""
        self.item.setLogMode(x=False, y=on)
        self.item.enableAutoRange()

    def colour(self) -> None:
        """Take the colours of the theme."""
        palette = self.palette()
        ink, ground = palette.windowText().color(), palette.window().color()
        self.plot.setBackground(ground)
        for name, text in (("left", self.title), ("bottom", self.unit)):
            axis = self.item.getAxis(name)
            axis.setPen(pg.mkPen(ink, width=1))
            axis.setTextPen(pg.mkPen(ink))
            axis.enableAutoSIPrefix(False)
            axis.setLabel(text, **{"font-size": "8pt", "color": ink.name()})
            axis.setStyle(autoExpandTextSpace=True, tickTextOffset=3)

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow a change of napari's theme."""
        kinds = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if event is not None and event.type() in kinds and hasattr(self, "items"):
            self.colour()
        super().changeEvent(event)

    def _begin_anew(self) -> None:
        for item in self.items.values():
            self.item.removeItem(item)
        self.items = {}
        for index, curve in enumerate(self.curves):
            dashed = Qt.PenStyle.DashLine if curve.name == "parent" else Qt.PenStyle.SolidLine
            colour = COLOURS[index % len(COLOURS)]
            pen = pg.mkPen(colour, width=2, style=dashed)
            item = self.item.plot(pen=pen, symbolBrush=colour, symbolPen=None, symbolSize=5)
            self.items[curve.name] = item
        self.legend.setText(legend_html(self.curves))
        self.item.enableAutoRange()


def legend_html(curves: Sequence[Curve]) -> str:
    """Return the names of curves, each behind a dash in its colour."""
    dashes = [
        f"<span style='color:{COLOURS[index % len(COLOURS)]}'><b>{'- -' if curve.name == 'parent' else '━━'}</b></span>"
        f"&nbsp;{curve.title.replace(' ', '&nbsp;')}"
        for index, curve in enumerate(curves)
    ]
    return " &nbsp; ".join(dashes)
