"""Precision over recall per IoU, 0.1 to 0.9, of masks and of bounding boxes, as in the paper's supplement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.evaluate.pairs import RECALLS, box_pairs, mask_pairs, match_by_score, precision_at_recalls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_dama.evaluate.detections import Detections
    from napari_dama.evaluate.pairs import Pairs

CURVE_IOUS: Final = tuple(round(0.1 * i, 1) for i in range(1, 10))
"""0.1, 0.2 ... 0.9."""


@dataclass(frozen=True)
class RecallCurves:
    """Precision over recall at several IoUs.

    Attributes
    ----------
    ious
        k of them.
    precision : (k, 101) float64
        At the recalls of `napari_dama.evaluate.pairs.RECALLS`; 0 beyond the highest recall reached.
    recall, precision_of_all : (k,) float64
        Share of true cells found, and share of detections that found one, over all detections that count.
    """

    ious: tuple[float, ...]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision_of_all: NDArray[np.float64]

    @property
    def areas(self) -> NDArray[np.float64]:
        """Average precision at each IoU, (k,): the mean over the 101 recalls, as COCO has it."""
        return np.asarray(self.precision.mean(axis=1))

    def rows(self) -> dict[str, Any]:
        """Columns of a table: ``recall`` and one column of precision per IoU."""
        return {
            "recall": RECALLS,
            **{f"iou_{i:g}": p for i, p in zip(self.ious, self.precision, strict=True)},
        }


def recall_curves(
    detections: Detections, *, boxes: bool = False, ious: Sequence[float] = CURVE_IOUS
) -> RecallCurves:
    """Draw up precision over recall at each IoU, with COCO's matching: the best score chooses first.

    At IoUs of 0.5 and more the areas are COCO's AP. Below, a detection may overlap several cells; it takes the one that it
    overlaps most of those still free. Where scores do not tell detections apart, COCO would rank them by their place in the
    file; here (a departure) those with the larger overlap are matched first, and each curve is a single point: constant
    up to the recall of all detections together, 0 beyond.

    Parameters
    ----------
    detections
        What `read_detections` gave, with its limit of detections per image.
    boxes
        Compare bounding boxes instead of masks.
    ious
        Each above 0, at most 1.

    Raises
    ------
    SettingsError
        There are no true or no predicted cells.
    """
    detections.require_cells()
    pairs = [pairs_of(detections, image, min(ious), boxes=boxes) for image in range(len(detections.tables))]
    curves, recall, precision = [], [], []
    for iou in ious:
        matched = [
            match_by_score(near, order_of(detections, image, near), iou) for image, near in enumerate(pairs)
        ]
        hit = by_score(detections, [taken >= 0 for taken in matched])
        curves.append(precision_at_recalls(hit, detections.n_truth, one_point=not detections.ranked))
        recall.append(hit.sum() / detections.n_truth)
        precision.append(hit.mean())
    return RecallCurves(tuple(ious), np.array(curves), np.array(recall), np.array(precision))


def pairs_of(detections: Detections, image: int, lowest: float, *, boxes: bool) -> Pairs:
    """Overlaps of ``lowest`` or more in one image."""
    table = detections.tables[image]
    return box_pairs(table, lowest) if boxes else mask_pairs(table, lowest)


def order_of(detections: Detections, image: int, pairs: Pairs) -> NDArray[np.int64]:
    """Positions of the detections of an image that count, in the order in which they choose."""
    kept = detections.kept(image)
    if detections.ranked:
        return kept
    return kept[np.argsort(-pairs.best_iou()[kept], kind="stable")]


def by_score(
    detections: Detections,
    values: Sequence[NDArray[np.bool_]],
    chosen: Sequence[NDArray[np.bool_]] | None = None,
) -> NDArray[np.bool_]:
    """Pool what is known of the detections of all images (n_pred,) each, the best score first.

    Only detections that count, and of them the ``chosen`` (n_pred,), are in it. Among equal scores the order is that of
    images, then of labels, as in COCO.
    """
    parts, scores = [], []
    for image, value in enumerate(values):
        kept = detections.kept(image)
        if chosen is not None:
            kept = kept[chosen[image][kept]]
        parts.append(value[kept])
        scores.append(detections.scores[image][kept])
    return np.concatenate(parts)[np.argsort(-np.concatenate(scores), kind="stable")]
