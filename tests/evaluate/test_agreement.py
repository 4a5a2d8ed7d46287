"""Annotations beside predictions: pairs by place, scores, and who is in each field."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_dama.errors import SettingsError
from napari_dama.evaluate.agreement import compare_types

CELLS = pd.DataFrame(
    {
        "label": [11, 12, 13, 14, 15],
        "y": [10.0, 10.0, 50.0, 50.0, 90.0],
        "x": [10.0, 60.0, 10.0, 60.0, 10.0],
        "area_um2": 100.0,
        "type": ["a", "b", "a", "b", "cell"],
    }
)


def test_each_field_knows_its_cells() -> None:
    annotated = pd.DataFrame(
        {"y": [12, 9, 50, 51, 90, 10], "x": [10, 61, 12, 60, 10, 300], "type": ["A", "a", "a", "b", "b", "b"]}
    )
    found = compare_types(annotated, CELLS)
    assert [name.casefold() for name in found.scores.types] == ["a", "b"]
    assert found.scores.confusion.tolist() == [[2, 1], [0, 1]]
    assert found.scores.accuracy == pytest.approx(0.75)
    assert sorted(found.labels_in(0, 0)) == [11, 13] and found.labels_in(0, 1).tolist() == [12]
    assert found.labels_in(1, 0).tolist() == []
    assert found.n_unmatched == 2  # one lies on a cell without a predicted type, one on no cell
    assert found.rare == {found.scores.types[0]: 3, "b": 1}


def test_the_distance_follows_the_cells_size() -> None:
    annotated = pd.DataFrame({"y": [10.0], "x": [22.0], "type": ["a"]})
    with pytest.raises(SettingsError, match="within 8 px"):
        compare_types(annotated, CELLS)
    wide = CELLS.assign(area_um2=np.pi * 7.0**2)
    assert compare_types(annotated, wide, pixel_um=0.5).scores.n_matched == 1  # radius 14 px
    assert compare_types(annotated, CELLS, max_distance_px=13).labels.tolist() == [11]


def test_missing_columns_are_named() -> None:
    with pytest.raises(SettingsError, match="annotations has no column 'x'"):
        compare_types(pd.DataFrame({"y": [1.0], "type": ["a"]}), CELLS)
