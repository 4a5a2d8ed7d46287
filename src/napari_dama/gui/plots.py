"""The window *DAMA plots*: map, markers, spread, neighbours and agreement of the open result's cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QFileDialog, QPushButton, QTabWidget, QVBoxLayout, QWidget

from napari_dama.errors import DamaError, SettingsError
from napari_dama.export.atomic import replacing
from napari_dama.gui import tooltips
from napari_dama.gui.agreement_page import AgreementPage
from napari_dama.gui.map_page import MapPage
from napari_dama.gui.message import MessageArea
from napari_dama.gui.neighbour_page import NeighboursPage
from napari_dama.gui.plot_page import Bench, PlotPage
from napari_dama.gui.style import beside, narrow
from napari_dama.gui.type_pages import MarkersPage, SpreadPage

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.session import Session
    from napari_dama.gui.shown_colours import ShownColours

NAME = "DAMA plots"
SIZE_PX = (460, 620)


class PlotsPanel(QWidget):
    """Five plots in tabs, each worked out when it is looked at.

    Parameters
    ----------
    viewer, session, shown
        The window, what is open in it, and the colours of the cells.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        session: Session,
        shown: ShownColours,
        *,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.bench = Bench(viewer, session, shown)
        self._closed = False
        self.map = MapPage(self.bench)
        self.markers = MarkersPage(self.bench)
        self.spread = SpreadPage(self.bench)
        self.neighbours = NeighboursPage(self.bench)
        self.agreement = AgreementPage(self.bench)
        self.pages: tuple[PlotPage, ...] = (
            self.map,
            self.markers,
            self.spread,
            self.neighbours,
            self.agreement,
        )
        self.tabs = QTabWidget()
        self.tabs.setObjectName("dama_plots")
        self.tabs.setUsesScrollButtons(True)
        self.tabs.setElideMode(Qt.TextElideMode.ElideNone)
        self.message = MessageArea()
        for page in self.pages:
            self.tabs.setTabToolTip(self.tabs.addTab(page, page.title), page.tip)
            page.failed.connect(self.message.show_error)
        self.picture = narrow(QPushButton("Save picture..."), tooltips.PLOT_PICTURE)
        self.numbers = narrow(QPushButton("Save numbers..."), tooltips.PLOT_NUMBERS)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(4)
        layout.addWidget(self.tabs, stretch=1)
        layout.addLayout(beside(self.picture, self.numbers))
        layout.addWidget(self.message)
        self.setMinimumWidth(280)
        self.picture.clicked.connect(self._on_picture)
        self.numbers.clicked.connect(self._on_numbers)
        cells = session.cells
        self._events = (
            cells.reset,
            cells.rows_changed,
            cells.classes_changed,
        )
        for event in self._events:
            event.connect(self._on_cells)
        cells.types_changed.connect(self._on_types)
        cells.columns_changed.connect(self._on_columns)

    @property
    def page(self) -> PlotPage:
        """The page that is looked at."""
        return self.pages[self.tabs.currentIndex()]

    def _on_cells(self) -> None:
        for page in self.pages:
            page.mark_stale()

    def _on_types(self) -> None:
        for page in self.pages:
            if page.needs_types:
                page.mark_stale()

    def _on_columns(self) -> None:
        self.spread.mark_stale()

    def save_picture(self, file: Path) -> None:
        """Write the plot that is seen as PNG or SVG.

        Raises
        ------
        OutputError
            The file cannot be written, or has another ending.
        """
        self.page.plot.save(file)

    def save_numbers(self, file: Path) -> None:
        """Write the numbers of the plot that is seen as CSV.

        Raises
        ------
        OutputError
            The file cannot be written.
        SettingsError
            There are none yet.
        """
        table = self.page.numbers()
        if table.empty:
            raise SettingsError("This plot shows nothing yet, so there are no numbers to save.")
        with replacing(file, overwrite=True) as part:  # the dialog has asked
            table.to_csv(part, index=False)

    def _on_picture(self) -> None:
        name = f"{self.page.title.lower()}.png"
        file, kind = QFileDialog.getSaveFileName(
            self, "Save picture", name, "Picture (*.png);;Vector graphics (*.svg)"
        )
        if file:
            suffix = ".svg" if "svg" in kind else ".png"
            path = Path(file)
            self._try(self.save_picture, path if path.suffix else path.with_suffix(suffix))

    def _on_numbers(self) -> None:
        name = f"{self.page.title.lower()}.csv"
        file, _ = QFileDialog.getSaveFileName(self, "Save numbers", name, "Table (*.csv)")
        if file:
            path = Path(file)
            self._try(self.save_numbers, path if path.suffix else path.with_suffix(".csv"))

    def _try(self, write: object, path: Path) -> None:
        assert callable(write)
        try:
            write(path)
        except DamaError as error:
            self.message.show_error(error)
        else:
            self.message.show_note(f"Written: {path}")

    def close_down(self) -> None:
        """Stop work and let go of the cells; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for page in self.pages:
            page.close_down()
        for event in self._events:
            event.disconnect(self._on_cells)
        self.bench.cells.types_changed.disconnect(self._on_types)
        self.bench.cells.columns_changed.disconnect(self._on_columns)


def open_plots(
    viewer: napari.Viewer, session: Session, shown: ShownColours, panel: PlotsPanel | None = None
) -> PlotsPanel:
    """Show the plots as a floating dock widget, the ones from before where they still are; returns them."""
    panel = PlotsPanel(viewer, session, shown) if panel is None else panel
    dock = panel.parent()
    while dock is not None and not isinstance(dock, QDockWidget):
        dock = dock.parent()
    if dock is None:
        dock = viewer.window.add_dock_widget(panel, name=NAME, area="right", add_vertical_stretch=False)
        dock.setFloating(True)
        dock.resize(*SIZE_PX)
    dock.show()
    dock.raise_()
    return panel
