"""One layer for one purpose: made once, with as little of napari's work as can be, and filled anew afterwards."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.gui.layers import about, layers_of

if TYPE_CHECKING:
    import napari


def put(
    viewer: napari.Viewer, role: str, kind: str, name: str, data: Any, options: dict[str, Any], show: str = ""
) -> Any:
    """Fill the layer of a role anew, or make it; returns it, visible.

    Parameters
    ----------
    role, show
        What stands in the layer's metadata: there is one layer for each pair of them.
    kind
        ``image``, ``labels`` or ``points``.
    options
        napari's, with ``metadata``.
    """
    for layer in layers_of(viewer.layers, role):
        if about(layer).get("show", "") == show:
            refill(layer, data, options)
            return layer
    return add_quietly(viewer, kind, data, name=name, **options)


def refill(layer: Any, data: Any, options: dict[str, Any]) -> None:
    """Give a layer other data, and of its options those that changed; then show it."""
    hidden = not layer.visible  # napari slices and draws nothing anew while a layer is hidden
    layer.data = data
    for key in ("scale", "translate", "contrast_limits", "colormap", "size"):
        if key in options and not _has(layer, key, options[key]):
            setattr(layer, key, options[key])
    layer.metadata = {**layer.metadata, **options["metadata"]}
    if hidden:
        layer.visible = True


def add_quietly(viewer: napari.Viewer, kind: str, data: Any, **options: Any) -> Any:
    """Make a layer and leave the choice of layers in the list as it is; returns it.

    napari selects a layer that is added, which changes the controls that are shown, twice when the old choice is restored.
    And it moves its sliders to a grid of the finest layer, after which every layer is sliced again, the markers from their
    file; in a flat view no slider is shown. Both events are held back meanwhile, which spares a third of the time.
    """
    from napari.layers import Image, Labels, Points

    layer = {"image": Image, "labels": Labels, "points": Points}[kind](data, **options)
    selection, dims = viewer.layers.selection, viewer.dims
    active, chosen = selection.active, set(selection)
    with ExitStack() as held:
        held.enter_context(selection.events.blocker_all())
        if dims.ndim == dims.ndisplay == layer.ndim:
            held.enter_context(dims.events.blocker_all())
        viewer.layers.append(layer)
        if active is not None:
            selection.active = active
        else:
            selection.clear()
            selection.update(chosen)
    return layer


def hide(viewer: napari.Viewer, *roles: str) -> None:
    """Hide the layers of some roles; they stay in the list for the next answer.

    To take a layer out and make another one later costs napari a third of a second, with the window deaf meanwhile.
    """
    for role in roles:
        for layer in layers_of(viewer.layers, role):
            if layer.visible:
                layer.visible = False


def _has(layer: Any, key: str, value: Any) -> bool:
    """Whether a layer is so already: napari slices and draws it anew for everything that is set, changed or not."""
    now = getattr(layer, key)
    if key == "colormap":
        return bool(now.name == getattr(value, "name", value))
    return bool(np.size(now)) and bool((np.asarray(now, float) == np.asarray(value, float)).all())
