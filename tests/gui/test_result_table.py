"""The open result's table follows what is corrected and kept, in a real window: close, reopen, and all agree."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gui.made_result import make_result

from napari_dama.cells.corrections import read_corrections
from napari_dama.cells.table import read_cells, read_csv
from napari_dama.export import export
from napari_dama.gui import table_files
from napari_dama.gui.outline_edit import Known, begin, outcome_of
from napari_dama.slides.slide import open_slide

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "WAIT_MS", 50)
    monkeypatch.setattr(table_files, "RETRY_MS", 200)


@pytest.fixture
def open_dock(make_napari_viewer: Any, on_shelf: Path, quick: None) -> Iterator[Callable[[], Any]]:
    """Open the dock in a window; may be called twice, as after a restart."""
    from napari_dama.gui.dock import DamaDock

    made: list[Any] = []

    def new() -> Any:
        viewer = make_napari_viewer()
        dock = DamaDock(viewer)
        viewer.window.add_dock_widget(dock, name="DAMA")
        made.append(dock)
        return dock

    yield new
    for dock in made:
        dock.close_down()


def open_result(dock: Any, out: Path, wait_for: Wait) -> None:
    dock.results.open_folder(str(out))
    wait_for(lambda: dock.results.work is None and dock.annotate.work is None)
    dock.show_tab(dock.annotate)


def written(dock: Any, wait_for: Wait) -> None:
    wait_for(lambda: not dock.annotate.table.waiting)


def exported(out: Path, name: str) -> Any:
    return read_csv(export(out, "csv", out.parent / name)).set_index("label")


def test_three_cells_corrected_closed_and_reopened(
    open_dock: Any, tmp_path: Path, wait_for: Wait, qtbot: Any
) -> None:
    _, out = make_result(tmp_path)
    model = read_csv(out / "cells.csv").set_index("label")["type"]
    dock = open_dock()
    open_result(dock, out, wait_for)
    annotator = dock.session.annotator
    annotator.add_class("Tumour", "#123456")
    annotator.give([3], "Tumour", "click")
    annotator.give([6, 9], "microglia", "box")
    annotator.confirm([1])
    assert "follows" in dock.annotate.in_table.text()
    written(dock, wait_for)
    assert dock.annotate.in_table.text() == "In cells.csv, as type_corrected: 3 changed, 1 confirmed."
    annotator.give([12], "astrocyte", "click")  # and closes before the table follows by itself
    dock.close_down()
    for table in (read_csv(out / "cells.csv"), read_cells(out)):
        table = table.set_index("label")
        assert table["type"].equals(model)
        assert table.loc[[3, 6, 9, 12], "type_corrected"].tolist() == [
            "Tumour",
            *["microglia"] * 2,
            "astrocyte",
        ]
        assert table.index[table["corrected_by"] == "hand"].tolist() == [3, 6, 9, 12]
        assert table.index[table["corrected_by"] == "confirmed"].tolist() == [1]
    assert exported(out, "a.csv")["type"].tolist() == read_csv(out / "cells.csv")["type_corrected"].tolist()

    dock = open_dock()
    open_result(dock, out, wait_for)
    cells = dock.session.cells
    assert [cells.type_of(label) for label in (3, 6, 9, 12)] == ["Tumour", *["microglia"] * 2, "astrocyte"]
    assert cells.predicted.tolist() == model.tolist()
    assert not {"type_corrected", "corrected_by"} & set(dock.results.layer.features.columns)
    for _ in range(3):
        dock.session.annotator.undo()
    written(dock, wait_for)
    table = read_csv(out / "cells.csv").set_index("label")
    assert table.index[table["corrected_by"] != ""].tolist() == [3]
    assert exported(out, "b.csv")["type"].tolist() == table["type_corrected"].tolist()


VICTIM = """
import sys, time
from pathlib import Path
from napari_dama.gui import table_files
table_files.WAIT_MS = 10_000_000
import napari
from qtpy.QtWidgets import QApplication
from napari_dama.gui.dock import DamaDock
viewer = napari.Viewer(show=False)
dock = DamaDock(viewer)
viewer.window.add_dock_widget(dock)
dock.results.open_folder(sys.argv[1])
while dock.results.work is not None or dock.annotate.work is not None:
    QApplication.processEvents()
    time.sleep(0.01)
dock.session.annotator.give([3, 6], "microglia", "click")
assert dock.session.annotator.journal.flush(10)
print("saved", flush=True)
time.sleep(600)
"""


def test_killed_between_journal_and_table(open_dock: Any, tmp_path: Path, wait_for: Wait) -> None:
    _, out = make_result(tmp_path)
    before = (out / "cells.csv").read_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(out)], stdout=subprocess.PIPE, text=True, env=os.environ
    ) as victim:
        assert victim.stdout is not None and victim.stdout.readline() == "saved\n"
        victim.send_signal(signal.SIGKILL)
    assert (out / "cells.csv").read_bytes() == before  # the journal has it, the table not yet
    assert exported(out, "a.csv").loc[[3, 6], "type"].tolist() == ["microglia"] * 2
    dock = open_dock()
    open_result(dock, out, wait_for)
    table = read_cells(out).set_index("label")
    assert table.loc[[3, 6], "type_corrected"].tolist() == ["microglia"] * 2
    assert dock.session.cells.type_of(6) == "microglia"


def test_a_table_that_is_open_elsewhere_is_said_and_tried_again(
    open_dock: Any, tmp_path: Path, wait_for: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = make_result(tmp_path)
    dock = open_dock()
    open_result(dock, out, wait_for)
    replace = os.replace

    def held(source: Any, target: Any) -> None:
        if str(target).endswith("cells.csv"):
            raise PermissionError(13, "Permission denied")  # what Windows says while Excel has it
        replace(source, target)

    monkeypatch.setattr(os, "replace", held)
    dock.session.annotator.give([3], "microglia", "click")
    wait_for(lambda: "behind" in dock.annotate.in_table.text())
    assert "close it in other programs" in dock.annotate.in_table.text()
    monkeypatch.setattr(os, "replace", replace)
    written(dock, wait_for)
    assert read_cells(out).set_index("label").loc[3, "type_corrected"] == "microglia"
    assert "behind" not in dock.annotate.in_table.text()


def test_a_result_that_came_without_its_slide_keeps_its_corrections(
    open_dock: Any, tmp_path: Path, wait_for: Wait
) -> None:
    slide, out = make_result(tmp_path)
    dock = open_dock()
    open_result(dock, out, wait_for)
    dock.session.annotator.add_class("NA", "#123456")
    dock.session.annotator.give([3], "NA", "click")
    dock.session.annotator.confirm([1])
    dock.close_down()
    away = tmp_path / "far" / "tissue_dama"
    away.parent.mkdir()
    shutil.move(out, away)
    slide.unlink()
    dock = open_dock()
    open_result(dock, away, wait_for)
    annotator = dock.session.annotator
    assert dock.session.cells.type_of(3) == "NA" and dock.session.cells.classes["NA"] == "#123456"
    assert annotator.reviewed.tolist() == [1, 3]
    annotator.give([6], "microglia", "click")
    written(dock, wait_for)
    table = read_cells(away).set_index("label")
    assert table.loc[[1, 3, 6], "type_corrected"].tolist() == ["astrocyte", "NA", "microglia"]
    found = read_corrections(annotator.found.path, result=away)
    assert found.cells["label"].tolist() == [1, 3, 6]


# -- columns that plots made -------------------------------------------------------------------------------------------


def delete_cell(dock: Any, out: Path, slide: Path, label: int) -> None:
    """Delete a cell's outline as the panel does when it is kept."""
    session = dock.session
    table = session.cells.table
    known = Known(table, dict(zip(table["label"], session.cells.types, strict=True)), frozenset())
    part = begin(out, session_region(table, label))
    edited = np.where(part.before == label, 0, part.before)
    with open_slide(slide) as image:
        record = outcome_of(
            part,
            edited,
            out,
            known,
            number=session.annotator.number(),
            next_label=500,
            slide=image,
            pixel_um=0.5,
        )
    assert record is not None
    session.annotator.change_outlines(record)


def session_region(table: Any, label: int) -> Any:
    from napari_dama.slides.region import Region

    row = table[table["label"] == label].iloc[0]
    y, x = int(row["y"]), int(row["x"])
    return Region(max(y - 10, 0), y + 10, max(x - 10, 0), x + 10)


def test_kept_columns_come_back_and_are_said_to_be_outdated(
    open_dock: Any, tmp_path: Path, wait_for: Wait, qtbot: Any
) -> None:
    slide, out = make_result(tmp_path)
    dock = open_dock()
    open_result(dock, out, wait_for)
    dock.results.plots_button.click()
    plots = dock.results.plots
    near, place = plots.neighbours, plots.map
    plots.tabs.setCurrentWidget(near)
    wait_for(lambda: near.found is not None)
    near.keep.click()
    assert "cells.csv" in near.note.text()
    plots.tabs.setCurrentWidget(place)
    wait_for(lambda: place.placed is not None)
    place.keep.click()
    written(dock, wait_for)
    name = next(iter(near.found.columns()))
    counts = near.found.columns()[name].copy()
    assert read_cells(out)[name].tolist() == counts.tolist()
    dock.close_down()

    dock = open_dock()
    open_result(dock, out, wait_for)
    assert dock.session.cells.table[name].tolist() == counts.tolist()
    assert name in [choice.key for choice in dock.results.shown.choices]
    wait_for(lambda: dock.results.kept_note.text() == "")
    # a type is corrected: the counts are outdated, the places are not
    dock.session.annotator.give([3], "microglia", "click")
    wait_for(lambda: name in dock.results.kept_note.text())
    assert "pca_1" not in dock.results.kept_note.text()
    written(dock, wait_for)
    assert {f"{name}_outdated", "pca_1"} <= set(read_cells(out).columns)
    # undone: they hold again
    dock.session.annotator.undo()
    wait_for(lambda: dock.results.kept_note.text() == "")
    written(dock, wait_for)
    assert read_cells(out)[name].tolist() == counts.tolist()
    # an outline is deleted: both are outdated; put back, the cell has its values again
    delete_cell(dock, out, slide, 12)
    wait_for(lambda: "pca_1" in dock.results.kept_note.text() and name in dock.results.kept_note.text())
    written(dock, wait_for)
    table = read_cells(out)
    assert {f"{name}_outdated", "pca_1_outdated"} <= set(table.columns) and 12 not in set(table["label"])
    assert f"{name}_outdated" in exported(out, "a.csv")
    dock.close_down()

    dock = open_dock()
    open_result(dock, out, wait_for)
    wait_for(lambda: "pca_1" in dock.results.kept_note.text())
    assert name in dock.session.cells.table  # in the window under its own name, with the warning
    dock.session.annotator.undo()
    wait_for(lambda: dock.results.kept_note.text() == "")
    written(dock, wait_for)
    assert read_cells(out)[name].tolist() == counts.tolist()
    assert read_csv(out / "cells.csv")["label"].tolist() == list(range(1, 81))


def test_a_result_that_is_not_complete_is_left_alone(open_dock: Any, tmp_path: Path, wait_for: Wait) -> None:
    import json

    from napari_dama.predict.saved_table import save_table

    _, out = make_result(tmp_path)
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    (out / "run.json").write_text(json.dumps({**run, "state": "interrupted"}), encoding="utf-8")
    before = (out / "cells.csv").read_bytes()
    dock = open_dock()
    open_result(dock, out, wait_for)
    dock.session.annotator.give([3], "microglia", "click")
    written(dock, wait_for)
    assert (
        dock.annotate.in_table.text()
        == f"{out.name} is not complete: cells.csv gets the corrections once it is."
    )
    assert (out / "cells.csv").read_bytes() == before
    dock.close_down()
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")  # it was continued and is done
    save_table(out)
    assert read_cells(out).set_index("label").loc[3, "type_corrected"] == "microglia"
