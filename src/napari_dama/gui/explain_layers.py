"""An explanation's layers, placed exactly on the slide; asked again, they replace the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap

from napari_dama.gui.explain_pictures import shown_difference
from napari_dama.gui.explain_plan import placing, view_of
from napari_dama.gui.layers import KEY, about, colour_ramp, layers_of, shown_colour, usual_colour

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.session import Session
    from napari_dama.gui.state import ExplainMask
    from napari_dama.predict.explanation import CropPlace, Explanation
    from napari_dama.predict.impute import Imputed

_HIDDEN = (0.0, 0.0, 0.0, 0.82)
_SHARED = (1.0, 0.85, 0.1, 0.55)


def remove_layers(viewer: napari.Viewer) -> None:
    """Remove the explanation's layers."""
    for layer in layers_of(viewer.layers, "explain"):
        viewer.layers.remove(layer)


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


def add_layers(
    viewer: napari.Viewer, session: Session, explanation: Explanation, marker: int | None = None
) -> list[Any]:
    """Show an explanation on its slide; returns the layers. Those of an older one are filled anew where they fit.

    ``marker`` is the place in the panel whose difference is shown; None: the mean over all.
    """
    um = session.pixel.pixel_um or 1.0
    pixels = placing(explanation.crop_region, um)
    patch_px = explanation.input.shape[1] // len(explanation.hidden_random)
    pieces = placing(explanation.crop_region, um, every=patch_px)
    whole = placing(explanation.crop_region, um, every=explanation.input.shape[1])
    wanted: list[tuple[str, str, Any, dict[str, Any]]] = []

    def want(kind: str, mask: str, show: str, data: Any, **options: Any) -> None:
        tag = {KEY: {"role": "explain", "slide": session.state.slide, "mask": mask, "show": show}}
        wanted.append((kind, options.pop("name"), data, {**options, "metadata": tag}))

    masks: tuple[ExplainMask, ...] = ("random", "adaptive")
    top = max(float(explanation.error_random.max()), float(explanation.error_adaptive.max()), 1e-6)
    for mask in masks:
        view, name = view_of(explanation, mask), f"Explain {mask}: "
        blank = {"contrast_limits": (0, 1), "blending": "opaque", **whole}
        want("image", mask, "filled", np.zeros((1, 1), np.float32), name=name + "backdrop", **blank)
        for index, colour in marker_colours(viewer, session).items():
            want(
                "image",
                mask,
                "filled",
                view.filled[index],
                name=name + explanation.markers[index],
                colormap=colour_ramp(colour),
                contrast_limits=(0, 1),
                blending="additive",
                **pixels,
            )
        want(
            "labels",
            mask,
            "seen",
            view.hidden.astype(np.uint8),
            name=name + "hidden",
            colormap=_one_colour(_HIDDEN),
            opacity=1.0,
            **pieces,
        )
        want(
            "image",
            mask,
            "difference",
            shown_difference(explanation, mask, marker),
            name=name + "difference",
            colormap=two_sided_colormap(),
            contrast_limits=(-0.5, 0.5),
            blending="translucent",
            **pixels,
        )
        want(
            "image",
            mask,
            "error",
            view.error,
            name=name + "error",
            colormap="magma",
            contrast_limits=(0, top),
            blending="translucent",
            opacity=0.85,
            **pieces,
        )
    want(
        "labels",
        "both",
        "overlap",
        explanation.overlap.astype(np.uint8),
        name="Explain: seen twice",
        colormap=_one_colour(_SHARED),
        opacity=1.0,
        **pieces,
    )
    return _put(viewer, "explain", wanted)


def add_map(
    viewer: napari.Viewer, session: Session, values: Any, place: CropPlace, *, name: str, signed: bool
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
    return _put(viewer, "explain map", [("image", name, values, options)])[0]


def add_imputed(viewer: napari.Viewer, session: Session, imputed: Imputed, colour: str) -> Any:
    """Show a predicted marker on the slide; each marker has one such layer. Returns it."""
    options: dict[str, Any] = {
        "colormap": colour_ramp(colour),
        "contrast_limits": (0, 1),
        "blending": "additive",
        **placing(imputed.place, session.pixel.pixel_um or 1.0),
        "metadata": {
            KEY: {"role": f"imputed {imputed.marker}", "slide": session.state.slide, "marker": imputed.marker}
        },
    }
    name = f"{imputed.marker}, predicted"
    layer = _put(viewer, f"imputed {imputed.marker}", [("image", name, imputed.image, options)])[0]
    layer.visible = True
    return layer


def remove_imputed(viewer: napari.Viewer) -> None:
    """Remove all predicted markers."""
    for layer in list(viewer.layers):
        if str(about(layer).get("role", "")).startswith("imputed "):
            viewer.layers.remove(layer)


def mark_square(viewer: napari.Viewer, session: Session, centre: tuple[float, float], side_px: float) -> Any:
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
    layer = _put(viewer, "explain square", [("points", "Explain: square", [centre], options)])[0]
    layer.size = side_px
    layer.visible = True
    return layer


def mark_alike(
    viewer: napari.Viewer, session: Session, centres: Any, labels: list[int], distances: list[float]
) -> Any:
    """Ring the cells that are alike (centres (n, 2) in level-0 pixels); the features hold labels and distances."""
    um = session.pixel.pixel_um or 1.0
    for old in layers_of(viewer.layers, "alike"):
        viewer.layers.remove(old)
    active = viewer.layers.selection.active
    layer = viewer.add_points(
        centres,
        name="More like this",
        features={"label": labels, "distance": distances},
        size=30 * 0.325 / um,
        face_color="transparent",
        border_color="#ffd400",
        border_width=0.08,
        scale=(um, um),
        units=("um", "um"),
        metadata={KEY: {"role": "alike", "slide": session.state.slide}},
    )
    viewer.layers.selection.active = active
    return layer


def _put(viewer: napari.Viewer, role: str, wanted: list[tuple[str, str, Any, dict[str, Any]]]) -> list[Any]:
    """Fill the layers of a role anew where they are those that are wanted; else replace them by new, hidden ones."""
    there = layers_of(viewer.layers, role)
    if [layer.name for layer in there] == [name for _, name, _, _ in wanted]:
        for layer, (_, _, data, options) in zip(there, wanted, strict=True):
            layer.data = data
            for key in ("scale", "translate", "contrast_limits"):
                if key in options:
                    setattr(layer, key, options[key])
            layer.metadata = {**layer.metadata, **options["metadata"]}
        return there
    for layer in there:
        viewer.layers.remove(layer)
    active = viewer.layers.selection.active
    add = {"image": viewer.add_image, "labels": viewer.add_labels, "points": viewer.add_points}
    made = [add[kind](data, name=name, visible=False, **options) for kind, name, data, options in wanted]
    viewer.layers.selection.active = active
    return made


def show_layers(viewer: napari.Viewer, mask: str, show: str) -> None:
    """Make the layers of one mask and one question visible, and hide the others."""
    for layer in layers_of(viewer.layers, "explain"):
        facts = about(layer)
        layer.visible = facts["show"] == show and facts["mask"] in (mask, "both")


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
