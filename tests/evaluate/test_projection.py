"""Principal components against numpy's singular values; UMAP where umap-learn is (marker interop)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_dama.errors import Interrupted, SettingsError
from napari_dama.evaluate.projection import (
    marker_vectors,
    pca,
    principal_components,
    standardised,
    umap,
    umap_installed,
)


@pytest.mark.parametrize(("n", "d"), [(5, 3), (200, 17), (40, 60)])
def test_components_are_those_of_singular_values(n: int, d: int) -> None:
    data = np.random.default_rng(n).normal(0, 1, (n, d)) * np.linspace(5, 0.1, d) + 40
    scores, share = principal_components(data.astype(np.float32), 2)
    centred = data - data.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    for i in range(2):
        wanted = u[:, i] * s[i] * np.sign(vt[i][np.abs(vt[i]).argmax()])
        assert scores[:, i] == pytest.approx(wanted, abs=2e-3 * s[0])
    assert share == pytest.approx(s[:2] ** 2 / (s**2).sum(), rel=1e-3)


def test_what_is_not_finite_counts_as_the_mean() -> None:
    data = np.random.default_rng(0).normal(0, 1, (50, 4)).astype(np.float32)
    holed = data.copy()
    holed[3, 1] = np.nan
    filled = holed.copy()
    filled[3, 1] = np.nanmean(holed[:, 1])
    assert principal_components(holed)[0] == pytest.approx(principal_components(filled)[0], abs=1e-5)


def test_markers_are_brought_to_one_scale() -> None:
    random = np.random.default_rng(1)
    table = pd.DataFrame(
        {"mean_dim": random.uniform(1, 10, 300), "mean_bright": random.uniform(1e3, 1e5, 300)}
    )
    vectors, names = marker_vectors(table)
    assert names == ["dim", "bright"]
    assert vectors.mean(axis=0) == pytest.approx([0, 0], abs=1e-5)
    assert vectors.std(axis=0) == pytest.approx([1, 1], abs=1e-4)
    flat = standardised(np.array([[3.0, 1.0], [3.0, np.nan]]))
    assert flat[:, 0].tolist() == [0, 0] and np.isnan(flat[1, 1])
    with pytest.raises(SettingsError, match="at least two markers"):
        marker_vectors(table[["mean_dim"]])


def test_axes_say_how_much_they_explain() -> None:
    found = pca(np.random.default_rng(2).normal(0, [3, 1, 0.1], (500, 3)))
    assert found.points.shape == (500, 2)
    assert "90%" in found.axes[0] or "89%" in found.axes[0] or "91%" in found.axes[0]
    with pytest.raises(SettingsError, match="two cells"):
        pca(np.zeros((1, 5)))


@pytest.mark.skipif(umap_installed(), reason="umap-learn is here")
def test_without_umap_the_install_line_is_said() -> None:
    with pytest.raises(SettingsError, match="pip install"):
        umap(np.zeros((50, 5)))


@pytest.mark.interop
def test_umap_keeps_groups_apart_tells_its_rounds_and_stops() -> None:
    pytest.importorskip("umap")
    random = np.random.default_rng(0)
    vectors = np.concatenate([random.normal(0, 1, (60, 8)), random.normal(12, 1, (60, 8))]).astype(np.float32)
    rounds: list[tuple[int, int]] = []
    found = umap(vectors, progress=lambda done, all_: rounds.append((done, all_)))
    one, two = found.points[:60], found.points[60:]
    between = np.hypot(*(one.mean(axis=0) - two.mean(axis=0)))
    assert between > 3 * max(one.std(axis=0).max(), two.std(axis=0).max())
    assert rounds and rounds[-1][0] <= rounds[-1][1] and rounds[-1][1] >= 100
    assert found.points == pytest.approx(umap(vectors).points, abs=1e-3)
    asked = iter([False, False, False])
    with pytest.raises(Interrupted):
        umap(vectors, stop=lambda: next(asked, True))
