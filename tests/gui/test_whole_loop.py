"""The biologist's loop in one real window: load, match, analyse, annotate 20 cells by keys, retrain, accept, export."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import Qt
from scipy.spatial import cKDTree

from napari_dama.cells.corrections import read_corrections
from napari_dama.export import FORMATS
from napari_dama.gui.export_plan import ExportPlan
from napari_dama.gui.layers import layers_of
from napari_dama.gui.place import bare

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]
KEYS = [getattr(Qt.Key, f"Key_{number}") for number in range(1, 10)]
ANNOTATED = 20


@pytest.fixture
def window(make_napari_viewer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """An empty window with the dock, the bundled models, and a shelf of its own."""
    from napari_dama.gui.dock import DamaDock

    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(tmp_path / "shelf"))
    viewer = make_napari_viewer(show=True)
    dock = DamaDock(PublicOnlyProxy(viewer))
    viewer.window.add_dock_widget(dock, name="DAMA")
    yield dock
    dock.close_down()


def load(dock: Any, slide: Path, wait_for: Wait) -> None:
    """Open a slide as the menu does, and wait until its markers were looked at."""
    from tests.gui.conftest import add_slide

    add_slide(dock.viewer, slide)
    wait_for(lambda: dock.session.slide is not None and not dock.channels.check.busy)


def analyse(dock: Any, out: Path, wait_for: Wait) -> None:
    """Press *Find cells* and wait for the result in its tab."""
    dock.show_tab(dock.analyse)
    dock.state.analyse.out = str(out)
    assert dock.analyse.run.isEnabled(), dock.analyse.blocker.text()
    dock.analyse.run.click()
    wait_for(lambda: dock.analyse.work is None and dock.results.work is None)
    assert dock.message.details.toPlainText() == ""
    assert dock.results.result is not None and dock.results.result.path == out
    assert len(layers_of(dock.viewer.layers, "cells")) == 1
    wait_for(lambda: dock.session.annotator.is_open)


def annotate(dock: Any, types: dict[int, str], qtbot: Any, wait_for: Wait) -> None:
    """Click cells one by one and press the key of a type, over the canvas."""
    dock.show_tab(dock.annotate)
    wait_for(lambda: dock.annotate.isVisible())
    native = bare(dock.viewer).window._qt_viewer.canvas.native
    cells, layer = dock.session.cells, dock.results.layer
    names = list(cells.classes)
    for label, kind in types.items():
        one = cells.table.iloc[int(cells.rows_of(label)[0])]
        dock.annotate.show_cell(label)
        dock.results.select_at(tuple(layer.data_to_world((one["y"], one["x"]))))
        cells.select([label])  # the centre of a bent cell may lie outside of it
        qtbot.keyClick(native, KEYS[names.index(kind)])
    assert [cells.type_of(label) for label in types] == list(types.values())
    assert dock.session.annotator.journal.flush(5)


def export(dock: Any, name: str, file: Path, wait_for: Wait) -> None:
    """Write what an entry of the export menu writes."""
    menu = dock.results.export
    menu.start(ExportPlan(dock.results.result.path, FORMATS[name], file, {}))
    wait_for(lambda: menu.work is None)
    assert file.exists(), dock.message.text.text()


def test_the_whole_loop_on_simulated_tissue(window: Any, qtbot: Any, wait_for: Wait, tmp_path: Path) -> None:
    from napari_dama.gui.sample_data import truth_of, write_sample
    from napari_dama.models.shelf import load_card

    dock, slide = window, write_sample(tmp_path / "tissue", size=384, seed=501)
    load(dock, slide, wait_for)
    assert all(
        row.feeds.currentData() for row in dock.channels.rows
    )  # every marker was recognised by its name
    analyse(dock, tmp_path / "found", wait_for)
    cells = dock.session.cells
    assert len(cells.labels) > 60 and cells.typed

    truth = pd.read_csv(truth_of(slide))
    tree = cKDTree(truth[["y", "x"]].to_numpy(float))
    far, nearest = tree.query(cells.table[["y", "x"]].to_numpy(float))
    known = truth["type"].to_numpy(object)[nearest]
    sure = np.flatnonzero((far < 6) & np.isin(known, list(cells.classes)))
    rows = np.random.default_rng(0).choice(sure, ANNOTATED, replace=False)
    types = {int(cells.labels[row]): str(known[row]) for row in rows}
    annotate(dock, types, qtbot, wait_for)
    assert len(read_corrections(slide).cells) == ANNOTATED

    panel = dock.annotate.improve
    wait_for(lambda: panel.start.isEnabled())
    panel.start.click()
    wait_for(lambda: panel.look is not None and panel.look.outcome is not None)
    shown = panel.look.outcome.types
    assert np.sum(shown.after.counts) == np.sum(shown.before.counts) > 0
    panel.name.setText("mine")
    panel.accept.click()
    wait_for(lambda: dock.model_box.currentText() == "mine" and panel.work is None)
    assert load_card("mine").parent == "dama-brain7"
    assert [cells.type_of(label) for label in types] == list(types.values())  # what the hand said stays

    assert dock.session.annotator.journal.flush(5)
    export(dock, "csv", tmp_path / "cells.csv", wait_for)
    written = pd.read_csv(tmp_path / "cells.csv").set_index("label")["type"]
    assert {label: written[label] for label in types} == types
    assert written.reindex(cells.labels).tolist() == cells.types.tolist()


def test_load_match_analyse_annotate_and_export_a_real_slide(
    window: Any, qtbot: Any, wait_for: Wait, tmp_path: Path
) -> None:
    data = Path(os.environ.get("NAPARI_DAMA_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    slides = sorted((data / "mif_breast").glob("*.ome.tif"))
    if not slides:
        pytest.skip(f"no real images in {data}: NAPARI_DAMA_DATA names their folder")
    slide = tmp_path / slides[0].name
    slide.write_bytes(slides[0].read_bytes())  # corrections are kept beside a slide
    dock = window
    load(dock, slide, wait_for)
    dock.channels.pixel_edit.setText("0.5")
    dock.channels.pixel_edit.editingFinished.emit()
    assert dock.session.plan.problem == "", dock.session.plan.problem
    box = np.array([[20, 20], [20, 220], [220, 220], [220, 20]], float)
    shapes = dock.viewer.add_shapes([box], scale=(0.5, 0.5), units=("um", "um"))
    dock.viewer.layers.selection.active = shapes
    dock.state.analyse.region = "shape"
    analyse(dock, tmp_path / "found", wait_for)
    cells = dock.session.cells
    assert len(cells.labels) > 5
    for name in ("tumour", "immune"):
        dock.annotate.add.setText(name)
        dock.annotate.add.returnPressed.emit()
    labels = [int(label) for label in cells.labels[:ANNOTATED]]
    types = {label: ("tumour", "immune")[place % 2] for place, label in enumerate(labels)}
    annotate(dock, types, qtbot, wait_for)
    dock.annotate.undo.click()
    last = labels[-1]
    assert not dock.session.annotator.is_reviewed(last)
    dock.annotate.redo.click()
    assert dock.session.annotator.journal.flush(5)
    export(dock, "geojson", tmp_path / "cells.geojson", wait_for)
    export(dock, "csv", tmp_path / "cells.csv", wait_for)
    written = pd.read_csv(tmp_path / "cells.csv").set_index("label")["type"]
    assert {label: written[label] for label in types} == types
    assert "immune" in (tmp_path / "cells.geojson").read_text(encoding="utf-8")
