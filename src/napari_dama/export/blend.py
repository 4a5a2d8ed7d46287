"""Markers of a part of a slide as one colour picture of a chosen size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import SettingsError
from napari_dama.slides.intensity import IntensityStats, slide_stats
from napari_dama.slides.panel import BRAIN7, DEFAULT_COLOURS, canonical, colour_of
from napari_dama.slides.picture import composite
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_dama.export.source import ResultSource
    from napari_dama.slides.slide import Slide

SHADE: Final = 0.1
"""Share of a marker's range that is shown black: haze of many markers would add up. The window does the same."""
SHOWN: Final = 7
_QUIET: Final = "Histones"


@dataclass(frozen=True)
class Shown:
    """A marker as it is drawn: its channel, its colour, and which values are black and full."""

    name: str
    channel: int
    colour: str
    low: float
    high: float


@dataclass(frozen=True)
class Blend:
    """A picture of a region.

    Attributes
    ----------
    rgb
        (h, w, 3).
    factor
        Level-0 pixels per pixel of the picture, at least 1.
    region
        What it shows, in level-0 pixels.
    """

    rgb: NDArray[np.uint8]
    factor: float
    region: Region


def parse_markers(text: str) -> dict[str, str | None]:
    """Read ``"DAPI=#4d7cff,NeuN"``: markers with a colour, or None for the usual one.

    Raises
    ------
    SettingsError
        A colour is not of the form ``#rrggbb``, or no marker is named.
    """
    out: dict[str, str | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, colour = part.partition("=")
        colour = colour.strip()
        if colour and not (len(colour) == 7 and colour[0] == "#" and _is_hex(colour[1:])):
            raise SettingsError(
                f"{colour!r} is no colour; colours are written #rrggbb, for example DAPI=#4d7cff."
            )
        out[name.strip()] = colour.lower() or None
    if not out:
        raise SettingsError('No marker is named; give for example "DAPI=#4d7cff,NeuN".')
    return out


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdefABCDEF" for letter in text)


def shown_markers(
    source: ResultSource,
    slide: Slide,
    chosen: Mapping[str, str | None] | None = None,
    contrast: Mapping[str, tuple[float, float]] | None = None,
) -> list[Shown]:
    """Which markers are drawn, and how.

    Parameters
    ----------
    source, slide
        The result and its slide.
    chosen
        Colour (or None for the usual one) per marker; None draws the markers that the model knows, else the nuclear one and
        two others.
    contrast
        Values that are black and full, per marker; else those that the analysis normalised with.

    Raises
    ------
    SettingsError
        The slide has no such marker.
    """
    names = {canonical(marker): index for index, marker in enumerate(slide.markers)}
    wanted = dict(chosen) if chosen else dict.fromkeys(_usual(source, slide.markers))
    recorded = source.run.get("intensity")
    stats = IntensityStats.from_json(recorded) if recorded else slide_stats(slide)
    out: list[Shown] = []
    taken = [colour for colour in wanted.values() if colour]
    for name, colour in wanted.items():
        index = names.get(canonical(name))
        if index is None:
            raise SettingsError(f"{slide.name} has no marker {name!r}; it has {', '.join(slide.markers)}.")
        if colour is None:
            colour = _free(colour_of(slide.markers[index]), taken)
            taken.append(colour)
        low, high = float(stats.low[index]), float(stats.high[index])
        low, high = (contrast or {}).get(slide.markers[index], (low + SHADE * (high - low), high))
        out.append(Shown(slide.markers[index], index, colour, float(low), float(high)))
    return out


def _usual(source: ResultSource, markers: Sequence[str]) -> list[str]:
    matches = (source.run.get("channel_map") or {}).get("channels", [])
    known = [
        str(match["slide_marker"])
        for match in matches
        if match.get("slide_marker") in markers and match.get("marker") != _QUIET
    ]
    if 2 * len(known) > len(matches):
        return known[:SHOWN]
    nuclear = {canonical(name) for m in BRAIN7.markers if m.nuclear for name in (m.name, *m.aliases)}
    first = known[:1] or [marker for marker in markers if canonical(marker) in nuclear][:1]
    return (first + [marker for marker in markers if marker not in first])[:3]


def _free(usual: str, taken: Sequence[str]) -> str:
    return next((colour for colour in (usual, *DEFAULT_COLOURS) if colour not in taken), usual)


def blend(slide: Slide, region: Region, markers: Sequence[Shown], *, max_px: int) -> Blend:
    """Draw markers on top of each other, from the slide's level that is just fine enough; nothing larger is read.

    Parameters
    ----------
    slide
        Where to read.
    region
        In level-0 pixels; must lie inside.
    markers
        What to draw.
    max_px
        The longer side of the picture at most.
    """
    shrink = max(1.0, max(region.shape) / max_px)
    factors = [slide.levels[0][0] / level[0] for level in slide.levels]
    level = max(index for index, factor in enumerate(factors) if factor <= shrink * 1.01)
    scale = factors[level]
    height, width = slide.levels[level]
    part = Region(
        int(region.y0 / scale),
        max(int(np.ceil(region.y1 / scale)), int(region.y0 / scale) + 1),
        int(region.x0 / scale),
        max(int(np.ceil(region.x1 / scale)), int(region.x0 / scale) + 1),
    ).clip((height, width))
    step = max(1, int(np.ceil(max(part.shape) / max_px)))
    image = _read(slide, part, markers, level, step)
    return Blend(composite(image, {i: m.colour for i, m in enumerate(markers)}), scale * step, region)


def _read(slide: Slide, part: Region, markers: Sequence[Shown], level: int, step: int) -> NDArray[np.float32]:
    """Values 0 to 1 (C, h, w) of a region, averaged over ``step`` pixels, read band by band."""
    rows, columns = -(-part.height // step), -(-part.width // step)
    out = np.zeros((len(markers), rows, columns), np.float32)
    band = max(1, 1024 // step) * step
    channels = [marker.channel for marker in markers]
    for y in range(part.y0, part.y1, band):
        strip = Region(y, min(y + band, part.y1), part.x0, part.x1)
        pixels = np.nan_to_num(slide.read(strip, channels=channels, level=level).astype(np.float32))
        begin = (y - part.y0) // step
        small = _averaged(pixels, step)
        out[:, begin : begin + small.shape[1]] = small
    for index, marker in enumerate(markers):
        span = max(marker.high - marker.low, 1e-12)
        out[index] = np.clip((out[index] - marker.low) / span, 0, 1)
    return out


def _averaged(pixels: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    if step == 1:
        return pixels
    _, height, width = pixels.shape
    ends = ((0, 0), (0, -height % step), (0, -width % step))
    padded = np.pad(pixels, ends, mode="edge")
    shape: tuple[Any, ...] = (len(pixels), padded.shape[1] // step, step, padded.shape[2] // step, step)
    return np.asarray(padded.reshape(shape).mean(axis=(2, 4)), np.float32)
