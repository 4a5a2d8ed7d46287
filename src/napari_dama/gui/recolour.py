"""Cells that change their colours at once, whatever their number, and what may follow a moment later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_dama.gui.cell_table import TableLabelColormap, feature_table
from napari_dama.gui.place import bare

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_dama.gui.cells_model import CellsModel

LATER_MS = 300


def recolour_types(layer: Any, cells: CellsModel, labels: NDArray[np.int64]) -> bool:
    """Give cells (n,) of a layer the colours of the types that they have now, in place.

    Returns
    -------
    bool
        False where the layer shows no types, or one that its colours do not know: then it is to be coloured anew.
    """
    colormap = bare(layer.colormap)
    if not isinstance(colormap, TableLabelColormap):
        return False
    rows = cells.rows_of(labels)
    if (rows < 0).any() or not colormap.give(labels, cells.types[rows]):
        return False
    redraw(layer)
    return True


def redraw(layer: Any) -> None:
    """Draw a labels layer from the pixels that it holds already, with the colours that it has now.

    napari's `refresh` reads a multiscale image anew. What napari itself does after a brush stroke is enough here; where a
    version of it has not what is needed, it is refreshed.
    """
    try:
        inside = bare(layer)
        image = inside._slice.image
        shown = inside._raw_to_displayed(image.raw)
        image.view[...] = shown
        inside.events.labels_update(data=shown, offset=[0] * shown.ndim)
    except (AttributeError, TypeError, ValueError):
        layer.refresh(extent=False)


class Later(QObject):
    """Call a function with all the labels that were named, a moment after the last was; however many come."""

    def __init__(self, call: Callable[[NDArray[np.int64]], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._call = call
        self._labels: list[NDArray[np.int64]] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.now)

    def name(self, labels: NDArray[np.int64]) -> None:
        """Have the function called with these labels, too."""
        self._labels.append(labels)
        self._timer.start(LATER_MS)

    def now(self) -> None:
        """Call it at once, if anything waits."""
        self._timer.stop()
        if self._labels:
            labels = np.unique(np.concatenate(self._labels))
            self._labels = []
            self._call(labels)

    def forget(self) -> None:
        """Let nothing wait any more."""
        self._timer.stop()
        self._labels = []


def sync_features(layer: Any, cells: CellsModel, labels: NDArray[np.int64]) -> None:
    """Bring the types of cells (n,) into a layer's features; the whole table only where it has other rows than the cells."""
    features = layer.features
    rows = cells.rows_of(labels)
    same = len(features) == len(cells.labels) and "type" in features and (rows >= 0).all()
    if not same or not np.array_equal(features["index"].to_numpy()[rows], labels):
        layer.features = feature_table(cells.frame)
        return
    features.iloc[rows, features.columns.get_loc("type")] = cells.types[rows]
    layer.events.features()
