"""Training from the window, in real processes that outlive it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gui.conftest import add_slide, small_slide

pytestmark = [pytest.mark.gui, pytest.mark.slow]
Wait = Callable[[Callable[[], bool]], None]
MakeDock = Callable[[], Any]


@pytest.fixture
def open_dock(make_napari_viewer: Any, on_shelf: Path, tmp_path: Path) -> Iterator[MakeDock]:
    """Opens a window with two slides, one to train on and one to validate on, and the dock in it."""
    from napari_dama.gui.dock import DamaDock

    paths = [small_slide(tmp_path, name, seed=seed) for seed, name in enumerate(("first", "second"))]
    opened = []

    def make() -> Any:
        viewer = make_napari_viewer(show=True)
        for path in paths:
            add_slide(viewer, path)
        widget = DamaDock(viewer)
        viewer.window.add_dock_widget(widget, name="DAMA")
        widget.show_tab(widget.train)
        opened.append(widget)
        return widget

    yield make
    for widget in opened:
        widget.close_down()


@pytest.fixture(autouse=True)
def nothing_goes_on(tmp_path: Path) -> Iterator[None]:
    """End what a failed test left behind."""
    yield
    from napari_dama.jobs.process import request_stop
    from napari_dama.jobs.shelf import list_jobs

    for view in list_jobs():
        if view.going:
            request_stop(view.path)


def state_of(dock: Any) -> str:
    """State of the chosen job; a failure is told at once instead of being waited for."""
    view = dock.train.jobs.view
    assert view is None or view.state != "failed", view.why
    return "" if view is None else str(view.state)


def test_a_run_outlives_the_window(open_dock: MakeDock, wait_for: Wait, tmp_path: Path) -> None:
    dock = open_dock()
    state = dock.state.train
    state.max_steps, state.batch_size, state.epochs = 10_000, 4, 10_000
    dock.train.form.start_button.click()
    wait_for(lambda: bool(dock.state.jobs.selected))
    job = Path(dock.state.jobs.selected)
    curves = dock.train.jobs.detail.losses
    wait_for(lambda: state_of(dock) == "running" and bool(curves.curves) and len(curves.curves[0].x) >= 2)
    assert state_of(dock) == "running"
    assert dock.message.text.text() == ""
    before = len(curves.curves[0].x)
    pid = dock.train.jobs.view.pid
    dock.viewer.window.remove_dock_widget(dock)
    dock.close_down()
    dock.viewer.close()

    again = open_dock()
    wait_for(lambda: state_of(again) == "running")
    assert again.state.jobs.selected == str(job)  # found by itself
    curves = again.train.jobs.detail.losses
    wait_for(lambda: bool(curves.curves) and len(curves.curves[0].x) > before)
    assert again.train.jobs.view.pid == pid
    again.train.jobs.detail.buttons["stop"].click()
    wait_for(lambda: state_of(again) == "stopped")
    stopped_at = again.train.jobs.view.step
    again.train.jobs.detail.buttons["resume"].click()
    wait_for(lambda: state_of(again) == "running" and again.train.jobs.view.step > stopped_at)
    again.train.jobs.detail.buttons["stop"].click()
    wait_for(lambda: state_of(again) == "stopped")
    events = [json.loads(line) for line in (job / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["kind"] == "started"] == [0, stopped_at]


def test_finished_model_is_put_on_the_shelf(
    open_dock: MakeDock, wait_for: Wait, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(tmp_path / "mine"))
    dock = open_dock()
    dock.state.train.max_steps, dock.state.train.batch_size = 2, 4
    dock.state.jobs.page = "pictures"
    dock.train.form.start_button.click()
    wait_for(lambda: state_of(dock) == "finished")
    use = dock.train.jobs.detail.buttons["use"]
    wait_for(lambda: not use.isHidden())
    wait_for(lambda: dock.train.jobs.detail.previews.shown is not None)
    use.click()
    assert dock.state.model == "dama_pretrain"
    assert dock.session.card.tasks == ["reconstruct"]
    assert "cannot outline" in dock.analyse.blocker.text()
    use.click()
    assert "already" in dock.message.text.text()


def test_types_are_learned_from_points_in_the_viewer(open_dock: MakeDock, wait_for: Wait) -> None:
    dock = open_dock()
    rng = np.random.default_rng(0)
    places = rng.uniform(5, (90, 105), (40, 2))  # um, over a slide of 96 x 112 um
    classes = ["neuron", "glia"] * 20
    dock.viewer.add_points(places, features={"class": classes}, name="mine", units=("um", "um"))
    state, form = dock.state.train, dock.train.form
    state.kind = "types"
    form.layer_box.opened.emit()
    state.annotation = "mine"
    assert "20 glia, 20 neuron" in form.hint.text()
    state.max_steps, state.batch_size = 2, 4
    form.start_button.click()
    wait_for(lambda: state_of(dock) == "finished")
    wait_for(lambda: dock.train.jobs.detail.previews.matrix.matrix is not None)
    assert dock.train.jobs.detail.previews.matrix.matrix.classes == ("glia", "neuron")
    assert "Cut 40 crops (20 glia, 20 neuron)" in dock.train.jobs.detail.log.toPlainText()


def test_a_run_that_cannot_begin_is_told(open_dock: MakeDock, wait_for: Wait, tmp_path: Path) -> None:
    dock = open_dock()
    dock.state.train.data = str(tmp_path / "nowhere")
    dock.train.form.start_button.click()
    wait_for(lambda: dock.train.jobs.view is not None and dock.train.jobs.view.state == "failed")
    assert "nowhere" in dock.train.jobs.detail.words.text()
    dock.state.train.kind, dock.state.train.data = "segments", ""
    dock.train.form.start_button.click()
    assert "Choose the data first" in dock.message.text.text()


def test_outlines_are_learned_from_a_layer_when_the_device_is_free(
    open_dock: MakeDock, wait_for: Wait
) -> None:
    dock = open_dock()
    image = np.zeros((192, 224), np.int32)
    for number in range(20):
        y, x = 5 + 45 * (number // 5), 5 + 43 * (number % 5)
        image[y : y + 12, x : x + 12] = number + 1
    dock.viewer.add_labels(image, name="drawn", scale=(0.5, 0.5), units=("um", "um"))
    shapes = dock.viewer.add_shapes(name="complete", units=("um", "um"))
    shapes.add_rectangles(np.array([[0.0, 0.0], [95.0, 111.0]]))
    state, form = dock.state.train, dock.train.form
    state.kind = "segments"
    form.layer_box.opened.emit()
    assert "Labels layer" in form.hint.text() and not form.area_box.isVisibleTo(form)
    state.annotation = "drawn"
    assert form.area_box.isVisibleTo(form) and "box around your outlines" in form.hint.text()
    state.area, state.run = "complete", "queue"
    assert "inside these shapes" in form.hint.text()
    state.max_steps, state.batch_size = 1, 1
    form.start_button.click()
    wait_for(lambda: state_of(dock) == "finished")
    job = Path(dock.state.jobs.selected)
    assert (job / "annotations" / "area_1.tif").is_file()
    wait_for(lambda: dock.train.jobs.detail.previews.shown is not None)
    log = dock.train.jobs.detail.log
    wait_for(lambda: "held out by place" in log.toPlainText())
    assert "outlines in 1 area" in dock.train.jobs.detail.about.text().replace("\u200b", "")
    dock.viewer.layers.remove("drawn")
    form.layer_box.opened.emit()
    assert state.annotation == ""
