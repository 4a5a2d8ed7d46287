"""Curves of a run as arrays: which columns of its metrics are drawn, and few enough points to draw. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MOST_POINTS: Final = 2000
NOT_LOSSES: Final = ("step", "epoch", "lr")
COLOURS: Final = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#999999")
"""Okabe and Ito's, apart for every kind of colour vision."""
TITLES: Final = {
    "loss": "total",
    "reconstruction": "reconstruction",
    "reconstruction_1": "reconstruction, random mask",
    "reconstruction_2": "reconstruction, adaptive mask",
    "regression": "feature regression",
    "score": "score",
    "parent": "parent's",
    "validation_reconstruction": "hidden patches",
    "validation_reconstruction_1": "random mask",
    "validation_reconstruction_2": "adaptive mask",
    "validation_loss": "total",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "f1_50": "F1 at IoU 0.5",
    "cells": "cells found",
    "mpx_per_s": "pace",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one curve: steps and values, both (n,), and its title."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @property
    def title(self) -> str:
        """Its name for people."""
        return TITLES.get(self.name, self.name.replace("_", " "))


def loss_curves(rows: Mapping[str, Sequence[float]]) -> tuple[Curve, ...]:
    """Return a curve for each part of the loss from columns of ``metrics.csv``, thinned to at most 2000 points each.

    A total that has one part only is that part, and is left out.
    """
    steps = np.asarray(rows.get("step", ()), float)
    names = [name for name in rows if name not in NOT_LOSSES]
    if len(names) == 2 and "loss" in names:
        names.remove("loss")
    return tuple(Curve(name, *thinned(steps, np.asarray(rows[name], float))) for name in names)


def thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], most: int = MOST_POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return at most ``most`` of the points (n,): per equal share of them the lowest and the highest, so that spikes stay.

    Values that are no numbers are left out. The first and the last point stay.
    """
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) <= most:
        return x, y
    edges = np.linspace(1, len(x) - 1, (most - 2) // 2 + 1).astype(int)
    kept = [0, len(x) - 1]
    for start, end in pairwise(edges):
        part = y[start:end]
        kept += [start + int(part.argmin()), start + int(part.argmax())]
    chosen = np.unique(kept)
    return x[chosen], y[chosen]
