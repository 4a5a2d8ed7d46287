"""A box drawn with the mouse over the picture that selects the cells in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.gui.place import bare, camera_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import napari
    from numpy.typing import NDArray

    from napari_dama.gui.cells_model import CellsModel

SMALLEST_PX = 4
"""A drag over fewer pixels of the screen is a click."""


class BoxSelect:
    """Listen to drags with Shift, or to all of them, and select the cells whose centre is in the box.

    Parameters
    ----------
    layer
        Gives the layer of the cells, None where there is none to select in.
    wanted
        Says whether a drag without Shift draws a box, too.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        cells: CellsModel,
        layer: Callable[[], Any],
        wanted: Callable[[], bool],
    ) -> None:
        self._viewer = viewer
        self._cells = cells
        self._layer = layer
        self._wanted = wanted
        viewer.mouse_drag_callbacks.append(self._on_drag)

    def let_go(self) -> None:
        """Listen no more."""
        if self._on_drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_drag)

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        layer = self._layer()
        if layer is None or "Alt" in event.modifiers or not ("Shift" in event.modifiers or self._wanted()):
            return
        active = viewer.layers.selection.active
        if active is not None and str(getattr(active, "mode", "pan_zoom")) not in (
            "pan_zoom",
            "Mode.PAN_ZOOM",
        ):
            return
        camera, overlay = camera_of(viewer), band_of(viewer)
        panned = camera.mouse_pan
        camera.mouse_pan = False
        begin, start = tuple(event.pos)[::-1], tuple(event.position)
        end, stop = begin, start
        try:
            yield
            while event.type == "mouse_move":
                end, stop = tuple(event.pos)[::-1], tuple(event.position)
                event.handled = True
                if overlay is not None:
                    overlay.position = (begin, end)
                    overlay.visible = True
                yield
            end, stop = tuple(event.pos)[::-1], tuple(event.position)
        finally:
            camera.mouse_pan = panned
            if overlay is not None:
                overlay.visible = False
        if np.abs(np.subtract(begin, end)).max() >= SMALLEST_PX:
            self.select(layer, start, stop, more="Control" in event.modifiers)

    def select(
        self, layer: Any, start: tuple[float, ...], stop: tuple[float, ...], *, more: bool = False
    ) -> None:
        """Select the cells between two corners in world coordinates; with ``more`` beside those selected."""
        corners = np.array([layer.world_to_data(start)[-2:], layer.world_to_data(stop)[-2:]], dtype=float)
        found = cells_in(self._cells, corners.min(axis=0), corners.max(axis=0))
        if more:
            found = np.concatenate([np.setdiff1d(self._cells.selected, found), found])
        self._cells.select(found)


def cells_in(cells: CellsModel, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the labels (n,) of the cells whose centre lies between two corners (y, x), px of level 0."""
    y, x = cells.table["y"].to_numpy(float), cells.table["x"].to_numpy(float)
    inside = (y >= low[0]) & (y <= high[0]) & (x >= low[1]) & (x <= high[1])
    found: NDArray[np.int64] = cells.labels[inside]
    return found


def band_of(viewer: Any) -> Any:
    """Return the box that napari itself draws for its zoom with Alt, which looks right here, too; None where it has none."""
    inside = bare(viewer)
    overlays = getattr(getattr(inside, "canvas", None), "overlays", inside)
    return getattr(overlays, "_zoom_box", None)
