"""An explanation's layers, placed exactly on the slide; asked again, they replace the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_dama.gui.explain_plan import placing, view_of
from napari_dama.gui.layers import KEY, about, colour_ramp, layers_of, shown_colour, usual_colour

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.session import Session
    from napari_dama.predict.explain import Explanation

_HIDDEN = (0.0, 0.0, 0.0, 0.82)
_SHARED = (1.0, 0.85, 0.1, 0.55)


def remove_layers(viewer: napari.Viewer) -> None:
    """Remove the explanation's layers."""
    for layer in layers_of(viewer.layers, "explain"):
        viewer.layers.remove(layer)


def marker_colours(viewer: napari.Viewer, session: Session, explanation: Explanation) -> dict[int, str]:
    """Return the colour of each of the model's markers that the window shows, by its place in the panel."""
    plan = session.plan
    layers = {
        about(layer)["index"]: layer for layer in layers_of(viewer.layers, "marker", session.state.slide)
    }
    if plan is None or plan.channels is None:
        return {i: usual_colour(name) for i, name in enumerate(explanation.markers) if explanation.present[i]}
    out = {}
    for place, index in enumerate(plan.channels.indices):
        if index is not None and index in layers and layers[index].visible:
            out[place] = shown_colour(layers[index])
    return out


def add_layers(viewer: napari.Viewer, session: Session, explanation: Explanation) -> list[Any]:
    """Show an explanation on its slide; returns the layers, all of them hidden."""
    remove_layers(viewer)
    active = viewer.layers.selection.active
    um = session.pixel.pixel_um or 1.0
    pixels = placing(explanation.crop_region, um)
    patch_px = explanation.input.shape[1] // len(explanation.hidden_random)
    pieces = placing(explanation.crop_region, um, every=patch_px)
    whole = placing(explanation.crop_region, um, every=explanation.input.shape[1])
    colours = marker_colours(viewer, session, explanation)
    made: list[Any] = []

    def tag(mask: str, show: str) -> dict[str, Any]:
        return {KEY: {"role": "explain", "slide": session.state.slide, "mask": mask, "show": show}}

    for mask in ("random", "adaptive"):
        view = view_of(explanation, mask)
        made.append(
            viewer.add_image(
                np.zeros((1, 1), np.float32),
                name=f"Explain {mask}: backdrop",
                contrast_limits=(0, 1),
                blending="opaque",
                metadata=tag(mask, "filled"),
                visible=False,
                **whole,
            )
        )
        for index, colour in colours.items():
            made.append(
                viewer.add_image(
                    view.filled[index],
                    name=f"Explain {mask}: {explanation.markers[index]}",
                    colormap=colour_ramp(colour),
                    contrast_limits=(0, 1),
                    blending="additive",
                    metadata=tag(mask, "filled"),
                    visible=False,
                    **pixels,
                )
            )
        made.append(
            viewer.add_labels(
                view.hidden.astype(np.uint8),
                name=f"Explain {mask}: hidden",
                colormap=_one_colour(_HIDDEN),
                opacity=1.0,
                metadata=tag(mask, "seen"),
                visible=False,
                **pieces,
            )
        )
        top = max(float(explanation.error_random.max()), float(explanation.error_adaptive.max()), 1e-6)
        made.append(
            viewer.add_image(
                view.error,
                name=f"Explain {mask}: error",
                colormap="magma",
                contrast_limits=(0, top),
                blending="translucent",
                opacity=0.85,
                metadata=tag(mask, "error"),
                visible=False,
                **pieces,
            )
        )
    made.append(
        viewer.add_labels(
            explanation.overlap.astype(np.uint8),
            name="Explain: seen twice",
            colormap=_one_colour(_SHARED),
            opacity=1.0,
            metadata=tag("both", "overlap"),
            visible=False,
            **pieces,
        )
    )
    viewer.layers.selection.active = active
    return made


def show_layers(viewer: napari.Viewer, mask: str, show: str) -> None:
    """Make the layers of one mask and one question visible, and hide the others."""
    for layer in layers_of(viewer.layers, "explain"):
        facts = about(layer)
        layer.visible = facts["show"] == show and facts["mask"] in (mask, "both")


def _one_colour(rgba: tuple[float, float, float, float]) -> DirectLabelColormap:
    return DirectLabelColormap(color_dict={None: np.zeros(4), 0: np.zeros(4), 1: np.array(rgba)})
