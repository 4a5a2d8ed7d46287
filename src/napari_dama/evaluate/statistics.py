"""What paired scores over folds and seeds allow to be said: differences, intervals, tests, and many tests at once.

Folds of a cross-test share training data, so that their scores are not independent and the usual t interval is too
narrow. Three answers stand side by side: the t test over folds as it is usually printed, the corrected resampled t test
of Nadeau and Bengio (Inference for the Generalization Error, Machine Learning 52, 2003), and an exact sign-flip test over
folds, which assumes no distribution. Several tests are corrected together by Holm's method (Scandinavian Journal of
Statistics 6, 1979).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO: Final = 14
"""Units up to which all 2^n changes of sign are counted; beyond, 9999 are drawn."""
LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True)
class PairedTest:
    """One score minus another over folds and seeds.

    NaN stands where folds allow no answer: there is one only, or all say the same, so that a t test knows no spread.

    Attributes
    ----------
    folds, seeds
        How many folds, and the largest number of seeds in one.
    mean, error
        Mean over folds of the difference (each fold's own mean over seeds), and its standard error over folds.
    low, high
        95 % t interval over folds, as if folds were independent.
    boot_low, boot_high
        95 % percentile interval of a bootstrap that draws folds, and within each its seeds.
    corrected_low, corrected_high
        95 % interval of the corrected resampled t test.
    p_t, p_corrected, p_sign_flip
        Two-sided p values of the t test over folds, the corrected one, and the sign-flip test.
    p_smallest
        The smallest p value that a sign-flip test over so many folds can give: 2 / 2^folds.
    """

    folds: int
    seeds: int
    mean: float
    error: float
    low: float
    high: float
    boot_low: float
    boot_high: float
    corrected_low: float
    corrected_high: float
    p_t: float
    p_corrected: float
    p_sign_flip: float
    p_smallest: float


def paired_test(
    differences: ArrayLike,
    folds: Sequence[int],
    *,
    test_to_train: float,
    resamples: int = 4000,
    seed: int = 0,
) -> PairedTest:
    """Test whether paired differences over folds and seeds are zero on average.

    Parameters
    ----------
    differences
        One per fold and seed (n,), of the same fold, seed and test cells.
    folds
        The fold (n,) of each.
    test_to_train
        Cells of a fold's test part over those of its training part: what the corrected test widens by. With K folds that
        take turns it is about 1 / (K - 1).
    resamples, seed
        Of the bootstrap.

    Raises
    ------
    SettingsError
        There is no difference, lengths differ, or a number is not finite.
    """
    values = np.asarray(differences, float)
    places = np.asarray(folds)
    if values.ndim != 1 or len(values) != len(places):
        raise SettingsError(f"There are {values.size} differences and {len(places)} folds; give one of each.")
    if not len(values) or not np.isfinite(values).all():
        raise SettingsError("There is no difference to test, or one is not a number.")
    if not test_to_train >= 0:
        raise SettingsError(f"test_to_train is {test_to_train}; it must not be negative.")
    parts = [values[places == fold] for fold in np.unique(places)]
    means = np.array([part.mean() for part in parts])
    k = len(means)
    mean = float(means.mean())
    spread = float(means.std(ddof=1)) if k > 1 else math.nan
    error = spread / math.sqrt(k)
    wider = spread * math.sqrt(1 / k + test_to_train)
    low, high, p_t = _t(mean, error, k)
    corrected_low, corrected_high, p_corrected = _t(mean, wider, k)
    boot_low, boot_high = (
        fold_bootstrap(parts, resamples=resamples, seed=seed) if k > 1 else (math.nan, math.nan)
    )
    return PairedTest(
        folds=k,
        seeds=max(len(part) for part in parts),
        mean=mean,
        error=error,
        low=low,
        high=high,
        boot_low=boot_low,
        boot_high=boot_high,
        corrected_low=corrected_low,
        corrected_high=corrected_high,
        p_t=p_t,
        p_corrected=p_corrected,
        p_sign_flip=sign_flip_p(means, seed=seed),
        p_smallest=min(1.0, 2 / 2**k),
    )


def _t(mean: float, error: float, k: int) -> tuple[float, float, float]:
    """Interval and two-sided p of a mean over ``k`` folds with this standard error."""
    if k < 2:
        return math.nan, math.nan, math.nan
    if error < 1e-12:  # the same in every fold: there is no spread to judge by
        return math.nan, math.nan, 1.0 if abs(mean) < 1e-12 else math.nan
    half = float(stats.t.ppf(0.5 + LEVEL / 2, k - 1)) * error
    return mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, k - 1))


def mean_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean, and the half width of its 95 % t interval, and its standard error, over values (n,); NaN where n is 1."""
    numbers = np.asarray(values, float)
    mean = float(numbers.mean()) if len(numbers) else math.nan
    if len(numbers) < 2:
        return mean, math.nan, math.nan
    error = float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    return mean, float(stats.t.ppf(0.5 + LEVEL / 2, len(numbers) - 1)) * error, error


def fold_bootstrap(
    parts: Sequence[NDArray[np.float64]], *, resamples: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean over folds, drawing folds and within each its seeds, with replacement.

    Parameters
    ----------
    parts
        Differences of each fold, one per seed; folds may hold different numbers of them.
    """
    rng = np.random.default_rng(seed)
    k, widest = len(parts), max(len(part) for part in parts)
    table = np.full((k, widest), np.nan)
    for row, part in zip(table, parts, strict=True):
        row[: len(part)] = part
    counts = np.array([len(part) for part in parts])
    chosen = rng.integers(k, size=(resamples, k))  # (B, k) folds
    n = counts[chosen]
    seeds = (rng.random((resamples, k, widest)) * n[..., None]).astype(int)  # (B, k, widest) of n seeds each
    drawn = table[chosen[..., None], seeds]
    used = np.arange(widest) < n[..., None]
    means = np.where(used, drawn, 0).sum(axis=2) / n
    low, high = np.quantile(means.mean(axis=1), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


def sign_flip_p(values: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p of the mean of paired differences (n,) under changes of sign: exact up to `EXACT_UP_TO`, else drawn.

    Raises
    ------
    SettingsError
        There is no value.
    """
    numbers = np.asarray(values, float)
    if not len(numbers):
        raise SettingsError("There is no difference to test.")
    exact = len(numbers) <= EXACT_UP_TO
    if len(numbers) == 1 or not numbers.any():
        return 1.0
    found = stats.permutation_test(
        (numbers,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if exact else 9999,
        random_state=None if exact else seed,
    )
    return float(found.pvalue)


def sign_test_p(better: int, worse: int) -> float:
    """Two-sided exact p that ``better`` of ``better + worse`` cells that differ is chance (McNemar's test, exact).

    It takes cells for independent. Those of one field of view are not, so this p is too small; it stands beside the tests
    over fields and folds.
    """
    if better + worse == 0:
        return 1.0
    return float(stats.binomtest(better, better + worse, 0.5).pvalue)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """P values (n,) corrected for being n together, by Holm's step-down method; NaN stays NaN and counts for nothing."""
    given = np.asarray(p_values, float)
    out = np.full(given.shape, np.nan)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    scaled = given[order] * (len(order) - np.arange(len(order)))
    out[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if len(order) else scaled
    return out
