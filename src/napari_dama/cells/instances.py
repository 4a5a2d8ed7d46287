"""Between label images and dense maps: targets for training, and instances from predicted maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

if TYPE_CHECKING:
    from numpy.typing import NDArray


def inner_edges(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels (H, W) of cells that touch another label or background through a side."""
    edge = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge & (labels > 0)


def distance_target(labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """Distance to the cell's own edge, divided by the cell's largest: (H, W) float32, 0 outside, 1 at the centre."""
    inside = (labels > 0) & ~inner_edges(labels)
    depth = ndimage.distance_transform_edt(inside) + (labels > 0)
    top = np.zeros(int(labels.max(initial=0)) + 1, np.float32)
    np.maximum.at(top, labels.ravel(), depth.ravel().astype(np.float32))
    top[0] = 1
    share: NDArray[np.float32] = (depth / np.maximum(top, 1)[labels]).astype(np.float32)
    return share


def instances_from_maps(
    foreground: NDArray[np.floating],
    distance: NDArray[np.floating],
    *,
    pixel_um: float,
    min_area_um2: float = 8.0,
    threshold: float = 0.5,
    seed_height: float = 0.35,
    seed_spacing_um: float = 1.2,
    saddle: float = 0.09,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Cells from a foreground map and a distance map.

    Peaks of the distance map seed a watershed within the foreground; neighbours are joined again where the map dips by
    less than ``saddle`` between them, so that one long nucleus with two shallow peaks stays one cell.

    Parameters
    ----------
    foreground, distance
        (H, W) in 0..1, as `napari_dama.models.model.Model.segment_maps` gives them.
    pixel_um
        Size of a pixel, um.
    min_area_um2
        Smaller cells are dropped.
    threshold
        Foreground probability from which a pixel belongs to a cell.
    seed_height, seed_spacing_um, saddle
        Lowest peak that starts a cell, smallest spacing of peaks, and the dip that separates two cells.

    Returns
    -------
    labels, scores
        (H, W) int32 with labels 1..n; (n,) float32 in 0..1, mean foreground probability times the height of the peak.
    """
    nothing = np.zeros(foreground.shape, np.int32), np.zeros(0, np.float32)
    mask = foreground > threshold
    if not mask.any():
        return nothing
    smooth = ndimage.gaussian_filter(distance.astype(np.float32), 0.35 / pixel_um)
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        smooth,
        min_distance=max(1, round(seed_spacing_um / pixel_um)),
        threshold_abs=seed_height,
        labels=mask.astype(np.int32),
        exclude_border=False,
        p_norm=np.inf,
    )
    if len(peaks) == 0:
        return nothing
    seeds = np.zeros(mask.shape, np.int32)
    seeds[peaks[:, 0], peaks[:, 1]] = np.arange(1, len(peaks) + 1)
    labels = watershed(-smooth, seeds, mask=mask).astype(np.int32)  # type: ignore[no-untyped-call]
    heights = np.concatenate([[0], smooth[peaks[:, 0], peaks[:, 1]]]).astype(np.float32)
    labels, heights = _join_shallow(labels, smooth, heights, saddle)
    area = np.bincount(labels.ravel(), minlength=len(heights))
    keep = area >= max(min_area_um2 / pixel_um**2, 1)
    keep[0] = False
    number = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    weight = np.bincount(labels.ravel(), foreground.ravel(), minlength=len(heights))
    scores = (weight[keep] / area[keep] * np.clip(heights[keep], 0, 1)).astype(np.float32)
    return number[labels], scores


def _join_shallow(
    labels: NDArray[np.int32], surface: NDArray[np.float32], heights: NDArray[np.float32], saddle: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Join neighbouring basins whose pass lies less than ``saddle`` below the lower of their two peaks."""
    firsts, seconds, passes = [], [], []
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        a, b = labels[one], labels[other]
        touch = (a != b) & (a > 0) & (b > 0)
        firsts.append(a[touch])
        seconds.append(b[touch])
        passes.append(np.minimum(surface[one][touch], surface[other][touch]))
    first, second, height = np.concatenate(firsts), np.concatenate(seconds), np.concatenate(passes)
    low, high = np.minimum(first, second), np.maximum(first, second)
    key = low.astype(np.int64) * len(heights) + high
    pairs, where = np.unique(key, return_inverse=True)
    best = np.zeros(len(pairs), np.float32)
    np.maximum.at(best, where, height)
    low, high = pairs // len(heights), pairs % len(heights)
    join = np.minimum(heights[low], heights[high]) - best < saddle
    if not join.any():
        return labels, heights
    graph = coo_matrix((np.ones(join.sum(), bool), (low[join], high[join])), shape=(len(heights),) * 2)
    count, group = connected_components(graph, directed=False)
    # group numbers follow first members, and label 0 stands alone: it stays 0
    top = np.zeros(count, np.float32)
    np.maximum.at(top, group, heights)
    return group[labels].astype(np.int32), top
