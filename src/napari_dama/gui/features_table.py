"""napari's own features table, opened on the cells, its rows linked with the selected cells both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QItemSelection, QItemSelectionModel, QObject, QSortFilterProxyModel, QTimer
from qtpy.QtWidgets import QTableView

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    import napari
    from numpy.typing import NDArray

    from napari_dama.gui.cells_model import CellsModel

PLUGIN, WIDGET = "napari", "Features table widget"
SIZE_PX = (760, 420)
MOST_ROWS = 2000
"""Rows that are selected in the table at once: Qt's views become slow beyond."""
_DEEDS = (
    QEvent.Type.MouseButtonPress,
    QEvent.Type.MouseButtonRelease,
    QEvent.Type.MouseMove,
    QEvent.Type.KeyPress,
)


class FeaturesLink(QObject):
    """Opens the table and passes selections on; napari itself takes a row's number for its label.

    Only what the user selects counts: napari selects a row by itself whenever the table is filled anew.
    """

    def __init__(self, viewer: napari.Viewer, cells: CellsModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.cells = cells
        self.layer: Any = None
        self.view: QTableView | None = None
        self._busy = self._by_user = False

    def open(self, layer: Any) -> None:
        """Show the table of a layer's cells.

        Raises
        ------
        SettingsError
            This napari has no such table.
        """
        self.viewer.layers.selection.active = layer
        try:
            dock, widget = self.viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
        except (KeyError, ValueError) as error:
            raise SettingsError(
                f"This napari has no {WIDGET!r}; it came with napari 0.6.2. The cells are in cells.csv of the result too."
            ) from error
        if layer is not self.layer:
            self._leave_layer()
            self.layer = layer
            layer.events.features.connect(self._on_features)
        view = widget.findChild(QTableView)
        if view is None or view is self.view:
            return
        self.view = view
        dock.setFloating(True)  # beside the slide it would leave no room for the DAMA dock
        dock.resize(*SIZE_PX)
        view.installEventFilter(self)
        view.viewport().installEventFilter(self)
        view.selectionModel().selectionChanged.connect(self._on_rows)
        view.destroyed.connect(self._on_gone)
        self.follow()

    def rows(self) -> NDArray[np.int64]:
        """Rows (n,) of the cells' table that are selected in napari's."""
        if self.view is None or (model := self.view.selectionModel()) is None:
            return np.zeros(0, np.int64)
        proxy = self.view.model()
        parts = model.selection()
        shown = {
            row
            for place in range(parts.count())
            for row in range(parts[place].top(), parts[place].bottom() + 1)
        }
        if isinstance(proxy, QSortFilterProxyModel):
            return np.array(sorted(proxy.mapToSource(proxy.index(row, 0)).row() for row in shown), np.int64)
        return np.array(sorted(shown), np.int64)

    def follow(self) -> None:
        """Select the rows of the selected cells."""
        if self._busy or self.view is None or not self._shows_cells():
            return
        model, proxy = self.view.selectionModel(), self.view.model()
        if model is None or proxy is None:
            return
        selection = QItemSelection()
        last = None
        for row in self.cells.rows_of(self.cells.selected)[-MOST_ROWS:] if len(self.cells.selected) else ():
            last = proxy.index(int(row), 0)
            if isinstance(proxy, QSortFilterProxyModel) and (source := proxy.sourceModel()) is not None:
                last = proxy.mapFromSource(source.index(int(row), 0))
            selection.select(last, last)
        flags = QItemSelectionModel.SelectionFlag
        self._busy = True
        model.select(selection, flags.ClearAndSelect | flags.Rows)
        if last is not None:
            self.view.scrollTo(last)
        self._busy = False

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice that the user does something in the table."""
        if event is not None and event.type() in _DEEDS:
            self._by_user = True
            QTimer.singleShot(0, self._on_done)
        return False

    def _on_done(self) -> None:
        self._by_user = False

    def _shows_cells(self) -> bool:
        return self.layer is not None and set(self.viewer.layers.selection) == {self.layer}

    def _on_rows(self) -> None:
        if self._busy or not self._by_user or not self._shows_cells():
            return
        rows = self.rows()
        rows = rows[rows < len(self.cells.table)]
        self._busy = True
        self.cells.select(self.cells.labels[rows])
        self._busy = False
        if not np.array_equal(
            self.rows(), rows
        ):  # the first mark on the slide made napari fill the table anew
            self.follow()

    def _on_features(self, event: object = None) -> None:
        QTimer.singleShot(0, self.follow)  # once napari's table is filled

    def _on_gone(self) -> None:
        self.view = None

    def _leave_layer(self) -> None:
        if self.layer is not None:
            self.layer.events.features.disconnect(self._on_features)
        self.layer = None

    def let_go(self) -> None:
        """Stop following."""
        self._leave_layer()
        if self.view is not None:
            self.view.removeEventFilter(self)
            viewport = self.view.viewport()
            if viewport is not None:
                viewport.removeEventFilter(self)
            self.view.destroyed.disconnect(self._on_gone)
            model = self.view.selectionModel()
            if model is not None:
                model.selectionChanged.disconnect(self._on_rows)
        self.view = None
