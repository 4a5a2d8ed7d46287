"""Pure decisions: no Qt, no window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from napari_dama.errors import SettingsError
from napari_dama.gui import analyse_plan, cell_table, explain_plan, layers, resolve
from napari_dama.gui.state import DamaState, ExplainState
from napari_dama.predict.explain import CropPlace
from napari_dama.predict.progress import Progress
from napari_dama.slides.panel import BRAIN7
from napari_dama.slides.region import Region


def test_markers_feed_by_name_alias_and_choice() -> None:
    plan = resolve.resolve_channels(["Hoechst", "NeuN", "CH_7"], BRAIN7, {"S100": "CH_7"})
    assert [(row.marker, row.feeds, row.how) for row in plan.rows] == [
        ("Hoechst", "DAPI", "known alias"),
        ("NeuN", "NeuN", "same name"),
        ("CH_7", "S100", "your choice"),
    ]
    assert plan.problem == ""
    assert set(plan.absent) == {"Histones", "Olig2", "Iba1", "RECA1"}
    assert "Olig2" in plan.absent_sentence


def test_without_a_nucleus_the_plan_says_so_and_keeps_choices() -> None:
    plan = resolve.resolve_channels(["CH_1", "CH_2"], BRAIN7, {"NeuN": "CH_2"})
    assert plan.channels is None
    assert "CH_1" in plan.problem
    assert [row.feeds for row in plan.rows] == [None, "NeuN"]


def test_choosing_frees_what_the_marker_fed_before() -> None:
    markers = ["DAPI", "NeuN", "CH_7"]
    plan = resolve.resolve_channels(markers, BRAIN7, {})
    chosen = resolve.choose(plan, {}, "NeuN", None)
    assert chosen == {"NeuN": ""}
    assert resolve.resolve_channels(markers, BRAIN7, chosen).rows[1].feeds is None
    chosen = resolve.choose(plan, {}, "CH_7", "NeuN")
    rows = resolve.resolve_channels(markers, BRAIN7, chosen).rows
    assert [row.feeds for row in rows] == ["DAPI", None, "NeuN"]


@pytest.mark.parametrize(
    ("of_file", "typed", "value", "word"),
    [
        (0.5, None, 0.5, "As in the file"),
        (None, None, None, "does not say"),
        (None, 0.3, 0.3, "Typed by you"),
        (0.5, 0.3, 0.3, "the file says 0.5"),
        (0.5, 700, None, "no pixel size"),
    ],
)
def test_pixel_size(of_file: float | None, typed: float | None, value: float | None, word: str) -> None:
    plan = resolve.resolve_pixel(of_file, typed)
    assert plan.pixel_um == value
    assert word in plan.sentence


def test_types_need_their_markers() -> None:
    from napari_dama.models.build import brain_card

    card = brain_card("m")
    full = resolve.resolve_channels([m.name for m in BRAIN7.markers], BRAIN7, {})
    assert resolve.resolve_types(card, full.channels).possible
    bare = resolve.resolve_channels(["DAPI", "CD8"], BRAIN7, {})
    plan = resolve.resolve_types(card, bare.channels)
    assert not plan.possible
    assert "NeuN" in plan.reason


def test_result_folders_are_numbered_and_never_reused() -> None:
    taken = {Path("/d/a_dama"), Path("/d/a_dama_2")}
    assert resolve.default_out(Path("/d/a.ome.tif"), taken.__contains__) == Path("/d/a_dama_3")
    assert resolve.default_out(Path("/d/b.ome.zarr"), taken.__contains__) == Path("/d/b_dama")


def test_region_of_a_box_counts_pixels_not_edges() -> None:
    assert resolve.region_of_box(((-0.5, 9.5), (4.5, 9.5)), (100, 100), "x") == Region(0, 10, 5, 10)
    with pytest.raises(SettingsError, match="outside the slide"):
        resolve.region_of_box(((200, 300), (0, 10)), (100, 100), "The shape")


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (200, "3 min"), (7800, "2 h 10 min"), (float("inf"), "unknown")]
)
def test_durations(seconds: float, text: str) -> None:
    assert resolve.duration(seconds) == text


def test_progress_in_words() -> None:
    text = analyse_plan.progress_text(Progress("tiles", 3, 6, 412, 10.0, 13.0))
    assert text == "3 of 6 tiles, 412 cells, 1.3 Mpx/s, about 10 s left"
    assert analyse_plan.progress_share(Progress("statistics", 0, 1)) is None


def test_state_refuses_nonsense_and_tells_of_changes() -> None:
    heard: list[object] = []
    state = DamaState()
    state.channels.events.pixel_um.connect(heard.append)
    state.channels.pixel_um = 0.5
    assert heard == [0.5]
    with pytest.raises(ValidationError):
        state.analyse.region = "moon"
    with pytest.raises(ValidationError):
        ExplainState(nonsense=1)


def cells() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": [1, 2, 5],
            "y": [1.0, 2.0, 3.0],
            "x": [1.0, 2.0, 3.0],
            "area_um2": [50.0, 60.0, 70.0],
            "score": [0.5, 0.6, 0.7],
            "type": ["neuron", "microglia", "neuron"],
            "p_neuron": [0.9, 0.2, 0.8],
            "p_microglia": [0.1, 0.8, 0.2],
            "mean_DAPI": [100.0, 200.0, 300.0],
        }
    )


def test_legend_counts_types_in_the_models_order() -> None:
    rows = cell_table.type_rows(
        cells(), {"astrocyte": "#00ff00", "microglia": "#ff0000", "neuron": "#0000ff"}
    )
    assert [(row.name, row.count) for row in rows] == [("astrocyte", 0), ("microglia", 1), ("neuron", 2)]
    untyped = cell_table.type_rows(cells().drop(columns="type"), {"neuron": "#0000ff"})
    assert [(row.name, row.count) for row in untyped] == [("cell", 3)]


def test_features_carry_the_label_as_index() -> None:
    assert list(cell_table.feature_table(cells())["index"]) == [1, 2, 5]


@pytest.mark.parametrize("shift", [0, 2**16])
def test_colours_by_type_hide_types_for_any_number_of_cells(shift: int) -> None:
    from napari.layers import Labels

    table = cells()
    table["label"] += shift
    colours = {"neuron": "#0000ff", "microglia": "#ff0000"}
    image = np.array([[0, 1 + shift], [2 + shift, 5 + shift]], dtype=np.uint32)
    image[0, 0] = 0
    layer = Labels(image)
    layer.colormap = cell_table.type_colormap(table, colours, hidden=frozenset({"microglia"}))
    shown = layer._slice.image.view
    texture = layer.colormap._values_mapping_to_minimum_values_set()[1]
    rgba = [tuple(float(v) for v in texture[int(value)]) for value in shown.ravel()]
    assert rgba[0][3] == 0
    assert rgba[1] == rgba[3] == (0, 0, 1, 1)
    assert rgba[2][3] == 0


def test_cell_facts() -> None:
    facts = cell_table.cell_facts(cells(), 2)
    assert facts is not None
    assert facts.type == "microglia"
    assert facts.bars == (("neuron", 0.2), ("microglia", 0.8))
    assert facts.means == (("DAPI", 200.0),)
    assert cell_table.cell_facts(cells(), 4) is None


def test_markers_of_a_strange_panel_start_with_three_visible() -> None:
    shown = layers.initially_shown(["CD3", "CD8", "DAPI", "CK", "PD1"], BRAIN7)
    assert shown == [True, True, True, False, False]
    known = layers.initially_shown([m.name for m in BRAIN7.markers], BRAIN7)
    assert known == [True, False, True, True, True, True, True]


def test_colours_of_layers_differ() -> None:
    names = [m.name for m in BRAIN7.markers] + ["CD3", "CD8"]
    assert len(set(layers.layer_colours(names))) == len(names)


def test_explanation_lies_on_the_slide() -> None:
    place = CropPlace(y0=100.0, x0=50.0, step_px=0.5)
    pixels = explain_plan.placing(place, 0.4)
    assert pixels["translate"] == pytest.approx((40.0, 20.0))
    assert pixels["scale"] == pytest.approx((0.2, 0.2))
    pieces = explain_plan.placing(place, 0.4, every=16)
    edge = pieces["translate"][0] - pieces["scale"][0] / 2
    assert edge == pytest.approx(pixels["translate"][0] - pixels["scale"][0] / 2)


def test_normalisation_is_undone_for_display() -> None:
    from napari_dama.slides.intensity import IntensityStats, normalise

    stats = IntensityStats(np.array([10.0]), np.array([110.0]), ("a",))
    pixels = np.array([[[10, 60, 110]]], dtype=np.uint16)
    assert explain_plan.linear(normalise(pixels, stats)).ravel() == pytest.approx([0, 0.5, 1], abs=1e-5)
