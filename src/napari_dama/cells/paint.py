"""From boxes with masks to a label image: painted best first, none over another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_dama.cells.instances import distance_target

if TYPE_CHECKING:
    from numpy.typing import NDArray


def paint_instances(
    boxes: NDArray[np.floating],
    masks: NDArray[np.floating],
    scores: NDArray[np.floating],
    shape: tuple[int, int],
    *,
    threshold: float = 0.5,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels of detections: each takes the free pixels of its mask, the best score first.

    A detection of whose pixels more than half are taken is a second one of the same cell and is dropped; of one that is
    cut by others the largest piece stays, unless that is less than half of it.

    Parameters
    ----------
    boxes
        (n, 4): ``x0, y0, x1, y1`` in pixels, half open.
    masks
        (n, M, M) in 0..1 over the boxes.
    scores
        (n,).
    shape
        (H, W) of the image.
    threshold
        A pixel belongs to the cell above it.

    Returns
    -------
    labels, kept
        (H, W) int32 with labels 1..k; (k,) the detection that each of them is.
    """
    labels = np.zeros(shape, np.int32)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        box = boxes[index]
        rows, columns = (
            _samples(box[axis], box[axis + 2], masks.shape[1], shape[1 - axis]) for axis in (1, 0)
        )
        if not len(rows[0]) or not len(columns[0]):
            continue
        inside = _sampled(masks[index], rows, columns) > threshold
        window = labels[rows[0][0] : rows[0][-1] + 1, columns[0][0] : columns[0][-1] + 1]
        free = inside & (window == 0)
        area, left = int(inside.sum()), int(free.sum())
        if not area or 2 * left < area:
            continue
        if left < area:
            free = _largest_piece(free)
            if 2 * int(free.sum()) < area:
                continue
        kept.append(int(index))
        window[free] = len(kept)
    return labels, np.array(kept, np.int64)


def _samples(
    begin: float, end: float, cells: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pixels whose centre lies in ``begin..end``, and between which two cells of a mask each of them lies.

    Torchvision makes the masks that are learned by RoIAlign without its half-pixel correction, so that a pixel of index k
    was read at the coordinate k. It is put back from where it was read; pasted as torchvision does it, a cell lies half a
    pixel off.
    """
    first, last = max(0, int(np.ceil(begin - 0.5))), min(size, int(np.ceil(end - 0.5)))
    pixels = np.arange(first, max(first, last))
    place = np.clip((pixels - begin) / max(end - begin, 1e-6) * cells - 0.5, 0, cells - 1)
    low = np.minimum(place.astype(np.int64), cells - 2)
    return pixels, low, place - low


def _sampled(
    mask: NDArray[np.floating],
    rows: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
    columns: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
) -> NDArray[np.floating]:
    """Bilinear values (h, w) of a mask (M, M) at the places of rows and columns."""
    _, low, share = rows
    lines = mask[low] * (1 - share)[:, None] + mask[low + 1] * share[:, None]
    _, low, share = columns
    values: NDArray[np.floating] = lines[:, low] * (1 - share) + lines[:, low + 1] * share
    return values


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    largest: NDArray[np.bool_] = pieces == int(np.argmax(np.bincount(pieces.ravel())[1:])) + 1
    return largest


def instance_maps(labels: NDArray[np.int32], scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """The two maps from which `napari_dama.cells.instances.instances_from_maps` finds the same cells again.

    Parameters
    ----------
    labels
        (H, W), 1..n.
    scores
        (n,); what counts as foreground is above 0.5, so lower scores are lifted to just above it.

    Returns
    -------
    NDArray
        (2, H, W) float32: each cell's score, and the distance to its own edge, divided by its largest.
    """
    lifted = np.concatenate([[0.0], np.clip(scores, 0.51, 1.0)]).astype(np.float32)
    return np.stack([lifted[labels], distance_target(labels)])
