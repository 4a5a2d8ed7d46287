"""Colours of cells, and the pixels of dots: no window."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels
from napari.utils.colormaps import ensure_colormap
from tests.gui.result_folder import CLASSES, grid_labels, make_cells

from napari_dama.errors import SettingsError
from napari_dama.gui.cell_colours import (
    LEVELS,
    choices,
    colour_cells,
    doubt,
    label_colormap_of,
    title_of,
)
from napari_dama.gui.cell_table import type_colormap_of
from napari_dama.gui.cells_model import CellsModel
from napari_dama.gui.raster import disc, dot_radius, rasterise
from napari_dama.gui.shown_colours import ShownColours
from napari_dama.gui.state import ResultsState


@pytest.fixture
def cells() -> CellsModel:
    model = CellsModel()
    table = make_cells(grid_labels(6, 9)).assign(
        batch=["one", "two"] * 27, flag=[True, False, False] * 18, mean_hole=[np.nan, *range(53)]
    )
    model.open(table, CLASSES)
    return model


def test_everything_in_the_table_can_be_chosen_but_keys_and_places_in_pixels(cells: CellsModel) -> None:
    keys = [choice.key for choice in choices(cells)]
    assert keys[:3] == ["type", "instance", "doubt"]
    assert {"p_neuron", "mean_DAPI", "area_um2", "score", "batch", "flag", "y_um"} <= set(keys)
    assert not {"label", "y", "x"} & set(keys)
    assert title_of("near_neuron_30um") == ("neuron cells within 30 µm", "cells")
    assert title_of("near_neuron_5nn") == ("neuron cells among the 5 nearest", "cells")
    assert title_of("area_um2") == ("area", "µm²")


def test_numbers_span_their_percentiles(cells: CellsModel) -> None:
    values = cells.table["mean_NeuN"].to_numpy()
    found = colour_cells(cells, "mean_NeuN", colormap="magma", low=10, high=90)
    bottom, top = np.percentile(values, [10, 90])
    assert found.limits == pytest.approx((bottom, top))
    for row in range(len(values)):
        share = min(max((values[row] - bottom) / (top - bottom), 0), 1)
        wanted = ensure_colormap("magma").map([share])[0] * 255
        assert found.rgba[row] == pytest.approx(wanted, abs=3)
    gaps = colour_cells(cells, "mean_hole")
    assert gaps.missing == 1 and gaps.number[0] == LEVELS and gaps.rgba[0].tolist() == [127, 127, 127, 255]


def test_words_and_yes_or_no_are_categories(cells: CellsModel) -> None:
    found = colour_cells(cells, "batch", hidden_values=frozenset({"two"}))
    assert found.kind == "category" and {row.name: row.count for row in found.rows} == {"one": 27, "two": 27}
    assert (found.rgba[1::2, 3] == 0).all() and (found.rgba[::2, 3] == 255).all()
    assert {row.name for row in colour_cells(cells, "flag").rows} == {"True", "False"}
    cells.set_columns({"name": [f"n{i}" for i in range(54)]})
    assert "name" not in [choice.key for choice in choices(cells)]
    with pytest.raises(SettingsError, match="54 different values"):
        colour_cells(cells, "name")
    with pytest.raises(SettingsError, match="no column 'ghost'"):
        colour_cells(cells, "ghost")


def test_hidden_types_are_hidden_whatever_the_colours_mean(cells: CellsModel) -> None:
    gone = cells.types == "neuron"
    for by in ("type", "instance", "mean_DAPI", "batch", "doubt"):
        alpha = colour_cells(cells, by, hidden=frozenset({"neuron"})).rgba[:, 3]
        assert (alpha[gone] == 0).all() and (alpha[~gone] == 255).all(), by


def test_doubt_is_the_lead_of_the_likeliest(cells: CellsModel) -> None:
    for row, value in zip(cells.table.to_dict("records"), doubt(cells.table), strict=True):
        first, second = sorted((row[f"p_{name}"] for name in CLASSES), reverse=True)[:2]
        assert value == pytest.approx(1 - (first - second))
    with pytest.raises(SettingsError, match="at least two types"):
        doubt(pd.DataFrame({"p_a": [1.0]}))


@pytest.mark.parametrize("by", ["type", "mean_NeuN", "batch", "instance"])
def test_the_layer_shows_exactly_these_colours(cells: CellsModel, by: str) -> None:
    labels = grid_labels(6, 9)
    found = colour_cells(cells, by, hidden=frozenset({"glia", "astrocyte"}))
    layer = Labels(labels, colormap=label_colormap_of(cells.labels, found))
    for label in (1, 20, 54):
        row = int(cells.rows_of(label)[0])
        assert layer.colormap.map(label) * 255 == pytest.approx(found.rgba[row], abs=0.6)
        assert layer.get_color(label) * 255 == pytest.approx(found.rgba[row], abs=0.6)
    assert layer.colormap.map(np.array([[0, 99999]])).tolist() == [[[0] * 4] * 2]
    texture = layer.colormap._data_to_texture(labels)
    drawn = layer.colormap._values_mapping_to_minimum_values_set()[1]
    rows = np.maximum(cells.rows_of(labels.ravel()).reshape(labels.shape), 0)
    seen = (labels > 0) & (found.rgba[rows][..., 3] > 0)
    wanted = np.where(seen[..., None], found.rgba[rows] / 255, 0)
    shown = np.array([drawn[number] for number in range(len(drawn))])[texture]
    assert shown == pytest.approx(wanted, abs=3e-3)
    layer.show_selected_label = True
    layer.selected_label = 20
    assert np.unique(np.asarray(layer.colormap._data_to_texture(labels))).tolist() == [0, 1]


def test_labels_beyond_what_a_picture_of_bytes_can_hold() -> None:
    """napari asks for the colours of all bytes, however large the labels are."""
    labels, types = np.array([7, 300, 497]), np.array(["neuron", "glia", "neuron"])
    colormap = type_colormap_of(labels, types, {"neuron": "#ff0000"}, hidden=frozenset())
    mapped = colormap.map(np.arange(256, dtype=np.uint8))
    assert mapped[7].tolist() == [1, 0, 0, 1] and not mapped[8:].any()
    assert colormap.map(np.array([497], np.uint16))[0].tolist() == [1, 0, 0, 1]


def test_one_answer_for_all_who_draw(cells: CellsModel) -> None:
    state = ResultsState()
    shown = ShownColours(cells, state)
    heard: list[str] = []
    shown.changed.connect(lambda: heard.append(shown.colours.by))
    first = shown.colours
    assert first.by == "type" and shown.colours is first
    state.colour_by = "score"
    assert heard == ["score"] and shown.colours.kind == "number"
    state.colour_by = "ghost"
    assert shown.colours.by == "type" and "ghost" in shown.problem
    state.colour_by = "type"
    neurons = shown.colours.rows[0].count
    cells.set_types([int(cells.labels[cells.types == "neuron"][0])], "microglia")
    assert shown.colours.rows[0].count == neurons - 1
    cells.colour_class("neuron", "#123456")
    assert shown.colours.rows[0].colour == "#123456"
    count = len(heard)
    shown.let_go()
    state.colour_by = "score"
    assert len(heard) == count


def test_the_first_types_given_by_hand_are_seen() -> None:
    """A result without types shows a colour per cell; the first type that is given is to be seen, and a choice is kept."""
    model, state = CellsModel(), ResultsState(colour_by="instance")
    shown = ShownColours(model, state)
    table = make_cells(grid_labels(2, 3))
    model.open(table.drop(columns=[c for c in table if c == "type" or c.startswith("p_")]), {})
    assert shown.colours.by == "instance"
    model.add_class("tumour", "#ff0000")
    model.set_types([1], "tumour")
    assert state.colour_by == "type" and shown.colours.by == "type"
    state.colour_by = "instance"
    model.set_types([2], "tumour")
    assert shown.colours.by == "instance"


def test_columns_are_checked_and_survive_new_rows(cells: CellsModel) -> None:
    with pytest.raises(SettingsError, match="3 values for 54 cells"):
        cells.set_columns({"x2": [1, 2, 3]})
    cells.set_columns({"x2": np.arange(54.0)})
    cells.replace_rows([1], cells.table.iloc[[3]].drop(columns="x2").assign(label=99))
    assert cells.table["x2"].isna().sum() == 1 and len(cells.table) == 54


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.5])
def test_dots_are_those_drawn_one_after_the_other(radius: float) -> None:
    random = np.random.default_rng(1)
    places = random.uniform(-4, 44, (60, 2))
    places[7] = np.nan
    colours = random.integers(1, 255, (60, 4)).astype(np.uint8)
    colours[3, 3] = 0
    wanted = np.zeros((30, 40, 4), np.uint8)
    for (x, y), colour in zip(places, colours, strict=True):
        if not np.isfinite(x) or colour[3] == 0:
            continue
        for dy, dx in disc(radius):
            row, column = int(np.floor(y)) + dy, int(np.floor(x)) + dx
            if 0 <= row < 30 and 0 <= column < 40:
                wanted[row, column] = (*colour[:3], 255)
    assert (rasterise(places, colours, (30, 40), radius) == wanted).all()


def test_many_cells_are_smaller_dots() -> None:
    assert dot_radius(100, 400) == 4.0 and dot_radius(100_000, 400) < 1 < dot_radius(10_000, 400)
