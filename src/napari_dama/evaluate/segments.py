"""Instance segmentation against truth: COCO AP of masks and boxes, F1, precision, recall, panoptic quality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.cells.given import open_labels, read_table, table_beside
from napari_dama.errors import SettingsError
from napari_dama.evaluate.coco import Precision, average_precision
from napari_dama.evaluate.match import iou_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_dama.cells.given import LabelInput


@dataclass(frozen=True)
class SegmentScores:
    """How well predicted cells agree with true ones; shares in 0..1, NaN where a number has no meaning.

    Attributes
    ----------
    mAP, AP50, AP75
        COCO average precision of masks: over IoU 0.50 to 0.95, at 0.50, at 0.75.
    box_mAP, box_AP50, box_AP75
        The same of bounding boxes.
    f1_50, precision_50, recall_50
        With cells paired one to one at IoU >= 0.5, whatever their scores.
    pq, sq
        Panoptic quality, and the mean IoU of the pairs in it.
    n_truth, n_pred, n_matched
        Cells, and pairs.
    max_detections
        Limit of detections per image under which AP was computed: all of them.
    scored
        Whether predictions came with scores; without, AP rests on the order of labels and says little more than F1.
    mask_curves, box_curves
        (10, 101) precision per IoU and recall.
    """

    mAP: float
    AP50: float
    AP75: float
    box_mAP: float
    box_AP50: float
    box_AP75: float
    f1_50: float
    precision_50: float
    recall_50: float
    pq: float
    sq: float
    n_truth: int
    n_pred: int
    n_matched: int
    max_detections: int
    scored: bool
    mask_curves: NDArray[np.float64]
    box_curves: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """Plain values without the curves; None where a number has no meaning."""
        values = {k: v for k, v in vars(self).items() if not k.endswith("_curves")}
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in values.items()}

    def describe(self) -> list[str]:
        """Lines for a terminal."""
        lines = [
            f"cells      truth {self.n_truth}, predicted {self.n_pred}, paired at IoU 0.5 {self.n_matched}",
            f"masks      mAP {self.mAP:.3f}  AP50 {self.AP50:.3f}  AP75 {self.AP75:.3f}",
            f"boxes      mAP {self.box_mAP:.3f}  AP50 {self.box_AP50:.3f}  AP75 {self.box_AP75:.3f}",
            f"IoU 0.5    F1 {self.f1_50:.3f}  precision {self.precision_50:.3f}  recall {self.recall_50:.3f}",
            f"panoptic   PQ {self.pq:.3f}  mean IoU of pairs {self.sq:.3f}",
            f"detections not limited (COCO's usual limit is 100 per image; here up to {self.max_detections})",
        ]
        if not self.scored:
            lines.append("scores     none given, so all count alike in AP")
        return lines


def evaluate_segments(
    truth: LabelInput | Sequence[LabelInput],
    pred: LabelInput | Sequence[LabelInput],
    scores: Mapping[int, float] | Sequence[Mapping[int, float] | None] | None = None,
) -> SegmentScores:
    """Compare predicted with true label images.

    Parameters
    ----------
    truth, pred
        A TIFF or .npy file, a result folder of ``analyse``, an array (Y, X), or lists of them, whose cells are pooled.
    scores
        Confidence per predicted label, one mapping per image; by default the ``score`` column of the ``cells.csv`` in a
        result folder (of NAME.csv beside NAME.tif), else 1 for all.

    Raises
    ------
    SlideError
        An image cannot be read, or shapes differ.
    SettingsError
        Lists of different lengths, or scores that do not cover all labels.

    Examples
    --------
    >>> labels = np.kron(np.eye(3, dtype=int) * [1, 2, 3], np.ones((9, 9), int))
    >>> evaluate_segments(labels, labels).mAP
    1.0
    """
    truths, preds = _listed(truth), _listed(pred)
    if len(truths) != len(preds):
        raise SettingsError(
            f"There are {len(truths)} true and {len(preds)} predicted images; give as many of each."
        )
    given: list[Any] = list(scores) if isinstance(scores, list | tuple) else [scores] * len(preds)
    if len(given) != len(preds):
        raise SettingsError(f"There are {len(given)} sets of scores and {len(preds)} predicted images.")
    tables = [iou_table(t, p) for t, p in zip(truths, preds, strict=True)]
    confidences, scored = [], True
    for table, source, own in zip(tables, preds, given, strict=True):
        own = _scores_of(source) if own is None else own
        scored &= own is not None
        confidences.append(_confidence(table.pred.ids, own))
    masks = average_precision(tables, confidences)
    boxes = average_precision(tables, confidences, boxes=True)
    pairs = [table.matches(0.5)[2] for table in tables]
    return _scores(
        masks,
        boxes,
        np.concatenate(pairs),
        n_truth=sum(len(t.truth) for t in tables),
        n_pred=sum(len(t.pred) for t in tables),
        largest=max(len(t.pred) for t in tables),
        scored=scored,
    )


def _listed(source: LabelInput | Sequence[LabelInput]) -> list[Any]:
    return list(source) if isinstance(source, list | tuple) else [source]


def _scores(
    masks: Precision,
    boxes: Precision,
    ious: NDArray[np.float64],
    *,
    n_truth: int,
    n_pred: int,
    largest: int,
    scored: bool,
) -> SegmentScores:
    hits = len(ious)
    nan = float("nan")
    both = n_truth + n_pred
    return SegmentScores(
        mAP=masks.mean,
        AP50=masks.at_50,
        AP75=masks.at_75,
        box_mAP=boxes.mean,
        box_AP50=boxes.at_50,
        box_AP75=boxes.at_75,
        f1_50=2 * hits / both if both else nan,
        precision_50=hits / n_pred if n_pred else nan,
        recall_50=hits / n_truth if n_truth else nan,
        pq=float(ious.sum()) / (both / 2) if both else nan,
        sq=float(ious.mean()) if hits else nan,
        n_truth=n_truth,
        n_pred=n_pred,
        n_matched=hits,
        max_detections=largest,
        scored=scored,
        mask_curves=masks.curves,
        box_curves=boxes.curves,
    )


def _scores_of(source: LabelInput) -> Mapping[int, float] | None:
    """Scores that lie beside a predicted label image."""
    if not isinstance(source, str | Path):
        return None
    path = open_labels(source).path
    beside = table_beside(path) if path is not None else None
    if beside is None:
        return None
    table = read_table(beside)
    if "score" not in table:
        return None
    return dict(zip(table["label"].tolist(), table["score"].tolist(), strict=True))


def _confidence(ids: NDArray[np.int64], scores: Mapping[int, float] | None) -> NDArray[np.float64]:
    if scores is None:
        return np.ones(len(ids))
    missing = [int(i) for i in ids if int(i) not in scores]
    if missing:
        raise SettingsError(
            f"{len(missing)} predicted cells have no score, label {missing[0]} for one; "
            "labels and table do not belong together."
        )
    values = np.array([scores[int(i)] for i in ids], np.float64)
    if np.isnan(values).any():
        raise SettingsError(f"{int(np.isnan(values).sum())} predicted cells have an empty score.")
    return values
