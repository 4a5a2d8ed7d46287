"""Thin things of simulated tissue as points with weights: branching processes, vessel walls, granules."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F8 = NDArray[np.float64]


class Points(NamedTuple):
    """Points to splat: y and x in um, and the intensity that each carries."""

    y: F8
    x: F8
    weight: F8


def join(parts: list[Points]) -> Points:
    """Concatenate sets of points."""
    empty = np.empty(0)
    return Points(*(np.concatenate([empty, *(part[i] for part in parts)]) for i in range(3)))


def branches(
    rng: np.random.Generator,
    y: F8,
    x: F8,
    angle: F8,
    length_um: F8,
    weight: F8,
    *,
    step_um: float,
    bend: float,
    taper: float,
    generations: int,
) -> Points:
    """Grow processes from roots (K,): smooth random walks that taper and branch.

    All arrays have shape (K,). ``bend`` is the angular noise per square root of a micrometre, ``taper`` the
    share of the weight that is left at the tip; each generation puts about two branches on those of the last.
    """
    parts: list[Points] = []
    for generation in range(generations + 1):
        if len(y) == 0:
            break
        steps = max(2, int(np.ceil(length_um.max() / step_um)))
        t = np.arange(steps) * step_um  # (T,)
        turn = rng.standard_normal((len(y), steps)) * (bend * np.sqrt(step_um))
        heading = angle[:, None] + np.cumsum(turn, axis=1)  # (K, T)
        ys = y[:, None] + np.cumsum(np.sin(heading), axis=1) * step_um
        xs = x[:, None] + np.cumsum(np.cos(heading), axis=1) * step_um
        along = t / length_um[:, None]
        weights = weight[:, None] * (1 - (1 - taper) * along)
        drawn = along < 1
        parts.append(Points(ys[drawn], xs[drawn], weights[drawn]))
        if generation == generations:
            break
        forks = rng.poisson(1.8, len(y))
        parent = np.repeat(np.arange(len(y)), forks)
        where = rng.uniform(0.25, 0.85, len(parent))
        at = np.minimum((where * length_um[parent] / step_um).astype(np.int64), steps - 1)
        side = np.where(rng.random(len(parent)) < 0.5, -1.0, 1.0)
        angle = heading[parent, at] + side * rng.uniform(0.4, 1.0, len(parent))
        y, x = ys[parent, at], xs[parent, at]
        length_um = length_um[parent] * (1 - where) * rng.uniform(0.6, 1.1, len(parent))
        weight = weights[parent, at] * 0.8
        length_um = np.maximum(length_um, 2 * step_um)
    return join(parts)


def splat(canvas: NDArray[np.float32], points: Points, px_per_um: float) -> None:
    """Add points to a canvas (H, W) with bilinear weights; what lies outside is left out."""
    height, width = canvas.shape
    y, x = points.y * px_per_um - 0.5, points.x * px_per_um - 0.5
    inside = (y >= 0) & (x >= 0) & (y < height - 1) & (x < width - 1)
    y, x, weight = y[inside], x[inside], points.weight[inside]
    y0, x0 = y.astype(np.int64), x.astype(np.int64)
    fy, fx = y - y0, x - x0
    start = y0 * width + x0
    index = np.concatenate([start, start + 1, start + width, start + width + 1])
    share = np.concatenate([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx]) * np.tile(weight, 4)
    canvas += (
        np.bincount(index, weights=share, minlength=canvas.size).reshape(height, width).astype(np.float32)
    )
