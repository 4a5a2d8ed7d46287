"""Folds of whole groups: nothing on two sides, everything tested once, and what cannot be parted is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate.compare.conftest import plain
from napari_dama.cells.store import CropStore
from napari_dama.errors import SettingsError
from napari_dama.evaluate.compare import Experiment
from napari_dama.evaluate.compare.splits import blocks, plan_folds
from training.conftest import write_store


def plans(store: CropStore, **changes: Any) -> Any:
    return plan_folds(store, Experiment.from_raw(plain(store.path, **changes)))


@pytest.mark.parametrize("folds", [2, 3, 4, 6])
@pytest.mark.parametrize("validation", [0.1, 0.5])
def test_every_group_is_tested_once_and_is_on_one_side(store: Path, folds: int, validation: float) -> None:
    opened = CropStore.open(store)
    found = plans(opened, folds=folds, validation=validation)
    assert sorted(group for plan in found for group in plan.test) == [f"field{i}" for i in range(6)]
    for plan in found:
        sides = [set(plan.train), set(plan.validation), set(plan.test)]
        assert all(sides) and sum(len(side) for side in sides) == len(set.union(*sides)) == 6
        for side, n in zip(sides, (plan.n_train, plan.n_validation, plan.n_test), strict=True):
            assert n == sum(group in side for group in opened.groups)
    assert found == plans(opened, folds=folds, validation=validation)
    assert found != plans(opened, folds=folds, validation=validation, split_seed=7) or folds == 6


def test_a_fixed_test_part_is_the_same_in_all_runs(store: Path) -> None:
    opened = CropStore.open(store)
    found = plans(opened, folds=4, test=["field1", "field4"])
    assert {plan.test for plan in found} == {("field1", "field4")}
    assert sorted(group for plan in found for group in plan.validation) == [
        "field0",
        "field2",
        "field3",
        "field5",
    ]
    (one,) = plans(opened, folds=1, test=0.34)
    assert len(one.test) == 2 and len(one.validation) == 1 and len(one.train) == 3


@pytest.mark.parametrize(
    ("groups", "changes", "says"),
    [
        (1, {"folds": 2}, "typed cells in 1 slides: too few for 2 folds.*Ways out: more slides"),
        (3, {"folds": 2}, "in 3 slides: too few for 2 folds"),
        (4, {"folds": 5}, "in 4 slides: too few for 5 folds.*Ways out: folds: 3"),
        (3, {"folds": 3, "test": ["field0"]}, "in 2 slides beside the 1 for tests: too few"),
        (4, {"test": ["elsewhere"]}, "test names elsewhere; .* has field0, field1"),
        (2, {"test": 0.5}, "a fixed test part needs 3 or more"),
    ],
)
def test_too_few_groups_are_refused_with_numbers_and_a_way_out(
    tmp_path: Path, groups: int, changes: dict[str, Any], says: str
) -> None:
    opened = CropStore.open(write_store(tmp_path / "few", groups=groups, per_group=4))
    with pytest.raises(SettingsError, match=says):
        plans(opened, **changes)


def test_classes_that_a_part_lacks_are_said(tmp_path: Path) -> None:
    opened = CropStore.open(write_store(tmp_path / "store", groups=4, per_group=8))
    opened.table.loc[opened.groups != "field2", "type"] = "neuron"
    rare = next(kind for kind in opened.types if kind != "neuron")
    found = plans(opened, folds=4, validation=0.5)
    where = next(plan for plan in found if plan.test == ("field2",))
    assert f"fold {where.fold + 1}: no {rare} in the training part" in where.notes
    assert all(f"fold {p.fold + 1}: no {rare} in the test part" in p.notes for p in found if p is not where)


def test_untyped_groups_are_for_pretraining_only_and_one_type_is_none(tmp_path: Path) -> None:
    opened = CropStore.open(write_store(tmp_path / "store", groups=5, per_group=6))
    opened.table.loc[opened.groups == "field3", "type"] = ""
    for plan in plans(opened, folds=4):
        assert "field3" in plan.train and plan.n_train == 6 * (len(plan.train) - 1)
    opened.table["type"] = "neuron"
    with pytest.raises(SettingsError, match="1 of at least two cell types"):
        plans(opened)


def test_fields_of_one_slide_stay_together_when_asked_for(tmp_path: Path) -> None:
    opened = CropStore.open(write_store(tmp_path / "store", groups=4, per_group=6))
    half = np.arange(len(opened)) % 2 == 0
    opened.table.loc[half, "group"] = opened.table.loc[half, "group"] + "b"
    _, by_slide = blocks(opened, "slide")
    _, by_group = blocks(opened, "group")
    assert by_slide == [(f"field{i}", f"field{i}b") for i in range(4)]
    assert len(by_group) == 8
