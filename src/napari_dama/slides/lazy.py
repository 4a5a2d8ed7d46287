"""Slides over arrays that read when they are sliced: NumPy, dask, zarr, memory maps, with or without a pyramid.

napari's layers hold such arrays. Nothing is copied or read until `read` asks for a rectangle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.errors import SlideError
from napari_dama.slides.array import check_dtype, native
from napari_dama.slides.axes import plan_axes, tidy_markers, tidy_pixel_um
from napari_dama.slides.levels import LeveledSlide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_dama.slides.region import Region

_TILE_PX = 1024


@dataclass(frozen=True, eq=False)
class _Plane:
    """One channel: an array and where in it the channel lies; ``axis`` is the channel's own, None where there is none."""

    pixels: Any
    at: tuple[int, ...]
    axis: int | None


class PlanesLevel:
    """A level whose channels lie in one array or in several; implements `napari_dama.slides.levels.Level`."""

    def __init__(self, planes: Sequence[_Plane]) -> None:
        self._planes = tuple(planes)
        first = self._planes[0].pixels
        height, width = (int(length) for length in first.shape[-2:])
        self.shape = (len(self._planes), height, width)
        self.dtype = native(np.result_type(*(plane.pixels.dtype for plane in self._planes)))
        self.tile = _tile(first)

    def read(self, channels: Sequence[int], region: Region) -> NDArray[Any]:
        """Copy (c, h, w); neighbouring channels of one array are read together, since its chunks may hold several."""
        out = np.empty((len(channels), *region.shape), self.dtype)
        start = 0
        while start < len(channels):
            stop = self._run(channels, start)
            first = self._planes[channels[start]]
            index: list[Any] = list(first.at)
            if first.axis is not None:
                index[first.axis] = slice(first.at[first.axis], first.at[first.axis] + stop - start)
            found = np.asarray(first.pixels[(*index, *region.slices)])
            out[start:stop] = found.reshape((stop - start, *region.shape))
            start = stop
        return out

    def _run(self, channels: Sequence[int], start: int) -> int:
        """Return the end of the run of channels that one slice of one array gives."""
        stop = start + 1
        first = self._planes[channels[start]]
        while stop < len(channels) and first.axis is not None:
            other = self._planes[channels[stop]]
            if (
                other.pixels is not first.pixels
                or other.at[first.axis] != first.at[first.axis] + stop - start
            ):
                break
            stop += 1
        return stop


def open_channels(
    levels: Sequence[Any],
    axis: int,
    *,
    name: str,
    markers: Sequence[str] | None = None,
    pixel_um: float | None = None,
    at: Mapping[int, int] | None = None,
) -> LeveledSlide:
    """Make a slide of an array with an axis of channels, without reading it.

    Parameters
    ----------
    levels
        The array at full resolution, then ever smaller ones; their last two axes are rows and columns. Anything with
        ``shape``, ``dtype`` and slices in brackets will do.
    axis
        Which axis the channels lie along, not one of the last two.
    name
        Of the slide.
    markers
        A name per channel; ``channel 1, 2, ...`` by default.
    pixel_um
        Side of a pixel in micrometres, None if unknown.
    at
        For every other axis the plane to take, the first by default.

    Raises
    ------
    SlideError
        If the array has no such axis, levels do not fit each other, or there are not as many names as channels.
    """
    if not levels:
        raise SlideError(f"{name} has no pixels.")
    ndim = len(levels[0].shape)
    if not 0 <= axis < ndim - 2:
        raise SlideError(
            f"{name} has {ndim} axes, of lengths {tuple(levels[0].shape)}; channels cannot lie along axis {axis}, since the "
            "last two are rows and columns."
        )
    places = at or {}
    count = int(levels[0].shape[axis])
    planes = [
        [
            _Plane(
                level,
                tuple(c if i == axis else int(places.get(i, 0)) for i in range(len(level.shape) - 2)),
                axis,
            )
            for c in range(count)
        ]
        for level in levels
    ]
    return _open(planes, name, markers, pixel_um)


def open_planes(
    planes: Sequence[Sequence[Any]],
    *,
    name: str,
    markers: Sequence[str] | None = None,
    pixel_um: float | None = None,
    at: Mapping[int, int] | None = None,
) -> LeveledSlide:
    """Make a slide of one pyramid (levels of (..., Y, X) arrays) per channel; see `open_channels`.

    Raises
    ------
    SlideError
        If the planes differ in size, or there are not as many names as planes.
    """
    if not planes or not all(planes):
        raise SlideError(f"{name} has no pixels.")
    count = min(len(levels) for levels in planes)
    places = at or {}
    by_level = [
        [
            _Plane(levels[i], tuple(int(places.get(n, 0)) for n in range(len(levels[i].shape) - 2)), None)
            for levels in planes
        ]
        for i in range(count)
    ]
    return _open(by_level, name, markers, pixel_um)


def _open(
    levels: Sequence[Sequence[_Plane]], name: str, markers: Sequence[str] | None, pixel_um: float | None
) -> LeveledSlide:
    for planes in levels:
        for plane in planes:
            check_dtype(np.dtype(plane.pixels.dtype), name)
            plan_axes("Q" * (len(plane.pixels.shape) - 2) + "YX", plane.pixels.shape, what=name)
        sizes = {tuple(int(n) for n in plane.pixels.shape[-2:]) for plane in planes}
        if len(sizes) > 1:
            shown = ", ".join(f"{h} x {w}" for h, w in sorted(sizes))
            raise SlideError(f"The channels of {name} differ in size ({shown} px): they cannot be one slide.")
    made = [PlanesLevel(planes) for planes in levels]
    kept = [made[0]]
    for level in made[1:]:  # napari takes levels in any order; here every next one is smaller
        if level.shape[1] < kept[-1].shape[1] and level.shape[2] < kept[-1].shape[2]:
            kept.append(level)
    notes: list[str] = []
    names = tidy_markers([], made[0].shape[0], what=name, given=markers, notes=notes)
    size = tidy_pixel_um(None, given=pixel_um, notes=notes)
    return LeveledSlide(kept, name=name, path=None, markers=names, pixel_um=size, notes=notes)


def _tile(pixels: Any) -> tuple[int, int]:
    """Return the (Y, X) of what an array reads together."""
    chunks = getattr(pixels, "chunksize", None) or getattr(pixels, "chunks", None)
    height, width = (int(length) for length in pixels.shape[-2:])
    if isinstance(chunks, tuple) and len(chunks) >= 2 and all(isinstance(n, int) for n in chunks[-2:]):
        return min(int(chunks[-2]), height), min(int(chunks[-1]), width)
    return min(_TILE_PX, height), min(_TILE_PX, width)
