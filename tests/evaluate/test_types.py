"""Types: pairs and scores against hand-computed cases and sklearn; baselines on cases made for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from napari_dama.errors import SettingsError, SlideError
from napari_dama.evaluate.baselines import boosted_means, mean_intensity_rule
from napari_dama.evaluate.types import evaluate_types, match_types, nearest_pairs, type_scores
from napari_dama.slides.intensity import IntensityStats

KINDS = np.array(["neuron", "astrocyte", "microglia"])


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, pred = KINDS[rng.integers(0, 3, 60)], KINDS[rng.integers(0, 3, 60)]
    pred = np.where(rng.random(60) < 0.6, truth, pred)
    scores = type_scores(truth.tolist(), pred.tolist())
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truth, pred))
    assert scores.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, pred))
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(truth, pred, average="macro"))
    np.testing.assert_array_equal(
        scores.confusion, metrics.confusion_matrix(truth, pred, labels=sorted(KINDS))
    )


def test_a_type_that_only_one_side_knows() -> None:
    scores = type_scores(["a", "a", "b", "b"], ["a", "c", "b", "b"])
    assert scores.types == ("a", "b", "c")
    np.testing.assert_array_equal(scores.confusion, [[1, 0, 1], [0, 2, 0], [0, 0, 0]])
    assert scores.balanced_accuracy == 0.75 and scores.macro_f1 == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert "c" in "\n".join(scores.describe()) and scores.to_json()["types"] == ["a", "b", "c"]


def test_case_does_not_matter() -> None:
    scores = type_scores(["Neuron", "MICROGLIA"], ["neuron", " microglia "])
    assert scores.accuracy == 1 and set(scores.types) == {"Neuron", "MICROGLIA"}


def _table(labels: list[int], types: list[str], y: list[float] | None = None) -> pd.DataFrame:
    table = pd.DataFrame({"label": labels, "type": types})
    if y is not None:
        table = table.assign(y=y, x=5.0)
    return table


def test_same_labels_are_joined_by_label() -> None:
    truth = _table([1, 2, 3], ["a", "b", ""], [10, 20, 30])
    pred = _table([3, 2, 1], ["a", "b", "A"], [30.4, 20.3, 10.1])
    scores = evaluate_types(truth, pred)
    assert scores.matched_by == "by label" and scores.accuracy == 1 and scores.n_matched == 2
    assert (scores.n_truth_unmatched, scores.n_pred_unmatched) == (0, 0)


def test_same_numbers_of_other_cells_are_joined_by_place() -> None:
    truth = _table([1, 2, 3], ["a", "b", "a"], [10, 20, 90])
    pred = _table([1, 2, 3], ["b", "a", "b"], [21, 11, 50])
    scores = evaluate_types(truth, pred)
    assert "nearest" in scores.matched_by and scores.accuracy == 1
    assert (scores.n_matched, scores.n_truth_unmatched, scores.n_pred_unmatched) == (2, 1, 1)
    assert evaluate_types(truth, pred, max_distance_px=41).n_matched == 3


@pytest.mark.parametrize("seed", range(3))
def test_nearest_pairs_equal_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, 60, (30, 2)), rng.uniform(0, 60, (25, 2))
    distance = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    slow = []
    while distance.min() <= 8:
        i, j = np.unravel_index(distance.argmin(), distance.shape)
        slow.append((i, j))
        distance[i], distance[:, j] = np.inf, np.inf
    i, j = nearest_pairs(a, b, 8)
    assert list(zip(i, j, strict=True)) == slow


def test_types_by_overlap() -> None:
    truth = np.zeros((20, 40), int)
    truth[2:10, 2:10], truth[2:10, 20:28], truth[12:18, 30:36] = 5, 7, 9
    pred = np.zeros_like(truth)
    pred[3:10, 2:10], pred[2:10, 26:34], pred[12:18, 30:36] = 1, 2, 3
    true_table, pred_table = _table([5, 7, 9], ["a", "b", "b"]), _table([1, 2, 3], ["a", "b", "a"])
    scores = match_types(truth, pred, true_table, pred_table)
    assert scores.n_matched == 2 and scores.accuracy == 0.5
    assert (scores.n_truth_unmatched, scores.n_pred_unmatched) == (1, 1)
    same = evaluate_types(true_table, pred_table, truth_labels=truth, pred_labels=pred)
    assert same.to_json() == scores.to_json()
    with pytest.raises(SettingsError, match="both label images"):
        evaluate_types(true_table, pred_table, truth_labels=truth)


def test_files_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    table = _table([1, 2], ["a", "b"], [1, 2])
    table.to_csv(tmp_path / "truth.csv", index=False)
    (tmp_path / "out").mkdir()
    table.to_csv(tmp_path / "out" / "cells.csv", index=False)
    assert evaluate_types(tmp_path / "truth.csv", tmp_path / "out").accuracy == 1
    table.drop(columns="type").to_csv(tmp_path / "bare.csv", index=False)
    with pytest.raises(SettingsError, match="no-types"):
        evaluate_types(tmp_path / "truth.csv", tmp_path / "bare.csv")
    with pytest.raises(SlideError, match="no table"):
        evaluate_types(tmp_path / "truth.csv", tmp_path / "nothing.csv")
    with pytest.raises(SettingsError, match="nothing to compare"):
        evaluate_types(table, table.assign(y=500))
    with pytest.raises(SettingsError, match="no columns y and x"):
        evaluate_types(table, _table([8, 9], ["a", "b"]))


def _cells(n: int = 300, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    table = pd.DataFrame({"area_um2": rng.uniform(50, 90, n)})
    table["mean_NeuN"] = rng.normal(100, 10, n) + 400 * (kind == 0)
    table["mean_S100"] = rng.normal(9000, 100, n) + 4000 * (kind == 1)  # bright background
    return table, np.array(["neuron", "astrocyte"])[kind]


def test_intensity_rule_weighs_markers_on_a_common_scale() -> None:
    table, truth = _cells()
    rule = {"NeuN": "neuron", "S100": "astrocyte"}
    assert (mean_intensity_rule(table, rule) == truth).mean() > 0.95
    stats = IntensityStats(np.array([90, 8800]), np.array([600, 14000]), ("NeuN", "S100"))
    assert (mean_intensity_rule(table, rule, stats=stats) == truth).mean() > 0.95
    with pytest.raises(SettingsError, match="Iba1"):
        mean_intensity_rule(table)


def test_boosting_learns_from_other_groups_only() -> None:
    table, truth = _cells()
    groups = np.arange(len(table)) % 6
    assert (boosted_means(table, truth.tolist(), groups.tolist(), folds=3) == truth).mean() > 0.95
    # A value that gives the group away is of no use: within each group the type is the other way round or not.
    secret = pd.DataFrame({"mean_A": groups * 10.0 + np.random.default_rng(0).normal(0, 0.1, len(groups))})
    by_group = np.where(groups % 2, "x", "y")
    told = boosted_means(secret, by_group.tolist(), groups.tolist(), folds=6)
    assert (told == by_group).mean() < 0.9
    with pytest.raises(SettingsError, match="one field of view"):
        boosted_means(table, truth.tolist(), ["a"] * len(table))
