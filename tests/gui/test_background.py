"""Analyses from the window as jobs: they outlive napari, are found again, stopped, resumed, looked at and opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tests.gui.conftest import add_slide, small_slide

from napari_dama.gui import background_runs
from napari_dama.gui.analyse_plan import LARGE_MPX, begin_job, run_hint
from napari_dama.gui.layers import about, layers_of
from napari_dama.jobs.folder import read_job
from napari_dama.slides.region import Region

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]
MakeDock = Callable[..., Any]


@pytest.fixture
def open_dock(make_napari_viewer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MakeDock]:
    """Opens a window, with a slide or not, and the dock in it; runners use one thread."""
    from napari_dama.gui.dock import DamaDock

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = small_slide(tmp_path)
    opened = []

    def make(slide: Path | None = path) -> Any:
        viewer = make_napari_viewer(show=True)
        if slide is not None:
            add_slide(viewer, slide)
        widget = DamaDock(viewer)
        viewer.window.add_dock_widget(widget, name="DAMA")
        widget.tabs.setCurrentIndex(1)
        opened.append(widget)
        return widget

    yield make
    for widget in opened:
        widget.close_down()


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """End what a failed test left behind."""
    yield
    from napari_dama.jobs.process import request_stop
    from napari_dama.jobs.shelf import list_jobs

    for view in list_jobs():
        if view.going:
            request_stop(view.path)


def test_the_background_is_suggested_for_large_slides_only() -> None:
    side = int((LARGE_MPX * 1e6) ** 0.5)
    assert run_hint("window", Region(0, side - 10, 0, side - 10)) == ""
    assert "51 megapixels" in run_hint("window", Region(0, 7141, 0, 7142))
    assert run_hint("now", Region(0, 30_000, 0, 30_000)) == ""


def many_tiles(folder: Path) -> Path:
    """A slide of 768 x 896 px: sixteen small ones."""
    small = tifffile.imread(small_slide(folder))
    names = ["DAPI", "Histones", "NeuN", "S100", "Olig2", "Iba1", "RECA1"]
    meta = {"axes": "CYX", "Channel": {"Name": names}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    path = folder / "large.ome.tif"
    tifffile.imwrite(path, np.tile(small, (1, 4, 4)), ome=True, metadata=meta)
    return path


@pytest.mark.slow
def test_an_analysis_outlives_napari(
    open_dock: MakeDock, wait_for: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        background_runs,
        "begin_job",
        lambda settings, wait: begin_job(settings.model_copy(update={"tile_px": 128}), wait=wait),
    )
    dock = open_dock(many_tiles(tmp_path))
    tab, result = dock.analyse, dock.analyse.plan.out
    tab.run_box.setCurrentIndex(tab.run_box.findData("now"))
    tab.run_box.activated.emit(tab.run_box.currentIndex())
    assert dock.state.analyse.run == "now"
    tab.run.click()
    assert not tab.run.isEnabled()
    wait_for(lambda: tab.background.isVisible())
    job = Path(dock.state.jobs.selected)
    assert job == result / "analysis_job" and dock.message.text.text() == ""
    assert tab.run.isEnabled() and tab.plan.out != result
    wait_for(lambda: dock.results.live is not None)  # the cells so far are on the slide
    before = read_job(job)
    assert before.step > 0 and "tiles" in tab.background.rows[0].line.whole
    dock.viewer.window.remove_dock_widget(dock)
    dock.close_down()
    dock.viewer.close()

    again = open_dock(None)
    jobs = again.train.jobs
    wait_for(lambda: jobs.view is not None)
    assert jobs.view.path == job and jobs.view.pid == before.pid  # found by itself
    again.analyse.background.button.click()
    assert again.tabs.currentWidget().widget() is again.train
    wait_for(lambda: jobs.view.step > before.step)
    jobs.detail.buttons["stop"].click()
    wait_for(lambda: jobs.view.state == "stopped" and jobs.acting is None)
    stopped_at = jobs.view.step
    assert stopped_at < jobs.view.steps and not jobs.detail.tabs.isTabVisible(1)
    jobs.detail.buttons["resume"].click()
    wait_for(lambda: jobs.view.state == "running" and jobs.view.step > stopped_at)
    assert jobs.view.pid != before.pid
    jobs.detail.buttons["stop"].click()
    wait_for(lambda: jobs.view.state == "stopped" and jobs.acting is None)
    jobs.detail.buttons["open"].click()
    wait_for(lambda: again.results.result is not None)
    assert again.tabs.currentWidget().widget() is again.results
    assert len(again.results.result.cells) == jobs.view.cells
    (layer,) = layers_of(again.viewer.layers, "cells")
    assert about(layer)["result"] == str(result) and again.state.slide.endswith("large.ome.tif")
    wait_for(lambda: jobs.reading is None)


@pytest.mark.slow
def test_its_result_opens_by_itself_and_a_mistake_is_told(
    open_dock: MakeDock, wait_for: Wait, tmp_path: Path
) -> None:
    dock = open_dock()
    dock.state.analyse.run = "queue"
    (tmp_path / "taken").mkdir()
    dock.state.analyse.out = str(tmp_path / "taken")
    assert dock.analyse.plan.out == tmp_path / "taken_2"
    (tmp_path / "file").touch()
    dock.state.analyse.out = str(tmp_path / "file" / "inside")
    dock.analyse.run.click()
    wait_for(lambda: bool(dock.message.text.text()))
    assert dock.analyse.run.isEnabled()
    dock.message.clear()
    dock.state.analyse.out = ""
    out = dock.analyse.plan.out
    dock.analyse.run.click()
    wait_for(lambda: dock.results.result is not None)
    assert dock.results.result.path == out and "finished" in dock.message.text.text()
    assert dock.tabs.currentWidget().widget() is dock.results and not dock.analyse.background.isVisible()
    dock.train.jobs.poll()
    wait_for(lambda: dock.train.jobs.reading is None and dock.train.jobs.detail.data is not None)
    curves = dock.train.jobs.detail.losses.curves
    assert [curve.title for curve in curves] == ["cells found"]
    assert curves[0].y[-1] == len(dock.results.result.cells)
    assert "Finished:" in dock.train.jobs.detail.log.toPlainText()
    wait_for(lambda: dock.train.jobs.reading is None)


def test_cells_of_a_large_slide_are_seen_while_they_are_found(
    open_dock: MakeDock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The coarser levels of a growing label image are shown, and renewed with it."""
    from napari_dama.gui import result_layers
    from napari_dama.predict.labels import LabelImage
    from napari_dama.predict.overview import Overview
    from napari_dama.predict.record import write_json

    dock = open_dock()
    monkeypatch.setattr(result_layers, "LIVE_LIMIT_PX", 100)
    out = tmp_path / "growing"
    out.mkdir()
    labels = LabelImage.create(out / "labels.ome.zarr", (2100, 2100), pixel_um=0.5, name="x")
    record = {
        "kind": "napari-dama result",
        "slide": {"path": dock.state.slide},
        "settings": {"pixel_um": 0.5},
    }
    write_json(out / "run.json", record)
    dock.results.show_live(str(out))
    live = dock.results.live
    assert live.multiscale and len(live.data) == 3
    assert not np.asarray(live.data[2]).any()
    labels.write(Region(0, 1000, 0, 1000), np.full((1000, 1000), 7, np.uint32))
    Overview(labels).add(Region(0, 1000, 0, 1000))
    live.refresh()
    assert (np.asarray(live.data[2])[:250, :250] == 7).all()
