"""The next cell: mistakes are found sooner than by chance, the reason is said, and it is quick."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from napari_dama.errors import SettingsError
from napari_dama.predict.informative import InformativeQueue, doubts

NAMES = np.array(["Neuron", "Astrocyte", "Microglia", "Endothelial"])


def tissue(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Cells, true types, and the types that a real classifier gives, which learned from few and partly wrong labels."""
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(seed)
    true = random.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])
    centre = random.normal(0, 1.0, (4, 8))
    looks = centre[true] + random.normal(0, 1.0, (n, 8))
    some = random.choice(n, 120, replace=False)
    told = true[some].copy()
    told[:15] = random.integers(0, 4, 15)
    for kind in range(4):
        told[20 + kind] = kind
    model = LogisticRegression(max_iter=200).fit(looks[some], told)
    p = model.predict_proba(looks)
    cells = pd.DataFrame({"label": np.arange(1, n + 1) * 2})
    cells[["y", "x"]] = random.uniform(0, 3000, (n, 2))
    for column, name in enumerate(NAMES):
        cells[f"p_{name}"] = p[:, column]
    for column in range(8):
        cells[f"mean_M{column}"] = np.expm1(looks[:, column] + 8)
    return cells, NAMES[true].astype(object), NAMES[p.argmax(axis=1)].astype(object)


def found(cells: pd.DataFrame, true: np.ndarray, said: np.ndarray, answers: int) -> int:  # type: ignore[type-arg]
    queue = InformativeQueue(cells, said)
    wrong = 0
    for _ in range(answers):
        suggestion = queue.next()
        assert suggestion is not None
        row = suggestion.label // 2 - 1
        wrong += bool(true[row] != said[row])
        queue.answer(suggestion.label, str(true[row]))
    return wrong


def test_it_finds_more_wrong_types_than_chance() -> None:
    gains = []
    for seed in range(5):
        cells, true, said = tissue(1500, seed)
        by_chance = 150 * float((true != said).mean())
        gains.append(found(cells, true, said, 150) / by_chance)
    print("wrong types found, over what chance finds:", [round(gain, 2) for gain in gains])
    assert min(gains) > 1.4 and np.mean(gains) > 1.8


def test_the_reason_is_said() -> None:
    cells, _, said = tissue(400, 0)
    queue = InformativeQueue(cells, said)
    first = queue.next()
    assert first is not None and "The model hesitates: " in first.reason and " %" in first.reason
    sure = cells.drop(columns=[name for name in cells if name.startswith("p_")])
    second = InformativeQueue(sure, said).next()
    assert second is not None and "has markers like" in second.reason and "but was called" in second.reason
    vectors = sure[[name for name in sure if name.startswith("mean_")]].to_numpy()
    third = InformativeQueue(sure, said, vectors=np.log(vectors)).next()
    assert third is not None and "It looks like" in third.reason


def test_a_correction_draws_like_cells_up_and_taking_it_back_lets_them_go() -> None:
    random = np.random.default_rng(0)
    looks = np.concatenate([random.normal(0, 1, (200, 4)), random.normal(8, 0.2, (20, 4))])
    cells = pd.DataFrame({"label": np.arange(1, 221)})
    cells[["y", "x"]] = random.uniform(0, 1000, (220, 2))
    said = np.full(220, "Neuron", dtype=object)
    said[:60] = "Glia"
    looks[:60] -= 8
    queue = InformativeQueue(cells, said, vectors=looks)
    queue.answer(201, "Microglia")
    chosen = queue.next()
    assert chosen is not None and chosen.label > 201
    assert "cell 201, which you corrected to Microglia" in chosen.reason
    queue.reopen(201, "Neuron")
    again = queue.next()
    assert again is not None and "corrected" not in again.reason


def test_cells_come_once_and_skipped_ones_at_the_end() -> None:
    cells, _, said = tissue(300, 1)
    cells, said = cells[:40].reset_index(drop=True), said[:40]
    queue = InformativeQueue(cells, said, reviewed=[2, 4])
    assert len(queue) == 38
    first = queue.next()
    assert first is not None
    queue.skip(first.label)
    seen = []
    while len(queue):
        suggestion = queue.next()
        assert suggestion is not None
        seen.append(suggestion.label)
        queue.answer(suggestion.label)
    assert seen[-1] == first.label
    assert sorted([*seen, 2, 4]) == cells["label"].tolist()
    assert queue.next() is None


def test_the_slide_is_covered() -> None:
    cells, _, _ = tissue(1000, 2)
    cells = cells[["label", "y", "x"]]
    queue = InformativeQueue(cells, np.full(1000, "cell", dtype=object))
    places = []
    for _ in range(16):
        suggestion = queue.next()
        assert suggestion is not None
        queue.answer(suggestion.label)
        places.append(cells.loc[cells["label"] == suggestion.label, ["y", "x"]].to_numpy()[0])
    quarters = {(int(y > 1500), int(x > 1500)) for y, x in places}
    assert len(quarters) == 4


def test_hundred_thousand_cells_are_quick() -> None:
    cells, true, said = tissue(100_000, 3)
    queue = InformativeQueue(cells, said)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        suggestion = queue.next()
        assert suggestion is not None
        queue.answer(suggestion.label, str(true[suggestion.label // 2 - 1]))
        times.append(time.perf_counter() - begin)
    assert np.median(times) < 0.2


def test_nothing_and_odd_input() -> None:
    empty = pd.DataFrame({"label": np.zeros(0, int), "y": np.zeros(0), "x": np.zeros(0)})
    assert InformativeQueue(empty, []).next() is None
    cells, _, said = tissue(300, 0)
    cells.loc[3, [name for name in cells if name.startswith(("p_", "mean_"))]] = np.nan
    suggestion = InformativeQueue(cells, said).next()
    assert suggestion is not None and np.isfinite(suggestion.score)
    with pytest.raises(SettingsError, match="300 cells, 299 types"):
        InformativeQueue(cells, said[1:])


def test_doubts_order_a_gallery() -> None:
    cells = pd.DataFrame(
        {"label": [1, 2, 3], "p_A": [0.9, 0.5, 0.99], "p_B": [0.1, 0.5, 0.01], "score": [0.5, 0.5, 0.9]}
    )
    doubt = doubts(cells, ["A", "A", "B"])
    assert np.argsort(-doubt).tolist() == [1, 2, 0]
    assert doubts(cells[["label"]], ["A"] * 3).tolist() == [0, 0, 0]
