"""How bright each marker is on a slide, and pixels on a scale that every slide and model shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_dama.errors import SettingsError, SlideError
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_dama.slides.slide import Slide

COFACTOR = 5.0
"""Steepness of the arcsinh curve: how much dim pixels are lifted."""
CLIP = 2.0
"""Brightest value kept, in units of ``high - low``."""

LOW_PERCENT = 1.0
HIGH_PERCENT = 99.8
NOISE_SPAN = 20.0
"""``high - low`` is at least this many standard deviations of the noise, so that noise alone stays dark."""
COUNT_SPAN = 4.0
"""``high - low`` is at least this many counts for whole numbers, so that single ions stay dim."""
_SPIKE_SHARE = 0.005
_SPIKE_DOMINANCE = 30
_BLOCK_PX = 256


@dataclass(frozen=True, eq=False)
class IntensityStats:
    """The dark and the bright end of every marker of a slide.

    Attributes
    ----------
    low, high
        (C,) float32, in the slide's own units; `high` is always larger than `low`.
    markers
        C names.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    markers: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check lengths and order."""
        low = np.asarray(self.low, np.float32).reshape(-1)
        high = np.asarray(self.high, np.float32).reshape(-1)
        if not len(low) == len(high) == len(self.markers):
            raise SettingsError(
                f"Intensity statistics need one low and one high per marker, not {len(low)} and {len(high)} "
                f"for {len(self.markers)} markers."
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (high > low).all()):
            raise SettingsError("Intensity statistics need finite numbers with every high above its low.")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        object.__setattr__(self, "markers", tuple(self.markers))

    def __eq__(self, other: object) -> bool:
        """Compare by value."""
        if not isinstance(other, IntensityStats):
            return NotImplemented
        return (
            self.markers == other.markers
            and np.array_equal(self.low, other.low)
            and np.array_equal(self.high, other.high)
        )

    __hash__ = None  # type: ignore[assignment]

    def to_json(self) -> dict[str, Any]:
        """Give plain types; float32 survives the way there and back exactly."""
        return {"markers": list(self.markers), "low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> IntensityStats:
        """Read what `to_json` wrote.

        Raises
        ------
        SettingsError
            If something is missing or does not fit.
        """
        try:
            return cls(
                np.asarray(data["low"], np.float32),
                np.asarray(data["high"], np.float32),
                tuple(data["markers"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(f"These are no intensity statistics: {error}.") from error

    def select(self, indices: Sequence[int | None]) -> IntensityStats:
        """Take the statistics of some channels, in the order given; None gives 0 to 1 for an absent marker."""
        return IntensityStats(
            np.array([0.0 if i is None else self.low[i] for i in indices], np.float32),
            np.array([1.0 if i is None else self.high[i] for i in indices], np.float32),
            tuple("" if i is None else self.markers[i] for i in indices),
        )


def slide_stats(slide: Slide, *, max_pixels: int = 4_000_000, seed: int = 0) -> IntensityStats:
    """Measure the dark and the bright end of every channel of a slide.

    A small slide is read whole; of a large one blocks of 256 px are read that lie spread over it, and blocks of bare
    glass are left out when there are others. Saturation artefacts (one bright value that very many pixels share),
    NaN and infinity do not count.

    Parameters
    ----------
    slide
        The slide; full resolution is read.
    max_pixels
        Pixels per channel to look at.
    seed
        For where blocks lie.
    """
    if max_pixels < 1:
        raise SettingsError(f"max_pixels is {max_pixels}; at least 1 is needed.")
    blocks = list(_blocks(slide, max_pixels, seed))
    if not blocks:
        raise SlideError(f"{slide.name} has no pixels to measure.")
    noise = np.array([_noise([block[c] for block in blocks]) for c in range(slide.shape[0])])
    blocks = _without_glass(blocks, noise)
    ends = [
        _ends(np.concatenate([block[c].reshape(-1) for block in blocks]), float(noise[c]))
        for c in range(slide.shape[0])
    ]
    return IntensityStats(
        np.array([low for low, _ in ends], np.float32),
        np.array([high for _, high in ends], np.float32),
        slide.markers,
    )


def stats_of(pixels: NDArray[Any], markers: Sequence[str] | None = None) -> IntensityStats:
    """Measure an image in memory, (C, Y, X), as `slide_stats` measures a small slide."""
    ends = [_ends(channel.reshape(-1), _noise([channel])) for channel in pixels]
    names = tuple(markers) if markers is not None else tuple(f"channel {i + 1}" for i in range(len(pixels)))
    return IntensityStats(
        np.array([low for low, _ in ends], np.float32),
        np.array([high for _, high in ends], np.float32),
        names,
    )


def normalise(pixels: NDArray[Any], stats: IntensityStats) -> NDArray[np.float32]:
    """Bring pixels onto the shared scale.

    With ``t = (v - low) / (high - low)`` clipped to 0..CLIP, the result is ``arcsinh(COFACTOR t) / arcsinh(COFACTOR)``:
    0 at `low`, 1 at `high`, at most about 1.3. NaN and infinity become 0.

    Parameters
    ----------
    pixels
        (C, h, w), any real dtype.
    stats
        Of these C channels.

    Returns
    -------
    NDArray
        (C, h, w) float32.
    """
    if pixels.ndim != 3 or len(pixels) != len(stats.low):
        raise SettingsError(
            f"Pixels of shape {pixels.shape} do not go with statistics of {len(stats.low)} markers; "
            f"({len(stats.low)}, height, width) is needed."
        )
    out = np.empty(pixels.shape, np.float32)
    if pixels.dtype.kind in "iub" and pixels.dtype.itemsize <= 2 and pixels[0].size > 65536 // 2:
        values = pixels.view(np.uint8) if pixels.dtype.kind == "b" else pixels
        info = np.iinfo(values.dtype)
        every = np.arange(info.min, info.max + 1, dtype=np.float32)
        for c, channel in enumerate(values):
            table = _curve(every.copy(), float(stats.low[c]), float(stats.high[c]))
            index = channel if info.min == 0 else channel.astype(np.int32) - info.min
            np.take(table, index, out=out[c], mode="clip")
        return out
    for c, channel in enumerate(pixels):
        out[c] = channel
        _curve(out[c], float(stats.low[c]), float(stats.high[c]))
    return out


def _curve(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Apply the shared curve in place."""
    missing = None if np.isfinite(values.sum()) else ~np.isfinite(values)
    values -= np.float32(low)
    values *= np.float32(1.0 / (high - low))
    np.clip(values, 0.0, CLIP, out=values)
    values *= np.float32(COFACTOR)
    np.arcsinh(values, out=values)
    values *= np.float32(1.0 / np.arcsinh(COFACTOR))
    if missing is not None:
        values[missing] = 0.0
    return values


def _blocks(slide: Slide, max_pixels: int, seed: int) -> Iterator[NDArray[Any]]:
    """Read the whole slide, or blocks in a jittered grid, each (C, h, w)."""
    height, width = slide.shape[1:]
    if height * width <= max_pixels:
        if height * width:
            yield slide.read()
        return
    side = min(_BLOCK_PX, max(1, int(np.sqrt(max_pixels))), height, width)
    count = max(1, max_pixels // (side * side))
    rows = max(1, min(height // side, round(np.sqrt(count * height / width))))
    columns = max(1, min(width // side, count // rows))
    random = np.random.default_rng(seed)
    for row in range(rows):
        for column in range(columns):
            y = _place(row, rows, height, side, random.random())
            x = _place(column, columns, width, side, random.random())
            yield slide.read(Region(y, y + side, x, x + side))


def _place(index: int, count: int, length: int, side: int, jitter: float) -> int:
    start, end = index * length // count, (index + 1) * length // count
    return min(start + int(jitter * max(1, end - start - side + 1)), length - side)


def _noise(planes: Sequence[NDArray[Any]]) -> float:
    """Estimate the standard deviation of pixel noise from the flatter half of every second row.

    Second differences along the row take out slopes, their 25th percentile takes out structure; of white noise it is
    0.3186 * sqrt(6) standard deviations.
    """
    steps = []
    for plane in planes:
        if plane.shape[1] > 2:
            rows = plane[::2].astype(np.float32)
            with np.errstate(invalid="ignore", over="ignore"):
                step = np.abs(rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2])
            steps.append(step[np.isfinite(step)])
    differences = np.concatenate(steps) if steps else np.empty(0, np.float32)
    return float(np.percentile(differences, 25)) / 0.7804 if len(differences) else 0.0


def _without_glass(blocks: list[NDArray[Any]], noise: NDArray[np.float64]) -> list[NDArray[Any]]:
    """Leave out blocks where no channel shows more than noise, unless few others are there."""
    if len(blocks) < 8:
        return blocks
    kept = []
    for block in blocks:
        for c, channel in enumerate(block):
            small = ndimage.uniform_filter(np.nan_to_num(channel.astype(np.float32), posinf=0, neginf=0), 4)[
                2::4, 2::4
            ]
            middle, top = np.percentile(small, [50, 99])
            if top - middle > max(2.0 * float(noise[c]), 1e-6 * abs(float(middle))):
                kept.append(block)
                break
    return kept if len(kept) >= max(2, len(blocks) // 20) else blocks


def _ends(values: NDArray[Any], noise: float) -> tuple[float, float]:
    """Find the dark and the bright end of one channel's pixels."""
    whole_numbers = values.dtype.kind in "iub"
    if not whole_numbers:
        values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    distinct, counts = _histogram(values)
    low = _percentile(distinct, counts, LOW_PERCENT)
    if len(distinct) == 1:
        return low, _above(low, 1.0)
    high = _bright_end(distinct, counts)
    low = _dark_end(distinct, counts, low, high)
    if high <= low:  # almost empty: a few bright pixels on a constant ground
        high = float(distinct[-1])
    span = max(high - low, NOISE_SPAN * noise, COUNT_SPAN if whole_numbers else 0.0)
    return low, _above(low, span)


def _above(low: float, span: float) -> float:
    """Add `span`, and make sure that float32 still sees a difference."""
    wide = max(span, 1e-6 * abs(low), 1e-30)
    return min(low + wide, float(np.finfo(np.float32).max))


def _histogram(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give distinct values in ascending order with how often each stands there."""
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        table = np.bincount(values)
        distinct = np.flatnonzero(table)
        return distinct.astype(np.float64), table[distinct]
    if len(values) > 1_000_000:
        values = values[:: len(values) // 1_000_000]
    found, counts = np.unique(values, return_counts=True)
    return found.astype(np.float64), counts


def _percentile(distinct: NDArray[np.float64], counts: NDArray[np.int64], percent: float) -> float:
    """Give the smallest value that at least `percent` of the pixels do not exceed."""
    total = np.cumsum(counts)
    return float(distinct[np.searchsorted(total, total[-1] * percent / 100.0)])


def _spikes(distinct: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """Find values that far more pixels share than share any value near it: the mark of saturation or of padding."""
    if len(distinct) < 64:
        return np.empty(0, np.intp)
    candidates = np.flatnonzero(counts >= _SPIKE_SHARE * counts.sum())
    spikes = []
    for i in candidates:
        near = np.concatenate([counts[max(0, i - 32) : i], counts[i + 1 : i + 33]])
        if counts[i] >= _SPIKE_DOMINANCE * near.max():
            spikes.append(i)
    return np.array(spikes, np.intp)


def _bright_end(distinct: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Give the 99.8th percentile; below a saturation artefact the 99th of what is darker, as its rim is bright too."""
    middle = _percentile(distinct, counts, 50.0)
    bright = [i for i in _spikes(distinct, counts) if distinct[i] > middle and i >= 64]
    if bright:
        return _percentile(distinct[: bright[0]], counts[: bright[0]], 99.0)
    return _percentile(distinct, counts, HIGH_PERCENT)


def _dark_end(distinct: NDArray[np.float64], counts: NDArray[np.int64], low: float, high: float) -> float:
    """Look past padding: a darkest value that many pixels share, with a gap between it and the camera's offset."""
    spikes = _spikes(distinct, counts)
    if not len(spikes) or spikes[0] != 0:
        return low
    rest = _percentile(distinct[1:], counts[1:], LOW_PERCENT)
    gap = _percentile(distinct[1:], counts[1:], 0.1) - distinct[0]
    return rest if gap > 0.05 * (high - rest) and rest < high else low
