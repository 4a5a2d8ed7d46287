"""Coarse grids: what is smooth is computed on fewer points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F4 = NDArray[np.float32]


def enlarge(small: F4, shape: tuple[int, int], factor: float) -> F4:
    """Bilinear interpolation of a coarse grid to ``shape``."""
    grid = small
    for axis in (0, 1):
        at = np.clip((np.arange(shape[axis]) + 0.5) / factor - 0.5, 0, small.shape[axis] - 1)
        low = np.minimum(at.astype(np.int64), max(small.shape[axis] - 2, 0))
        high = np.minimum(low + 1, small.shape[axis] - 1)
        share = (at - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share[None, :]
        first, second = np.take(grid, low, axis=axis), np.take(grid, high, axis=axis)
        second -= first
        second *= share
        first += second
        grid = first
    return grid
