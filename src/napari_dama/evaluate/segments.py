"""Instance segmentation against truth: COCO AP of masks and boxes, F1, precision, recall, panoptic quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.evaluate.coco import average_precision
from napari_dama.evaluate.detections import describe_limit, read_detections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_dama.cells.given import LabelInput
    from napari_dama.evaluate.detections import Detections


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
        Detections per image that AP looked at: the limit, or all of the image with most of them.
    limited
        Whether there was such a limit. F1 and panoptic quality always count all cells.
    n_counted
        Predicted cells that AP looked at.
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
    limited: bool
    n_counted: int
    scored: bool
    mask_curves: NDArray[np.float64]
    box_curves: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """Plain values without the curves; None where a number has no meaning."""
        values = {k: v for k, v in vars(self).items() if not k.endswith("_curves")}
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in values.items()}

    def describe_limit(self) -> str:
        """Say how many detections of an image AP looked at."""
        limit = self.max_detections if self.limited else None
        return describe_limit(limit, self.max_detections, self.n_pred, self.n_counted)

    def describe(self) -> list[str]:
        """Lines for a terminal."""
        lines = [
            f"cells      truth {self.n_truth}, predicted {self.n_pred}, paired at IoU 0.5 {self.n_matched}",
            f"masks      mAP {self.mAP:.3f}  AP50 {self.AP50:.3f}  AP75 {self.AP75:.3f}",
            f"boxes      mAP {self.box_mAP:.3f}  AP50 {self.box_AP50:.3f}  AP75 {self.box_AP75:.3f}",
            f"IoU 0.5    F1 {self.f1_50:.3f}  precision {self.precision_50:.3f}  recall {self.recall_50:.3f}",
            f"panoptic   PQ {self.pq:.3f}  mean IoU of pairs {self.sq:.3f}",
            self.describe_limit(),
        ]
        if not self.scored:
            lines.append("scores     none given, so all count alike in AP")
        return lines


def evaluate_segments(
    truth: LabelInput | Sequence[LabelInput],
    pred: LabelInput | Sequence[LabelInput],
    scores: Mapping[int, float] | Sequence[Mapping[int, float] | None] | None = None,
    *,
    max_detections: int | None = None,
) -> SegmentScores:
    """Compare predicted with true label images.

    Parameters
    ----------
    truth, pred, scores, max_detections
        As in `napari_dama.evaluate.detections.read_detections`. The limit concerns AP only.

    Raises
    ------
    SlideError
        An image cannot be read, or shapes differ.
    SettingsError
        Lists of different lengths, scores that do not cover all labels or are no numbers, or a limit without scores.

    Examples
    --------
    >>> labels = np.kron(np.eye(3, dtype=int) * [1, 2, 3], np.ones((9, 9), int))
    >>> evaluate_segments(labels, labels).mAP
    1.0
    """
    return score_segments(read_detections(truth, pred, scores, max_detections=max_detections))


def score_segments(detections: Detections) -> SegmentScores:
    """Score detections that were read already."""
    kept = [detections.kept(image) for image in range(len(detections.tables))]
    masks = average_precision(detections.tables, detections.scores, kept=kept)
    boxes = average_precision(detections.tables, detections.scores, kept=kept, boxes=True)
    ious = np.concatenate([table.matches(0.5)[2] for table in detections.tables])
    n_truth, n_pred, hits = detections.n_truth, detections.n_pred, len(ious)
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
        max_detections=detections.n_largest if detections.limit is None else detections.limit,
        limited=detections.limit is not None,
        n_counted=sum(len(positions) for positions in kept),
        scored=detections.scored,
        mask_curves=masks.curves,
        box_curves=boxes.curves,
    )
