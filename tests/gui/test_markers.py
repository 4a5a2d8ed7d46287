"""Markers in a real window: list, keys, histogram, names, presets, matching, and layers of other readers as slides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gui.conftest import add_slide, small_slide

from napari_dama.gui.layers import about, layers_of
from napari_dama.slides.name_list import names_file
from napari_dama.slides.slide import open_slide

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def dock(make_napari_viewer: Any, on_shelf: Path, tmp_path: Path) -> Iterator[Any]:
    """The dock in sight, as a window of its own: napari's canvas, which draws by OpenGL, stays hidden."""
    from napari_dama.gui.dock import DamaDock

    viewer = make_napari_viewer()
    add_slide(viewer, small_slide(tmp_path))
    widget = DamaDock(viewer)
    widget.show()
    yield widget
    widget.close()


@pytest.fixture
def tab(dock: Any, wait_for: Wait) -> Any:
    """The Channels tab, in sight."""
    wait_for(lambda: len(dock.channels.rows) == 7)
    return dock.channels


def seen(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible and about(layer).get("role") == "marker"]


def press(viewer: Any, key: str) -> None:
    """Press a key as napari's canvas hands it on."""
    from napari.utils.key_bindings import coerce_keybinding

    viewer.keymap[coerce_keybinding(key)](viewer)


def test_keys_and_buttons_show_one_marker_alone(tab: Any) -> None:
    viewer = tab.viewer
    before = seen(viewer)
    press(viewer, "H")
    assert seen(viewer) == ["DAPI"]
    assert tab.tools.solo.isChecked()
    press(viewer, ".")
    press(viewer, ".")
    assert seen(viewer) == ["NeuN"]
    press(viewer, ",")
    assert seen(viewer) == ["Histones"]
    assert "underline" in tab.rows[1].name.styleSheet()
    tab.tools.next.click()
    assert seen(viewer) == ["NeuN"]
    tab.tools.solo.click()
    assert seen(viewer) == before
    tab.tools.show_all.click()
    assert len(seen(viewer)) == 7
    tab.rows[2].feeds_chosen.emit("NeuN", "")
    tab.tools.show_used.click()
    assert "NeuN" not in seen(viewer)


def test_keys_of_others_are_left_alone_and_ours_are_given_back(tab: Any) -> None:
    from napari.components import ViewerModel
    from napari.utils.action_manager import action_manager
    from napari.utils.key_bindings import coerce_keybinding
    from napari.utils.shortcuts import default_shortcuts

    from napari_dama.gui.marker_keys import MarkerKeys

    assert action_manager is not None
    own = {str(key) for keys in default_shortcuts.values() for key in keys}
    assert not own & {"H", ".", ","}
    viewer = ViewerModel()
    viewer.bind_key(".", print)
    keys = MarkerKeys(viewer, print, print)
    assert sorted(keys.bound) == [",", "H"]
    keys.close()
    assert list(viewer.keymap) == [coerce_keybinding(".")]


def test_choosing_a_marker_here_chooses_its_layer_and_back(tab: Any) -> None:
    tab.rows[3].picked.emit(3)
    assert tab.viewer.layers.selection.active.name == "S100"
    assert tab.histogram.title.text() == "S100"
    tab.viewer.layers.selection.active = tab.viewer.layers["Iba1"]
    assert tab.markers.current == 5
    tab.viewer.layers["Iba1"].contrast_limits = (250, 1234)
    assert tab.rows[5].contrast.value() == pytest.approx((250, 1234))
    assert tab.histogram.region.getRegion() == pytest.approx((250, 1234))


def test_histogram_shows_counts_the_models_ends_and_moves_the_contrast(tab: Any, wait_for: Wait) -> None:
    from napari_dama.gui.histogram_plot import model_value
    from napari_dama.slides.intensity import normalise, slide_stats

    wait_for(lambda: tab.histogram.histogram is not None)
    with open_slide(tab.session.path) as slide:
        stats, pixels = slide_stats(slide), slide.read()
    assert tab.histogram.histogram.pixels == pixels[0].size
    assert [line.value() for line in tab.histogram.ends] == pytest.approx([stats.low[0], stats.high[0]])
    expected = normalise(pixels, stats)[0].ravel()[:500]
    found = model_value(pixels[0].ravel()[:500], float(stats.low[0]), float(stats.high[0]))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    tab.histogram.region.setRegion((400.0, 2000.0))
    assert tab.viewer.layers["DAPI"].contrast_limits == pytest.approx([400, 2000])
    assert "400" in tab.histogram.text.text()
    press(tab.viewer, ".")
    wait_for(lambda: tab.histogram.histogram is not None)
    assert tab.histogram.title.text() == "Histones"


def test_pasted_names_reach_layers_file_and_matching_and_can_be_undone(tab: Any) -> None:
    path = tab.session.path
    tab.session.state.channels.chosen = {"NeuN": "NeuN", "Iba1": ""}
    tab.tools.rename.click()
    dialog = tab.deeds.rename_dialog
    dialog.text.setPlainText("Hoechst\nHH3\nRBFOX3\nGFAP\nOLIG2\nCH_6")
    assert not dialog.rename.isEnabled()
    assert "6 names" in dialog.problem.text()
    dialog.text.setPlainText("Hoechst\nHH3\nCH_3\nGFAP\nOLIG2\nCH_6\nCD31")
    assert dialog.table.item(4, 1).text() == "OLIG2"
    assert dialog.table.item(4, 2).text() == "Olig2"
    dialog.rename.click()
    assert [layer.name for layer in layers_of(tab.viewer.layers, "marker")][2] == "CH_3"
    assert about(tab.viewer.layers["CD31"])["marker"] == "CD31"
    assert tab.session.state.channels.chosen == {"NeuN": "CH_3", "Iba1": ""}
    assert [row.marker for row in tab.rows][:3] == ["Hoechst", "HH3", "CH_3"]
    assert tab.rows[6].how.text() == "known alias"
    with open_slide(path) as again:
        assert again.markers[2] == "CH_3"
    assert tab.tools.undo.isVisibleTo(tab)
    tab.tools.undo.click()
    assert tab.session.slide.markers[2] == "NeuN"
    assert tab.session.state.channels.chosen == {"NeuN": "NeuN", "Iba1": ""}
    assert not names_file(path).exists()


def test_names_that_cannot_be_saved_count_in_the_window_and_it_says_so(
    tab: Any, dock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> Path:
        from napari_dama.errors import OutputError

        raise OutputError("The marker names cannot be saved beside the slide: No space left on device.")

    monkeypatch.setattr("napari_dama.gui.session.save_names", full)
    tab.deeds.rename(["Hoechst", *tab.session.slide.markers[1:]])
    assert tab.session.slide.markers[0] == "Hoechst"
    assert "No space" in dock.message.text.text()
    assert "window only" in dock.message.text.text()
    tab.session.state.slide = ""
    tab.session.state.slide = about(tab.viewer.layers["Hoechst"])["slide"]
    assert tab.session.slide.markers[0] == "Hoechst"


def test_presets_are_saved_applied_to_every_slide_and_by_themselves(
    tab: Any, dock: Any, tmp_path: Path, wait_for: Wait, own_presets: Path
) -> None:
    viewer, menu = tab.viewer, tab.tools.presets
    tab.rows[2].set_colour("#123456")
    tab.rows[2].contrast.setValue((300.0, 900.0))
    menu.ask()
    assert not menu.dialog.do.isEnabled()
    menu.dialog.name.setText("mine")
    menu.dialog.default.setChecked(True)
    menu.dialog.do.click()
    assert (own_presets / "mine.yaml").exists()
    tab.rows[2].set_colour("#ffffff")

    add_slide(viewer, small_slide(tmp_path, "second", markers=["DAPI", "NeuN", "CD8"]))
    wait_for(lambda: len(list(tab.book)) == 2)
    second = next(markers for markers in tab.book if "second" in markers.slide)
    wait_for(lambda: second[1].colour == "#123456")  # the default
    assert "your preset 'mine'" in dock.message.text.text()
    second[1].contrast = (1, 2)
    menu.fill()
    sub = next(action.menu() for action in menu.list.actions() if action.menu() is not None)
    everywhere = next(action for action in sub.actions() if "all open" in action.text())
    everywhere.trigger()
    assert second[1].contrast == (300, 900)
    assert tab.book.get(tab.session.state.slide)[2].colour == "#123456"
    assert "2 slides" in dock.message.text.text()

    menu.save("stretched", True, False)
    wait_for(lambda: (own_presets / "stretched.yaml").exists())
    from napari_dama.gui.presets import list_presets

    stretched = next(preset for preset in list_presets()[0] if preset.name == "stretched")
    second[1].contrast = (1, 2)
    menu.apply(stretched, everywhere=True)
    wait_for(lambda: menu.works == [])
    assert second[1].contrast != (1, 2)
    menu.delete(stretched)
    menu.set_default(next(iter(list_presets()[0])), False)
    assert [preset.default for preset in list_presets()[0]] == [False]


def test_each_slide_keeps_its_own_choices(tab: Any, dock: Any, tmp_path: Path, wait_for: Wait) -> None:
    first = tab.session.state.slide
    tab.session.state.channels.chosen = {"Iba1": ""}
    tab.session.state.channels.pixel_um = 0.4
    add_slide(tab.viewer, small_slide(tmp_path, "second"))
    wait_for(lambda: len(list(tab.book)) == 2)
    dock.state.slide = next(markers.slide for markers in tab.book if "second" in markers.slide)
    assert tab.session.state.channels.chosen == {}
    assert tab.session.state.channels.pixel_um is None
    dock.state.slide = first
    assert tab.session.state.channels.chosen == {"Iba1": ""}
    assert tab.session.pixel.pixel_um == 0.4
    assert tab.markers.slide == first


def test_the_table_of_matches_chooses_and_says_what_follows(tab: Any) -> None:
    tab.tools.mapping.click()
    dialog = tab.deeds.mapping_dialog
    assert dialog.table.item(0, 2).text() == "same name"
    dialog.choose("NeuN", "Iba1")
    assert tab.session.state.channels.chosen["NeuN"] == "Iba1"
    assert dialog.table.item(2, 2).text() == "you chose"
    assert dialog.table.item(5, 2).text() == "left out by you"
    assert "missed" in dialog.table.item(5, 3).text()
    assert "Not used" in dialog.unused.text()
    dialog.boxes[0].setCurrentIndex(0)
    dialog.boxes[0].activated.emit(0)
    dialog.choose("Histones", "")
    assert "nuclear" in dialog.problem.text()
    dialog.again.click()
    assert dialog.problem.text() == ""
    assert tab.session.state.channels.chosen == {}
    assert dialog.minimumSizeHint().width() <= 320


def test_swapped_channels_are_said_in_the_tab_and_in_the_table(
    make_napari_viewer: Any, tmp_path: Path, wait_for: Wait
) -> None:
    from napari_dama.gui.dock import DamaDock
    from napari_dama.simulate import write_simulated

    (path,) = write_simulated(tmp_path, n=1, size=896, seed=5000)
    viewer = make_napari_viewer()
    add_slide(viewer, path)
    dock = DamaDock(viewer)
    dock.state.model = "dama-brain7"
    tab = dock.channels
    wait_for(lambda: not tab.check.busy)
    assert tab.check.findings == ()
    assert tab.check.why_not == ""
    dock.state.channels.chosen = {"NeuN": "Iba1", "Iba1": "NeuN"}
    wait_for(lambda: bool(tab.check.findings), 60)
    assert "look swapped" in tab.unlike.text()
    tab.deeds.show_mapping()
    assert "NeuN (Iba1)" in tab.deeds.mapping_dialog.findings.text()
    dock.state.channels.chosen = {}
    wait_for(lambda: not tab.check.busy)
    assert tab.unlike.text() == ""
    assert "Yes" in tab.deeds.mapping_dialog.findings.text()
    dock.close_down()


@pytest.fixture
def stranger(make_napari_viewer: Any, on_shelf: Path, tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    """A window with the dock, and one layer of channels added by hand."""
    from napari_dama.gui.dock import DamaDock

    with open_slide(small_slide(tmp_path)) as slide:
        pixels = slide.read()
    viewer = make_napari_viewer()
    dock = DamaDock(viewer)
    dock.show()
    layer = viewer.add_image(pixels, name="from elsewhere", scale=(1, 0.5, 0.5), units=("pixel", "um", "um"))
    yield dock, layer
    dock.close()


def adopt(dock: Any, names: str) -> None:
    assert dock.use_layers.isVisibleTo(dock)
    dock.use_layers.click()
    dialog = dock.adopter.dialog
    dialog.names.setPlainText(names)
    assert dialog.use.isEnabled(), dialog.problem.text()
    dialog.use.click()


NAMES = "DAPI, Histones, NeuN, S100, Olig2, Iba1, RECA1"


def test_a_layer_with_channels_is_analysed_split_and_saved(
    stranger: tuple[Any, Any], tmp_path: Path, wait_for: Wait
) -> None:
    dock, layer = stranger
    tab, viewer = dock.channels, dock.viewer
    assert "no slide yet" in dock.facts.text()
    adopt(dock, NAMES)
    assert dock.session.slide.shape == (7, 192, 224)
    assert dock.session.pixel.pixel_um == 0.5
    assert dock.state.slide == "layer:from elsewhere"
    assert [row.marker for row in tab.rows][2] == "NeuN"
    assert not dock.use_layers.isVisibleTo(dock)
    assert not tab.tools.solo.isVisibleTo(tab)
    tab.rows[4].picked.emit(4)
    assert viewer.dims.current_step[0] == 4
    press(viewer, ".")
    assert viewer.dims.current_step[0] == 5
    wait_for(lambda: tab.markers[5].low is not None)
    assert tab.markers[4].contrast != tab.markers[5].contrast  # each its own, measured
    assert tuple(layer.contrast_limits) == pytest.approx(tab.markers[5].contrast)

    from napari_dama.errors import SettingsError
    from napari_dama.gui.session import NO_FILE

    assert dock.session.file_problem == NO_FILE
    dock.train.start()
    assert "Save as OME-TIFF" in dock.message.text.text()
    with pytest.raises(SettingsError, match="no file"):
        from napari_dama.gui.train_plan import resolve_train

        resolve_train(dock.state.train, [dock.state.slide], {}, None, tmp_path)

    dock.state.analyse.out = str(tmp_path / "found")
    dock.analyse.start()
    wait_for(lambda: dock.analyse.work is None and dock.results.work is None)
    assert "Done" in dock.analyse.status.text()
    assert (tmp_path / "found" / "cells.csv").exists()

    tab.tools.split.click()
    wait_for(lambda: tab.markers is not None and not tab.markers.one_at_a_time)
    split = layers_of(viewer.layers, "marker")
    assert [each.name for each in split] == [name.strip() for name in NAMES.split(",")]
    assert layer not in viewer.layers
    assert tuple(split[3].scale) == (0.5, 0.5)
    assert str(split[3].units[0]) == "micrometer"
    np.testing.assert_array_equal(split[3].data, layer.data[3])
    assert dock.state.slide == "layer:from elsewhere"

    file = tmp_path / "saved.ome.tif"
    tab.deeds.save(file)
    wait_for(lambda: tab.deeds.work is None)
    assert dock.state.slide == str(file)
    assert dock.session.file_problem == ""
    assert not tab.tools.save.isVisibleTo(tab)
    with open_slide(file) as slide:
        assert slide.markers == tuple(name.strip() for name in NAMES.split(","))
        assert slide.pixel_um == pytest.approx(0.5)
        np.testing.assert_array_equal(slide.read(), layer.data)


def test_a_file_that_another_reader_opened_stays_that_file(
    make_napari_viewer: Any, on_shelf: Path, tmp_path: Path
) -> None:
    from napari_dama.gui.dock import DamaDock

    path = small_slide(tmp_path, "other", markers=["CH_1", "CH_2", "CH_3"], pixel_um=None)
    viewer = make_napari_viewer()
    viewer.open(str(path), plugin="napari")
    assert viewer.layers[0].ndim == 3
    dock = DamaDock(viewer)
    dock.use_layers.click()
    dialog = dock.adopter.dialog
    assert dialog.names.toPlainText().split() == ["CH_1", "CH_2", "CH_3"]  # the file knows them
    dialog.names.setPlainText("DAPI\nNeuN")
    assert not dialog.use.isEnabled()
    dialog.names.setPlainText("DAPI\nNeuN\nIba1")
    dialog.pixel.setText("nonsense")
    assert not dialog.use.isEnabled()
    dialog.pixel.setText("0,4")
    dialog.use.click()
    assert dock.state.slide == str(path)
    assert dock.session.file_problem == ""
    assert dock.session.slide.markers == ("DAPI", "NeuN", "Iba1")
    assert names_file(path).exists()
    assert dock.session.pixel.pixel_um == 0.4
    assert tuple(viewer.layers[0].scale)[-2:] == (0.4, 0.4)
    assert dock.session.blocker == ""
    dock.close_down()


def test_channels_added_one_by_one_are_a_slide(make_napari_viewer: Any, on_shelf: Path) -> None:
    from napari_dama.gui.dock import DamaDock

    viewer = make_napari_viewer()
    pixels = np.random.default_rng(0).integers(0, 4000, (3, 64, 80), dtype=np.uint16)
    viewer.add_image(pixels, channel_axis=0, name=["DAPI", "NeuN", "x"], scale=(0.5, 0.5), units=("um", "um"))
    dock = DamaDock(viewer)
    colour = tuple(viewer.layers[1].colormap.colors[-1])
    adopt(dock, "DAPI\nNeuN\nIba1")
    assert dock.session.slide.markers == ("DAPI", "NeuN", "Iba1")
    assert tuple(viewer.layers[1].colormap.colors[-1]) == colour  # shown as before
    assert dock.channels.rows[1].marker == "NeuN"
    assert len(dock.channels.rows) == 3
    viewer.layers.clear()
    assert dock.session.slide is None
    assert dock.session.sources == {}
    dock.close_down()


def test_the_tab_fits_a_narrow_dock_and_lets_go_when_closed(tab: Any, dock: Any) -> None:
    assert tab.minimumSizeHint().width() <= 320 - 26
    viewer, marker = tab.viewer, tab.markers[0]
    assert len(viewer.keymap) == 3
    dock.close()
    assert len(viewer.keymap) == 0
    viewer.layers["DAPI"].contrast_limits = (1, 2)
    assert marker.contrast != (1, 2)
    viewer.layers.clear()
