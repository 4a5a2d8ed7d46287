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

from napari_dama.evaluate.pairs import RECALLS, box_pairs, mask_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_dama.evaluate.match import IouTable, Segments

IOUS: Final = np.linspace(0.5, 0.95, 10)
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
    tables: Sequence[IouTable],
    scores: Sequence[NDArray[np.float64]],
    *,
    boxes: bool = False,
    kept: Sequence[NDArray[np.int64]] | None = None,
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
    kept
        Positions of the predicted cells that take part, per image; by default all do.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    images: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    pred: list[dict[str, Any]] = []
    for image, (table, score) in enumerate(zip(tables, scores, strict=True)):
        width = table.shape[1]
        taking_part = np.ones(len(table.pred), bool)
        if kept is not None:
            taking_part[:] = False
            taking_part[kept[image]] = True
        sides = (
            _Side(table.truth, None, None if boxes else _Masks(table.truth, width), truth),
            _Side(table.pred, score, None if boxes else _Masks(table.pred, width), pred),
        )
        for true_cells, predicted in _groups(table, boxes=boxes):
            chosen = predicted[taking_part[predicted]]
            if len(true_cells) + len(chosen):
                _add_image(images, sides, (true_cells, chosen), width)
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
    pairs = box_pairs(table, LOWEST_IOU) if boxes else mask_pairs(table, LOWEST_IOU)
    ends = (pairs.truth, n + pairs.pred)
    graph = coo_matrix((np.ones(len(pairs.iou), bool), ends), shape=(n + m, n + m))
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


def _add_image(
    images: list[dict[str, Any]],
    sides: tuple[_Side, _Side],
    chosen: tuple[NDArray[np.int64], NDArray[np.int64]],
    width: int,
) -> None:
    """Append one group of cells as an image of its own, and its annotations.

    Run lengths of COCO go down the columns; ours go along the rows, so the image is given transposed.
    """
    boxes = np.concatenate([side.cells.boxes[cells] for side, cells in zip(sides, chosen, strict=True)])
    top, rows = int(boxes[:, 0].min()), int(boxes[:, 2].max() - boxes[:, 0].min())
    image = len(images) + 1
    images.append({"id": image, "height": width, "width": rows, "file_name": str(image)})
    for side, cells in zip(sides, chosen, strict=True):
        for cell in cells.tolist():
            y0, x0, y1, x1 = side.cells.boxes[cell].tolist()
            one: dict[str, Any] = {
                "id": len(side.annotations) + 1,
                "image_id": image,
                "category_id": 1,
                "iscrowd": 0,
                "area": int(side.cells.area[cell]),
                "bbox": [y0 - top, x0, y1 - y0, x1 - x0],
            }
            if side.masks is not None:
                counts = side.masks.counts(cell, top * width, rows * width)
                one["segmentation"] = {"size": [width, rows], "counts": counts}
            if side.scores is not None:
                one["score"] = float(side.scores[cell])
            side.annotations.append(one)


@dataclass(frozen=True)
class _Side:
    """The cells of truth or of prediction, and where their annotations go."""

    cells: Segments
    scores: NDArray[np.float64] | None
    masks: _Masks | None
    annotations: list[dict[str, Any]]


class _Masks:
    """Run lengths of all cells of an image, computed at once."""

    def __init__(self, cells: Segments, width: int) -> None:
        cell, row, x0, x1 = cells.runs.T
        start, end = row * width + x0, row * width + x1
        apart = (start[1:] != end[:-1]) | (cell[1:] != cell[:-1])  # a run may continue on the next row
        first, last = np.append(True, apart), np.append(apart, True)
        if not len(cell):
            first = last = np.zeros(0, bool)
        self._edges = np.column_stack([start[first], end[last]]).reshape(-1)
        self._steps = np.diff(self._edges)
        self._begin = 2 * np.searchsorted(cell[first], np.arange(len(cells) + 1))

    def counts(self, cell: int, offset: int, size: int) -> list[int]:
        """Outside, inside, outside, ... of one cell, from pixel ``offset`` on, over ``size`` pixels."""
        begin, end = self._begin[cell], self._begin[cell + 1]
        inside: list[int] = self._steps[begin : end - 1].tolist()
        return [int(self._edges[begin]) - offset, *inside, offset + size - int(self._edges[end - 1])]
