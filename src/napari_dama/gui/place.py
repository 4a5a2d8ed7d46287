"""Where things lie: from the view, a shape or a click to pixels of the slide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.errors import SettingsError
from napari_dama.gui.resolve import region_of_box

if TYPE_CHECKING:
    import napari

    from napari_dama.slides.region import Region


def view_region(layers: list[Any], shape_yx: tuple[int, int]) -> Region:
    """Return the part of the slide that the window shows.

    Raises
    ------
    SettingsError
        When none of the slide is in view.
    """
    layer = next((layer for layer in layers if layer.visible), layers[0])
    (y0, x0), (y1, x1) = np.asarray(layer.corner_pixels, dtype=float)[:, -2:]
    if layer.multiscale:
        fy, fx = np.asarray(layer.downsample_factors)[layer.data_level][-2:]
        y0, y1, x0, x1 = y0 * fy, (y1 + 1) * fy - 1, x0 * fx, (x1 + 1) * fx - 1
    return region_of_box(((y0, y1), (x0, x1)), shape_yx, "What the window shows")


def bare(thing: Any) -> Any:
    """Return what stands behind napari's proxy for plugins, which warns of attributes that cannot be done without."""
    return getattr(thing, "__wrapped__", thing)


def camera_of(viewer: napari.Viewer) -> Any:
    """Return the viewer's camera, wherever this version of napari keeps it."""
    scene = getattr(viewer, "scene", None)
    return viewer.camera if scene is None else scene.camera


def view_centre(viewer: napari.Viewer, layer: Any) -> tuple[float, float]:
    """Return the pixel (y, x) of a slide's layer in the middle of the view."""
    y, x = layer.world_to_data(_world(viewer, camera_of(viewer).center[-2:]))[-2:]
    return float(y), float(x)


def shape_region(viewer: napari.Viewer, layer: Any, shape_yx: tuple[int, int]) -> Region:
    """Return the box around the selected shape(s); a shapes layer's only shape need not be selected.

    Raises
    ------
    SettingsError
        When there is no such shape, or it lies outside the slide.
    """
    from napari.layers import Shapes

    shapes = viewer.layers.selection.active
    if not isinstance(shapes, Shapes):
        shapes = next(
            (entry for entry in reversed(viewer.layers) if isinstance(entry, Shapes) and len(entry.data)),
            None,
        )
    if shapes is None or not len(shapes.data):
        raise SettingsError(
            "There is no shape: add a Shapes layer (left, above the layer list) and draw a rectangle."
        )
    chosen = sorted(shapes.selected_data)
    if not chosen:
        if len(shapes.data) > 1:
            raise SettingsError(f"{shapes.name} has {len(shapes.data)} shapes: select the one to analyse.")
        chosen = [0]
    points = [
        layer.world_to_data(shapes.data_to_world(point)) for index in chosen for point in shapes.data[index]
    ]
    corners = np.asarray(points, dtype=float)[:, -2:]
    (y0, x0), (y1, x1) = corners.min(axis=0), corners.max(axis=0)
    return region_of_box(((y0, y1), (x0, x1)), shape_yx, "The selected shape")


def _world(viewer: napari.Viewer, yx: Any) -> tuple[float, ...]:
    return (*viewer.dims.point[:-2], *(float(value) for value in yx))
