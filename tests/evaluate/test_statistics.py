"""Paired tests over folds against scipy and against slow loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from napari_dama.errors import SettingsError
from napari_dama.evaluate.statistics import (
    fold_bootstrap,
    holm,
    mean_interval,
    paired_test,
    sign_flip_p,
    sign_test_p,
)


def data(folds: int, seeds: int, mean: float = 0.02) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(folds * 10 + seeds)
    return rng.normal(mean, 0.03, folds * seeds), [k for k in range(folds) for _ in range(seeds)]


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
@pytest.mark.parametrize("seeds", [1, 3])
def test_t_over_folds_is_scipys(folds: int, seeds: int) -> None:
    values, places = data(folds, seeds)
    means = [np.mean([v for v, k in zip(values, places, strict=True) if k == fold]) for fold in range(folds)]
    ours = paired_test(values, places, test_to_train=0.25)
    theirs = stats.ttest_1samp(means, 0)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.folds, ours.seeds) == (folds, seeds)
    assert ours.mean == pytest.approx(np.mean(means)) and ours.error == pytest.approx(stats.sem(means))
    assert (ours.low, ours.high, ours.p_t) == pytest.approx((low, high, theirs.pvalue))


@pytest.mark.parametrize("ratio", [0.0, 0.11, 0.5])
def test_the_corrected_test_is_nadeau_and_bengios_formula(ratio: float) -> None:
    values, places = data(10, 1)
    ours = paired_test(values, places, test_to_train=ratio)
    total = sum((v - values.mean()) ** 2 for v in values) / 9
    t = values.mean() / math.sqrt((1 / 10 + ratio) * total)
    assert ours.p_corrected == pytest.approx(2 * (1 - stats.t.cdf(abs(t), 9)))
    if ratio == 0:
        assert ours.p_corrected == pytest.approx(ours.p_t)
    else:
        assert ours.p_corrected > ours.p_t and ours.corrected_low < ours.low < ours.high < ours.corrected_high


@pytest.mark.parametrize("n", [2, 3, 6, 9])
def test_the_sign_flip_test_counts_every_change_of_sign(n: int) -> None:
    values, _ = data(n, 1)
    seen = [
        abs(np.mean([s * v for s, v in zip(signs, values, strict=True)]))
        for signs in itertools.product((-1, 1), repeat=n)
    ]
    wanted = sum(mean >= abs(values.mean()) - 1e-12 for mean in seen) / len(seen)
    assert sign_flip_p(values) == pytest.approx(wanted)
    alike = np.abs(values)
    assert (
        sign_flip_p(alike)
        == pytest.approx(2 / 2**n)
        == paired_test(alike, range(n), test_to_train=0).p_smallest
    )


def test_a_drawn_sign_flip_test_is_near_the_t_test_and_repeats_itself() -> None:
    values, _ = data(40, 1, 0.01)
    assert sign_flip_p(values) == sign_flip_p(values)
    assert sign_flip_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.03)


def test_the_bootstrap_draws_folds_and_seeds_within_them() -> None:
    parts = [np.array([0.1, 0.3]), np.array([0.0]), np.array([0.2, 0.2, 0.5])]
    rng = np.random.default_rng(1)
    slow = []
    for _ in range(4000):
        folds = [parts[i] for i in rng.integers(3, size=3)]
        slow.append(np.mean([np.mean([fold[rng.integers(len(fold))] for _ in fold]) for fold in folds]))
    assert fold_bootstrap(parts) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.015)


def test_no_difference_at_all_is_no_effect_and_one_fold_gives_no_interval() -> None:
    none = paired_test([0.0, 0.0, 0.0], [0, 1, 2], test_to_train=0.5)
    assert (none.p_t, none.p_corrected, none.p_sign_flip) == (1, 1, 1)
    alike = paired_test([0.1, 0.1, 0.1], [0, 1, 2], test_to_train=0.5)
    assert math.isnan(alike.p_t) and math.isnan(alike.low) and alike.p_sign_flip == 0.25
    one = paired_test([0.1, 0.2], [0, 0], test_to_train=0.5)
    assert one.mean == pytest.approx(0.15) and math.isnan(one.low) and math.isnan(one.boot_low)
    assert math.isnan(one.p_corrected) and one.p_sign_flip == 1


@pytest.mark.parametrize(
    ("values", "folds", "says"),
    [
        ([], [], "no difference"),
        ([1.0], [0, 1], "1 differences and 2 folds"),
        ([math.nan], [0], "not a number"),
    ],
)
def test_what_cannot_be_tested_is_refused(values: list[float], folds: list[int], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        paired_test(values, folds, test_to_train=0.5)


def test_holm_steps_down_as_by_hand() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 9):
        p = rng.random(n) * 0.2
        slow = np.empty(n)
        highest = 0.0
        for rank, place in enumerate(sorted(range(n), key=lambda i: p[i])):
            highest = max(highest, p[place] * (n - rank))
            slow[place] = min(1.0, highest)
        assert holm(p) == pytest.approx(slow)
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert len(holm([])) == 0


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (3, 1), (12, 30), (5, 5)])
def test_the_sign_test_over_cells_is_mcnemars_exact_one(better: int, worse: int) -> None:
    n = better + worse
    tail = sum(math.comb(n, i) for i in range(min(better, worse) + 1)) / 2**n
    assert sign_test_p(better, worse) == pytest.approx(min(1.0, 2 * tail))


def test_an_interval_of_a_mean() -> None:
    mean, half, error = mean_interval([0.5, 0.7, 0.6])
    low, high = stats.t.interval(0.95, 2, loc=0.6, scale=stats.sem([0.5, 0.7, 0.6]))
    assert (mean - half, mean + half, error) == pytest.approx((low, high, stats.sem([0.5, 0.7, 0.6])))
    assert math.isnan(mean_interval([0.5])[1])
