"""The label image of a result as one tiled TIFF, which any image tool opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.cells.given import LABELS, open_level
from napari_dama.errors import OutputError, SlideError
from napari_dama.export.atomic import replacing
from napari_dama.export.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TILE_PX: Final = 512
BAND_PX: Final = 1024
"""Rows read at once: those of a chunk of the result, so that each chunk is decoded once."""
CLASSIC_BYTES: Final = 2**32 - 2**26
"""Pixels beyond this need a BigTIFF, whose offsets are of 64 bits."""


def to_labels_tiff(
    result_dir: str | Path, file: str | Path, *, overwrite: bool = False, watch: Watch | None = None
) -> Path:
    """Write level 0 of the labels as a tiled, zlib-compressed TIFF; memory is that of one band of rows.

    Numbers are uint16 where they fit, else int32: QuPath reads no uint32, which is left for labels from 2^31 on.

    Parameters
    ----------
    result_dir
        What ``analyse`` left.
    file
        ``.tif`` or ``.tiff``; ``.ome.tif`` gets OME metadata.
    overwrite
        Replace a file that is there.
    watch
        Told of progress, asked whether to stop.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        There are no labels, or the file exists or cannot be written.
    """
    import tifffile

    target = Path(file)
    if target.suffix.lower() not in {".tif", ".tiff"}:
        raise OutputError(f"{target}: labels are written to .tif or .tiff.")
    source = Path(result_dir) / LABELS
    if not source.is_dir():
        raise OutputError(f"{result_dir} is no result of napari-dama: it has no {LABELS}.")
    try:
        labels = open_level(source)
        pixel_um = _pixel_um(source)
    except SlideError as error:
        raise OutputError(str(error)) from error
    if labels.ndim != 2:
        raise OutputError(f"{source} has shape {tuple(labels.shape)}; labels of (Y, X) are needed.")
    is_ome = target.name.lower().endswith((".ome.tif", ".ome.tiff"))
    sizes: dict[str, Any] = {}
    if pixel_um is not None:
        sizes = {"resolution": (1e4 / pixel_um, 1e4 / pixel_um), "resolutionunit": "CENTIMETER"}
    with replacing(target, overwrite=overwrite) as part:
        watch = watch or Watch()
        kind = _kind(labels, watch)
        tifffile.imwrite(
            part,
            _tiles(labels, kind, watch),
            shape=tuple(labels.shape),
            dtype=kind,
            tile=(TILE_PX, TILE_PX),
            compression="zlib",
            photometric="minisblack",
            bigtiff=int(np.prod(labels.shape, dtype=np.int64)) * kind.itemsize > CLASSIC_BYTES,
            metadata=_metadata(pixel_um) if is_ome else {"axes": "YX"},
            **sizes,
        )
    return target


def _kind(labels: Any, watch: Watch) -> np.dtype[Any]:
    """Smallest kind of whole numbers that holds all labels and that other tools read."""
    height = labels.shape[0]
    largest = 0
    for top in range(0, height, BAND_PX):
        watch.step(top // 2, height)
        largest = max(largest, int(np.max(labels[top : min(top + BAND_PX, height)], initial=0)))
    if largest <= np.iinfo(np.uint16).max:
        return np.dtype(np.uint16)
    return np.dtype(np.int32 if largest <= np.iinfo(np.int32).max else np.uint32)


def _tiles(labels: Any, kind: np.dtype[Any], watch: Watch) -> Iterator[NDArray[Any]]:
    """Tiles row by row, each as large as the image still reaches."""
    height, width = labels.shape
    for top in range(0, height, BAND_PX):
        watch.step((top + height) // 2, height)
        band = np.asarray(labels[top : min(top + BAND_PX, height)]).astype(kind)
        for y in range(0, len(band), TILE_PX):
            for x in range(0, width, TILE_PX):
                tile = band[y : y + TILE_PX, x : x + TILE_PX]
                yield np.pad(tile, ((0, TILE_PX - tile.shape[0]), (0, TILE_PX - tile.shape[1])))


def _metadata(pixel_um: float | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": "YX"}
    if pixel_um is not None:
        for axis in "XY":
            metadata |= {f"PhysicalSize{axis}": pixel_um, f"PhysicalSize{axis}Unit": "µm"}
    return metadata


def _pixel_um(folder: Path) -> float | None:
    """Pixel size of level 0 as the image says; None when it does not."""
    import zarr

    attributes: Any = dict(zarr.open_group(str(folder), mode="r").attrs)
    try:
        level = attributes.get("ome", attributes)["multiscales"][0]["datasets"][0]
        size = float(level["coordinateTransformations"][0]["scale"][-1])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    return size if size > 0 else None
