"""Export from the window: the menu, files in a thread, the picture of what is seen, cancel, and the clipboard."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.export.fields import make_result
from tests.gui.conftest import add_slide

from napari_dama.export import FORMATS, Watch
from napari_dama.export.atomic import replacing
from napari_dama.gui.export_plan import (
    VIEW,
    ExportPlan,
    default_file,
    menu_text,
    menu_tip,
    offered,
    size_text,
    with_ending,
)
from napari_dama.slides.region import Region

Wait = Callable[[Callable[[], bool]], None]


def test_every_format_is_offered_once() -> None:
    names = [kind.name for group in offered() for kind in group]
    assert sorted([*names, "picture"]) == sorted(FORMATS)


def test_names_of_files(tmp_path: Path) -> None:
    result = tmp_path / "tissue_result"
    files = {default_file(result, kind) for kind in FORMATS.values()}
    assert len(files) == len(FORMATS) and all(file.parent == tmp_path for file in files)
    assert default_file(result, FORMATS["anndata"]).name == "tissue.h5ad"
    assert with_ending(tmp_path / "a", FORMATS["geojson"]).name == "a.geojson"
    assert with_ending(tmp_path / "a.SVG", FORMATS["picture"]).name == "a.SVG"
    assert with_ending(tmp_path / "a.zarr", FORMATS["ome-zarr"]).name == "a.zarr"
    assert with_ending(tmp_path / "v1.2", FORMATS["csv"]).name == "v1.2.csv"


def test_sizes_are_said_as_people_say_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1234)
    (tmp_path / "b").write_bytes(b"x" * 600)
    assert size_text(tmp_path / "b") == "600 bytes" and size_text(tmp_path / "a") == "1.2 kB"
    assert size_text(tmp_path) == "1.8 kB"


def test_a_missing_library_shows_in_the_menu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "library missing" in menu_text(FORMATS["anndata"])
    assert "napari-dama[anndata]" in menu_tip(FORMATS["anndata"])
    assert "missing" not in menu_text(FORMATS["csv"])


@pytest.fixture
def results(make_napari_viewer: Any, on_shelf: Path, tmp_path: Path, wait_for: Wait) -> Iterator[Any]:
    """The dock with an open result of awkward cells."""
    from napari_dama.gui.dock import DamaDock

    out = make_result(tmp_path)
    viewer = make_napari_viewer()
    add_slide(viewer, tmp_path / "tissue.ome.tif")
    dock = DamaDock(viewer)
    viewer.window.add_dock_widget(dock, name="DAMA")
    assert not dock.results.export.isVisibleTo(dock.results)
    dock.results.open_folder(str(out))
    wait_for(lambda: dock.results.work is None)
    yield dock.results
    dock.close_down()


def choose(monkeypatch: pytest.MonkeyPatch, file: Path | str) -> None:
    """Answer the next file dialogs."""
    from qtpy.QtWidgets import QFileDialog

    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))


def entry(menu: Any, words: str) -> Any:
    return next(action for action in menu.menu.actions() if words in action.text())


@pytest.mark.gui
def test_outlines_are_written_and_the_folder_is_offered(
    results: Any, wait_for: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    menu = results.export
    assert menu.isVisibleTo(results)
    choose(monkeypatch, tmp_path / "cells")
    done: list[str] = []
    menu.exported.connect(done.append)
    entry(menu, "QuPath").trigger()
    assert not menu.button.isEnabled() and menu.bar.isVisibleTo(menu)
    wait_for(lambda: menu.work is None)
    file = tmp_path / "cells.geojson"
    assert done == [str(file)] and len(json.loads(file.read_text(encoding="utf-8"))["features"]) == 10
    assert "cells.geojson" in menu.note.text() and menu.folder.isVisibleTo(menu)
    assert menu.button.isEnabled() and not menu.bar.isVisibleTo(menu)
    opened: list[str] = []
    monkeypatch.setattr(
        "napari_dama.gui.export_menu.QDesktopServices.openUrl", lambda url: opened.append(url.toLocalFile())
    )
    menu.folder.click()
    assert opened == [str(tmp_path)]
    errors: list[Exception] = []
    menu.failed.connect(errors.append)
    entry(menu, "QuPath").trigger()  # "cells" again: the dialog did not ask for cells.geojson
    wait_for(lambda: menu.work is None)
    assert "exists already" in str(errors[0])


@pytest.mark.gui
def test_the_picture_is_what_the_window_shows(
    results: Any, wait_for: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    menu, layers = results.export, results.viewer.layers
    layers["NeuN"].visible = layers["CD68"].visible = False
    layers["DAPI"].contrast_limits = (300, 4300)
    results.outlines.setChecked(True)
    results.legend.hidden_changed.emit(frozenset({"microglia"}))
    plans: list[ExportPlan] = []
    start = menu.start
    monkeypatch.setattr(menu, "start", lambda plan: (plans.append(plan), start(plan)))
    choose(monkeypatch, tmp_path / "view.png")
    menu.ask_picture(VIEW)
    wait_for(lambda: menu.work is None)
    options = plans[0].options
    assert list(options["markers"]) == ["DAPI"] and options["contrast"] == {"DAPI": (300.0, 4300.0)}
    assert options["cells"] == "outlines" and "microglia" not in options["types"]
    assert isinstance(options["region"], Region)
    assert "scale bar" in menu.note.text()
    assert np.asarray(Image.open(tmp_path / "view.png")).max() == 255
    for layer in layers:
        layer.visible = False
    errors: list[Exception] = []
    menu.failed.connect(errors.append)
    menu.ask_picture(VIEW)
    assert "No marker" in str(errors[0])


@pytest.mark.gui
def test_errors_and_cancel_leave_nothing(
    results: Any, wait_for: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    menu = results.export
    errors: list[Exception] = []
    menu.failed.connect(errors.append)
    if not FORMATS["spatialdata"].available:  # said at once, before a file is asked for
        menu.ask("spatialdata")
        wait_for(lambda: menu.work is None)
        assert 'pip install "napari-dama[spatialdata]"' in str(errors.pop())

    def endless(result: Path, file: Path, *, overwrite: bool, watch: Watch) -> Path:
        with replacing(file, overwrite=overwrite) as part:
            part.write_text("half")
            while True:
                watch.step(1, 2)
                time.sleep(0.01)

    kind = dataclasses.replace(FORMATS["csv"], write=endless)
    menu.start(ExportPlan(menu.result.path, kind, tmp_path / "half.csv"))
    wait_for(lambda: menu.bar.value() == 500)
    menu.cancel.click()
    assert not menu.cancel.isEnabled()
    wait_for(lambda: menu.work is None)
    assert "stopped" in menu.note.text() and not menu.folder.isVisibleTo(menu) and errors == []
    choose(monkeypatch, "")
    menu.ask("csv")
    assert menu.work is None
    assert sorted(p.name for p in tmp_path.iterdir() if "csv" in p.name) == []


@pytest.mark.gui
def test_the_methods_paragraph_goes_to_the_clipboard(results: Any, wait_for: Wait) -> None:
    from qtpy.QtGui import QGuiApplication

    menu = results.export
    menu.copy.click()
    wait_for(lambda: menu.work is None)
    clipboard = QGuiApplication.clipboard()
    assert clipboard is not None and clipboard.text().startswith("## Cell segmentation and typing")
    assert "Copied" in menu.note.text()
    results.viewer.layers.remove(results.layer)
    assert not menu.isVisibleTo(results)
