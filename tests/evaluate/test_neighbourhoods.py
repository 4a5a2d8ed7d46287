"""Neighbours by type, against counting in loops."""

from __future__ import annotations

from math import dist

import numpy as np
import pandas as pd
import pytest

from napari_dama.errors import Interrupted, SettingsError
from napari_dama.evaluate.neighbourhoods import neighbourhoods


def field(n: int, seed: int, *, untyped: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    kinds = random.choice(["b", "a", "c"], n).astype(object)
    kinds[:untyped] = "cell"
    return pd.DataFrame({"y_um": random.uniform(0, 100, n), "x_um": random.uniform(0, 100, n), "type": kinds})


def slow(
    cells: pd.DataFrame, *, radius: float | None, k: int | None
) -> tuple[np.ndarray, dict[tuple[str, str], int]]:
    """Every pair looked at: neighbours of each type around each cell, and links between types."""
    names = sorted(set(cells["type"]) - {"cell"})
    rows = list(cells.itertuples(index=False))
    around = np.zeros((len(rows), len(names)), int)
    links = dict.fromkeys(((one, two) for one in names for two in names), 0)
    for i, cell in enumerate(rows):
        others = [
            (dist((cell.y_um, cell.x_um), (other.y_um, other.x_um)), other.type)
            for j, other in enumerate(rows)
            if j != i and other.type != "cell"
        ]
        near = (
            [kind for far, kind in others if far <= radius]
            if radius
            else [kind for _, kind in sorted(others)[:k]]
        )
        for kind in near:
            around[i, names.index(kind)] += 1
            if cell.type != "cell":
                links[cell.type, kind] += 1
    return around, links


@pytest.mark.parametrize(("radius", "k"), [(12.0, None), (30.0, None), (None, 1), (None, 5)])
@pytest.mark.parametrize("untyped", [0, 9])
def test_counts_are_those_of_looking_at_every_pair(radius: float | None, k: int | None, untyped: int) -> None:
    cells = field(70, 3, untyped=untyped)
    found = neighbourhoods(cells, radius_um=radius, nearest=k, permutations=0)
    around, links = slow(cells, radius=radius, k=k)
    assert found.types == ("a", "b", "c")
    assert (found.per_cell == around).all()
    assert {
        (one, two): found.links[i, j]
        for i, one in enumerate(found.types)
        for j, two in enumerate(found.types)
    } == links
    assert found.n_untyped == untyped
    assert np.isnan(found.z).all()


def test_the_z_score_is_that_of_permutations_written_out() -> None:
    cells = field(60, 5)
    found = neighbourhoods(cells, radius_um=20, permutations=40, seed=11)
    codes = np.array([found.types.index(kind) for kind in cells["type"]], np.int32)
    random, dealt = np.random.default_rng(11), []
    for _ in range(40):
        shuffled = cells.assign(type=np.array(found.types, object)[random.permutation(codes)])
        links = slow(shuffled, radius=20, k=None)[1]
        dealt.append([[links[one, two] for two in found.types] for one in found.types])
    mean, spread = np.mean(dealt, axis=0), np.std(dealt, axis=0)
    assert found.expected == pytest.approx(mean)
    assert found.z == pytest.approx((found.links - mean) / spread)
    again = neighbourhoods(cells, radius_um=20, permutations=40, seed=11)
    assert (again.z == found.z).all()


def test_like_beside_like_is_enriched_and_mixing_is_not() -> None:
    cells = field(800, 1)
    apart = cells.assign(type=np.where(cells["x_um"] < 50, "left", "right"))
    z = neighbourhoods(apart, radius_um=10).z
    assert z[0, 0] > 10 and z[0, 1] < -10
    mixed = neighbourhoods(cells, radius_um=10).z
    assert np.abs(mixed).max() < 4


def test_cells_on_one_spot_are_never_their_own_neighbours() -> None:
    cells = pd.DataFrame({"y_um": [5.0] * 4, "x_um": [5.0] * 4, "type": ["a", "b", "a", "b"]})
    assert neighbourhoods(cells, nearest=2, permutations=0).per_cell.sum(axis=1).tolist() == [2, 2, 2, 2]
    assert neighbourhoods(cells, radius_um=1, permutations=0).per_cell.tolist() == [
        [1, 2],
        [2, 1],
        [1, 2],
        [2, 1],
    ]


def test_the_classes_order_and_the_columns_names() -> None:
    found = neighbourhoods(field(50, 2), radius_um=25, types=["c", "ghost", "b"], permutations=0)
    assert found.types == ("c", "b", "a")
    assert list(found.columns()) == ["near_c_25um", "near_b_25um", "near_a_25um"]
    assert len(found.to_frame()) == 9
    assert found.to_json()["z"][0] == [None, None, None]
    assert "25 µm" in found.describe()[0]


def test_what_makes_no_sense_is_said() -> None:
    cells = field(20, 1)
    for wrong in (
        {"radius_um": 0},
        {"radius_um": float("nan")},
        {"nearest": 0},
        {"nearest": 20},
        {"permutations": -1},
    ):
        with pytest.raises(SettingsError):
            neighbourhoods(cells, **wrong)
    with pytest.raises(SettingsError, match="not both"):
        neighbourhoods(cells, radius_um=5, nearest=5)
    with pytest.raises(SettingsError, match="no column type"):
        neighbourhoods(cells.drop(columns="type"))
    with pytest.raises(SettingsError, match="Fewer than two"):
        neighbourhoods(cells.assign(type="cell"))
    with pytest.raises(Interrupted):
        neighbourhoods(cells, stop=lambda: True)
