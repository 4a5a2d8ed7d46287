"""What the window says of jobs and draws of curves, without Qt."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dama.gui.curves import loss_curves, thinned
from napari_dama.gui.jobs_plan import metric_rows, verdict


@pytest.mark.parametrize("n", [0, 1, 5, 2000, 2001, 2003, 100_000])
def test_thinning_keeps_ends_and_extremes(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = np.arange(n, dtype=float), rng.normal(size=n)
    if n > 10:
        y[n // 3], y[n // 2] = 50.0, -50.0
    tx, ty = thinned(x, y)
    assert len(tx) == len(ty) <= 2000
    assert (np.diff(tx) > 0).all()
    assert all(y[int(step)] == value for step, value in zip(tx, ty, strict=True))
    if n:
        assert (tx[0], tx[-1]) == (x[0], x[-1])
        assert (ty.min(), ty.max()) == (y.min(), y.max())


def test_numbers_that_are_none_are_left_out() -> None:
    x, y = thinned(np.array([1.0, 2.0, 3.0]), np.array([np.nan, 1.0, np.inf]))
    assert x.tolist() == [2.0] and y.tolist() == [1.0]


def test_each_part_of_the_loss_is_a_curve() -> None:
    rows = {
        "step": [1.0, 2.0],
        "epoch": [0.0, 0.0],
        "loss": [3.0, 2.0],
        "a_b": [1.0, 1.0],
        "c": [2.0, 1.0],
        "lr": [0, 0],
    }
    assert [(c.name, c.title, c.y.tolist()) for c in loss_curves(rows)] == [
        ("loss", "total", [3.0, 2.0]),
        ("a_b", "a b", [1.0, 1.0]),
        ("c", "c", [2.0, 1.0]),
    ]
    assert [c.name for c in loss_curves({"step": [1.0], "loss": [1.0], "lr": [0.0]})] == ["loss"]
    assert [c.name for c in loss_curves({"step": [1.0], "loss": [1.0], "reconstruction": [1.0]})] == [
        "reconstruction"
    ]
    assert loss_curves({}) == ()


def test_a_model_is_judged_beside_its_parent() -> None:
    own = {"accuracy": 0.8, "validation_loss": 1.0, "score": 0.8, "step": 3.0}
    parent = {"accuracy": 0.9, "validation_loss": 1.5, "score": 0.9}
    rows = {row.name: (row.own, row.parent, row.better) for row in metric_rows(own, parent)}
    assert rows == {"Accuracy": (0.8, 0.9, False), "Validation loss": (1.0, 1.5, True)}
    assert "Worse than its parent old" in verdict(own, parent, "old")
    assert "Better" in verdict(parent, own, "old")
    assert "As good" in verdict(own, own, "old")
    assert verdict(own, None, "old") == "" and verdict({"score": float("nan")}, parent, "old") == ""
    assert [row.better for row in metric_rows(own, None)] == [None, None]
