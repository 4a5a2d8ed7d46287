"""What a marker looks like on a slide whatever its exposure, to compare a slide with those that a model learned from.

Three numbers per marker, measured on normalised pixels (`napari_dama.slides.intensity.normalise`), so that gain, offset and
bit depth fall away:

- ``filled``: share of the tissue that is stained, pixels above `STAINED`;
- ``nuclear``: correlation with the nuclear marker, pixels averaged to about 1 µm: 1 where the marker lies in nuclei, 0 or
  below where it lies elsewhere;
- ``fine``: share of the marker's variance that structures finer than about 4 µm make up: high for thin processes and for
  noise, low for large even bodies.

Swapped channels keep their exposure but change these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import ndimage

from napari_dama.slides.intensity import normalise
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_dama.slides.intensity import IntensityStats
    from napari_dama.slides.slide import Slide

STAINED: Final = 0.35
SIDE_UM: Final = 130.0
BLOCKS: Final = 9
STEP_UM: Final = 1.0
SMOOTH_UM: Final = 2.0
KEYS: Final = ("filled", "nuclear", "fine")


@dataclass(frozen=True, slots=True)
class Profile:
    """The three numbers of one marker; NaN where one cannot be told."""

    filled: float
    nuclear: float
    fine: float

    def to_json(self) -> dict[str, float]:
        """Give the numbers that are known."""
        return {key: value for key in KEYS if math.isfinite(value := float(getattr(self, key)))}


def slide_profiles(
    slide: Slide,
    stats: IntensityStats,
    channels: Sequence[int | None],
    nuclear: Sequence[int],
    *,
    pixel_um: float,
) -> list[Profile | None]:
    """Measure the profile of markers on blocks spread over a slide (about 0.15 mm²).

    Parameters
    ----------
    slide
        The slide; full resolution is read.
    stats
        Of all its channels.
    channels
        Channel of each marker, None for one that is absent.
    nuclear
        Places in `channels` of the nuclear markers; the first that is there is the one to compare with.
    pixel_um
        Size of a pixel.

    Returns
    -------
    list
        One profile per entry of `channels`, None for absent markers.
    """
    present = [i for i, channel in enumerate(channels) if channel is not None]
    if not present:
        return [None] * len(channels)
    wanted = [int(c) for i in present if (c := channels[i]) is not None]
    own = stats.select(wanted)
    parts = [
        _coarse(normalise(slide.read(r, channels=wanted), own), pixel_um) for r in _regions(slide, pixel_um)
    ]
    base = next((present.index(i) for i in nuclear if i in present), None)
    found: list[Profile | None] = [None] * len(channels)
    for place, i in enumerate(present):
        planes = [part[place] for part in parts]
        found[i] = Profile(
            filled=float(np.mean(np.concatenate([plane.ravel() for plane in planes]) > STAINED)),
            nuclear=math.nan
            if base is None or base == place
            else _correlation(planes, [part[base] for part in parts]),
            fine=_fine_share(planes, max(pixel_um, STEP_UM)),
        )
    return found


def _regions(slide: Slide, pixel_um: float) -> list[Region]:
    height, width = slide.shape[1:]
    side = max(16, round(SIDE_UM / pixel_um))
    rows = min(round(math.sqrt(BLOCKS)), max(1, height // side))
    columns = min(BLOCKS // rows, max(1, width // side))
    side_y, side_x = min(side, height), min(side, width)
    return [
        Region(int(y), int(y) + side_y, int(x), int(x) + side_x)
        for y in np.linspace(0, height - side_y, rows, dtype=int)
        for x in np.linspace(0, width - side_x, columns, dtype=int)
    ]


def _coarse(pixels: NDArray[np.float32], pixel_um: float) -> NDArray[np.float32]:
    """Average (C, h, w) to about `STEP_UM` per pixel."""
    factor = max(1, round(STEP_UM / pixel_um))
    count, height, width = pixels.shape[0], pixels.shape[1] // factor, pixels.shape[2] // factor
    if factor == 1 or height < 4 or width < 4:
        return pixels
    cut = pixels[:, : height * factor, : width * factor]
    coarse: NDArray[np.float32] = cut.reshape(count, height, factor, width, factor).mean(axis=(2, 4))
    return coarse


def _correlation(one: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> float:
    a, b = (np.concatenate([plane.ravel() for plane in planes]).astype(np.float64) for planes in (one, other))
    spread = float(a.std() * b.std())
    return float(np.mean((a - a.mean()) * (b - b.mean())) / spread) if spread > 0 else math.nan


def _fine_share(planes: Sequence[NDArray[Any]], step_um: float) -> float:
    whole = fine = 0.0
    for plane in planes:
        smooth = ndimage.gaussian_filter(plane, SMOOTH_UM / step_um, mode="nearest")
        whole += float(np.var(plane)) * plane.size
        fine += float(np.mean((plane - smooth) ** 2)) * plane.size
    return fine / whole if whole > 0 else math.nan


FLOORS: Final = {"filled": 0.10, "nuclear": 0.07, "fine": 0.035}
"""Least spread of each number between slides: how far slides of one panel and laboratory differ anyway."""
FAR: Final = 4.0
"""A number this many spreads from the typical one is worth a warning."""
FULL_UM2: Final = 1e5
"""Area from which on the numbers do not depend on what happened to be in the field; on a smaller one they scatter more, and
spreads are widened by the root of the ratio."""
SWAP_FAR, SWAP_NEAR, SWAP_GAIN = 3.0, 4.0, 1.0
"""Two markers look swapped when together they are further than `SWAP_FAR` from their own typical looks, nearer than
`SWAP_NEAR` to each other's, and nearer to these by `SWAP_GAIN` (root mean squares in spreads, summed over the two)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Markers that look unlike those that a model learned from: one, or two that look swapped."""

    markers: tuple[str, ...]
    sentence: str


def typical_profiles(slides: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Return per marker the median of each number over slides, and its spread (``NAME_spread``).

    The spread is 1.4826 times the median absolute deviation, a standard deviation that a few failed stains do not widen, and
    at least that of `FLOORS`.

    Parameters
    ----------
    slides
        For each slide, the numbers of each of its markers (`Profile.to_json`).
    """
    found: dict[str, dict[str, float]] = {}
    for marker in dict.fromkeys(name for slide in slides for name in slide):
        numbers: dict[str, float] = {}
        for key in KEYS:
            values = np.array([slide[marker][key] for slide in slides if key in slide.get(marker, {})])
            if len(values):
                middle = float(np.median(values))
                spread = 1.4826 * float(np.median(np.abs(values - middle)))
                numbers[key], numbers[f"{key}_spread"] = round(middle, 4), round(max(spread, FLOORS[key]), 4)
        if numbers:
            found[marker] = numbers
    return found


def unlike(
    profiles: Mapping[str, Profile],
    typical: Mapping[str, Mapping[str, float]],
    *,
    names: Mapping[str, str] | None = None,
    area_um2: float = FULL_UM2,
) -> list[Finding]:
    """Say which markers of a slide look unlike those that a model learned from, and how.

    Parameters
    ----------
    profiles
        Per marker of the model, as measured on the slide.
    typical
        ``statistics`` of the model's card, with the numbers of `typical_profiles`; markers without are passed over.
    names
        What the markers are called on the slide, where that differs.
    area_um2
        Size of what was measured (`sampled_um2`).
    """
    wide = max(1.0, math.sqrt(FULL_UM2 / max(area_um2, 1.0)))
    known = [marker for marker in profiles if any(key in typical.get(marker, {}) for key in KEYS)]
    title = {marker: (names or {}).get(marker) or marker for marker in known}
    findings: list[Finding] = []
    swapped: set[str] = set()
    pairs = sorted(
        (gain, a, b)
        for i, a in enumerate(known)
        for b in known[i + 1 :]
        if (gain := _swap_gain(profiles, typical, a, b, wide)) is not None
    )
    for _, a, b in reversed(pairs):  # the clearest first; a marker is swapped with one other at most
        if not swapped & {a, b}:
            swapped |= {a, b}
            findings.append(
                Finding(
                    (title[a], title[b]),
                    f"{title[a]} and {title[b]} look swapped: each is stained as the other one was on the slides that the "
                    "model learned from. Check the order of the channels.",
                )
            )
    for marker in known:
        if marker not in swapped and (words := _how(profiles[marker], typical[marker], wide)):
            findings.append(
                Finding(
                    (title[marker],),
                    f"{title[marker]} is unlike the slides that the model learned from: {words}.",
                )
            )
    return findings


def sampled_um2(slide: Slide, pixel_um: float) -> float:
    """Return how much of a slide `slide_profiles` looks at, in µm²."""
    height, width = slide.shape[1:]
    looked = sum(region.height * region.width for region in _regions(slide, pixel_um))
    return float(min(looked, height * width)) * pixel_um**2


def _distances(profile: Profile, typical: Mapping[str, float], wide: float) -> dict[str, float]:
    """Return how many spreads, `wide` times as large, each number lies from the typical one."""
    out = {}
    for key in KEYS:
        value = float(getattr(profile, key))
        if key in typical and math.isfinite(value):
            out[key] = (value - typical[key]) / (wide * max(typical.get(f"{key}_spread", 0.0), FLOORS[key]))
    return out


def _far(profile: Profile, typical: Mapping[str, float], wide: float) -> float:
    found = list(_distances(profile, typical, wide).values())
    return math.sqrt(sum(value * value for value in found) / len(found)) if found else math.inf


def _swap_gain(
    profiles: Mapping[str, Profile], typical: Mapping[str, Mapping[str, float]], a: str, b: str, wide: float
) -> float | None:
    """Return how much nearer two markers are to each other's typical looks than to their own; None if not swapped."""
    if any("nuclear" not in typical[m] or not math.isfinite(profiles[m].nuclear) for m in (a, b)):
        return None  # the nuclear marker, which the others are compared with, or a slide without one
    own = _far(profiles[a], typical[a], wide) + _far(profiles[b], typical[b], wide)
    crossed = _far(profiles[a], typical[b], wide) + _far(profiles[b], typical[a], wide)
    return own - crossed if own > SWAP_FAR and crossed < SWAP_NEAR and own - crossed > SWAP_GAIN else None


def _how(profile: Profile, typical: Mapping[str, float], wide: float) -> str:
    """Say in plain words how a marker differs, empty when it does not."""
    far = {key: value for key, value in _distances(profile, typical, wide).items() if abs(value) > FAR}
    parts = []
    if "filled" in far:
        more = "more" if far["filled"] > 0 else "less"
        parts.append(f"{more} of the tissue is stained ({profile.filled:.0%}; there {typical['filled']:.0%})")
    if "nuclear" in far:
        where = "lies more in the nuclei" if far["nuclear"] > 0 else "lies less in the nuclei"
        parts.append(
            f"it {where} (correlation with the nuclear marker {profile.nuclear:.2f}; there {typical['nuclear']:.2f})"
        )
    if "fine" in far:
        kind = (
            "it is grainy, as if the stain had failed and noise were left"
            if far["fine"] > 0
            else "it is smoother, as if out of focus"
        )
        parts.append(f"{kind} ({profile.fine:.0%} fine structure; there {typical['fine']:.0%})")
    return "; ".join(parts)
