"""What the entries of napari's menus do: each brings the dock to the front, at the tab that its name promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from napari_dama.gui.keys import KeysDialog

if TYPE_CHECKING:
    from napari import Viewer

    from napari_dama.gui.dock import DamaDock

TITLE = "DAMA"


def open_dock(viewer: Viewer, tab: str = "") -> DamaDock:
    """Return the dock of a window, opened where it is not; ``tab`` is the title of the tab to show."""
    area, dock = viewer.window.add_plugin_dock_widget("napari-dama", TITLE)
    area.show()
    area.raise_()
    if tab:
        dock.show_title(tab)
    found: DamaDock = dock
    return found


def find_cells(viewer: Viewer) -> None:
    """Find cells and their types."""
    open_dock(viewer, "Analyse")


def look_at_results(viewer: Viewer) -> None:
    """Show the cells of a result, coloured."""
    open_dock(viewer, "Results")


def plots(viewer: Viewer) -> None:
    """Show the plots of the open result."""
    dock = open_dock(viewer, "Results")
    dock.when_made(lambda: dock.results.plots_button.click())


def export(viewer: Viewer) -> None:
    """Show what the open result can be handed over as."""
    dock = open_dock(viewer, "Results")
    dock.when_made(lambda: dock.results.export.pop_up())


def markers(viewer: Viewer) -> None:
    """Show the markers and how they feed the model."""
    open_dock(viewer, "Channels")


def annotate(viewer: Viewer) -> None:
    """Correct cells by hand."""
    open_dock(viewer, "Annotate")


def gallery(viewer: Viewer) -> None:
    """Show many cells side by side."""
    dock = open_dock(viewer, "Annotate")
    dock.when_made(dock.show_gallery)


def explain(viewer: Viewer) -> None:
    """Show why the model says what it says of a cell."""
    open_dock(viewer, "Explain")


def train(viewer: Viewer) -> None:
    """Train on the user's slides, and look at the jobs."""
    open_dock(viewer, "Train")


def open_result(viewer: Viewer) -> None:
    """Open a result folder."""
    dock = open_dock(viewer, "Results")
    folder = QFileDialog.getExistingDirectory(dock, "Result folder of an analysis")
    if folder:
        dock.results.open_folder(folder)


def keyboard(viewer: Viewer) -> None:
    """Show the keys."""
    KeysDialog(parent=open_dock(viewer)).show()
