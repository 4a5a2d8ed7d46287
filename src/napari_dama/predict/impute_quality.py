"""How good a predicted marker is: how much of the true one it explains, beside plain regressions on the other markers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PatchMeans:
    """Mean intensity per patch, normalised, for measuring: ``others`` (P, C - 1), ``true`` (P,) and ``imputed`` (P,).

    ``fold`` (P,) parts the patches into two halves that lie apart; ``names`` are the other markers.
    """

    true: NDArray[np.float32]
    imputed: NDArray[np.float32]
    others: NDArray[np.float32]
    fold: NDArray[np.bool_]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """How much of a marker's variation between patches is explained, 1 all of it, 0 or below no more than its mean does.

    Each is a line (or plane) fitted on one half of the patches and tested on the other, and the reverse: from the network's
    prediction, from the ``best_marker`` alone, and from all other markers. ``correlation`` is that of the prediction and the
    truth over all patches.
    """

    patches: int
    network: float
    best_marker: str
    best: float
    every: float
    correlation: float

    def sentence(self, marker: str) -> str:
        """Say in plain words how good the prediction is."""
        said = (
            f"From the other markers the network explains {_share(self.network)} of how {marker} varies here"
        )
        plain = f"a plain regression on {self.best_marker} explains {_share(self.best)}, on all {_share(self.every)}"
        better = max(self.best, self.every)
        if self.network <= 0.02:
            verdict = "Do not use this prediction: it is no better than the marker's mean."
        elif self.network < better - 0.02:
            verdict = "The regression is the better guess here."
        elif self.network > better + 0.02:
            verdict = "The network sees more than the regression."
        else:
            verdict = "Both are about as good."
        return f"{said}; {plain}. {verdict}"


def patch_means(
    pixels: NDArray[np.float32],
    imputed: NDArray[np.float32],
    marker: int,
    patch_px: int,
    names: list[str],
    present: tuple[bool, ...],
) -> PatchMeans:
    """Means over patches of pixels (C, H, W) and of a prediction (H, W); halves are a checkerboard of 4 x 4 patches."""
    p = patch_px
    channels, height, width = pixels.shape
    means = pixels.reshape(channels, height // p, p, width // p, p).mean(axis=(2, 4))
    made = imputed.reshape(height // p, p, width // p, p).mean(axis=(1, 3))
    others = [index for index, here in enumerate(present) if here and index != marker]
    rows, columns = np.mgrid[: height // p, : width // p]
    return PatchMeans(
        means[marker].ravel(),
        made.ravel(),
        means[others].reshape(len(others), -1).T,
        ((rows // 4 + columns // 4) % 2 == 1).ravel(),
        tuple(names[index] for index in others),
    )


def measure(means: PatchMeans) -> Quality | None:
    """How much of the true patch means is explained by the prediction and by regressions; None where nothing varies."""
    true = means.true.astype(np.float64)
    halves = [(means.fold == half) for half in (False, True)]
    if min(int(half.sum()) for half in halves) < 8 or float(true.std()) < 1e-4:
        return None
    features = means.others.astype(np.float64)
    guesses = {name: np.zeros(len(true)) for name in ("network", "best", "every", "mean")}
    chosen: list[int] = []
    for test in halves:
        train = ~test
        fits = [_line(features[train, c : c + 1], true[train]) for c in range(features.shape[1])]
        errors = [
            float(((_apply(fit, features[train, c : c + 1]) - true[train]) ** 2).sum())
            for c, fit in enumerate(fits)
        ]
        best = int(np.argmin(errors))
        chosen.append(best)
        made = means.imputed[:, None].astype(np.float64)
        guesses["network"][test] = _apply(_line(made[train], true[train]), made[test])
        guesses["best"][test] = _apply(fits[best], features[test, best : best + 1])
        guesses["every"][test] = _apply(_line(features[train], true[train]), features[test])
        guesses["mean"][test] = true[train].mean()
    base = float(((true - guesses["mean"]) ** 2).sum())
    explained = {name: 1 - float(((true - guess) ** 2).sum()) / base for name, guess in guesses.items()}
    spread = float(means.imputed.std())
    return Quality(
        patches=len(true),
        network=explained["network"],
        best_marker=means.names[max(set(chosen), key=chosen.count)],
        best=explained["best"],
        every=explained["every"],
        correlation=float(np.corrcoef(means.imputed, true)[0, 1]) if spread > 1e-9 else 0.0,
    )


def _line(features: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares with an intercept."""
    design = np.column_stack([features, np.ones(len(features))])
    return np.asarray(np.linalg.lstsq(design, true, rcond=1e-6)[0], np.float64)


def _apply(fit: NDArray[np.float64], features: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = np.column_stack([features, np.ones(len(features))]) @ fit
    return out


def _share(value: float) -> str:
    return f"{value:.0%}" if value > 0.005 else "nothing"
