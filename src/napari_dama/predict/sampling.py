"""Resampling between the slide's pixels and the model's, at exact places of one global grid.

A pixel ``i`` covers ``[i, i + 1)`` of its axis, and the origins of both grids coincide. So a model pixel has
the same value whichever tile it is computed in. Interpolation is a sparse matrix per axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

AREA_ABOVE = 1.5
"""Shrinking by more than this averages over the area of a target pixel; less is bilinear."""


def axis_matrix(
    target: tuple[int, int], source: tuple[int, int], *, scale: float, size: int
) -> sparse.csr_matrix:
    """Weights that resample one axis.

    Parameters
    ----------
    target
        First and last + 1 pixel wanted, in pixels of the target grid; may lie beyond the end of the source,
        which is then mirrored.
    source
        First and last + 1 pixel at hand, in pixels of the source grid; beyond them the nearest is taken.
    scale
        Target pixels per source pixel.
    size
        Length of the whole source axis, in pixels.

    Returns
    -------
    scipy.sparse.csr_matrix
        (target length, source length) float32; each row sums to 1.
    """
    places = np.arange(target[0], target[1], dtype=np.float64)
    if scale * AREA_ABOVE < 1:
        first, last = places / scale, (places + 1) / scale
        taps = int(np.ceil(1 / scale)) + 1
        index = np.floor(first).astype(np.int64)[:, None] + np.arange(taps)
        weight = np.minimum(index + 1, last[:, None]) - np.maximum(index, first[:, None])
        weight = np.clip(weight, 0, None) * scale
    else:
        centre = (places + 0.5) / scale - 0.5
        low = np.floor(centre)
        index = low.astype(np.int64)[:, None] + np.arange(2)
        part = centre - low
        weight = np.stack([1 - part, part], axis=1)
    index %= 2 * size
    index = np.where(index >= size, 2 * size - 1 - index, index)
    index = np.clip(index - source[0], 0, source[1] - source[0] - 1)
    rows = np.repeat(np.arange(len(places)), index.shape[1])
    shape = (len(places), source[1] - source[0])
    matrix = sparse.csr_matrix((weight.ravel(), (rows, index.ravel())), shape=shape, dtype=np.float32)
    matrix.eliminate_zeros()
    return matrix


def resample(
    pixels: NDArray[np.float32], rows: sparse.csr_matrix, columns: sparse.csr_matrix
) -> NDArray[np.float32]:
    """Resample planes (C, h, w) with one matrix per axis: (C, H, W) float32."""
    out = np.empty((len(pixels), rows.shape[0], columns.shape[0]), dtype=np.float32)
    for plane, into in zip(pixels, out, strict=True):
        into[...] = (columns @ (rows @ plane).T).T
    return out


def nearest(target: tuple[int, int], source: tuple[int, int], *, scale: float) -> NDArray[np.int64]:
    """Index into the source pixels at hand under the centre of each target pixel; see `axis_matrix`."""
    places = np.arange(target[0], target[1], dtype=np.float64)
    index = np.floor((places + 0.5) / scale).astype(np.int64) - source[0]
    return np.clip(index, 0, source[1] - source[0] - 1)
