"""One layer for one purpose: made once, with as little of napari's work as can be, and filled anew afterwards."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.gui.layers import about, layers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import napari

    from napari_dama.gui.later import Later


def put(
    viewer: napari.Viewer,
    later: Later,
    role: str,
    kind: str,
    name: str,
    data: Any,
    options: dict[str, Any],
    show: str = "",
) -> Any:
    """Fill the layer of a role anew, or make it; returns it.

    A layer that is there is visible afterwards. One that is made comes hidden, and is shown in the next turn of the event
    loop: to make it and its controls, and to draw it for the first time, takes napari about as long.

    Parameters
    ----------
    later
        Shows a layer that was made.
    role, show
        What stands in the layer's metadata: there is one layer for each pair of them.
    kind
        ``image``, ``labels`` or ``points``.
    options
        napari's, with ``metadata``.
    """
    for layer in layers_of(viewer.layers, role):
        if about(layer).get("show", "") == show:
            later.drop(_showing(layer))
            with quietly(viewer, layer.ndim):
                refill(layer, data, options)
            return layer
    layer = add_hidden_quietly(viewer, kind, data, name=name, **options)
    show_later(viewer, later, layer)
    return layer


def show_later(viewer: napari.Viewer, later: Later, layer: Any) -> None:
    """Show a layer in the next turn of the event loop, unless it is hidden by `hide` or taken out before."""

    def show() -> None:
        if layer in viewer.layers:
            layer.visible = True

    later.then(_showing(layer), show)


def _showing(layer: Any) -> str:
    return f"show {id(layer)}"


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


def add_hidden_quietly(viewer: napari.Viewer, kind: str, data: Any, **options: Any) -> Any:
    """Make a layer that is hidden, and leave the choice of layers in the list as it is; returns it."""
    from napari.layers import Layer

    layer = Layer.create(data, {**options, "visible": False}, kind)
    with quietly(viewer, layer.ndim):
        viewer.layers.append(layer)
    return layer


@contextmanager
def quietly(viewer: napari.Viewer, ndim: int = 2) -> Iterator[None]:
    """Hold back what napari does beside adding or moving layers within a ``with`` block: half of the time that it takes.

    It selects a layer that is added, and shows its controls in place of others; here the choice in the list stays. And when
    a layer is finer than the others or reaches beyond them it moves the sliders of its dimensions, after which every layer
    is sliced again, the markers from their file; where all dimensions are in view there is no slider, and this is left out.

    Parameters
    ----------
    ndim
        Dimensions of the layers that are added or moved.
    """
    selection, dims = viewer.layers.selection, viewer.dims
    active, chosen = selection.active, set(selection)
    with ExitStack() as held:
        held.enter_context(selection.events.blocker_all())
        if dims.ndim == dims.ndisplay == ndim:
            held.enter_context(dims.events.blocker_all())
        try:
            yield
        finally:
            if active is not None:
                selection.active = active
            else:
                selection.clear()
                selection.update(chosen)


def hide(later: Later, layers: Iterable[Any]) -> None:
    """Hide layers; they stay in the list for the next answer.

    To take a layer out and make another one later costs napari a third of a second, with the window deaf meanwhile.
    """
    for layer in layers:
        later.drop(_showing(layer))
        if layer.visible:
            layer.visible = False


def _has(layer: Any, key: str, value: Any) -> bool:
    """Whether a layer is so already: napari slices and draws it anew for everything that is set, changed or not."""
    now = getattr(layer, key)
    if key == "colormap":
        return bool(now.name == getattr(value, "name", value))
    return bool(np.size(now)) and bool((np.asarray(now, float) == np.asarray(value, float)).all())
