"""The window, on real networks with random weights: load, map, analyse, look, click, explain, cancel, fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gui.conftest import add_slide, small_slide

from napari_dama.gui.layers import about, layers_of

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]


def analyse(dock: Any, wait_for: Wait) -> None:
    dock.analyse.start()
    wait_for(lambda: dock.analyse.work is None and dock.results.work is None)


def draw_box(dock: Any, y0: float, x0: float, y1: float, x1: float) -> None:
    """Draw a rectangle, in slide pixels."""
    shapes = dock.viewer.add_shapes(
        [np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])], scale=(0.5, 0.5), units=("um", "um")
    )
    shapes.selected_data = {0}
    dock.viewer.layers.selection.active = shapes
    dock.state.analyse.region = "shape"


def test_channels_show_and_choose(dock: Any) -> None:
    tab = dock.channels
    assert [row.marker for row in tab.rows][:2] == ["DAPI", "Histones"]
    assert tab.rows[2].feeds.currentData() == "NeuN"
    tab.rows[2].shown.setChecked(False)
    assert not dock.viewer.layers["NeuN"].visible
    tab.rows[2].set_colour("#123456")
    assert tuple(dock.viewer.layers["NeuN"].colormap.colors[-1][:3] * 255) == pytest.approx(
        (0x12, 0x34, 0x56)
    )
    tab.rows[2].contrast.setValue((300.0, 900.0))
    assert dock.viewer.layers["NeuN"].contrast_limits == pytest.approx([300, 900])
    tab.rows[2].feeds_chosen.emit("NeuN", "")
    assert dock.state.channels.chosen == {"NeuN": ""}
    assert tab.rows[2].feeds.currentData() == ""
    tab.reset.click()
    assert tab.rows[2].feeds.currentData() == "NeuN"


def test_missing_pixel_size_is_asked_for_and_rescales(
    make_napari_viewer: Any, on_shelf: Path, tmp_path: Path
) -> None:
    from napari_dama.gui.dock import DamaDock

    viewer = make_napari_viewer()
    add_slide(viewer, small_slide(tmp_path, pixel_um=None))
    dock = DamaDock(viewer)
    assert not dock.analyse.run.isEnabled()
    assert "pixel" in dock.analyse.blocker.text()
    dock.channels.pixel_edit.setText("nonsense")
    dock.channels.pixel_edit.editingFinished.emit()
    assert "no number" in dock.channels.pixel_note.text()
    dock.channels.pixel_edit.setText("0,5")
    dock.channels.pixel_edit.editingFinished.emit()
    assert tuple(viewer.layers["DAPI"].scale) == (0.5, 0.5)
    assert str(viewer.layers["DAPI"].units[0]) == "micrometer"
    assert dock.analyse.run.isEnabled()
    dock.close()


def test_no_nucleus_blocks_until_one_is_chosen(
    make_napari_viewer: Any, on_shelf: Path, tmp_path: Path
) -> None:
    from napari_dama.gui.dock import DamaDock

    viewer = make_napari_viewer()
    add_slide(viewer, small_slide(tmp_path, markers=["CH_1", "CH_2", "CH_3"]))
    dock = DamaDock(viewer)
    assert not dock.analyse.run.isEnabled()
    assert "CH_1" in dock.channels.problem.text()
    dock.channels.rows[0].feeds_chosen.emit("CH_1", "DAPI")
    assert dock.channels.problem.text() == ""
    assert dock.analyse.run.isEnabled()
    assert not dock.analyse.types_box.isEnabled()
    assert "NeuN" in dock.analyse.types_reason.text()
    assert dock.analyse.plan.arguments(None)["types"]  # the run's record then says why there are none
    dock.close()


def test_analyse_look_click_and_explain(dock: Any, wait_for: Wait) -> None:
    draw_box(dock, 20, 30, 150, 160)
    out = dock.analyse.plan.out
    analyse(dock, wait_for)
    assert dock.message.text.text() == ""
    result = dock.results.result
    assert result is not None
    assert (out / "run.json").exists()
    assert dock.analyse.plan.out != out
    assert dock.tabs.currentIndex() == list(dock.named_tabs).index("Results")
    layer = dock.results.layer
    assert len(result.cells) > 0
    assert list(layer.features["index"]) == list(result.cells["label"])
    assert tuple(layer.scale) == (0.5, 0.5)
    assert sum(int(line.number.text()) for line in dock.results.legend.lines) == len(result.cells)

    line = next(line for line in dock.results.legend.lines if int(line.number.text()))
    line.click()
    assert dock.state.results.hidden == {line.name}
    label = int(result.cells.loc[result.cells["type"] == line.name, "label"].iloc[0])
    assert layer.colormap.map(label)[3] == 0
    line.click()
    assert layer.colormap.map(label)[3] == 1

    labels = np.asarray(result.levels[0])
    y, x = (int(v) for v in np.argwhere(labels == label)[0])
    dock.results.select_at((y * 0.5, x * 0.5))
    assert dock.state.results.selected == label
    assert dock.results.card.types.bars[0][0] == "neuron"
    assert sum(bar[1] for bar in dock.results.card.types.bars) == pytest.approx(1, abs=0.01)
    assert len(layers_of(dock.viewer.layers, "mark")) == 1

    dock.results.card.explain.click()
    wait_for(lambda: dock.explain.work is None)
    assert dock.tabs.currentIndex() == list(dock.named_tabs).index("Explain")
    assert "12 of 64 pieces" in dock.explain.fill.text.text()

    def shown() -> list[str]:
        return [about(entry)["show"] for entry in layers_of(dock.viewer.layers, "explain") if entry.visible]

    wait_for(lambda: shown() == ["filled"])
    dock.state.explain.show = "error"
    wait_for(lambda: shown() == ["error"])  # layers come one in a turn
    first = layers_of(dock.viewer.layers, "explain")
    before = dock.explain.explanation.hidden_random
    dock.explain.fill.another.click()
    wait_for(lambda: dock.explain.work is None)
    assert (dock.explain.explanation.hidden_random != before).any()
    assert len(layers_of(dock.viewer.layers, "explain")) == len(first)
    dock.explain.clear.click()
    assert not [entry for entry in layers_of(dock.viewer.layers, "explain") if entry.visible]


def test_a_click_in_the_canvas_selects_and_a_drag_does_not(dock: Any) -> None:
    class Event:
        type = "mouse_press"
        position = (1.0, 1.0)

    clicked: list[Any] = []
    dock.results.select_at = lambda place, more: clicked.append(place)
    dock.results.layer = dock.viewer.add_labels(np.ones((4, 4), int))
    event = Event()
    click = dock.results._on_mouse(dock.viewer, event)
    next(click)
    event.type = "mouse_release"
    assert next(click, None) is None
    assert clicked == [(1.0, 1.0)]
    event.type = "mouse_press"
    drag = dock.results._on_mouse(dock.viewer, event)
    next(drag)
    event.type = "mouse_move"
    next(drag)
    event.type = "mouse_release"
    next(drag, None)
    assert len(clicked) == 1
    dock.results.layer = None


def test_cancel_keeps_what_is_finished_and_says_so(dock: Any, wait_for: Wait) -> None:
    dock.analyse.start()
    dock.analyse.cancel.click()
    wait_for(lambda: dock.analyse.work is None and dock.results.work is None)
    assert dock.analyse.run.isEnabled()
    assert "Cancelled" in dock.analyse.status.text()
    assert dock.message.details.toPlainText() == ""
    if dock.analyse.resume.isVisibleTo(dock.analyse):
        dock.analyse.resume.click()
        wait_for(lambda: dock.analyse.work is None and dock.results.work is None)
        assert "Done" in dock.analyse.status.text()
        assert dock.results.result.summary.count("Not complete") == 0


def test_view_region_lies_on_the_slide(dock: Any) -> None:
    dock.state.analyse.region = "view"
    region = dock.analyse.region()
    assert region is not None
    assert region.height > 0
    assert "px" in dock.analyse.area.text()


def test_shape_region_without_a_shape_says_what_to_do(dock: Any) -> None:
    dock.state.analyse.region = "shape"
    dock.analyse.start()
    assert dock.analyse.work is None
    assert "rectangle" in dock.message.text.text()
    assert dock.message.details_button.isVisibleTo(dock.message)


def test_errors_are_sentences_with_details(dock: Any, wait_for: Wait, tmp_path: Path) -> None:
    (tmp_path / "no_result").mkdir()
    dock.state.results.path = str(tmp_path / "no_result")
    wait_for(lambda: dock.results.work is None)
    assert "run.json" in dock.message.text.text()
    assert "Traceback" not in dock.message.text.text()
    dock.message.details_button.click()
    assert "Traceback" in dock.message.details.toPlainText()
    dock.message.dismiss_button.click()
    assert not dock.message.isVisibleTo(dock)


def test_unforeseen_errors_are_sentences_too() -> None:
    from napari_dama.gui.message import sentence_of

    assert "memory" in sentence_of(MemoryError())
    assert "unforeseen" in sentence_of(KeyError("x"))
    assert "No such file" in sentence_of(FileNotFoundError(2, "No such file", "a.tif"))


def test_the_dock_fits_320_px_and_lets_go_when_closed(dock: Any, qtbot: Any) -> None:
    for tab in dock.named_tabs.values():
        assert tab.minimumSizeHint().width() <= 320 - 26, type(tab).__name__
    viewer = dock.viewer
    dock.close_down()
    left = [call for call in viewer.mouse_drag_callbacks if "napari_dama" in str(call.__module__)]
    assert left == []
    viewer.layers.clear()


def test_a_slide_opened_after_the_dock_fills_the_list(dock: Any, wait_for: Wait, tmp_path: Path) -> None:
    dock.viewer.layers.clear()
    wait_for(lambda: dock.channels.rows == [])
    add_slide(dock.viewer, tmp_path / "tissue.ome.tif")
    wait_for(lambda: len(dock.channels.rows) == 7)
    assert dock.analyse.run.isEnabled()


def test_removing_the_slide_empties_the_dock(dock: Any) -> None:
    dock.viewer.layers.clear()
    assert dock.state.slide == ""
    assert dock.session.slide is None
    assert not dock.analyse.run.isEnabled()
    assert not dock.explain.centre.isEnabled()


def test_closing_never_waits_for_a_tile(dock: Any, wait_for: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading
    import time

    from napari_dama.predict import analyse as module

    inside, free = threading.Event(), threading.Event()
    real = module.run_tiles

    def slow(*args: Any, **options: Any) -> Any:
        inside.set()
        free.wait(60)
        return real(*args, **options)

    monkeypatch.setattr(module, "run_tiles", slow)
    out = dock.analyse.plan.out
    dock.analyse.start()
    work = dock.analyse.work
    wait_for(inside.is_set)
    begin = time.monotonic()
    dock.close_down()
    assert time.monotonic() - begin < 1.0
    assert work.running
    free.set()
    assert work.wait(60)
    assert '"state": "interrupted"' in (out / "run.json").read_text(encoding="utf-8")
