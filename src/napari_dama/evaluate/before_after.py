"""Two models on the same held-out cells, the one before and the one after: what can be said of the difference.

McNemar's exact test counts the cells on which they differ; the interval of the difference in accuracy is that of Agresti
and Min for paired proportions (Statistics in Medicine 24, 2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import SettingsError
from napari_dama.evaluate.statistics import sign_test_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEVEL: Final = 0.05
_Z: Final = 1.959964
FEW: Final = 20


@dataclass(frozen=True, slots=True)
class Side:
    """One model on the held-out cells.

    Attributes
    ----------
    confusion : (K, K) int64
        Rows are true, columns told classes.
    recall : (K,) float64
        Share of the cells of each class that are told rightly; NaN for a class without cells.
    accuracy, balanced_accuracy : float
        Over cells, and the mean of `recall` over the classes that have cells.
    """

    confusion: NDArray[np.int64]
    recall: NDArray[np.float64]
    accuracy: float
    balanced_accuracy: float


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """The comparison.

    Attributes
    ----------
    classes : tuple of str
    n : int
        Held-out cells.
    before, after : Side
    better, worse : int
        Cells that are right only after, and only before.
    p : float
        Of McNemar's exact test, two-sided.
    low, high : float
        95 % interval of the difference in accuracy, after minus before.
    """

    classes: tuple[str, ...]
    n: int
    before: Side
    after: Side
    better: int
    worse: int
    p: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``open``: whether a difference can be shown."""
        if self.p > LEVEL or self.better == self.worse:
            return "open"
        return "better" if self.better > self.worse else "worse"

    @property
    def sentence(self) -> str:
        """What can be said, for people."""
        cells = f"{self.n} held-out cell" + ("s" if self.n != 1 else "")
        if self.better + self.worse == 0:
            return f"No difference: both models are right and wrong on the same of {cells}."
        counts = f"better on {_cells(self.better)}, worse on {self.worse}, of {cells}; p = {_p(self.p)}"
        change = (
            f"accuracy changes by {100 * (self.after.accuracy - self.before.accuracy):+.0f} points "
            f"(95 % interval {100 * self.low:+.0f} to {100 * self.high:+.0f})"
        )
        head = {
            "better": "The improved model is better",
            "worse": "The improved model is WORSE than its parent",
            "open": "No difference can be shown",
        }[self.verdict]
        few = " These are few cells: correct more, and ask again." if self.n < FEW else ""
        return f"{head}: {counts}; {change}.{few}"

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where a number has no meaning."""

        def side(one: Side) -> dict[str, Any]:
            return {
                "accuracy": one.accuracy,
                "balanced_accuracy": one.balanced_accuracy,
                "recall": [None if np.isnan(v) else float(v) for v in one.recall],
                "confusion": one.confusion.tolist(),
            }

        return {
            "classes": list(self.classes),
            "n": self.n,
            "before": side(self.before),
            "after": side(self.after),
            "better": self.better,
            "worse": self.worse,
            "p": self.p,
            "interval": [self.low, self.high],
            "verdict": self.verdict,
            "sentence": self.sentence,
        }


def compare(
    truth: NDArray[np.integer],
    before: NDArray[np.integer],
    after: NDArray[np.integer],
    classes: Sequence[str],
) -> BeforeAfter:
    """Compare what two models say of the same cells.

    Parameters
    ----------
    truth, before, after
        Number (N,) of the class of each cell: as a person says, and as each model does.
    classes
        Their names (K,).

    Raises
    ------
    SettingsError
        There is no cell, or lengths differ.
    """
    if not len(truth) == len(before) == len(after):
        raise SettingsError(
            f"There are {len(truth)} true types, {len(before)} before and {len(after)} after; give one of each."
        )
    if not len(truth):
        raise SettingsError("No cell is held out, so nothing can be said of before and after.")
    right_before, right_after = np.equal(before, truth), np.equal(after, truth)
    better, worse = int((right_after & ~right_before).sum()), int((right_before & ~right_after).sum())
    n = len(truth)
    middle = (better - worse) / (n + 2)
    error = np.sqrt(max(better + worse + 1 - (better - worse) ** 2 / (n + 2), 0.0)) / (n + 2)
    return BeforeAfter(
        classes=tuple(classes),
        n=n,
        before=_side(truth, before, len(classes)),
        after=_side(truth, after, len(classes)),
        better=better,
        worse=worse,
        p=sign_test_p(better, worse),
        low=float(max(middle - _Z * error, -1.0)),
        high=float(min(middle + _Z * error, 1.0)),
    )


def _side(truth: NDArray[np.integer], told: NDArray[np.integer], k: int) -> Side:
    confusion = np.bincount(truth.astype(np.int64) * k + told, minlength=k * k).reshape(k, k).astype(np.int64)
    count = confusion.sum(axis=1)
    recall = np.where(count > 0, np.diag(confusion) / np.maximum(count, 1), np.nan)
    accuracy = float(np.diag(confusion).sum() / len(truth))
    return Side(confusion, recall, accuracy, float(np.nanmean(recall)))


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _p(p: float) -> str:
    return "0.0001 or less" if p < 1e-4 else f"{p:.2g}"
