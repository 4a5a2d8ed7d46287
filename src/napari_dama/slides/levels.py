"""What the formats share: a slide made of levels, each of which can read a rectangle of some channels."""

from __future__ import annotations

import uuid
import weakref
from typing import TYPE_CHECKING, Any, Protocol, Self

import dask.array as da
import numpy as np

from napari_dama.errors import SlideError
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

_LAZY_PX = 1024


class Level(Protocol):
    """One resolution of a slide.

    Attributes
    ----------
    shape
        ``(C, Y, X)``.
    dtype
        In native byte order.
    tile
        ``(Y, X)`` of what is stored and read together.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    tile: tuple[int, int]

    def read(self, channels: Sequence[int], region: Region) -> NDArray[Any]:
        """Read (c, h, w); `region` lies inside, `channels` are valid."""
        ...


class LeveledSlide:
    """A slide over one or more `Level` objects; implements `napari_dama.slides.slide.Slide`."""

    def __init__(
        self,
        levels: Sequence[Level],
        *,
        name: str,
        path: Path | None,
        markers: Sequence[str],
        pixel_um: float | None,
        notes: Sequence[str] = (),
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._levels = tuple(levels)
        self.name = name
        self.path = path
        self.shape = self._levels[0].shape
        self.dtype = self._levels[0].dtype
        self.markers = tuple(markers)
        self.pixel_um = pixel_um
        self.notes = tuple(dict.fromkeys([*notes, *_one_channel(self.shape[0], self.markers)]))
        self._closed = False
        # A slide that nobody closed lets go of its file when it is forgotten.
        self._release = weakref.finalize(self, on_close) if on_close is not None else None

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """``(Y, X)`` of each level, level 0 first."""
        return tuple(level.shape[1:] for level in self._levels)

    def read(
        self, region: Region | None = None, *, channels: Sequence[int] | None = None, level: int = 0
    ) -> NDArray[Any]:
        """Read pixels of a region.

        Parameters
        ----------
        region
            In pixels of `level`; the whole level by default. Clipped to the level, never padded.
        channels
            Which channels, in the order wanted; all by default.
        level
            0 is full resolution.

        Returns
        -------
        NDArray
            (c, h, w), the slide's dtype, yours to change.

        Raises
        ------
        SlideError
            If the region lies outside, a channel or level does not exist, or the file is damaged there.
        """
        if self._closed:
            raise SlideError(f"{self.name} was closed; open it again to read from it.")
        source = self._level(level)
        count = self.shape[0]
        wanted = list(range(count)) if channels is None else [int(c) for c in channels]
        bad = [c for c in wanted if not 0 <= c < count]
        if bad:
            raise SlideError(f"{self.name} has channels 0 to {count - 1}; there is no channel {bad[0]}.")
        whole = Region.whole(source.shape)
        inside = whole if region is None else region.clip(whole.shape)
        if inside.is_empty:
            raise SlideError(
                f"The region {region} lies outside of {self.name}, which has {whole.height} rows and "
                f"{whole.width} columns at level {level}."
            )
        try:
            return source.read(wanted, inside)
        except SlideError as error:
            raise SlideError(f"{self.name} cannot be read at {inside}: {error}") from error
        except MemoryError:
            raise
        except Exception as error:  # decoders of damaged files raise whatever they like
            raise SlideError(
                f"{self.name} cannot be read at {inside}; the file is damaged or incomplete there ({error})."
            ) from error

    def lazy(self, level: int = 0) -> da.Array:
        """Give a dask array (C, Y, X) that reads its chunks, aligned with the file's tiles, when they are needed."""
        source = self._level(level)
        chunks = (1, *(_chunk(t, n) for t, n in zip(source.tile, source.shape[1:], strict=True)))
        pixels: da.Array = da.from_array(  # type: ignore[no-untyped-call]
            _Indexable(self, level),
            chunks=chunks,
            name=f"slide-{uuid.uuid4().hex}",
            meta=np.empty((0, 0, 0), source.dtype),
            fancy=False,
        )
        return pixels

    def close(self) -> None:
        """Let go of the file; reading fails afterwards. Closing twice is fine."""
        if not self._closed:
            self._closed = True
            if self._release is not None:
                self._release()

    def _level(self, level: int) -> Level:
        if not 0 <= level < len(self._levels):
            raise SlideError(
                f"{self.name} has levels 0 to {len(self._levels) - 1}; there is no level {level}."
            )
        return self._levels[level]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        c, y, x = self.shape
        return f"<{type(self).__name__} {self.name!r}: {c} channels, {y} x {x}, {self.dtype}>"


class _Indexable:
    """A level as dask likes it: shape, dtype, and slices in brackets."""

    def __init__(self, slide: LeveledSlide, level: int) -> None:
        source = slide._level(level)
        self.shape, self.dtype, self.ndim = source.shape, source.dtype, 3
        self._slide, self._at = slide, level

    def __getitem__(self, index: tuple[slice, slice, slice]) -> NDArray[Any]:
        channels, rows, columns = (part.indices(n) for part, n in zip(index, self.shape, strict=True))
        region = Region(rows[0], rows[1], columns[0], columns[1])
        if region.is_empty or channels[0] >= channels[1]:
            return np.empty((len(range(*channels)), *region.shape), self.dtype)
        pixels = self._slide.read(region, channels=range(*channels), level=self._at)
        return pixels[:, :: rows[2], :: columns[2]]


def _chunk(tile: int, length: int) -> int:
    """Join small tiles to about 1024 pixels, and split long strips."""
    if tile >= length:
        return min(length, 2 * _LAZY_PX) if length > 4 * _LAZY_PX else length
    return tile * max(1, round(_LAZY_PX / tile))


def _one_channel(count: int, markers: Sequence[str]) -> list[str]:
    return [f"The slide has one channel only ('{markers[0]}')."] if count == 1 else []
