"""Reads rectangles from TIFF pages: only the tiles or rows that are needed, from any number of linked files."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.errors import SlideError
from napari_dama.slides.array import native
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CACHE_BYTES = 128 * 2**20
"""Decoded tiles kept per slide: neighbouring tiles of work share many of them."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One channel of one level: a page and the sample within it."""

    page: Any
    sample: int = 0


class TiffFiles:
    """Open files, decoder threads and recently decoded tiles of one slide; safe to use from several threads."""

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._locks: dict[int, threading.Lock] = {}
        self._guard = threading.Lock()
        self._cache: OrderedDict[tuple[int, int], NDArray[Any] | None] = OrderedDict()
        self._cache_bytes, self._cached = cache_bytes, 0
        self._handles: list[Any] = []
        self._pool: ThreadPoolExecutor | None = None
        self.decoded = 0  # segments decoded so far, for tests and benchmarks

    def read_bytes(self, page: Any, offset: int, count: int) -> bytes:
        """Read from the file that holds `page`, opening it when needed."""
        handle = page.parent.filehandle
        with self._guard:
            lock = self._locks.setdefault(id(handle), threading.Lock())
        with lock:
            if handle.closed:
                handle.open()
                with self._guard:
                    self._handles.append(handle)
            handle.seek(offset)
            data: bytes = handle.read(count)
        if len(data) != count:
            raise SlideError(f"the file ends before byte {offset + count}.")
        return data

    def segment(self, page: Any, index: int) -> NDArray[Any] | None:
        """Give the decoded tile or strip `index` of a page, (depth, rows, columns, samples); None where none is stored."""
        key = (id(page), index)
        with self._guard:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        count, offset = page.databytecounts[index], page.dataoffsets[index]
        pixels: NDArray[Any] | None = None
        if count and offset:
            tables = page.jpegtables
            data = self.read_bytes(page, offset, count)
            pixels = page.keyframe.decode(data, index, **({} if tables is None else {"jpegtables": tables}))[
                0
            ]
        size = 0 if pixels is None else pixels.nbytes
        with self._guard:
            self.decoded += 1
            if key not in self._cache and size <= self._cache_bytes // 2:
                self._cache[key] = pixels
                self._cached += size
                while self._cached > self._cache_bytes:
                    _, oldest = self._cache.popitem(last=False)
                    self._cached -= 0 if oldest is None else oldest.nbytes
        return pixels

    def pool(self) -> ThreadPoolExecutor:
        """Give the threads that decode."""
        with self._guard:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="slide")
            return self._pool

    def close(self) -> None:
        """Stop the threads, close files that were opened here, forget tiles."""
        with self._guard:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)  # not under the guard: tiles at work still take it
        with self._guard:
            self._cache.clear()
            self._cached = 0
            for handle in self._handles:
                handle.close()
            self._handles.clear()


class TiffLevel:
    """A level over TIFF pages, one `Plane` per channel; implements `napari_dama.slides.levels.Level`."""

    def __init__(self, planes: Sequence[Plane], files: TiffFiles) -> None:
        keyframe = planes[0].page.keyframe
        _, _, height, width, _ = keyframe.shaped
        self.shape = (len(planes), int(height), int(width))
        self.dtype = native(np.dtype(keyframe.dtype))
        if keyframe.is_tiled:
            self.tile = (int(keyframe.tilelength), int(keyframe.tilewidth))
        else:
            self.tile = (min(int(keyframe.rowsperstrip), int(height)), int(width))
        self._planes = tuple(planes)
        self._files = files

    @staticmethod
    def can_read(page: Any) -> bool:
        """Whether a page is flat: rows and columns, at most with samples."""
        return bool(page.keyframe.shaped[1] == 1)

    def read(self, channels: Sequence[int], region: Region) -> NDArray[Any]:
        """Read (c, h, w), decoding what the region touches and nothing else."""
        out = np.zeros((len(channels), *region.shape), self.dtype)
        jobs = []
        for i, channel in enumerate(channels):
            plane = self._planes[channel]
            if plane.page.keyframe.is_final and plane.page.keyframe.is_contiguous:
                self._read_rows(plane, region, out[i])
            else:
                jobs += [(plane, index, out[i]) for index in self._segments(region)]
        if len(jobs) < 3:
            for plane, index, target in jobs:
                self._copy_segment(plane, index, region, target)
        else:
            # list() waits for all and lets the first error out.
            list(self._files.pool().map(lambda job: self._copy_segment(job[0], job[1], region, job[2]), jobs))
        return out

    def _segments(self, region: Region) -> list[tuple[int, int]]:
        """Rows and columns of the grid of tiles or strips that a region touches."""
        high, wide = self.tile
        rows = range(region.y0 // high, (region.y1 - 1) // high + 1)
        columns = range(region.x0 // wide, (region.x1 - 1) // wide + 1)
        return list(product(rows, columns))

    def _copy_segment(self, plane: Plane, at: tuple[int, int], region: Region, out: NDArray[Any]) -> None:
        high, wide = self.tile
        separate = plane.page.keyframe.shaped[0] > 1
        down, across = -(-self.shape[1] // high), -(-self.shape[2] // wide)
        index = (plane.sample * down if separate else 0) * across + at[0] * across + at[1]
        pixels = self._files.segment(plane.page, index)
        y, x = at[0] * high, at[1] * wide
        part = Region(y, y + high, x, x + wide)
        rows = slice(max(region.y0, part.y0), min(region.y1, part.y1, self.shape[1]))
        columns = slice(max(region.x0, part.x0), min(region.x1, part.x1, self.shape[2]))
        target = out[
            rows.start - region.y0 : rows.stop - region.y0,
            columns.start - region.x0 : columns.stop - region.x0,
        ]
        if pixels is None:
            target[:] = plane.page.keyframe.nodata
            return
        sample = 0 if separate else plane.sample
        target[:] = pixels[0, rows.start - y : rows.stop - y, columns.start - x : columns.stop - x, sample]

    def _read_rows(self, plane: Plane, region: Region, out: NDArray[Any]) -> None:
        """Read pixels that lie uncompressed in the file: whole rows, or their needed part when rows are long."""
        page = plane.page
        separate, _, height, width, samples = page.keyframe.shaped
        stored = np.dtype(page.keyframe.dtype).newbyteorder(page.parent.byteorder)
        pixel = stored.itemsize * int(samples)
        start = page.dataoffsets[0] + (plane.sample if separate > 1 else 0) * int(height) * int(width) * pixel
        sample = 0 if separate > 1 else plane.sample
        if region.width * 4 < width:
            for i, y in enumerate(range(region.y0, region.y1)):
                data = self._files.read_bytes(
                    page, start + (y * width + region.x0) * pixel, region.width * pixel
                )
                out[i] = np.frombuffer(data, stored).reshape(region.width, samples)[:, sample]
            return
        step = max(1, 2**24 // (width * pixel))
        for y in range(region.y0, region.y1, step):
            rows = min(step, region.y1 - y)
            data = self._files.read_bytes(page, start + y * width * pixel, rows * width * pixel)
            block = np.frombuffer(data, stored).reshape(rows, width, samples)
            out[y - region.y0 : y - region.y0 + rows] = block[:, region.x0 : region.x1, sample]


class SeriesRows:
    """A page stand-in for series whose pixels lie in one run without a page each, as ImageJ writes above 4 GB."""

    def __init__(self, series: Any, plane: int) -> None:
        page = series.keyframe
        self.parent, self.keyframe, self.jpegtables = page.parent, page.keyframe, None
        self.dataoffsets = (int(series.dataoffset) + plane * int(page.nbytes),)
        self.databytecounts = (int(page.nbytes),)
