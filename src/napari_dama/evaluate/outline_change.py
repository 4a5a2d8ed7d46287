"""Two segmentations of the same checked cells, the one before and the one after: what can be said of the difference.

Only a *zone* of each area was checked. Of the truth its cells count; of what a model finds, cells with most of their pixels
in the zone. Pairs are those of an IoU of at least 0.5, of which there is one way only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import SettingsError
from napari_dama.evaluate.match import iou_table
from napari_dama.evaluate.statistics import sign_test_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEVEL: Final = 0.05
IOU: Final = 0.5
FEW: Final = 20
_SAME: Final = 1e-3


@dataclass(frozen=True, slots=True)
class CheckedArea:
    """A part of a slide whose outlines were checked.

    Attributes
    ----------
    labels : (H, W) int32
        All outlines; those in the zone are whole, and right.
    zone : (H, W) bool
        What was checked.
    corrected : frozenset of int
        Labels that a person corrected; the others in the zone lie near them and were left as they are.
    """

    labels: NDArray[np.int32]
    zone: NDArray[np.bool_]
    corrected: frozenset[int]


@dataclass(frozen=True, slots=True)
class OutlineSide:
    """One model on the checked cells.

    Attributes
    ----------
    found, missed, false : int
        Checked cells found at an IoU of at least 0.5, and not; cells found where there is none.
    corrected, near : int
        Of the found ones, those that were corrected, and those near them.
    iou : float
        Mean IoU of the pairs; NaN where there is none. Beside corrected cells stand those that a model drew and nobody
        changed, so that it speaks for that model: `overlap` does not.
    overlap : float
        Mean over the corrected cells of the largest IoU with anything found, 0 for none; NaN without corrected cells.
    """

    found: int
    missed: int
    false: int
    corrected: int
    near: int
    iou: float
    overlap: float

    @property
    def f1(self) -> float:
        """F1 at IoU 0.5; 1 where there is no cell and none is found."""
        all_of = 2 * self.found + self.missed + self.false
        return 2 * self.found / all_of if all_of else 1.0

    @property
    def precision(self) -> float:
        """Share of what is found that is there."""
        return self.found / max(1, self.found + self.false)

    @property
    def recall(self) -> float:
        """Share of what is there that is found."""
        return self.found / max(1, self.found + self.missed)


@dataclass(frozen=True, slots=True)
class OutlineChange:
    """The comparison.

    Attributes
    ----------
    areas, n, corrected : int
        Held-out areas, checked cells in them, and how many of those were corrected by hand.
    before, after : OutlineSide
    better, worse : int
        Checked cells that are found only after, and only before.
    p : float
        Of McNemar's exact test on the checked cells, two-sided.
    """

    areas: int
    n: int
    corrected: int
    before: OutlineSide
    after: OutlineSide
    better: int
    worse: int
    p: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``open``: whether a difference can be shown."""
        if self.p <= LEVEL and self.better > self.worse and self.after.f1 > self.before.f1:
            return "better"
        if self.p <= LEVEL and self.worse > self.better and self.after.f1 < self.before.f1:
            return "worse"
        return "open"

    @property
    def improved(self) -> bool:
        """Whether the measured F1 rose, or the overlap of the corrected cells where it stayed."""
        change = self.after.f1 - self.before.f1
        if abs(change) > _SAME:
            return change > 0
        return bool(self.after.overlap > self.before.overlap + _SAME)

    @property
    def sentence(self) -> str:
        """What can be said, for people."""
        head = {
            "better": "The improved outlines are better",
            "worse": "The improved outlines are WORSE than its parent's",
            "open": "No difference in the outlines found can be shown",
        }[self.verdict]
        cells = f"{self.n} held-out cell" + ("s" if self.n != 1 else "")
        few = " These are few cells: correct more, and ask again." if self.n < FEW else ""
        return (
            f"{head}: {self.better} found only after, {self.worse} only before, of {cells} in {self.areas} "
            f"area{'s' * (self.areas != 1)}; p = {_p(self.p)}; false finds {self.before.false} before, {self.after.false} "
            f"after.{few}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where a number has no meaning."""

        def side(one: OutlineSide) -> dict[str, Any]:
            means = {
                key: None if np.isnan(v) else v for key, v in (("iou", one.iou), ("overlap", one.overlap))
            }
            shares = {"f1": one.f1, "precision": one.precision, "recall": one.recall, **means}
            counts = {"found": one.found, "missed": one.missed, "false": one.false}
            return {**shares, **counts, "found_corrected": one.corrected, "found_near": one.near}

        return {
            "areas": self.areas,
            "n": self.n,
            "corrected": self.corrected,
            "before": side(self.before),
            "after": side(self.after),
            "better": self.better,
            "worse": self.worse,
            "p": self.p,
            "verdict": self.verdict,
            "improved": self.improved,
            "sentence": self.sentence,
        }


def compare_outlines(
    areas: Sequence[CheckedArea],
    before: Sequence[NDArray[np.int32]],
    after: Sequence[NDArray[np.int32]],
) -> OutlineChange:
    """Compare what two models find in the same checked areas.

    Parameters
    ----------
    areas
        Areas of one or several slides, none over another.
    before, after
        Label image (H, W) of each area by either model.

    Raises
    ------
    SettingsError
        There is no area, or the numbers of images differ.
    SlideError
        An image has another shape than its area.
    """
    if not len(areas) == len(before) == len(after):
        raise SettingsError(
            f"There are {len(areas)} areas, {len(before)} images before and {len(after)} after; give one of each."
        )
    if not areas:
        raise SettingsError("No area is held out, so nothing can be said of before and after.")
    sides, hits = [], []
    n = corrected = 0
    for found in (before, after):
        parts = [_one(area, image) for area, image in zip(areas, found, strict=True)]
        hit = np.concatenate([part[0] for part in parts])
        hand = np.concatenate([part[1] for part in parts])
        iou = np.concatenate([part[2] for part in parts])
        best = np.concatenate([part[3] for part in parts])
        n, corrected = len(hit), int(hand.sum())
        sides.append(
            OutlineSide(
                found=int(hit.sum()),
                missed=int((~hit).sum()),
                false=sum(part[4] for part in parts),
                corrected=int((hit & hand).sum()),
                near=int((hit & ~hand).sum()),
                iou=float(iou.mean()) if len(iou) else float("nan"),
                overlap=float(best[hand].mean()) if hand.any() else float("nan"),
            )
        )
        hits.append(hit)
    better, worse = int((hits[1] & ~hits[0]).sum()), int((hits[0] & ~hits[1]).sum())
    return OutlineChange(
        len(areas), n, corrected, sides[0], sides[1], better, worse, sign_test_p(better, worse)
    )


def _one(
    area: CheckedArea, found: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64], int]:
    """Of each checked cell: found? corrected? Then IoU of the pairs, largest IoU of each cell, number of false finds."""
    table = iou_table(np.where(area.zone, area.labels, 0), found)
    true_index, found_index, iou = table.matches(IOU)
    hit = np.zeros(len(table.truth), bool)
    hit[true_index] = True
    hand = np.isin(table.truth.ids, list(area.corrected))
    inside = np.bincount(found[area.zone], minlength=int(found.max(initial=0)) + 1)[table.pred.ids]
    counts = inside > table.pred.area / 2
    counts[found_index] = False
    best = np.zeros(len(table.truth))
    np.maximum.at(best, table.truth_index, table.iou)
    return hit, hand, iou, best, int(counts.sum())


def _p(p: float) -> str:
    return "0.0001 or less" if p < 1e-4 else f"{p:.2g}"
