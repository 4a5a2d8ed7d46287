"""The label image of a result: OME-Zarr 0.4, written region by region, with a pyramid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_dama.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_dama.slides.region import Region

CHUNK = 1024


class LabelImage:
    """Multiscale instance labels (Y, X) uint32 in a folder; 0 is background.

    Level ``k`` holds every ``2**k``-th pixel of level 0, so a label is never invented by averaging. Chunks
    that hold no cell are not written.
    """

    def __init__(self, path: Path, levels: list[Any]) -> None:
        self.path = path
        self.levels = levels

    @property
    def shape(self) -> tuple[int, int]:
        """Size of level 0, (Y, X)."""
        height, width = self.levels[0].shape
        return int(height), int(width)

    @classmethod
    def create(cls, path: Path, shape_yx: tuple[int, int], *, pixel_um: float, name: str) -> LabelImage:
        """Make an empty image of all levels; the folder must not exist."""
        import zarr
        from numcodecs import Blosc  # type: ignore[import-untyped]

        group: Any = zarr.open_group(str(path), mode="w-", zarr_format=2)
        levels: list[Any] = []
        shape, datasets = shape_yx, []
        while True:
            factor = 2 ** len(levels)
            chunks = (min(CHUNK, shape[0]), min(CHUNK, shape[1]))
            level = group.create_array(
                str(len(levels)),
                shape=shape,
                chunks=chunks,
                dtype="uint32",
                fill_value=0,
                compressors=Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE),
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
            levels.append(level)
            scale = [pixel_um * factor] * 2
            datasets.append(
                {"path": level.basename, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
            )
            if max(shape) <= CHUNK:
                break
            shape = ((shape[0] + 1) // 2, (shape[1] + 1) // 2)
        axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
        multiscale = {
            "version": "0.4", "name": name, "axes": axes, "datasets": datasets, "type": "every second pixel"
        }  # fmt: skip
        group.attrs.update({"multiscales": [multiscale], "image-label": {"version": "0.4"}})
        return cls(path, levels)

    @classmethod
    def open(cls, path: Path, *, mode: Literal["r", "r+"] = "r+") -> LabelImage:
        """Open an image written by `create`.

        Raises
        ------
        OutputError
            The folder is not such an image.
        """
        import zarr

        try:
            group: Any = zarr.open_group(str(path), mode=mode)
            datasets = dict(group.attrs)["multiscales"][0]["datasets"]
            levels = [group[entry["path"]] for entry in datasets]
        except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
            raise OutputError(f"{path} is no label image of napari-dama, or is damaged: {error}") from error
        return cls(path, levels)

    def read(self, region: Region, *, level: int = 0) -> NDArray[np.uint32]:
        """Labels (h, w) of a region in pixels of that level."""
        return np.asarray(self.levels[level][region.y0 : region.y1, region.x0 : region.x1], dtype=np.uint32)

    def write(self, region: Region, labels: NDArray[np.uint32]) -> None:
        """Replace the labels of a region of level 0."""
        self.levels[0][region.y0 : region.y1, region.x0 : region.x1] = labels

    def build_pyramid(self, region: Region, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Fill the coarser levels where a region of level 0 was written; empty chunks are passed over."""
        blocks = [
            (level, y, x)
            for level in range(1, len(self.levels))
            for y in range(0, self.levels[level].shape[0], CHUNK)
            for x in range(0, self.levels[level].shape[1], CHUNK)
            if _touches(region, y, x, CHUNK, 2**level)
        ]
        for done, (level, y, x) in enumerate(blocks):
            if progress is not None:
                progress(done, len(blocks))
            rows, columns = self.levels[level].shape
            y1, x1 = min(y + CHUNK, rows), min(x + CHUNK, columns)
            if not self._written(level - 1, y, x):
                continue
            finer = self.levels[level - 1]
            self.levels[level][y:y1, x:x1] = finer[2 * y : 2 * y1, 2 * x : 2 * x1][::2, ::2]

    def _written(self, level: int, y: int, x: int) -> bool:
        """Whether any of the four chunks of a finer level that lie under a chunk's origin are on disk."""
        row, column = 2 * y // CHUNK, 2 * x // CHUNK
        folder = self.path / str(level)
        return any((folder / str(row + i) / str(column + j)).exists() for i in (0, 1) for j in (0, 1))


def _touches(region: Region, y: int, x: int, side: int, factor: int) -> bool:
    return (
        y * factor < region.y1
        and (y + side) * factor > region.y0
        and x * factor < region.x1
        and (x + side) * factor > region.x0
    )
