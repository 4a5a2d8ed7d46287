"""Overlaps of masks or of bounding boxes, and COCO's greedy matching of detections with them.

COCO's own code wants the overlap of every detection with every object of an image. Here only the pairs that overlap are
kept, so that a slide of 50 000 cells is matched at any IoU, 0.1 too, in memory that grows with the cells and not with
their square. The result is COCO's; the tests hold it against faster_coco_eval on whole images.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.spatial import cKDTree

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.evaluate.match import IouTable

RECALLS: Final = np.linspace(0, 1, 101)
"""Recalls at which COCO reads precision."""
_ALMOST_ONE: Final = 1 - 1e-10


@dataclass(frozen=True)
class Pairs:
    """True and predicted cells of one image that overlap.

    Attributes
    ----------
    truth, pred : (k,) int64
        Positions of the cells; ordered by ``pred``, then ``truth``.
    iou : (k,) float64
        Intersection over union of each pair.
    n_truth, n_pred : int
        Cells in all.
    """

    truth: NDArray[np.int64]
    pred: NDArray[np.int64]
    iou: NDArray[np.float64]
    n_truth: int
    n_pred: int

    def only(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Keep the chosen pairs (k,); positions of cells stay as they are."""
        return Pairs(self.truth[chosen], self.pred[chosen], self.iou[chosen], self.n_truth, self.n_pred)

    def best_iou(self) -> NDArray[np.float64]:
        """Largest overlap of every predicted cell, (n_pred,); 0 without one."""
        best = np.zeros(self.n_pred)
        np.maximum.at(best, self.pred, self.iou)
        return best


def mask_pairs(table: IouTable, lowest: float) -> Pairs:
    """Pairs of cells whose masks have an IoU of ``lowest`` or more."""
    near = table.iou >= lowest - 1e-9
    return _ordered(table, table.truth_index[near], table.pred_index[near], table.iou[near])


def box_pairs(table: IouTable, lowest: float) -> Pairs:
    """Pairs of cells whose bounding boxes have an IoU of ``lowest`` (above 0) or more.

    Areas of such boxes differ at most by a factor of ``1 / lowest``, so that boxes are sorted into classes of area, and look
    for partners in their own and in neighbouring classes only: one label that lies scattered over the slide, whose box
    holds every cell, does no harm. Centres of boxes that overlap are no farther apart than the longer of their diagonals.
    """
    if not 0 < lowest <= 1:
        raise SettingsError(f"The lowest IoU of a pair of boxes is above 0 and at most 1, not {lowest}.")
    a, b = table.truth.boxes.astype(float), table.pred.boxes.astype(float)
    class_a, class_b = _classes(a, lowest), _classes(b, lowest)
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for one in np.unique(class_a):
        in_a = np.flatnonzero(class_a == one)
        for other in (one - 1, one, one + 1):
            in_b = np.flatnonzero(class_b == other)
            if len(in_b):
                t, p = _near(a[in_a], b[in_b])
                t, p = in_a[t], in_b[p]
                iou = _box_iou(a[t], b[p])
                near = iou >= lowest - 1e-9
                found.append((t[near], p[near], iou[near]))
    truth, pred, ious = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _ordered(table, truth, pred, ious)


def _classes(boxes: NDArray[np.float64], lowest: float) -> NDArray[np.int64]:
    """Class of area of each box: those whose areas differ by less than ``1 / lowest`` lie in neighbouring ones at most."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    step = max(np.log(1 / lowest), np.log(2))
    return np.asarray(np.floor(np.log(areas) / step + 1e-9), np.int64)


def _near(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of boxes, each once, whose centres lie within the longer of their diagonals."""
    t, p = _within(a, b)
    q, s = _within(b, a)
    pairs = np.unique(np.concatenate([t * len(b) + p, s * len(b) + q]))
    return pairs // len(b), pairs % len(b)


def _box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU (k,) of boxes (k, 4) with boxes (k, 4)."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    overlap = np.clip(sides, 0, None).prod(axis=1)
    areas = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1)
    return np.asarray(overlap / (areas - overlap))


def _within(boxes: NDArray[Any], others: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each box the others whose centres lie within its diagonal."""
    size = boxes[:, 2:] - boxes[:, :2]
    found = cKDTree((others[:, :2] + others[:, 2:]) / 2).query_ball_point(
        (boxes[:, :2] + boxes[:, 2:]) / 2, np.hypot(size[:, 0], size[:, 1]) + 1e-6
    )
    counts = [len(f) for f in found]
    one = np.repeat(np.arange(len(boxes)), counts)
    return one, np.fromiter(chain.from_iterable(found), np.int64, sum(counts))


def _ordered(table: IouTable, t: NDArray[np.int64], p: NDArray[np.int64], iou: NDArray[np.float64]) -> Pairs:
    order = np.lexsort((t, p))
    return Pairs(t[order], p[order], iou[order], len(table.truth), len(table.pred))


def match_by_score(
    pairs: Pairs, order: NDArray[np.int64], iou: float, ignored: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Match detections with true cells as COCO does: the best score chooses first.

    Each detection takes, of the true cells that are still free and overlap it by ``iou`` or more, the one that it overlaps
    most (of equals the last). Cells to be ignored are taken only where no other cell can be.

    Parameters
    ----------
    pairs
        Overlaps; a pair that is not in it cannot match.
    order
        (k,) positions of the detections that take part, best first.
    iou
        Least overlap of a match, above 0.
    ignored
        (n_truth,) true cells that are neither to be found nor to be missed.

    Returns
    -------
    (n_pred,) int64
        Position of the true cell that each detection took; -1 for none.
    """
    least = min(iou, _ALMOST_ONE)
    near = pairs.only(pairs.iou >= least)
    begin = np.searchsorted(near.pred, np.arange(pairs.n_pred + 1)).tolist()
    truth, overlap = near.truth.tolist(), near.iou.tolist()
    second = [False] * pairs.n_truth if ignored is None else ignored.tolist()
    free = [True] * pairs.n_truth
    taken = np.full(pairs.n_pred, -1, np.int64)
    for detection in order.tolist():
        chosen, best = -1, least
        for i in range(begin[detection], begin[detection + 1]):
            cell = truth[i]
            if not free[cell]:
                continue
            if chosen >= 0 and second[cell] != second[chosen]:
                better = second[chosen]  # one that counts beats one to be ignored, whatever their overlaps
            else:
                better = overlap[i] >= best
            if better:
                chosen, best = cell, overlap[i]
        if chosen >= 0:
            free[chosen] = False
            taken[detection] = chosen
    return taken


def precision_at_recalls(
    hit: NDArray[np.bool_], n_truth: int, *, one_point: bool = False
) -> NDArray[np.float64]:
    """Precision at the 101 recalls of COCO.

    Parameters
    ----------
    hit
        (n,) whether each detection found a cell, best score first.
    n_truth
        Cells to be found, above 0.
    one_point
        All detections count alike: the curve knows only the recall and the precision of all of them together.

    Returns
    -------
    (101,) float64
        The best precision at this recall or more; 0 where the recall is not reached.
    """
    hits = np.cumsum(hit, dtype=np.float64)
    recall = hits / n_truth
    precision = hits / np.arange(1, len(hits) + 1)
    if one_point:
        recall, precision = recall[-1:], precision[-1:]
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, RECALLS, side="left")
    return np.append(precision, 0.0)[place]
