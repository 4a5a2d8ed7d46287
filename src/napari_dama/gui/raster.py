"""Points as pixels: a hundred thousand dots drawn by numpy in milliseconds. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def disc(radius: float) -> NDArray[np.int64]:
    """Return the offsets (k, 2) (dy, dx) of the pixels of a dot."""
    reach = int(np.floor(radius))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = dy**2 + dx**2 <= radius**2 + 0.25
    return np.stack([dy[inside], dx[inside]], axis=1).astype(np.int64)


def rasterise(
    places: NDArray[np.floating[Any]],
    rgba: NDArray[np.uint8],
    shape: tuple[int, int],
    radius: float,
) -> NDArray[np.uint8]:
    """Draw dots.

    Parameters
    ----------
    places
        (n, 2): x and y in pixels; those that are not finite are left out.
    rgba
        (n, 4): colours; alpha 0 is left out, others count as opaque.
    shape
        Rows and columns of the picture.
    radius
        Of a dot, in pixels; below 1 is a single pixel.

    Returns
    -------
    (H, W, 4) uint8
        Transparent where there is no dot; of dots on one pixel the last one shows.
    """
    height, width = shape
    shown = np.isfinite(places).all(axis=1) & (rgba[:, 3] > 0)
    xy = np.floor(places[shown]).astype(np.int64)
    colours = rgba[shown].copy()
    colours[:, 3] = 255
    packed = np.ascontiguousarray(colours).view(np.uint32)[:, 0]
    reach = int(np.ceil(radius))
    near = (
        (xy[:, 0] >= -reach) & (xy[:, 0] < width + reach) & (xy[:, 1] >= -reach) & (xy[:, 1] < height + reach)
    )
    xy, packed = xy[near], packed[near]
    # a frame around the picture takes what lies beyond its edge
    framed = np.zeros((height + 4 * reach, width + 4 * reach), np.uint32)
    flat = framed.reshape(-1)
    start = (xy[:, 1] + 2 * reach) * framed.shape[1] + xy[:, 0] + 2 * reach
    steps = disc(radius) @ np.array([framed.shape[1], 1])
    flat[(start[:, None] + steps).reshape(-1)] = np.repeat(packed, len(steps))
    inner = framed[2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]
    return np.ascontiguousarray(inner).view(np.uint8).reshape(height, width, 4)


def dot_radius(count: int, side: float) -> float:
    """Return a dot's radius for a number of cells in a picture of some side, px: large for few, a speck for very many."""
    return float(np.clip(0.35 * side / np.sqrt(max(count, 1)), 0.9, 4.0))
