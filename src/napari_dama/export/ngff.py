"""Multiscale images and labels in zarr groups, as OME-NGFF 0.4 (zarr 2) and 0.5 (zarr 3) have them.

Written with zarr itself, band by band: ome-zarr's own writer changed its arguments between the versions that are in use,
and takes whole pyramids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CHUNK: Final = 1024
Reduce = Literal["mean", "pick"]


def new_group(path: Path) -> Any:
    """Make an empty group of OME-NGFF 0.4; the folder must not exist."""
    import zarr

    return zarr.open_group(str(path), mode="w-", zarr_format=2)


def metadata(group: Any) -> dict[str, Any]:
    """OME metadata of a group, whichever version it is of."""
    attributes = dict(group.attrs)
    inner = attributes.get("ome")
    return dict(inner) if isinstance(inner, dict) else attributes


def add_metadata(group: Any, entries: Mapping[str, Any]) -> None:
    """Add OME metadata to a group where its version wants it."""
    if group.metadata.zarr_format == 3:
        group.attrs["ome"] = {**metadata(group), "version": "0.5", **entries}
    else:
        group.attrs.update(dict(entries))


def write_pyramid(
    group: Any,
    read: Callable[[slice, slice], NDArray[Any]],
    shape: tuple[int, ...],
    dtype: Any,
    *,
    pixel_um: float,
    name: str,
    reduce: Reduce,
    step: Callable[[int, int], None],
) -> None:
    """Write all levels of an image and the metadata of their scales.

    Parameters
    ----------
    group
        Where to; it must be empty.
    read
        Pixels (..., h, w) for slices of rows and columns of level 0.
    shape
        (..., Y, X) of level 0.
    dtype
        Of all levels.
    pixel_um
        Side of a level-0 pixel.
    name
        Of the image.
    reduce
        How four pixels become one: their mean, or the first of them (labels).
    step
        Told of (done, total) bands.
    """
    shapes = [shape]
    while max(shapes[-1][-2:]) > CHUNK:
        shapes.append((*shape[:-2], (shapes[-1][-2] + 1) // 2, (shapes[-1][-1] + 1) // 2))
    bands = [(level, y) for level, size in enumerate(shapes) for y in range(0, size[-2], CHUNK)]
    arrays = [_new_array(group, str(level), size, dtype) for level, size in enumerate(shapes)]
    for done, (level, y) in enumerate(bands):
        step(done, len(bands))
        array = arrays[level]
        height, width = shapes[level][-2:]
        y1 = min(y + CHUNK, height)
        for x in range(0, width, CHUNK):
            x1 = min(x + CHUNK, width)
            if level == 0:
                pixels = read(slice(y, y1), slice(x, x1))
            else:
                finer = np.asarray(arrays[level - 1][..., 2 * y : 2 * y1, 2 * x : 2 * x1])
                pixels = _halved(finer, reduce)
            array[..., y:y1, x:x1] = pixels
    step(len(bands), len(bands))
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    lead = len(shape) - 2
    if lead:
        axes.insert(0, {"name": "c", "type": "channel"})
    multiscale: dict[str, Any] = {
        "name": name,
        "axes": axes,
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0] * lead + [pixel_um * 2**level] * 2}
                ],
            }
            for level in range(len(shapes))
        ],
        "type": "mean of four pixels" if reduce == "mean" else "every second pixel",
    }
    if group.metadata.zarr_format == 2:
        multiscale["version"] = "0.4"
    add_metadata(group, {"multiscales": [multiscale]})


def _new_array(group: Any, path: str, shape: tuple[int, ...], dtype: Any) -> Any:
    chunks = (*(1 for _ in shape[:-2]), min(CHUNK, shape[-2]), min(CHUNK, shape[-1]))
    common: dict[str, Any] = {"shape": shape, "chunks": chunks, "dtype": np.dtype(dtype), "fill_value": 0}
    if group.metadata.zarr_format == 2:
        from numcodecs import Blosc  # type: ignore[import-untyped]

        common["compressors"] = Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE)
        common["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    return group.create_array(path, **common)


def _halved(pixels: NDArray[Any], reduce: Reduce) -> NDArray[Any]:
    """Half the size (rounded up) in the last two axes."""
    if reduce == "pick":
        return pixels[..., ::2, ::2]
    height, width = pixels.shape[-2:]
    ends = [(0, 0)] * (pixels.ndim - 2) + [(0, height % 2), (0, width % 2)]
    padded = np.pad(pixels, ends, mode="edge")
    four = padded.reshape(*pixels.shape[:-2], padded.shape[-2] // 2, 2, padded.shape[-1] // 2, 2)
    mean: NDArray[Any] = four.mean(axis=(-3, -1), dtype=np.float64)
    whole: NDArray[Any] = np.rint(mean) if pixels.dtype.kind in "ui" else mean
    return whole.astype(pixels.dtype)
