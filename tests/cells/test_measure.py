"""Measurements of cells, against a slow loop."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dama.cells.measure import measure
from napari_dama.errors import SettingsError


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int16])
@pytest.mark.parametrize("top", [9, 4_000_000_000])
def test_measure_equals_a_loop(dtype: type, top: int) -> None:
    rng = np.random.default_rng(1)
    labels = np.kron(rng.integers(0, 9, (6, 7)), np.ones((5, 4), int)).astype(np.uint32)
    labels[labels == 8] = top
    pixels = rng.integers(0, 200, (3, *labels.shape)).astype(dtype)
    table = measure(labels, pixels, ["A", "B", "C"], 0.5, offset=(100, 20))
    assert list(table.columns) == [
        "label", "y", "x", "y_um", "x_um", "area_um2", "mean_A", "mean_B", "mean_C"
    ]  # fmt: skip
    assert list(table["label"]) == sorted(set(np.unique(labels)) - {0})
    for row in table.itertuples():
        ys, xs = np.nonzero(labels == row.label)
        assert row.y == pytest.approx(ys.mean() + 100) and row.x == pytest.approx(xs.mean() + 20)
        assert row.y_um == pytest.approx(row.y * 0.5) and row.area_um2 == pytest.approx(len(ys) * 0.25)
        for c, name in enumerate("ABC"):
            assert getattr(row, f"mean_{name}") == pytest.approx(pixels[c, ys, xs].mean())


def test_no_cells_give_an_empty_table_with_its_columns() -> None:
    table = measure(np.zeros((4, 5), np.int32), np.ones((1, 4, 5)), ["DAPI"], 0.3)
    assert len(table) == 0 and "mean_DAPI" in table and table["label"].dtype == np.int64


def test_pixels_that_are_not_finite_count_in_no_mean() -> None:
    labels = np.array([[1, 1, 2]])
    pixels = np.array([[[1.0, np.nan, np.inf]]], np.float32)
    table = measure(labels, pixels, ["A"], 1.0)
    assert table["mean_A"][0] == 1.0 and np.isnan(table["mean_A"][1])


def test_misfits_are_named() -> None:
    with pytest.raises(SettingsError, match=r"\(4, 5\)"):
        measure(np.zeros((4, 5), np.int32), np.ones((1, 4, 6)), ["A"], 1.0)
    with pytest.raises(SettingsError, match="2 marker names"):
        measure(np.zeros((4, 5), np.int32), np.ones((1, 4, 5)), ["A", "B"], 1.0)
