"""COCO average precision of cells, for images of any size.

The numbers are those of faster_coco_eval on the whole image. COCO compares every detection with every object of an
image, which for 50 000 cells is more memory than a machine has. But only pairs with an IoU of 0.5 or more can match, so
the cells are parted into groups that no such pair connects, each group is given as an image of its own, and
nothing changes: COCO pools the detections of all images by score before it draws a curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_dama.evaluate.match import IouTable, Segments

IOUS: Final = np.linspace(0.5, 0.95, 10)
RECALLS: Final = np.linspace(0, 1, 101)
LOWEST_IOU: Final = 0.5
_GROUP_CELLS: Final = 256


@dataclass(frozen=True)
class Precision:
    """Average precision and its curves.

    Attributes
    ----------
    mean, at_50, at_75 : float
        AP averaged over IoU 0.50 to 0.95, AP at 0.50 and at 0.75; NaN when there is no truth.
    curves : (10, 101) float64
        Precision per IoU of `IOUS` and recall of `RECALLS`.
    """

    mean: float
    at_50: float
    at_75: float
    curves: NDArray[np.float64]


def average_precision(
    tables: Sequence[IouTable], scores: Sequence[NDArray[np.float64]], *, boxes: bool = False
) -> Precision:
    """COCO AP over the cells of one or more images.

    Parameters
    ----------
    tables
        Overlaps, one per image.
    scores
        Confidence of each predicted cell, (n_pred,) per image. Among equal scores the order of labels counts.
    boxes
        Compare bounding boxes instead of masks.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    images: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    pred: list[dict[str, Any]] = []
    for table, score in zip(tables, scores, strict=True):
        for true_cells, pred_cells in _groups(table, boxes=boxes):
            _add_image(images, truth, pred, table, score, true_cells, pred_cells)
    nothing = np.full((len(IOUS), len(RECALLS)), np.nan)
    if not truth:
        return Precision(float("nan"), float("nan"), float("nan"), nothing)
    if not pred:
        return Precision(0.0, 0.0, 0.0, np.zeros_like(nothing))
    categories = [{"id": 1, "name": "cell"}]
    pred.sort(key=lambda one: -one["score"])
    evaluation = COCOeval_faster(
        COCO({"images": images, "annotations": truth, "categories": categories}),
        COCO({"images": images, "annotations": pred, "categories": categories}),
        "bbox" if boxes else "segm",
        print_function=_silent,
    )
    evaluation.params.iouThrs = IOUS
    evaluation.params.maxDets = [len(pred)]  # COCO's 100 per image would leave out most cells
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    curves = np.asarray(evaluation.eval["precision"])[:, :, 0, 0, -1].astype(np.float64)
    at = curves.mean(axis=1)
    return Precision(float(at.mean()), float(at[0]), float(at[5]), curves)


def _silent(*_: Any) -> None:
    """Print nothing."""


def _groups(table: IouTable, *, boxes: bool) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Part the cells into groups (truth positions, pred positions) that no pair of IoU >= 0.5 connects."""
    n, m = len(table.truth), len(table.pred)
    if not n + m:
        return []
    if boxes:
        t, p = _box_pairs(table.truth, table.pred)
    else:
        near = table.iou >= LOWEST_IOU - 1e-9
        t, p = table.truth_index[near], table.pred_index[near]
    graph = coo_matrix((np.ones(len(t), bool), (t, n + p)), shape=(n + m, n + m))
    count, component = connected_components(graph, directed=False)
    # Components in the order of their first row, so that those of a group lie close together.
    top = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(top, component, np.concatenate([table.truth.boxes[:, 0], table.pred.boxes[:, 0]]))
    place = np.empty(count, np.int64)
    order = np.argsort(top, kind="stable")
    sizes = np.bincount(component, minlength=count)[order]
    place[order] = (np.cumsum(sizes) - sizes) // _GROUP_CELLS
    group = place[component]
    by_truth = np.split(
        np.argsort(group[:n], kind="stable"),
        np.cumsum(np.bincount(group[:n], minlength=group.max() + 1))[:-1],
    )
    by_pred = np.split(
        np.argsort(group[n:], kind="stable"),
        np.cumsum(np.bincount(group[n:], minlength=group.max() + 1))[:-1],
    )
    return [(a, b) for a, b in zip(by_truth, by_pred, strict=True) if len(a) + len(b)]


def _box_pairs(truth: Segments, pred: Segments) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of cells whose boxes may have an IoU of 0.5 or more.

    Two such boxes differ at most by a factor of two per side, and the centre of one lies within the other.
    """
    if not len(truth) or not len(pred):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    a, b = truth.boxes.astype(float), pred.boxes.astype(float)
    size = a[:, 2:] - a[:, :2]
    found = cKDTree((b[:, :2] + b[:, 2:]) / 2).query_ball_point(
        (a[:, :2] + a[:, 2:]) / 2, np.hypot(size[:, 0], size[:, 1]) / 2 + 1e-6
    )
    t = np.repeat(np.arange(len(a)), [len(f) for f in found])
    p = np.array([i for f in found for i in f], np.int64)
    sides = np.minimum(a[t, 2:], b[p, 2:]) - np.maximum(a[t, :2], b[p, :2])
    overlap = np.clip(sides, 0, None).prod(axis=1)
    union = size[t].prod(axis=1) + (b[p, 2:] - b[p, :2]).prod(axis=1) - overlap
    near = overlap >= (LOWEST_IOU - 1e-9) * union
    return t[near], p[near]


def _add_image(
    images: list[dict[str, Any]],
    truth: list[dict[str, Any]],
    pred: list[dict[str, Any]],
    table: IouTable,
    score: NDArray[np.float64],
    true_cells: NDArray[np.int64],
    pred_cells: NDArray[np.int64],
) -> None:
    """Append one group of cells as an image of its own, and its annotations.

    Run lengths of COCO go down the columns; ours go along the rows, so the image is given transposed.
    """
    tops = [s.boxes[c, 0].min() for s, c in ((table.truth, true_cells), (table.pred, pred_cells)) if len(c)]
    ends = [s.boxes[c, 2].max() for s, c in ((table.truth, true_cells), (table.pred, pred_cells)) if len(c)]
    top, rows, width = int(min(tops)), int(max(ends) - min(tops)), table.shape[1]
    image = len(images) + 1
    images.append({"id": image, "height": width, "width": rows, "file_name": str(image)})
    for cells, chosen, listed in ((table.truth, true_cells, truth), (table.pred, pred_cells, pred)):
        first = np.searchsorted(cells.runs[:, 0], chosen)
        last = np.searchsorted(cells.runs[:, 0], chosen, side="right")
        for cell, begin, end in zip(chosen.tolist(), first.tolist(), last.tolist(), strict=True):
            y0, x0, y1, x1 = cells.boxes[cell].tolist()
            one: dict[str, Any] = {
                "id": len(listed) + 1,
                "image_id": image,
                "category_id": 1,
                "iscrowd": 0,
                "area": int(cells.area[cell]),
                "bbox": [y0 - top, x0, y1 - y0, x1 - x0],
                "segmentation": {
                    "size": [width, rows],
                    "counts": _counts(cells.runs[begin:end], top, width, rows),
                },
            }
            if listed is pred:
                one["score"] = float(score[cell])
            listed.append(one)


def _counts(runs: NDArray[np.int64], top: int, width: int, rows: int) -> list[int]:
    """Run lengths of one mask: outside, inside, outside, ... to the last pixel."""
    start = (runs[:, 1] - top) * width + runs[:, 2]
    end = start + runs[:, 3] - runs[:, 2]
    apart = start[1:] != end[:-1]  # a run that reaches the end of a row may continue on the next
    start, end = start[np.append(True, apart)], end[np.append(apart, True)]
    edges = np.column_stack([start, end]).reshape(-1)
    counts: list[int] = np.diff(edges, prepend=0, append=width * rows).tolist()
    return counts
