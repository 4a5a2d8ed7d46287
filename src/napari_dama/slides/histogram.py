"""How often each brightness of a marker occurs, on a part of its pixels that stands for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import SettingsError
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_dama.slides.slide import Slide

MAX_PIXELS: Final = 1_000_000
BINS: Final = 128
FEW_COUNTS: Final = 32
_BLOCK_PX: Final = 256


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of one marker's pixels.

    Attributes
    ----------
    edges : (B + 1,) float64
        Edges of the bins, in the slide's own units.
    counts : (B,) int64
        Pixels per bin; the last one also counts what is brighter, so that a few hot pixels do not squeeze the rest.
    pixels : int
        How many were looked at.
    level : int
        The level of the slide that they were read from.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    pixels: int
    level: int


def marker_histogram(
    slide: Slide, channel: int, *, bins: int = BINS, max_pixels: int = MAX_PIXELS
) -> Histogram:
    """Count the brightness of one marker.

    The smallest level with `max_pixels` pixels or more is read, or level 0 of a slide without a pyramid; of a level that is
    larger, blocks spread over it. NaN and infinity do not count. Downsampled levels are means of pixels, and so a little
    narrower than the pixels themselves.

    Parameters
    ----------
    slide
        The slide.
    channel
        Index of the marker.
    bins
        Number of bins, from the darkest pixel to the 99.95th percentile.
    max_pixels
        About how many pixels to look at.

    Raises
    ------
    SettingsError
        If `bins` or `max_pixels` is below 1.
    SlideError
        If the slide has no such channel, or cannot be read.
    """
    if bins < 1 or max_pixels < 1:
        raise SettingsError(f"bins is {bins} and max_pixels {max_pixels}; both must be at least 1.")
    level = sample_level(slide, max_pixels)
    values = sample_pixels(slide, channel, level=level, max_pixels=max_pixels)
    if not len(values):
        return Histogram(np.array([0.0, 1.0]), np.array([0]), 0, level)
    low, high = float(values.min()), float(np.percentile(values, 99.95))
    if (
        values.dtype.kind in "iu" and high - low < FEW_COUNTS
    ):  # sparse counts, as of ions: nearly all pixels are 0
        high = min(float(values.max()), low + FEW_COUNTS)
    if values.dtype.kind in "iu":  # whole numbers: every bin as many of them
        step = max(1, int(np.ceil((high - low + 1) / bins)))
        edges = low - 0.5 + step * np.arange(int((high - low) // step) + 2, dtype=np.float64)
    else:
        edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    counts, _ = np.histogram(np.clip(values.astype(np.float64), edges[0], edges[-1]), edges)
    return Histogram(edges, counts.astype(np.int64), len(values), level)


def sample_level(slide: Slide, max_pixels: int) -> int:
    """Return the smallest level that still has `max_pixels` pixels, 0 where none has."""
    enough = [i for i, (height, width) in enumerate(slide.levels) if height * width >= max_pixels]
    return enough[-1] if enough else 0


def sample_pixels(slide: Slide, channel: int, *, level: int, max_pixels: int) -> NDArray[Any]:
    """Read pixels of a channel that are spread over a level: all of a small one, else blocks on a grid; (n,) finite."""
    height, width = slide.levels[level]
    if height * width <= 2 * max_pixels:
        found = slide.read(channels=[channel], level=level)[0].reshape(-1)
    else:
        side = min(_BLOCK_PX, height, width)
        count = max(1, max_pixels // (side * side))
        rows = max(1, min(height // side, round(np.sqrt(count * height / width))))
        columns = max(1, min(width // side, count // rows))
        blocks = []
        for y in np.linspace(0, height - side, rows, dtype=int):
            for x in np.linspace(0, width - side, columns, dtype=int):
                region = Region(int(y), int(y) + side, int(x), int(x) + side)
                blocks.append(slide.read(region, channels=[channel], level=level)[0].reshape(-1))
        found = np.concatenate(blocks)
    kept: NDArray[Any] = found if found.dtype.kind in "iu" else found[np.isfinite(found)]
    return kept


def ends_at(
    slide: Slide, percentiles: Mapping[int, tuple[float, float]], *, max_pixels: int = MAX_PIXELS
) -> dict[int, tuple[float, float]]:
    """Return the intensities at two percentiles (0 to 100) of some channels, on the pixels that histograms are made of."""
    level = sample_level(slide, max_pixels)
    found = {}
    for channel, wanted in percentiles.items():
        values = sample_pixels(slide, channel, level=level, max_pixels=max_pixels)
        if len(values):
            low, high = (float(value) for value in np.percentile(values, wanted))
            found[channel] = (low, high if high > low else low + 1.0)
    return found


def percentiles_of(
    slide: Slide, ends: Mapping[int, tuple[float, float]], *, max_pixels: int = MAX_PIXELS
) -> dict[int, tuple[float, float]]:
    """Return at which percentiles (0 to 100) two intensities of some channels lie; the second is above the first."""
    level = sample_level(slide, max_pixels)
    found = {}
    for channel, (low, high) in ends.items():
        values = sample_pixels(slide, channel, level=level, max_pixels=max_pixels)
        if len(values):
            below = 100.0 * float(np.mean(values < low))
            until = 100.0 * float(np.mean(values <= high))
            found[channel] = (below, until) if until > below else (min(below, 99.9), 100.0)
    return found
