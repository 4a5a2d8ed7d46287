"""An explanation's layers, placed exactly on the slide; asked again, they replace the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap

from napari_dama.gui.explain_plan import placing
from napari_dama.gui.layers import KEY, about, colour_ramp, layers_of, shown_colour, usual_colour
from napari_dama.gui.put_layer import add_hidden_quietly, hide, put, show_later
from napari_dama.slides.picture import composite

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.filling import Filling
    from napari_dama.gui.later import Later
    from napari_dama.gui.session import Session
    from napari_dama.gui.state import ExplainMask, ExplainShow
    from napari_dama.predict.explanation import CropPlace
    from napari_dama.predict.impute import Imputed

_HIDDEN = (0.0, 0.0, 0.0, 0.82)
_SHARED = (1.0, 0.85, 0.1, 0.55)
IMPUTED = "imputed "
NAMES = {
    "seen": "Explain: hidden from the model",
    "filled": "Explain: filled in",
    "difference": "Explain: difference",
    "error": "Explain: error",
    "overlap": "Explain: seen by both masks",
}
ROLES = ("explain", "explain map", "explain square", "alike")


def answer_layers(viewer: napari.Viewer) -> list[Any]:
    """Return all layers of answers, hidden ones too."""
    roles = ((layer, str(about(layer).get("role", ""))) for layer in viewer.layers)
    return [layer for layer, role in roles if role in ROLES or role.startswith(IMPUTED)]


def imputed_layers(viewer: napari.Viewer) -> list[Any]:
    """Return the layers of predicted markers."""
    return [layer for layer in viewer.layers if str(about(layer).get("role", "")).startswith(IMPUTED)]


def marker_colours(viewer: napari.Viewer, session: Session) -> dict[int, str]:
    """Return the colour of each of the model's markers that the window shows, by its place in the panel.

    When none is visible, the usual colours of all that the slide has.
    """
    plan = session.plan
    if plan is None or plan.channels is None:
        return {}
    layers = {
        about(layer)["index"]: layer for layer in layers_of(viewer.layers, "marker", session.state.slide)
    }
    present = {place: index for place, index in enumerate(plan.channels.indices) if index is not None}
    shown = {
        place: shown_colour(layers[index])
        for place, index in present.items()
        if index in layers and layers[index].visible
    }
    return shown or {place: usual_colour(session.panel.names[place]) for place in present}


def show_explanation(
    viewer: napari.Viewer,
    later: Later,
    session: Session,
    filling: Filling,
    *,
    mask: ExplainMask,
    show: ExplainShow,
    marker: int | None = None,
) -> Any:
    """Show one picture of an explanation on its slide, and hide the others; returns its layer, None for the slide alone.

    Each kind of picture has one layer, made when it is first asked for and filled anew afterwards: many layers would take
    napari longer than the model takes.

    Parameters
    ----------
    marker
        Place in the panel of the one marker that is shown; None: all of them.
    """
    hide(later, (layer for layer in layers_of(viewer.layers, "explain") if about(layer)["show"] != show))
    if show == "slide":
        return None
    explanation, view = filling.explanation, filling.view(mask)
    um = session.pixel.pixel_um or 1.0
    pixels = placing(explanation.crop_region, um)
    pieces = placing(
        explanation.crop_region, um, every=explanation.input.shape[1] // len(explanation.hidden_random)
    )
    kind, options = "image", dict[str, Any]()
    data: Any
    if show == "filled":
        colours = marker_colours(viewer, session)
        data = composite(view.filled, colours if marker is None else {marker: colours.get(marker, "#ffffff")})
        options = {"rgb": True, "blending": "translucent", **pixels}
    elif show == "difference":
        data = filling.difference(mask, marker)
        options = {"colormap": two_sided_colormap(), "contrast_limits": (-0.5, 0.5), **pixels}
    elif show == "error":
        data = view.error
        top = max(float(explanation.error_random.max()), float(explanation.error_adaptive.max()), 1e-6)
        options = {"colormap": "magma", "contrast_limits": (0, top), "opacity": 0.85, **pieces}
    else:
        kind, data = "labels", (view.hidden if show == "seen" else explanation.overlap).astype(np.uint8)
        colour = _HIDDEN if show == "seen" else _SHARED
        options = {"colormap": _one_colour(colour), "opacity": 1.0, **pieces}
    options["metadata"] = {KEY: {"role": "explain", "slide": session.state.slide, "mask": mask, "show": show}}
    return put(viewer, later, "explain", kind, NAMES[show], data, options, show)


def add_map(
    viewer: napari.Viewer,
    later: Later,
    session: Session,
    values: Any,
    place: CropPlace,
    *,
    name: str,
    signed: bool,
) -> Any:
    """Show a map over patches (h, w) on the slide, in place of an older one; returns the layer."""
    top = max(float(np.abs(values).max()), 1e-9)
    options: dict[str, Any] = {
        "colormap": two_sided_colormap() if signed else "magma",
        "contrast_limits": (-top, top) if signed else (0, top),
        "blending": "translucent",
        "opacity": 0.7,
        "interpolation2d": "linear",
        **placing(place, session.pixel.pixel_um or 1.0),
        "metadata": {KEY: {"role": "explain map", "slide": session.state.slide}},
    }
    return put(viewer, later, "explain map", "image", name, values, options)


def add_imputed(viewer: napari.Viewer, later: Later, session: Session, imputed: Imputed, colour: str) -> Any:
    """Show a predicted marker on the slide; each marker has one such layer. Returns it."""
    options: dict[str, Any] = {
        "colormap": colour_ramp(colour),
        "contrast_limits": (0, 1),
        "blending": "additive",
        **placing(imputed.place, session.pixel.pixel_um or 1.0),
        "metadata": {
            KEY: {
                "role": f"{IMPUTED}{imputed.marker}",
                "slide": session.state.slide,
                "marker": imputed.marker,
            }
        },
    }
    name = f"{imputed.marker}, predicted"
    return put(viewer, later, f"{IMPUTED}{imputed.marker}", "image", name, imputed.image, options)


def mark_square(
    viewer: napari.Viewer, later: Later, session: Session, centre: tuple[float, float], side_px: float
) -> Any:
    """Outline the square of the slide (centre y, x and side in level-0 pixels) that is looked at; returns the layer."""
    um = session.pixel.pixel_um or 1.0
    options: dict[str, Any] = {
        "symbol": "square",
        "size": side_px,
        "face_color": "transparent",
        "border_color": "white",
        "border_width": 0.02,
        "scale": (um, um),
        "units": ("um", "um"),
        "metadata": {KEY: {"role": "explain square", "slide": session.state.slide}},
    }
    return put(viewer, later, "explain square", "points", "Explain: square", [centre], options)


def mark_alike(
    viewer: napari.Viewer,
    later: Later,
    session: Session,
    centres: Any,
    labels: list[int],
    distances: list[float],
) -> Any:
    """Ring the cells that are alike (centres (n, 2) in level-0 pixels); the features hold labels and distances."""
    um = session.pixel.pixel_um or 1.0
    features = {"label": labels, "distance": distances}
    for old in layers_of(viewer.layers, "alike", session.state.slide):
        old.selected_data = set()
        old.data = np.asarray(centres, float)
        old.features = features
        old.visible = True
        return old
    layer = add_hidden_quietly(
        viewer,
        "points",
        centres,
        name="More like this",
        features=features,
        size=30 * 0.325 / um,
        face_color="transparent",
        border_color="#ffd400",
        border_width=0.08,
        scale=(um, um),
        units=("um", "um"),
        metadata={KEY: {"role": "alike", "slide": session.state.slide}},
    )
    show_later(viewer, later, layer)
    return layer


def two_sided_colormap() -> Colormap:
    """Return blue below, clear at and red above the middle, so that the slide shines through where nothing differs."""
    return Colormap(
        colors=np.array(
            [[0.2, 0.45, 1, 1], [0.2, 0.45, 1, 0], [1, 0.3, 0.2, 0], [1, 0.3, 0.2, 1]], np.float32
        ),
        controls=[0, 0.499, 0.501, 1],
        name="DAMA difference",
    )


def _one_colour(rgba: tuple[float, float, float, float]) -> DirectLabelColormap:
    return DirectLabelColormap(color_dict={None: np.zeros(4), 0: np.zeros(4), 1: np.array(rgba)})
