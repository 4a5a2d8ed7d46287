"""From a slide to napari's layers, and back from a layer to its slide; no Qt here.

Every layer that DAMA makes or takes on carries ``layer.metadata["napari_dama"]``: a dict with ``role`` (``marker``,
``truth``, ``cells``, ``explain``), ``slide`` (path as text, or ``layer:NAME`` for a slide that is made of layers and has no
file) and, for markers, ``marker`` and ``index``, and ``low`` and ``high``, the ends by which the model scales the marker
(until they are measured instead ``guess``, the contrast limits that the layer came with). A layer with an axis of channels
also has ``axis`` and ``markers``; its ``marker`` and ``index`` are those that it shows now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.panel import BRAIN7, DEFAULT_COLOURS, Panel, canonical, colour_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_dama.slides.intensity import IntensityStats
    from napari_dama.slides.slide import Slide

KEY = "napari_dama"
LAYER_SLIDE = "layer:"
# the darkest tenth of a marker's range is camera noise and haze: markers on top of each other would add it up
SHADE = 0.1
# a second nuclear stain, in the same places as the first
QUIET = ("Histones",)
LayerData = tuple[Any, dict[str, Any], str]


def about(layer: Any) -> dict[str, Any]:
    """Return what DAMA wrote into a layer's metadata, empty for layers of others."""
    found = layer.metadata.get(KEY, {})
    return dict(found) if isinstance(found, dict) else {}


def layers_of(layers: Iterable[Any], role: str, slide: str | None = None) -> list[Any]:
    """Return the layers with one role, of one slide when that is given."""
    return [
        layer
        for layer in layers
        if about(layer).get("role") == role and (slide is None or about(layer).get("slide") == slide)
    ]


def slides_in(layers: Iterable[Any]) -> list[str]:
    """Return the paths of the slides open in the viewer, each once, in the order of the layers."""
    return list(dict.fromkeys(about(layer)["slide"] for layer in layers_of(layers, "marker")))


def foreign_file(layers: Iterable[Any]) -> str:
    """Return the file of an image that another reader opened, empty when there is none."""
    for layer in layers:
        path = getattr(layer.source, "path", None)
        if (
            path
            and not about(layer)
            and str(path).lower().endswith((".tif", ".tiff", ".qptiff", ".npy", ".zarr"))
        ):
            return str(path)
    return ""


def scale_of(pixel_um: float | None) -> dict[str, Any]:
    """Return napari's ``scale`` and ``units`` for a pixel size; pixels when it is not known."""
    if pixel_um is None:
        return {"scale": (1.0, 1.0), "units": ("pixel", "pixel")}
    return {"scale": (pixel_um, pixel_um), "units": ("um", "um")}


def place_layer(layer: Any, pixel_um: float | None) -> None:
    """Give a layer the scale and units of a pixel size along its last two axes; other axes keep theirs."""
    placing = scale_of(pixel_um)
    layer.scale = (*tuple(layer.scale)[:-2], *placing["scale"])
    layer.units = (*tuple(layer.units)[:-2], *placing["units"])


def has_file(slide: str) -> bool:
    """Whether a slide, named by its path or as `LAYER_SLIDE`, is a file that other processes can open."""
    return bool(slide) and not slide.startswith(LAYER_SLIDE)


def level_arrays(slide: Slide) -> list[Any]:
    """Return the slide's levels as lazy arrays (C, Y, X), the finest first."""
    return [slide.lazy(level) for level in range(len(slide.levels))]


def shaded(low: float, high: float) -> tuple[float, float]:
    """Return the contrast limits in which a marker is shown at first: its ends, the dark one raised a little."""
    return low + SHADE * (high - low), high


def marker_layers(slide: Slide, path: Path, guess: IntensityStats | None = None) -> list[LayerData]:
    """Return one image layer per marker, nothing read but what the contrast needs.

    Contrast limits come from the slide's own intensity statistics (about the 1st and the 99.8th percentile), the same
    that the analysis normalises with; the dark end is raised a little. With a ``guess`` nothing is read: the layers say so
    in their metadata, and `napari_dama.gui.limits` brings what is measured.
    """
    stats = slide_stats(slide) if guess is None else guess
    arrays = level_arrays(slide)
    colours = layer_colours(slide.markers)
    shown = initially_shown(slide.markers, BRAIN7)
    out: list[LayerData] = []
    for index, marker in enumerate(slide.markers):
        data = [array[index] for array in arrays]
        low, high = float(stats.low[index]), float(stats.high[index])
        limits = shaded(low, high)
        ends = {"low": low, "high": high} if guess is None else {"guess": limits}
        kwargs = {
            "name": marker,
            "colormap": colour_ramp(colours[index]),
            "contrast_limits": limits,
            "blending": "additive",
            "multiscale": len(data) > 1,
            "visible": shown[index],
            "metadata": {
                KEY: {
                    "role": "marker",
                    "slide": str(path),
                    "marker": marker,
                    "index": index,
                    **ends,
                }
            },
            **scale_of(slide.pixel_um),
        }
        out.append((data if len(data) > 1 else data[0], kwargs, "image"))
    return out


def initially_shown(markers: Sequence[str], panel: Panel, limit: int = 7) -> list[bool]:
    """Return which markers are visible at first.

    Those that the panel has, when these are most of it; else the nuclear marker and the first two others: many densely
    stained markers on top of each other are white.
    """
    known = known_markers(markers, panel)
    if 2 * sum(known) > len(panel):
        quiet = known_markers(
            markers, Panel("", tuple(marker for marker in panel.markers if marker.name in QUIET))
        )
        chosen = [index for index, hit in enumerate(known) if hit and not quiet[index]][:limit]
    else:
        nuclear = [marker for marker in panel.markers if marker.nuclear]
        nuclei = known_markers(markers, Panel(panel.name, tuple(nuclear)))
        first = [index for index, hit in enumerate(nuclei) if hit][:1]
        chosen = first + [index for index in range(len(markers)) if index not in first][: 3 - len(first)]
    return [index in chosen for index in range(len(markers))]


def known_markers(markers: Sequence[str], panel: Panel) -> list[bool]:
    """Return for each marker whether a panel has it, under its name or an alias."""
    names = {canonical(name) for marker in panel.markers for name in (marker.name, *marker.aliases)}
    return [canonical(marker) in names for marker in markers]


def layer_colours(markers: Sequence[str]) -> list[str]:
    """Return a colour ``#rrggbb`` per marker: its usual one where that is free, else the next that is."""
    out: list[str] = []
    for marker in markers:
        usual = usual_colour(marker)
        free = [colour for colour in DEFAULT_COLOURS if colour not in out]
        out.append(usual if usual not in out or not free else free[0])
    return out


def usual_colour(marker: str) -> str:
    """Return the colour that a marker usually has; a name of the panel is taken before another name for it."""
    return next((known.colour for known in BRAIN7.markers if known.name == marker), colour_of(marker))


def marker_colours(layers: Iterable[Any], slide: str) -> dict[str, str]:
    """Return the colour in which each marker of a slide is shown."""
    return {about(layer)["marker"]: shown_colour(layer) for layer in layers_of(layers, "marker", slide)}


def colour_ramp(colour: str) -> Any:
    """Return a napari colormap from black to ``#rrggbb``."""
    from napari.utils.colormaps import Colormap

    rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return Colormap(colors=np.array([[0, 0, 0, 1], [*rgb, 1]], dtype=np.float32), name=colour)


def shown_colour(layer: Any) -> str:
    """Return the brightest colour of a layer's colormap as ``#rrggbb``."""
    red, green, blue = (round(float(value) * 255) for value in layer.colormap.colors[-1][:3])
    return f"#{red:02x}{green:02x}{blue:02x}"
