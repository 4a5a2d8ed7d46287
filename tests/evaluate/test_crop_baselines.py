"""Baselines on crops: what is measured in a crop, the rule, and boosting on given rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_dama.cells.store import CropStore
from napari_dama.errors import Interrupted, SettingsError
from napari_dama.evaluate.crop_baselines import boosted_types, measure_crops, rule_for, rule_types

MARKERS = ("DAPI", "NeuN", "S100")
UM = 0.5


@pytest.fixture
def store(tmp_path: Path) -> CropStore:
    """Two cells of 64 px: an ellipse of 6 x 4 um radius with bright NeuN, and nothing nuclear at all with bright S100."""
    yy, xx = np.mgrid[:64, :64]
    ellipse = ((yy - 31.5) / 12) ** 2 + ((xx - 31.5) / 8) ** 2 <= 1
    crops = np.full((3, 3, 64, 64), 100.0)
    crops[0, 0][ellipse] = 1100
    crops[0, 1][ellipse] = 600
    crops[1, 2] = 900
    crops[2, 0][ellipse] = 1100
    crops[2, 2] = 0  # the second slide lacks S100
    with CropStore.create(tmp_path / "s", markers=MARKERS, dtype=np.uint16, crop_um=32, crop_px=64) as writer:
        writer.add_slide("a", low=[100] * 3, high=[1100] * 3)
        writer.add_slide("b", low=[100] * 3, high=[1100] * 3, present=[True, True, False])
        cells = pd.DataFrame({"slide": ["a", "a", "b"], "label": 1, "y": 0.0, "x": 0.0, "type": "neuron"})
        writer.append(crops.astype(np.uint16), cells)
    return CropStore.open(tmp_path / "s")


def test_the_nucleus_in_the_middle_is_measured(store: CropStore) -> None:
    table = measure_crops(store)
    first, empty, other = (table.iloc[i] for i in range(3))
    assert first["area_um2"] == pytest.approx(np.pi * 6 * 4, rel=0.12)
    assert first["eccentricity"] == pytest.approx(np.sqrt(1 - (4 / 6) ** 2), abs=0.05)
    assert first["nucleus_NeuN"] == pytest.approx(0.5, abs=0.05)
    assert first["mean_NeuN"] < first["nucleus_NeuN"]  # the cell is wider than the nucleus that is bright
    assert first["mean_S100"] == pytest.approx(0)
    assert empty["area_um2"] == pytest.approx(np.pi * 3**2, rel=0.1)  # a disc where there is no nucleus
    assert empty["mean_S100"] == pytest.approx(0.8)
    assert np.isnan(other["mean_S100"]) and other["nucleus_DAPI"] > 0.9


def test_measuring_can_be_stopped(store: CropStore) -> None:
    with pytest.raises(Interrupted):
        measure_crops(store, stop=lambda: True)


def test_the_rule_takes_the_brightest_marker_on_the_slides_own_scale(store: CropStore) -> None:
    rule = rule_for(MARKERS, ("neuron", "glia"), {"NeuN": "neuron", "S100": "glia"})
    assert list(rule_types(measure_crops(store), rule)) == ["neuron", "glia", "neuron"]


def test_a_rule_that_does_not_fit_is_named() -> None:
    brain = ("DAPI", "Histones", "NeuN", "S100", "Olig2", "Iba1", "RECA1")
    assert rule_for(brain, ("neuron", "astrocyte")) == {"NeuN": "neuron", "S100": "astrocyte"}
    with pytest.raises(SettingsError, match="no rule is known for the types B cell"):
        rule_for(brain, ("B cell", "neuron"))
    with pytest.raises(SettingsError, match="names marker CD3"):
        rule_for(brain, ("neuron",), {"CD3": "neuron"})
    with pytest.raises(SettingsError, match="names type T cell"):
        rule_for(brain, ("neuron",), {"NeuN": "T cell"})


def test_boosting_learns_from_the_training_rows_only() -> None:
    rng = np.random.default_rng(0)
    types = np.array(["a", "b"], dtype=object)[rng.integers(2, size=120)]
    table = pd.DataFrame({"mean_X": (types == "a") + rng.normal(0, 0.1, 120), "area_um2": rng.random(120)})
    train, test = np.arange(80), np.arange(80, 120)
    found = boosted_types(table, types, train, test)
    assert (found == types[test]).mean() > 0.95
    lied = types.copy()
    lied[test] = "b"
    assert list(boosted_types(table, lied, train, test)) == list(found)
    assert set(boosted_types(table, types, train[:6], test)) == {"a", "b"}  # few labels still part the cells
    with pytest.raises(SettingsError, match="one type only"):
        boosted_types(table, types, np.flatnonzero(types == "a")[:5], test)
