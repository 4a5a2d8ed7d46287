"""Profiles and spreads of the types, against slow references."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gaussian_kde

from napari_dama.errors import SettingsError
from napari_dama.evaluate.profiles import likeness_order, marker_profile, spread_of


def cells(n: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    types = random.choice(["glia", "neuron"], n).astype(object)
    table = pd.DataFrame(
        {
            "mean_A": random.normal(10, 2, n) + 5 * (types == "glia"),
            "mean_B": random.normal(100, 9, n),
            "area_um2": 50.0,
        }
    )
    table.loc[4, "mean_A"] = np.nan
    return table, types


def test_means_and_z_scores_are_pandas_own() -> None:
    table, types = cells()
    found = marker_profile(table, types, ["neuron", "ghost"])
    assert found.types == ("neuron", "glia") and found.markers == ("A", "B")
    for place, name in enumerate(found.types):
        own = table[types == name]
        assert found.n_cells[place] == len(own)
        for column, marker in enumerate(("mean_A", "mean_B")):
            assert found.mean[place, column] == pytest.approx(own[marker].mean())
            z = (own[marker] - table[marker].mean()) / table[marker].std(ddof=0)
            assert found.z[place, column] == pytest.approx(z.mean())
    turned = found.ordered([1, 0], [1])
    assert turned.types == ("glia", "neuron") and turned.mean[0, 0] == found.mean[1, 1]
    with pytest.raises(SettingsError, match="no cells"):
        marker_profile(table[["area_um2"]], types)


def test_likeness_puts_like_rows_beside_each_other() -> None:
    rows = np.array([[0, 0], [9, 9], [0.1, 0], [9, 8.9], [0, 0.2]], float)
    order = likeness_order(rows)
    group = [0 if rows[i, 0] < 5 else 1 for i in order]
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert group in ([0, 0, 0, 1, 1], [1, 1, 0, 0, 0])
    assert likeness_order(rows[:2]) == [0, 1]


def test_the_density_is_a_kernel_estimate_and_quantiles_are_exact() -> None:
    random = np.random.default_rng(3)
    values = np.concatenate([random.normal(0, 1, 4000), random.gamma(3, 2, 3000)])
    types = np.array(["n"] * 4000 + ["g"] * 3000, object)
    found = spread_of(values, types, "size", ["n", "g"])
    for place, own in enumerate((values[:4000], values[4000:])):
        assert found.quantiles[place] == pytest.approx(np.percentile(own, [5, 25, 50, 75, 95]))
        quarter, three = np.percentile(own, [25, 75])
        silverman = 0.9 * min(own.std(), (three - quarter) / 1.34) * len(own) ** -0.2
        wanted = gaussian_kde(own, bw_method=silverman / own.std(ddof=1))(found.grid)
        assert found.density[place] == pytest.approx(wanted / wanted.max(), abs=0.02)


def test_empty_and_constant_columns() -> None:
    types = np.array(["a", "a", "b"], object)
    flat = spread_of(np.array([2.0, 2.0, np.nan]), types, "x")
    assert flat.n_cells.tolist() == [2, 0] and np.isnan(flat.quantiles[1]).all()
    assert flat.density[0].max() == 1 and flat.density[1].max() == 0
    with pytest.raises(SettingsError, match="No cell has a value"):
        spread_of(np.full(3, np.nan), types, "x")
