"""Outlines edited in a real window: drawn, joined, split, kept, taken back, and not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils._proxies import PublicOnlyProxy
from tests.gui.made_result import make_result

from napari_dama.cells.corrections import read_corrections
from napari_dama.gui.layers import layers_of
from napari_dama.gui.place import bare
from napari_dama.predict.result import ResultFolder

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def window(make_napari_viewer: Any, on_shelf: Path, tmp_path: Path, wait_for: Wait) -> Iterator[Any]:
    from napari_dama.gui.dock import DamaDock

    slide, out = make_result(tmp_path)
    viewer = make_napari_viewer(show=True)
    dock = DamaDock(PublicOnlyProxy(viewer))
    viewer.window.add_dock_widget(dock, name="DAMA")
    dock.slide, dock.out = slide, out
    open_result(dock, wait_for)
    yield dock
    dock.close_down()


def open_result(dock: Any, wait_for: Wait) -> None:
    dock.results.open_folder(str(dock.out))
    wait_for(lambda: dock.results.work is None and dock.annotate.work is None)
    dock.show_tab(dock.annotate)
    wait_for(lambda: dock.annotate.isVisible())


def at(panel: Any, y: float, x: float) -> tuple[float, float]:
    """A place of the slide in pixels of the part that is edited."""
    return y - panel.part.region.y0, x - panel.part.region.x0


def keep(dock: Any, wait_for: Wait) -> None:
    panel = dock.annotate.outlines
    panel.keep.click()
    wait_for(lambda: panel.settled and panel.work is None and not panel.files.waiting)


def on_disk(dock: Any) -> Any:
    return np.asarray(ResultFolder.open(dock.out).labels)


def shown(dock: Any) -> Any:
    data = bare(dock.results.layer).data
    return np.asarray(data[0] if bare(dock.results.layer).multiscale else data)


def test_outlines_are_edited_kept_and_taken_back(window: Any, qtbot: Any, wait_for: Wait) -> None:
    dock = window
    panel, cells = dock.annotate.outlines, dock.session.cells
    before = on_disk(dock)
    panel.start.click()
    assert panel.editing and not dock.results.layer.visible
    assert bare(dock.viewer.layers.selection.active) is bare(panel.layer)
    place = np.asarray(panel.layer.data_to_world((0, 0))) / 0.5
    assert place.tolist() == [panel.part.region.y0, panel.part.region.x0]
    assert not dock.annotate.keys.held  # napari's tools have their keys
    panel.click(at(panel, 12, 12))
    assert panel.chosen == [1] and "Chosen: 1" in panel.note.text()
    panel.delete.click()
    panel.layer.undo()  # napari's own undo knows the tools
    assert (bare(panel.layer).data == 1).any()
    panel.click(at(panel, 12, 12))
    panel.delete.click()
    panel.cut_along(np.array([at(panel, 0, 36), at(panel, 24, 36)]))
    panel.click(at(panel, 12, 60))
    panel.click(at(panel, 12, 84), more=True)
    panel.merge.click()
    assert "do not touch" in dock.message.text.text()
    panel.new.click()
    assert panel.layer.mode == "paint" and panel.layer.selected_label == 82
    panel.layer.mode = "pan_zoom"
    panel._put(np.where(np.asarray(bare(panel.layer).data) == 80, 0, bare(panel.layer).data))
    assert (on_disk(dock) == before).all()
    keep(dock, wait_for)
    assert "Outlines kept" in dock.message.text.text()
    assert dock.annotate.keys.held
    assert dock.results.layer.visible and layers_of(dock.viewer.layers, "outlines") == []
    now = on_disk(dock)
    assert not (now == 1).any() and not (now == 80).any() and (now == 81).any()
    assert np.array_equal(shown(dock), now)
    assert cells.rows_of([1, 80, 81, 2]).tolist()[:2] == [-1, -1]
    assert cells.type_of(81) == cells.type_of(2) == "microglia"
    assert set(dock.results.layer.features["index"]) == set(np.unique(now)) - {0}
    assert dock.results.layer.colormap.map(81)[3] == 1
    table = ResultFolder.open(dock.out).cells()
    assert table["label"].tolist() == cells.labels.tolist()

    dock.annotate.undo.click()
    wait_for(lambda: not panel.files.waiting)
    assert np.array_equal(on_disk(dock), before)
    wait_for(lambda: np.array_equal(shown(dock), before))
    assert cells.type_of(1) == "astrocyte" and cells.predicted[0] == "astrocyte"
    dock.annotate.redo.click()
    wait_for(lambda: not panel.files.waiting)
    assert np.array_equal(on_disk(dock), now)
    open_result(dock, wait_for)
    dock.annotate.undo.click()
    wait_for(lambda: not panel.files.waiting)
    assert np.array_equal(on_disk(dock), before)


def test_two_clicks_split_and_a_drawn_line_cuts(window: Any, qtbot: Any, wait_for: Wait) -> None:
    dock = window
    panel = dock.annotate.outlines
    panel.start.click()
    panel.seeds.click()
    panel.click(at(panel, 12, 9))
    assert "other half" in panel.note.text()
    panel.click(at(panel, 12, 15))
    data = bare(panel.layer).data
    y, x = (int(v) for v in at(panel, 12, 9))
    assert data[y, x] != data[y, x + 6] and {data[y, x], data[y, x + 6]} == {1, 81}
    panel.cut.click()
    assert not panel.seeds.isChecked() and panel.line.mode == "add_line"
    panel.line.add_lines([np.array([at(panel, 36, 0), at(panel, 36, 24)])])
    wait_for(lambda: (bare(panel.layer).data == 82).any())
    assert len(panel.line.data) == 0
    panel.cut.click()
    assert panel.line is None and "Cut along a line" not in [layer.name for layer in dock.viewer.layers]
    panel.discard.click()
    assert not panel.editing
    assert dock.session.annotator.undo_text == ""


def test_what_was_drawn_and_not_kept_comes_back(window: Any, qtbot: Any, wait_for: Wait) -> None:
    dock = window
    panel = dock.annotate.outlines
    panel.start.click()
    panel.click(at(panel, 12, 12))
    panel.delete.click()
    panel.save_draft()
    size = dock.session.annotator.last_number
    panel.save_draft()
    assert dock.session.annotator.last_number == size  # nothing new, nothing written
    before = on_disk(dock)
    open_result(dock, wait_for)
    wait_for(lambda: panel.editing)
    assert "are back" in dock.message.text.text()
    assert not (bare(panel.layer).data == 1).any()
    assert np.array_equal(on_disk(dock), before)
    keep(dock, wait_for)
    assert not (on_disk(dock) == 1).any()
    open_result(dock, wait_for)
    assert not panel.editing
    assert read_corrections(dock.slide).removed == (1,)


def test_taking_the_layer_away_discards(window: Any, qtbot: Any, wait_for: Wait) -> None:
    dock = window
    panel = dock.annotate.outlines
    panel.start.click()
    dock.viewer.layers.remove(panel.layer)
    assert not panel.editing
    wait_for(lambda: panel.settled)
    assert dock.results.layer.visible
    panel.start.click()
    keep(dock, wait_for)
    assert "No outline was changed" in dock.message.text.text()
