"""Any slide as a tiled, pyramidal OME-TIFF with marker names and pixel size, a tile at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tifffile

from napari_dama.errors import Interrupted, OutputError
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_dama.slides.slide import Slide

TILE_PX: Final = 256
STRIP_PX: Final = 1024
"""Rows read at once: chunks of the source are read once and not once per tile."""
SMALLEST_PX: Final = 1024
"""Levels are added until both sides are below this."""


def save_ome_tiff(
    slide: Slide,
    file: str | Path,
    *,
    pixel_um: float | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Path:
    """Write a slide as OME-TIFF: zlib, tiles of 256 px, levels of half the size each, memory for a strip of one channel.

    Parameters
    ----------
    slide
        Anything that `napari_dama.slides.slide.Slide` describes.
    file
        Ends with ``.ome.tif`` or ``.ome.tiff``.
    pixel_um
        Instead of the slide's own pixel size.
    overwrite
        Replace a file that is there.
    progress, stop
        Called with the share done (0 to 1); asked whether to stop.

    Raises
    ------
    OutputError
        The file exists, has another ending, or cannot be written; nothing is left behind.
    Interrupted
        Stopped by `stop`; nothing is left behind.
    """
    path = Path(file)
    if not path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        raise OutputError(
            f"{path.name} must end with .ome.tif, so that other programs find the marker names in it."
        )
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name.")
    sizes = level_sizes(slide.levels[0])
    # the temporary name ends as the final one does, since tifffile writes OME metadata for .ome.tif only
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    told = _Told(slide.shape[0] * sum(height for height, _ in sizes), progress, stop)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tifffile.TiffWriter(part, ome=True, bigtiff=_large(slide)) as out:
            options: dict[str, Any] = {
                "dtype": slide.dtype,
                "photometric": "minisblack",
                "compression": "zlib",
                "tile": (TILE_PX, TILE_PX),
            }
            for number, (height, width) in enumerate(sizes):
                first = {"metadata": _metadata(slide, pixel_um), "subifds": len(sizes) - 1} | _resolution(
                    slide, pixel_um
                )
                out.write(
                    _tiles(slide, 2**number, (height, width), told),
                    shape=(slide.shape[0], height, width),
                    **options,
                    **(first if number == 0 else {"subfiletype": 1, "metadata": None}),
                )
        os.replace(part, path)
        told.all()
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def level_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the (Y, X) of every level, halved (rounded down) until both sides are below `SMALLEST_PX`."""
    sizes = [size]
    while max(sizes[-1]) >= 2 * SMALLEST_PX and min(sizes[-1]) >= 2:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


class _Told:
    """Counts rows written."""

    def __init__(
        self, total: int, progress: Callable[[float], None] | None, stop: Callable[[], bool] | None
    ) -> None:
        self.total, self.done, self.progress, self.stop = max(total, 1), 0, progress, stop

    def all(self) -> None:
        if self.progress is not None:
            self.progress(1.0)

    def rows(self, count: int) -> None:
        if self.stop is not None and self.stop():
            raise Interrupted("Saving was cancelled; nothing was written.")
        self.done += count
        if self.progress is not None:
            self.progress(min(self.done / self.total, 1.0))


def _tiles(slide: Slide, factor: int, size: tuple[int, int], told: _Told) -> Iterator[NDArray[Any]]:
    """Yield the tiles of a level, channel by channel, each a mean of `factor` x `factor` pixels."""
    height, width = size
    strip = max(TILE_PX, STRIP_PX // factor // TILE_PX * TILE_PX)
    for channel in range(slide.shape[0]):
        for top in range(0, height, strip):
            rows = min(strip, height - top)
            region = Region(top * factor, (top + rows) * factor, 0, width * factor)
            pixels = _shrunk(slide.read(region, channels=[channel])[0], factor)
            for y in range(0, rows, TILE_PX):
                for x in range(0, width, TILE_PX):
                    yield np.ascontiguousarray(pixels[y : y + TILE_PX, x : x + TILE_PX])
            told.rows(rows)


def _shrunk(pixels: NDArray[Any], factor: int) -> NDArray[Any]:
    if factor == 1:
        return pixels
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    means = pixels.reshape(height, factor, width, factor).mean(axis=(1, 3), dtype=np.float64)
    shrunk: NDArray[Any] = (np.rint(means) if pixels.dtype.kind in "iu" else means).astype(pixels.dtype)
    return shrunk


def _metadata(slide: Slide, pixel_um: float | None) -> dict[str, Any]:
    size = slide.pixel_um if pixel_um is None else pixel_um
    found: dict[str, Any] = {"axes": "CYX", "Name": slide.name, "Channel": {"Name": list(slide.markers)}}
    if size is not None:
        found |= {
            "PhysicalSizeX": size,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": size,
            "PhysicalSizeYUnit": "µm",
        }
    return found


def _resolution(slide: Slide, pixel_um: float | None) -> dict[str, Any]:
    size = slide.pixel_um if pixel_um is None else pixel_um
    return {} if size is None else {"resolution": (1e4 / size, 1e4 / size), "resolutionunit": "CENTIMETER"}


def _large(slide: Slide) -> bool:
    count, height, width = slide.shape
    return 1.4 * count * height * width * slide.dtype.itemsize > 3.5e9
