"""Markers without a window: the evented model, its links with napari's layers, presets, names, matching in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from napari_dama.errors import OutputError, SettingsError, SlideError
from napari_dama.gui import presets
from napari_dama.gui.adopt import candidates, channel_images, strangers, take_on
from napari_dama.gui.layers import KEY, about
from napari_dama.gui.mapping_plan import choose_slide_marker, mapping_rows, unused_sentence
from napari_dama.gui.marker_book import MarkerBook
from napari_dama.gui.markers import Marker, Markers
from napari_dama.gui.rename_plan import resolve_rename
from napari_dama.gui.resolve import resolve_channels
from napari_dama.models.shelf import load_card
from napari_dama.slides.panel import BRAIN7


def markers(*names: str, shown: tuple[int, ...] = (0, 1), one: bool = False) -> Markers:
    return Markers(
        "s",
        [Marker(index=i, name=name, visible=i in shown) for i, name in enumerate(names)],
        one_at_a_time=one,
    )


def seen(found: Markers) -> list[int]:
    return [marker.index for marker in found.all if marker.visible]


def test_alone_and_back_brings_back_what_was_shown() -> None:
    found = markers("A", "B", "C", "D", shown=(0, 2))
    found.toggle_solo(1)
    assert (seen(found), found.current, found.solo) == ([1], 1, True)
    found.current = 3  # another marker at hand takes the place
    assert seen(found) == [3]
    found.toggle_solo()
    assert (seen(found), found.solo) == ([0, 2], False)


def test_stepping_goes_around_in_the_order_of_the_list() -> None:
    found = markers("A", "B", "C")
    found.order = [2, 0]
    assert found.order == (2, 0, 1)
    visited = []
    for _ in range(4):
        found.step(1)
        visited.append(found.current)
        assert seen(found) == [found.current]
    assert visited == [1, 2, 0, 1]
    found.step(-1)
    assert found.current == 0
    found.toggle_solo()
    assert seen(found) == [0, 1]


def test_values_are_checked_when_they_are_set() -> None:
    marker = Marker(index=0, name="A")
    for field, value in (("contrast", (5, 5)), ("colour", "red"), ("gamma", 0), ("name", "")):
        with pytest.raises(ValidationError):
            setattr(marker, field, value)
    with pytest.raises(ValidationError):
        Marker(index=0, name="A", nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(SettingsError):
        markers("A").current = 4


def test_names_are_made_different_and_can_be_undone() -> None:
    found = markers("A", "B", "C")
    assert found.rename(["x", "x", ""]) == ("x", "x (2)", "channel 3")
    assert found.undo_rename() == ("A", "B", "C")
    assert not found.can_undo_rename
    with pytest.raises(SlideError, match="2 marker names"):
        found.rename(["x", "y"])


def test_the_plan_says_what_each_marker_feeds_and_how() -> None:
    found = markers("Hoechst", "NeuN", "CH_7", "X")
    found.follow_plan(resolve_channels(found.names, BRAIN7, {"S100": "CH_7"}))
    assert [(m.feeds, m.how) for m in found.all] == [
        ("DAPI", "alias"),
        ("NeuN", "exact"),
        ("S100", "chosen"),
        ("", "absent"),
    ]


def model() -> Any:
    from napari.components import ViewerModel

    return ViewerModel()


def tagged(viewer: Any, names: list[str]) -> list[Any]:
    from napari.layers import Image

    pixels = np.random.default_rng(0).random((len(names), 20, 30))
    for index, name in enumerate(names):
        facts = {"role": "marker", "slide": "s", "marker": name, "index": index, "low": 0.1, "high": 0.9}
        viewer.add_layer(Image(pixels[index], name=name, metadata={KEY: facts}))
    return list(viewer.layers)


def test_markers_and_layers_follow_each_other() -> None:
    viewer = model()
    layers = tagged(viewer, ["A", "B", "C"])
    book = MarkerBook(viewer)
    assert book.sync()
    assert not book.sync()
    found = book.get("s")
    assert found is not None
    assert (found[1].low, found[1].high) == (0.1, 0.9)
    layers[1].contrast_limits = (0.2, 0.4)
    assert found[1].contrast == (0.2, 0.4)
    found[1].contrast = (0.3, 5.0)  # beyond the layer's own range
    assert layers[1].contrast_limits == [0.3, 5.0]
    found[2].colour = "#ff0000"
    assert tuple(layers[2].colormap.colors[-1][:3]) == (1, 0, 0)
    layers[2].colormap = "viridis"  # napari's own stays what the user chose
    assert found[2].colour == "#fde725"
    assert layers[2].colormap.name == "viridis"
    found[2].gamma = 0.5
    assert layers[2].gamma == 0.5
    found.toggle_solo(0)
    assert [layer.visible for layer in layers] == [True, False, False]
    layers[1].visible = True
    assert found[1].visible
    viewer.layers.move(2, 0)
    assert found.order == (2, 0, 1)
    book.close()
    layers[1].contrast_limits = (0.1, 0.2)
    assert found[1].contrast == (0.3, 5.0)


def test_a_removed_layer_leaves_its_marker_in_the_list() -> None:
    viewer = model()
    tagged(viewer, ["A", "B", "C"])
    book = MarkerBook(viewer)
    book.sync()
    found = book.get("s")
    viewer.layers.remove("B")
    assert book.sync()
    assert book.get("s") is found
    assert found is not None
    assert [marker.has_layer for marker in found.all] == [True, False, True]
    book.complete("s", ("A", "B", "C", "D"))
    assert [m.name for m in book.get("s").all] == ["A", "B", "C", "D"]  # type: ignore[union-attr]
    viewer.layers.clear()
    book.sync()
    assert book.get("s") is None
    book.close()


@pytest.fixture
def stack() -> tuple[Any, Any]:
    """A viewer with one layer of (Z, C, Y, X), as another reader adds it."""
    import dask.array as da
    from napari.layers import Image

    viewer = model()
    pixels = np.random.default_rng(0).integers(0, 999, (3, 4, 40, 50), dtype=np.uint16)
    layer = Image(
        da.from_array(pixels, chunks=(1, 2, 20, 20)),
        name="my stack",
        scale=(2, 1, 0.5, 0.5),
        translate=(0, 0, 10, 20),
        units=("um", "pixel", "um", "um"),
    )
    viewer.add_layer(layer)
    return viewer, layer


def test_one_layer_with_channels_shows_one_marker_at_a_time(stack: tuple[Any, Any]) -> None:
    viewer, layer = stack
    (candidate,) = candidates(viewer.layers)
    assert (candidate.axis, candidate.pixel_um, len(candidate.names)) == (1, 0.5, 4)
    viewer.dims.set_point(0, 4)
    name, opener = take_on(candidate, ["DAPI", "NeuN", "S100", "Iba1"], 0.5, viewer.dims.point)
    assert opener is not None
    slide = opener(None, None)
    assert slide.shape == (4, 40, 50)
    np.testing.assert_array_equal(slide.read(), np.asarray(layer.data)[2])  # the plane in view
    assert strangers(viewer.layers) == []

    book = MarkerBook(viewer)
    book.sync()
    found = book.get(name)
    assert found is not None
    assert found.one_at_a_time
    viewer.dims.set_point(1, 1)
    assert (found.current, seen(found)) == (1, [1])
    layer.contrast_limits = (5, 100)
    viewer.dims.set_point(1, 3)
    layer.contrast_limits = (7, 200)
    found[3].colour = "#00ff00"
    found[1].visible = True  # asks for another marker: the slider goes there, and its own contrast comes back
    assert (found.current, seen(found), viewer.dims.point[1]) == (1, [1], 1)
    assert layer.contrast_limits == [5, 100]
    found.step(1)
    found.step(1)
    assert layer.contrast_limits == [7, 200]
    assert tuple(layer.colormap.colors[-1][:3]) == (0, 1, 0)
    assert about(layer)["marker"] == "Iba1"
    found[3].visible = False
    assert not layer.visible
    book.close()


def test_splitting_keeps_lazy_data_scale_units_and_place(stack: tuple[Any, Any]) -> None:
    import dask.array as da
    from napari.layers import Layer

    _, layer = stack
    looks = [{"name": name} for name in "ABCD"]
    images = [Layer.create(*each) for each in channel_images(layer, looks, 1)]
    assert [image.name for image in images] == list("ABCD")
    for index, image in enumerate(images):
        assert isinstance(image.data, da.Array)
        np.testing.assert_array_equal(np.asarray(image.data), np.asarray(layer.data)[:, index])
        assert tuple(image.scale) == (2, 0.5, 0.5)
        assert tuple(image.translate) == (0, 10, 20)
        assert [str(unit) for unit in image.units] == ["micrometer"] * 3
    with pytest.raises(SlideError, match="4 channels"):
        channel_images(layer, looks[:2], 1)


def test_layers_of_one_size_are_one_slide_and_pictures_are_none() -> None:
    from napari.layers import Image, Labels

    viewer = model()
    for name in ("DAPI", "NeuN"):
        viewer.add_layer(Image(np.zeros((20, 30), np.uint8), name=name))
    viewer.add_layer(Image(np.zeros((9, 9), np.uint8), name="other"))
    viewer.add_layer(Image(np.zeros((20, 30, 3), np.uint8), name="H&E", rgb=True))
    viewer.add_layer(Labels(np.zeros((20, 30), int)))
    first, second = candidates(viewer.layers)
    assert (first.names, first.axis, second.names) == (("DAPI", "NeuN"), None, ("other",))
    assert candidates(viewer.layers, [viewer.layers["other"]])[0].names == ("other",)
    one, opener = take_on(first, first.names, None, viewer.dims.point)
    assert one == "layer:DAPI and 1 more"
    assert opener is not None
    assert opener(["x", "y"], 0.5).markers == ("x", "y")
    two, _ = take_on(second, ("a",), None, viewer.dims.point, taken=["layer:other"])
    assert two == "layer:other 2"


def test_presets_by_value_are_shared_by_slides_of_a_panel(own_presets: Path) -> None:
    one = markers("DAPI", "NeuN-AF488", "X", shown=(0,))
    one[0].colour, one[1].contrast, one[1].gamma = "#112233", (3.0, 70.0), 0.8
    file = presets.save_preset(presets.preset_of("Brain, dim", one))
    assert file == own_presets / "Brain, dim.yaml"
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["markers"]["DAPI"]["colour"] == "#112233"
    other = markers("NeuN", "DAPI", "Y", "Z", shown=(2, 3))
    (preset,), wrong = presets.list_presets(other.names)
    assert wrong == []
    assert preset.share_of(other.names) == 0.5
    assert presets.apply_preset(preset, other) == 2
    assert other[0].contrast == (3.0, 70.0)
    assert other[0].gamma == 0.8
    assert other[1].colour == "#112233"
    assert seen(other) == [1, 2, 3]
    with pytest.raises(OutputError, match="already"):
        presets.save_preset(preset)
    presets.delete_preset(preset.name)
    assert presets.list_presets() == ([], [])


def test_presets_by_percentile_take_the_values_of_each_slide() -> None:
    from napari_dama.slides.histogram import ends_at, percentiles_of
    from napari_dama.slides.slide import open_slide

    pixels = np.arange(20000, dtype=np.uint16).reshape(2, 100, 100)
    slide = open_slide(pixels, markers=["A", "B"])
    found = percentiles_of(slide, {0: (1000, 8999)})
    assert found[0] == pytest.approx((10, 90))
    brighter = open_slide(pixels * 3, markers=["A", "B"])
    assert ends_at(brighter, found)[0] == pytest.approx((3000, 27000), rel=0.01)
    one = markers("A", "B")
    preset = presets.preset_of("p", one, percentiles={0: (10, 90), 1: (1, 99)})
    presets.apply_preset(preset, one, values={0: (3000.0, 27000.0)})
    assert one[0].contrast == (3000, 27000)
    assert one[1].contrast == (0, 1)  # not known for this one


def test_the_default_preset_needs_half_of_the_markers_and_is_the_only_one() -> None:
    presets.save_preset(presets.preset_of("old", markers("DAPI", "NeuN"), default=True))
    presets.save_preset(presets.preset_of("new", markers("DAPI", "NeuN"), default=True))
    found = presets.default_preset(["DAPI", "NeuN", "X"])
    assert found is not None
    assert found.name == "new"
    assert [p.name for p in presets.list_presets()[0] if p.default] == ["new"]
    assert presets.default_preset(["DAPI", "X", "Y", "Z"]) is None


@pytest.mark.parametrize(
    "text",
    [
        "- a list",
        "{name: x, markers: {}}",
        "{name: x, markers: {A: {colour: red, low: 0, high: 1}}}",
        "{name: x, markers: {A: {colour: '#ff0000', low: 2, high: 1}}}",
        "{name: x, contrast: percentile, markers: {A: {colour: '#ff0000', low: 2, high: 300}}}",
        "!!python/object/apply:os.system ['true']",
        "{name: ../x, markers: {A: {colour: '#ff0000', low: 0, high: 1}}}",
        "a: [b",
    ],
)
def test_files_that_are_no_presets_are_said_and_left_out(own_presets: Path, text: str) -> None:
    own_presets.mkdir()
    (own_presets / "bad.yaml").write_text(text, encoding="utf-8")
    found, wrong = presets.list_presets()
    assert found == []
    assert len(wrong) == 1
    assert "bad.yaml" in wrong[0]


def test_a_name_that_cannot_be_a_file_is_refused() -> None:
    for name in ("../../x", "", "a/b", "x" * 90):
        with pytest.raises(SettingsError):
            presets.preset_of(name, markers("A"))


def test_a_pasted_list_is_shown_before_anything_changes() -> None:
    old = ["CH_1", "CH_2", "CH_3"]
    plan = resolve_rename(old, "DAPI\nNeuN-AF488\nCH_3", BRAIN7)
    assert [(row.new, row.feeds, row.changed) for row in plan.rows] == [
        ("DAPI", "DAPI", True),
        ("NeuN-AF488", "NeuN", True),
        ("CH_3", "", False),
    ]
    assert plan.ready
    assert "2 of 3 names change" in plan.sentence
    short = resolve_rename(old, "DAPI, NeuN", BRAIN7)
    assert not short.ready
    assert "2 names" in short.problem
    assert "3 channels" in short.problem
    assert not resolve_rename(old, "", BRAIN7).ready
    assert not resolve_rename(old, "CH_1\nCH_2\nCH_3", BRAIN7).ready
    bare = resolve_rename(old, "NeuN, a, b", BRAIN7)  # no nucleus: the others are matched all the same
    assert bare.rows[0].feeds == "NeuN"


def test_matching_in_plain_words_with_what_follows() -> None:
    card = load_card()
    names = ["Hoechst", "NeuN", "S100", "CH_7", "CD31", "Iba1"]
    plan = resolve_channels(names, BRAIN7, {"Olig2": "CH_7", "Iba1": ""})
    rows = {row.model: row for row in mapping_rows(plan, BRAIN7, card)}
    assert [rows[m].words for m in ("DAPI", "NeuN", "Olig2", "Histones", "Iba1")] == [
        "another name for it",
        "same name",
        "you chose",
        "not on this slide",
        "left out by you",
    ]
    assert "Cells are found by it" in rows["DAPI"].follows
    assert "CD31 is taken for RECA1" in rows["RECA1"].follows
    assert "Cells are found all the same" in rows["Histones"].follows
    assert "only Iba1 shows are missed" in rows["Iba1"].follows
    assert not any(row.grave for row in rows.values())
    assert "Iba1" in unused_sentence(plan)
    bare = {r.model: r for r in mapping_rows(resolve_channels(["DAPI", "NeuN"], BRAIN7, {}), BRAIN7, card)}
    assert bare["S100"].grave
    assert "none can be told" in bare["S100"].follows
    none = {r.model: r for r in mapping_rows(resolve_channels(["a", "b"], BRAIN7, {}), BRAIN7, card)}
    assert none["DAPI"].grave
    assert "Nothing can be found" in none["DAPI"].follows


def test_choosing_in_the_table_frees_the_channel_where_it_served_before() -> None:
    plan = resolve_channels(["DAPI", "NeuN", "Iba1"], BRAIN7, {})
    rows = mapping_rows(plan, BRAIN7, None)
    chosen = choose_slide_marker({}, "Iba1", "NeuN", rows)
    after = resolve_channels(["DAPI", "NeuN", "Iba1"], BRAIN7, chosen)
    assert [row.feeds for row in after.rows] == ["DAPI", "Iba1", None]
    assert choose_slide_marker(chosen, "Iba1", "", rows)["Iba1"] == ""
