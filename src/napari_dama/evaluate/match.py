"""Which cell of one label image is which of another: overlaps of all pairs, in one pass over the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.cells.given import LabelSource, open_labels
from napari_dama.errors import SlideError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.cells.given import LabelInput

STRIP_PX: Final = 1024


@dataclass(frozen=True)
class Segments:
    """The cells of one label image as runs of pixels.

    Attributes
    ----------
    ids, area : (n,) int64
        Labels, ascending, and their pixels.
    boxes : (n, 4) int64
        ``y0, x0, y1, x1`` of each, half open.
    runs : (r, 4) int64
        ``cell, row, x0, x1``, half open; ``cell`` is a position in ``ids``; ordered by cell, row and x0.
    """

    ids: NDArray[np.int64]
    area: NDArray[np.int64]
    boxes: NDArray[np.int64]
    runs: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class IouTable:
    """Overlaps of two label images; pairs that do not overlap are not in it.

    Attributes
    ----------
    truth, pred : Segments
        The cells of either image.
    truth_index, pred_index : (k,) int64
        Pairs, as positions in ``truth.ids`` and ``pred.ids``.
    iou : (k,) float64
        Intersection over union of each pair, in (0, 1].
    shape : (Y, X)
        Of both images.
    """

    truth: Segments
    pred: Segments
    truth_index: NDArray[np.int64]
    pred_index: NDArray[np.int64]
    iou: NDArray[np.float64]
    shape: tuple[int, int]

    def matches(self, iou: float = 0.5) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Pair cells one to one, the best overlap first, down to ``iou`` (inclusive).

        Above 0.5 no cell can overlap two others, so that this is the only way to pair them.

        Returns
        -------
        truth_index, pred_index, iou
            (m,) each.
        """
        order = np.argsort(-self.iou, kind="stable")
        order = order[self.iou[order] >= iou]
        used_truth, used_pred = np.zeros(len(self.truth), bool), np.zeros(len(self.pred), bool)
        kept = []
        for i in order:
            t, p = self.truth_index[i], self.pred_index[i]
            if not used_truth[t] and not used_pred[p]:
                used_truth[t] = used_pred[p] = True
                kept.append(i)
        chosen = np.array(kept, np.int64)
        return self.truth_index[chosen], self.pred_index[chosen], self.iou[chosen]


def iou_table(truth: LabelInput | LabelSource, pred: LabelInput | LabelSource) -> IouTable:
    """Overlaps of all cells of two label images.

    Parameters
    ----------
    truth, pred
        Label images of one shape: files, result folders or arrays (see `napari_dama.cells.given.open_labels`).

    Raises
    ------
    SlideError
        An image cannot be read, or their shapes differ; the message names both.
    """
    one, other = _opened(truth, "truth"), _opened(pred, "prediction")
    if one.shape != other.shape:
        raise SlideError(
            f"The images cannot be compared: {one.name} is {one.shape} and {other.name} is {other.shape} (Y, X)."
        )
    truth_runs, pred_runs, pairs, counts = [], [], [], []
    for y0 in range(0, one.shape[0], STRIP_PX):
        y1 = min(y0 + STRIP_PX, one.shape[0])
        a, b = one.read(y0, y1), other.read(y0, y1)
        truth_runs.append(_runs(a, y0))
        pred_runs.append(_runs(b, y0))
        both = (a > 0) & (b > 0)
        pair, count = _count_pairs(a[both].astype(np.int64), b[both].astype(np.int64))
        pairs.append(pair)
        counts.append(count)
    true_cells, pred_cells = _segments(truth_runs), _segments(pred_runs)
    pair = np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
    count = np.concatenate(counts) if counts else np.zeros(0, np.int64)
    distinct, where = np.unique(pair, axis=0, return_inverse=True)
    overlap = np.bincount(where.reshape(-1), count, minlength=len(distinct))
    t = np.searchsorted(true_cells.ids, distinct[:, 0])
    p = np.searchsorted(pred_cells.ids, distinct[:, 1])
    iou = overlap / (true_cells.area[t] + pred_cells.area[p] - overlap)
    return IouTable(true_cells, pred_cells, t, p, iou, one.shape)


def _opened(source: LabelInput | LabelSource, what: str) -> LabelSource:
    if isinstance(source, LabelSource):
        return source
    opened = open_labels(source)
    if not isinstance(source, str | Path):
        opened.name = f"the {what}"
    return opened


def _runs(labels: NDArray[Any], y0: int) -> NDArray[np.int64]:
    """Runs (r, 4) ``label, row, x0, x1`` of a strip (h, X) that begins at row ``y0``."""
    height, width = labels.shape
    if not width:
        return np.zeros((0, 4), np.int64)
    begins = np.ones((height, width), bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
    start = np.flatnonzero(begins)
    end = np.append(start[1:], height * width)
    label = labels.reshape(-1)[start]
    cells = label > 0
    start, end, label = start[cells], end[cells], label[cells]
    row = start // width
    x0 = start - row * width
    return np.stack([label.astype(np.int64), row + y0, x0, x0 + end - start], axis=1)


def _segments(strips: list[NDArray[np.int64]]) -> Segments:
    """Put the runs of all strips together by cell."""
    runs = np.concatenate(strips) if strips else np.zeros((0, 4), np.int64)
    ids, cell = np.unique(runs[:, 0], return_inverse=True)
    runs = np.column_stack([cell, runs[:, 1:]])
    runs = runs[np.argsort(cell, kind="stable")]  # strips and rows are in order already
    n = len(ids)
    area = np.bincount(runs[:, 0], runs[:, 3] - runs[:, 2], minlength=n).astype(np.int64)
    boxes = np.zeros((n, 4), np.int64)
    if n:
        first = np.searchsorted(runs[:, 0], np.arange(n))
        boxes[:, 0] = np.minimum.reduceat(runs[:, 1], first)
        boxes[:, 1] = np.minimum.reduceat(runs[:, 2], first)
        boxes[:, 2] = np.maximum.reduceat(runs[:, 1], first) + 1
        boxes[:, 3] = np.maximum.reduceat(runs[:, 3], first)
    return Segments(ids, area, boxes, runs)


def _count_pairs(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct pairs (k, 2) of labels and how many pixels have both (k,)."""
    if not a.size:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
    top = (
        int(b.max()) + 1
    )  # labels are below 2**32, so that their product fits into 63 bits but for freak cases
    if int(a.max()) * top >= 2**62:
        pairs, counts = np.unique(np.stack([a, b], axis=1), axis=0, return_counts=True)
        return pairs, counts
    keys, counts = np.unique(a * top + b, return_counts=True)
    return np.stack([keys // top, keys % top], axis=1), counts
