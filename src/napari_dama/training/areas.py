"""Areas of slides in which every cell was outlined by hand; part of a run's settings, which stay one file. No torch.

Each area is parted by place: a strip at one end of its longer side is held out for validation, so that no pixel is both
learned and tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from napari_dama.errors import StoreError
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES: Final = 4e9
"""Pixels of an area, all markers in 32 bits, must stay below this."""


class AnnotatedArea(BaseModel):
    """One area of a slide with its label image.

    Attributes
    ----------
    slide : Path
    labels : str
        Label image (Y, X) of the region, a file in the job's folder.
    region : str
        ``Y0:Y1,X0:X1`` in level-0 pixels of the slide.
    mask : str or None
        Image (Y, X) that is 0 where the region was not annotated, a file in the job's folder; None where all of it was.
    pixel_um : float or None
        For a file that does not say how large its pixels are.
    """

    model_config = ConfigDict(extra="forbid")

    slide: Path
    labels: str
    region: str
    mask: str | None = None
    pixel_um: float | None = Field(None, gt=0.01, lt=50)

    @field_validator("region")
    @classmethod
    def _readable(cls, value: str) -> str:
        return str(Region.parse(value))


class Areas(BaseModel):
    """Areas to learn outlines from; ``chosen`` says which channel feeds which marker of the model, where names do not."""

    model_config = ConfigDict(extra="forbid")

    areas: list[AnnotatedArea] = Field(min_length=1)
    chosen: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parts:
    """Which part of an area (Y, X) is learned, and which is held out; ``held`` is None where it is too small to part."""

    learned: tuple[slice, slice]
    held: tuple[slice, slice] | None


def part_area(labels: NDArray[np.int32], share: float, least_px: int) -> Parts:
    """Part an area by place, so that about a share of its cells is held out.

    Parameters
    ----------
    labels
        (Y, X); the area.
    share
        Of the cells (by centre) that the held-out strip should hold.
    least_px
        Least side of either part.

    Raises
    ------
    StoreError
        If the area itself is smaller than that.
    """
    height, width = labels.shape
    if min(height, width) < least_px:
        raise StoreError(
            f"an area of {height} x {width} px is too small to learn from: at least {least_px} x {least_px} are needed"
        )
    whole = (slice(0, height), slice(0, width))
    axis = 0 if height >= width else 1
    length = labels.shape[axis]
    if length < 2 * least_px:
        return Parts(whole, None)
    places = _centres(labels, axis)
    held, end = min(
        (_strip(places, length, share, least_px, end) for end in (True, False)),
        key=lambda strip: abs(_share_in(places, length, *strip) - share),
    )
    cut = length - held if end else held
    before, after = slice(0, cut), slice(cut, length)
    learned, kept = (before, after) if end else (after, before)
    if axis == 0:
        return Parts((learned, whole[1]), (kept, whole[1]))
    return Parts((whole[0], learned), (whole[0], kept))


def _centres(labels: NDArray[np.int32], axis: int) -> NDArray[np.float64]:
    """Sorted middles of the cells along an axis."""
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns]
    if not len(numbers):
        return np.zeros(0)
    along = (rows, columns)[axis].astype(float)
    size, total = np.bincount(numbers), np.bincount(numbers, along)
    there = size > 0
    return np.sort(total[there] / size[there])


def _strip(
    places: NDArray[np.float64], length: int, share: float, least_px: int, end: bool
) -> tuple[int, bool]:
    """Width of the strip at one end with about a share of the cells, and which end."""
    wanted = share * length
    if len(places):
        wanted = float(length - np.quantile(places, 1 - share) if end else np.quantile(places, share))
    return int(np.clip(round(wanted), least_px, length - least_px)), end


def _share_in(places: NDArray[np.float64], length: int, held: int, end: bool) -> float:
    if not len(places):
        return held / length
    return float(np.mean(places >= length - held if end else places < held))
