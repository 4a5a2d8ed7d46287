"""Images that another reader opened, or that were added by hand, taken on as a slide: found, described, opened. No Qt.

A slide of layers reads lazily from the layers' own data. Where the layers come from a file that `open_slide` reads with the
same shape, the slide is that file, and jobs can work on it; else it lives in the window until it is saved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import DamaError, SlideError
from napari_dama.gui.layers import KEY, LAYER_SLIDE, about, colour_ramp, initially_shown, layer_colours
from napari_dama.gui.marker_layers import tag
from napari_dama.slides.axes import to_um
from napari_dama.slides.lazy import open_channels, open_planes
from napari_dama.slides.panel import BRAIN7
from napari_dama.slides.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from napari_dama.gui.markers import Markers
    from napari_dama.slides.slide import Slide

MOST_CHANNELS: Final = 256
_CHANNEL_LABELS = ("c", "ch", "channel", "channels", "marker", "markers")


@dataclass(frozen=True, slots=True)
class Candidate:
    """Layers that could be one slide.

    Attributes
    ----------
    layers : tuple of napari Image layers
        One with an axis of channels, or one per marker.
    axis : int or None
        Axis of the channels, None for one layer per marker.
    names : tuple of str
        Names to begin with.
    pixel_um : float or None
        From the layers' scale where its unit is a length.
    file : str
        Where the layers were read from, empty when they were not.
    """

    layers: tuple[Any, ...]
    axis: int | None
    names: tuple[str, ...]
    pixel_um: float | None
    file: str

    @property
    def title(self) -> str:
        """What it is, in words."""
        first = self.layers[0]
        shape = " x ".join(str(n) for n in _levels(first)[0].shape)
        if self.axis is not None:
            return f"{first.name}: {len(self.names)} channels in one layer ({shape})"
        count = len(self.layers)
        return (
            f"{count} layers, one per marker ({shape})"
            if count > 1
            else f"{first.name}: one marker ({shape})"
        )

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes along which the channels could lie."""
        shape = _levels(self.layers[0])[0].shape
        return (
            () if self.axis is None else tuple(i for i in range(len(shape) - 2) if shape[i] <= MOST_CHANNELS)
        )

    def along(self, axis: int) -> Candidate:
        """The same layer with its channels along another axis."""
        if axis == self.axis:
            return self
        count = int(_levels(self.layers[0])[0].shape[axis])
        return replace(self, axis=axis, names=tuple(f"channel {i + 1}" for i in range(count)))


def strangers(layers: Iterable[Any]) -> list[Any]:
    """Return the image layers, colour pictures left out, that belong to no slide."""
    from napari.layers import Image

    return [layer for layer in layers if isinstance(layer, Image) and not layer.rgb and not about(layer)]


def candidates(layers: Iterable[Any], selected: Iterable[Any] = ()) -> list[Candidate]:
    """Return what could be a slide among layers that are none yet; those selected in the layer list come first."""
    found: list[Candidate] = []
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for layer in strangers(layers):
        shape = tuple(int(n) for n in _levels(layer)[0].shape)
        if len(shape) < 2 or 0 in shape:
            continue
        groups.setdefault((shape, tuple(np.round(layer.scale, 9))), []).append(layer)
    for (shape, _), members in groups.items():
        if len(shape) > 2 and len(members) == 1:
            layer = members[0]
            axis = _channel_axis(layer, shape)
            names = _channel_names(layer, shape[axis])
            found.append(Candidate((layer,), axis, names, _pixel_um(layer), _file(layer)))
        else:
            files = {_file(layer) for layer in members}
            names = tuple(_plain_name(layer.name) for layer in members)
            file = files.pop() if len(files) == 1 else ""
            found.append(Candidate(tuple(members), None, names, _pixel_um(members[0]), file))
    chosen = list(selected)
    found.sort(key=lambda c: (not any(layer in chosen for layer in c.layers), -len(c.names)))
    return found


def take_on(
    candidate: Candidate,
    names: Sequence[str],
    pixel_um: float | None,
    at: Sequence[float],
    taken: Sequence[str] = (),
) -> tuple[str, Callable[[Sequence[str] | None, float | None], Slide] | None]:
    """Make layers a slide: write it into their metadata, so that the dock finds it.

    Parameters
    ----------
    candidate, names, pixel_um
        The layers, a name per channel, and the pixel size that the user agreed to (None: unknown).
    at : sequence of float
        The viewer's point in world coordinates: of axes other than channels, rows and columns the plane shown is taken.
    taken : sequence of str
        Names of slides that are open.

    Returns
    -------
    (str, function or None)
        The slide's name for ``state.slide``, and how to open it; None where it is a file that is opened by its path.

    Raises
    ------
    SlideError
        If the layers are no slide, or there are not as many names as channels; nothing is changed then.
    """
    opener = opener_of(candidate, tuple(names), pixel_um, at)
    slide = opener(None, None)
    path = same_file(candidate, slide, planes_of(candidate, at))
    name = base = str(path) if path is not None else LAYER_SLIDE + _title(candidate)
    number = 1
    while path is None and name in taken:
        number += 1
        name = f"{base} {number}"
    if candidate.axis is not None:
        tag(
            candidate.layers[0],
            role="marker",
            slide=name,
            axis=candidate.axis,
            markers=list(slide.markers),
            marker=slide.markers[0],
            index=0,
            colours=layer_colours(slide.markers),
        )
    else:
        for index, (layer, marker) in enumerate(zip(candidate.layers, slide.markers, strict=True)):
            tag(layer, role="marker", slide=name, marker=marker, index=index)
    return name, None if path is not None else opener


def opener_of(
    candidate: Candidate, names: tuple[str, ...], pixel_um: float | None, at: Sequence[float]
) -> Callable[[Sequence[str] | None, float | None], Slide]:
    """Return a function that opens the layers' pixels as a slide, as often as it is called."""
    levels = [_levels(layer) for layer in candidate.layers]
    planes = planes_of(candidate, at)
    title = _title(candidate)

    def opener(markers: Sequence[str] | None, um: float | None) -> Slide:
        given, size = names if markers is None else markers, pixel_um if um is None else um
        if candidate.axis is None:
            return open_planes(levels, name=title, markers=given, pixel_um=size, at=planes)
        return open_channels(levels[0], candidate.axis, name=title, markers=given, pixel_um=size, at=planes)

    return opener


def planes_of(candidate: Candidate, at: Sequence[float]) -> dict[int, int]:
    """Return for every axis before rows and columns the plane at a point of the viewer, in world coordinates."""
    first = candidate.layers[0]
    place = first.world_to_data(tuple(at))[-first.ndim :] if len(at) >= first.ndim else (0,) * first.ndim
    shape = _levels(first)[0].shape
    return {i: min(max(round(float(place[i])), 0), int(shape[i]) - 1) for i in range(len(shape) - 2)}


def same_file(candidate: Candidate, slide: Slide, planes: Mapping[int, int]) -> Path | None:
    """Return the file of the layers where `open_slide` reads the same channels, rows and columns from it, else None.

    Of a stack or a time series `open_slide` reads the first plane: with another one in view there is no such file.
    """
    if not candidate.file or not Path(candidate.file).exists():
        return None
    if any(plane for axis, plane in planes.items() if axis != candidate.axis):
        return None
    try:
        with open_slide(candidate.file) as found:
            return (
                Path(candidate.file).absolute()
                if found.shape == slide.shape and found.dtype == slide.dtype
                else None
            )
    except (DamaError, OSError):
        return None


def split_images(layer: Any, markers: Markers) -> list[tuple[Any, dict[str, Any], str]]:
    """Split a slide's layer with an axis of channels into one per marker, as its markers look; see `channel_images`."""
    facts = {
        key: value
        for key, value in about(layer).items()
        if key not in ("axis", "markers", "looks", "colours")
    }
    seen = initially_shown(markers.names, BRAIN7)
    looks = []
    for marker in markers.all:
        ends = {} if marker.low is None else {"low": marker.low, "high": marker.high}
        looks.append(
            {
                "name": marker.name,
                "colormap": colour_ramp(marker.colour),
                "contrast_limits": marker.contrast,
                "gamma": marker.gamma,
                "visible": seen[marker.index],
                "metadata": {KEY: facts | {"marker": marker.name, "index": marker.index} | ends},
            }
        )
    return channel_images(layer, looks, int(about(layer)["axis"]))


def channel_images(
    layer: Any, looks: Sequence[dict[str, Any]], axis: int
) -> list[tuple[Any, dict[str, Any], str]]:
    """Split a layer with an axis of channels into one per marker, lazily; scale, units and place are kept.

    Parameters
    ----------
    layer : napari Image layer
        With an axis of channels.
    looks : sequence of dict
        Per channel ``name``, ``colormap``, ``contrast_limits``, ``gamma``, ``visible`` and ``metadata``.
    axis : int
        The axis.

    Raises
    ------
    SlideError
        If there are not as many looks as channels.
    """
    from napari.layers.utils.stack_utils import slice_from_axis

    levels = _levels(layer)
    if len(looks) != levels[0].shape[axis]:
        raise SlideError(
            f"{layer.name} has {levels[0].shape[axis]} channels along axis {axis}, not {len(looks)}."
        )
    keep = [i for i in range(layer.ndim) if i != axis]
    common = {
        "scale": tuple(layer.scale[keep]),
        "translate": tuple(layer.translate[keep]),
        "rotate": np.asarray(layer.rotate)[np.ix_(keep, keep)],
        "affine": layer.affine.set_slice(keep),
        "units": tuple(layer.units[i] for i in keep),
        "axis_labels": tuple(layer.axis_labels[i] for i in keep),
        "multiscale": len(levels) > 1,
        "blending": "additive",
        "opacity": layer.opacity,
    }
    out = []
    for index, look in enumerate(looks):
        data = [slice_from_axis(level, axis=axis, element=index) for level in levels]
        out.append((data if len(data) > 1 else data[0], common | look, "image"))
    return out


def _levels(layer: Any) -> list[Any]:
    return list(layer.data) if layer.multiscale else [layer.data]


def _channel_axis(layer: Any, shape: tuple[int, ...]) -> int:
    leading = range(len(shape) - 2)
    labelled = [i for i in leading if str(layer.axis_labels[i]).strip().casefold() in _CHANNEL_LABELS]
    likely = [i for i in leading if 2 <= shape[i] <= MOST_CHANNELS]
    return (labelled or likely[::-1] or list(leading)[::-1])[0]


def _channel_names(layer: Any, count: int) -> tuple[str, ...]:
    """Return names that a reader left in the layer's metadata, else numbers."""
    for key in ("channel_names", "channels", "markers", "Channels", "names"):
        found = layer.metadata.get(key)
        if isinstance(found, list | tuple) and len(found) == count and all(isinstance(n, str) for n in found):
            return tuple(found)
    path = _file(layer)
    if path and Path(path).exists():  # the file may know names that the reader dropped
        try:
            with open_slide(path) as slide:
                if slide.shape[0] == count:
                    return slide.markers
        except (DamaError, OSError):
            pass
    return tuple(f"channel {i + 1}" for i in range(count))


def _plain_name(name: str) -> str:
    """Drop what napari adds to names that occur twice: ``DAPI [1]``."""
    return re.sub(r" \[\d+\]$", "", name).strip() or name


def _pixel_um(layer: Any) -> float | None:
    return to_um(float(layer.scale[-1]), str(layer.units[-1]))


def _file(layer: Any) -> str:
    path = getattr(layer.source, "path", None)
    return str(path) if path else ""


def _title(candidate: Candidate) -> str:
    first = candidate.layers[0]
    name = Path(candidate.file).name.split(".")[0] if candidate.file else str(first.name)
    if candidate.axis is None and len(candidate.layers) > 1 and not candidate.file:
        name = f"{name} and {len(candidate.layers) - 1} more"
    return re.sub(r"[^\w\-+. ]", "_", name).strip() or "image"
