"""Pixels at another size: bilinear, with averaging over areas when shrinking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

AREA_FROM = 1.5
"""From this factor of shrinking on, areas are averaged instead of points interpolated."""


def scaled_shape(shape_yx: tuple[int, int], from_um: float, to_um: float) -> tuple[int, int]:
    """Give the shape that covers the same area with pixels of `to_um` instead of `from_um`; at least one pixel."""
    if not (from_um > 0 and to_um > 0):
        raise SettingsError(f"Pixel sizes must be above 0 um, not {from_um} and {to_um}.")
    height, width = (max(1, round(length * from_um / to_um)) for length in shape_yx)
    return height, width


def to_pixel_um(pixels: NDArray[Any], from_um: float, to_um: float) -> NDArray[np.float32]:
    """Bring (C, h, w) from one pixel size to another, in micrometres."""
    return resample_to(pixels, scaled_shape(pixels.shape[-2:], from_um, to_um))


def resample_to(
    pixels: NDArray[Any],
    out_shape: tuple[int, int],
    *,
    start: tuple[float, float] = (0.0, 0.0),
    step: tuple[float, float] | None = None,
) -> NDArray[np.float32]:
    """Sample pixels on another grid.

    Output pixel ``i`` covers ``start + i * step`` to ``start + (i + 1) * step`` of the input, where input pixel ``j``
    covers ``j`` to ``j + 1``. Beyond the input its edge is repeated. A constant image stays constant, and tiles cut from
    one image give the same values wherever they have the pixels.

    Parameters
    ----------
    pixels
        (C, h, w) or (h, w), any real dtype.
    out_shape
        ``(height, width)`` of the output.
    start
        Where output pixel (0, 0) begins, in input pixels (y, x).
    step
        Side of an output pixel in input pixels (y, x); by default the output covers the input.

    Returns
    -------
    NDArray
        (C, height, width) or (height, width) float32.
    """
    height, width = pixels.shape[-2:]
    if min(out_shape) < 1 or min(height, width) < 1:
        raise SettingsError(
            f"Cannot bring pixels of shape {pixels.shape} to {out_shape}: nothing would be left."
        )
    step_y, step_x = step if step is not None else (height / out_shape[0], width / out_shape[1])
    if not (step_y > 0 and step_x > 0):
        raise SettingsError(f"The step {(step_y, step_x)} between pixels must be above 0.")
    rows = _weights(height, out_shape[0], start[0], step_y)
    columns = _weights(width, out_shape[1], start[1], step_x)
    planes = pixels.reshape(-1, height, width)
    out = np.empty((len(planes), *out_shape), np.float32)
    for i, plane in enumerate(planes):
        values = plane.astype(np.float32, copy=False)
        if rows is not None:
            values = rows @ values
        if columns is not None:
            values = (columns @ np.ascontiguousarray(values.T)).T
        out[i] = values
    return out.reshape((*pixels.shape[:-2], *out_shape))


def _weights(length: int, count: int, start: float, step: float) -> Any:
    """Give a sparse (count, length) matrix of weights, rows summing to 1; None where nothing changes."""
    if count == length and step == 1.0 and start == 0.0:
        return None
    left = start + np.arange(count, dtype=np.float64) * step
    if step > AREA_FROM:
        index, weight = _area(left, step)
    else:
        index, weight = _linear(left + 0.5 * step - 0.5)
    index = np.clip(index, 0, length - 1)
    row = np.repeat(np.arange(count), index.shape[1])
    return sparse.csr_matrix(
        (weight.astype(np.float32).reshape(-1), (row, index.reshape(-1))), shape=(count, length)
    )


def _linear(centre: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Weights of the two pixels around each centre."""
    below = np.floor(centre)
    part = centre - below
    index = below.astype(np.intp)[:, None] + np.arange(2)
    return index, np.stack([1.0 - part, part], axis=1)


def _area(left: NDArray[np.float64], step: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Weights of all pixels under each output pixel, by the part that is covered."""
    first = np.floor(left).astype(np.intp)
    index = first[:, None] + np.arange(int(np.ceil(step)) + 1)
    covered = np.minimum(index + 1.0, (left + step)[:, None]) - np.maximum(index, left[:, None])
    weight = np.clip(covered, 0.0, None)
    return index, weight / weight.sum(axis=1, keepdims=True)
