"""A result's table follows its journal of corrections, keeps columns of plots, and says which do not hold any more."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.gui.made_result import make_result

from napari_dama.cells.correction_records import (
    class_record,
    header,
    mark_record,
    outline_record,
    told_record,
    type_record,
)
from napari_dama.cells.corrections import journal_path, result_key
from napari_dama.cells.kept import CellsState, Kept, outlines_mark, types_mark
from napari_dama.cells.table import read_cells, read_csv
from napari_dama.export import Watch, export
from napari_dama.predict import saved_table
from napari_dama.predict.record import read_run
from napari_dama.predict.saved_table import KeptColumns, save_table

MADE = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    return make_result(tmp_path, 4, 5)


def journal(made: tuple[Path, Path], *records: dict[str, Any]) -> Path:
    """Write a journal of these records on this result."""
    slide, out = made
    path = journal_path(slide, out)
    every = [header(slide.name, result_key(path, out, MADE)), *records]
    path.write_text("".join(json.dumps(record) + "\n" for record in every), encoding="utf-8")
    return path


def given(out: Path, n: int, labels: list[int], kind: Any, who: Any = "click") -> dict[str, Any]:
    cells = read_csv(out / "cells.csv").set_index("label", drop=False).loc[labels]
    return type_record(n, cells.assign(reviewed=False), kind, who)


def slow_types(out: Path, hand: dict[int, str], told: dict[int, str]) -> dict[int, tuple[str, str]]:
    """What counts, and by whom, cell by cell."""
    found = {}
    for row in read_csv(out / "cells.csv").to_dict("records"):
        label, model = row["label"], row["type"]
        by = ""
        if label in told:
            model, by = told[label], "model better"
        now = model
        if label in hand:
            now, by = hand[label], "confirmed" if hand[label] == model else "hand"
        found[label] = ("" if now == "cell" else now, by)
    return found


def test_corrected_types_stand_beside_the_models(made: tuple[Path, Path]) -> None:
    _, out = made
    before = read_csv(out / "cells.csv")
    hand = {1: "Tumour", 2: "microglia", 3: "cell", 4: "neuron", 5: "neuron"}
    told = {5: "neuron", 6: "microglia", 7: "neuron"}
    journal(
        made,
        class_record(1, "add", "Tumour", "#123456"),
        given(out, 2, [1], "Tumour"),
        given(out, 3, [2], "microglia"),  # what the model says: confirmed
        given(out, 4, [3, 4], ["cell", "neuron"], "box"),
        told_record(5, list(told), list(told.values()), ["microglia", "neuron", "astrocyte"], "better"),
        given(out, 6, [5], "neuron", "confirm"),
    )
    saved = save_table(out)
    assert saved.why_not == "" and (saved.changed, saved.confirmed) == (3, 2)
    table = read_csv(out / "cells.csv")
    assert list(table.columns[7:11]) == ["type", "type_corrected", "corrected_by", "outline_corrected"]
    pd.testing.assert_frame_equal(table[before.columns], before)  # the model's answer is untouched
    slow = slow_types(out, hand, told)
    assert [slow[label] for label in table["label"]] == list(
        zip(table["type_corrected"], table["corrected_by"], strict=True)
    )
    assert not table["outline_corrected"].any()
    pd.testing.assert_frame_equal(read_cells(out), table, check_dtype=False)
    # and every table that is handed over says the same
    exported = read_csv(export(out, "csv", out.parent / "e.csv"))
    assert exported["type"].tolist() == table["type_corrected"].tolist()
    assert exported["corrected_by"].tolist() == table["corrected_by"].tolist()
    assert exported["label"][exported["reviewed"]].tolist() == [1, 2, 3, 4, 5]
    coco = json.loads(export(out, "coco", out.parent / "e.json").read_text(encoding="utf-8"))
    assert "Tumour" in [category["name"] for category in coco["categories"]]


def test_what_was_undone_leaves_the_table_as_it_was(made: tuple[Path, Path]) -> None:
    _, out = made
    before = (out / "cells.csv").read_bytes()
    records = [given(out, 1, [1], "neuron")]
    journal(made, *records)
    save_table(out)
    assert b"type_corrected" in (out / "cells.csv").read_bytes()
    journal(made, *records, mark_record(2, 1, "undo"))
    save_table(out)
    assert (out / "cells.csv").read_bytes() == before


def test_nothing_is_written_where_nothing_is_behind(made: tuple[Path, Path]) -> None:
    _, out = made
    save_table(out)
    assert "corrections" not in read_run(out)
    journal(made, given(out, 1, [1], "neuron"))
    save_table(out)
    at = (out / "cells.csv").stat().st_mtime_ns
    assert save_table(out).changed == 1
    assert (out / "cells.csv").stat().st_mtime_ns == at


@pytest.mark.parametrize("survives", [0, 1, 2])
def test_killed_between_journal_table_and_record(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    """Whatever was on the disk when the program died, readers agree with the journal, and the next call makes it whole."""
    _, out = made
    journal(made, given(out, 1, [1, 2], "neuron"))
    replace, count = os.replace, 0

    def dies(source: Any, target: Any) -> None:
        nonlocal count
        count += 1
        if count > survives:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        save_table(out)
    monkeypatch.setattr(os, "replace", replace)
    exported = read_csv(export(out, "csv", out.parent / "e.csv")).set_index("label")
    assert exported.loc[[1, 2], "type"].tolist() == ["neuron"] * 2
    assert list(read_cells(out).columns) == list(read_csv(out / "cells.csv").columns)
    save_table(out)
    assert read_cells(out).set_index("label").loc[[1, 2], "type_corrected"].tolist() == ["neuron"] * 2
    assert read_run(out)["corrections"]["table"]["journal"] == 1
    assert not list(out.glob("*.part"))


def test_a_copied_result_keeps_what_was_corrected(made: tuple[Path, Path], tmp_path: Path) -> None:
    """The journal stays beside the slide; the folder alone goes to a colleague."""
    slide, out = made
    journal(
        made,
        class_record(1, "add", "NA", "#123456"),  # a word that pandas takes for a missing number
        given(out, 2, [1], "NA"),
        given(out, 3, [2], "microglia"),
    )
    save_table(out)
    away = tmp_path / "elsewhere" / "copy"
    shutil.copytree(out, away)
    slide.rename(tmp_path / "gone.ome.tif")
    save_table(away)
    exported = read_csv(export(away, "csv", tmp_path / "e.csv")).set_index("label")
    assert exported.loc[1, "type"] == "NA" and exported.loc[1, "type_model"] == "astrocyte"
    assert exported.index[exported["reviewed"]].tolist() == [1, 2]
    text = export(away, "methods", tmp_path / "m.md").read_text(encoding="utf-8")
    assert "types changed: 1" in text and "types confirmed: 1" in text
    features = json.loads(export(away, "geojson", tmp_path / "e.geojson").read_text(encoding="utf-8"))[
        "features"
    ]
    kinds = [feature["properties"]["classification"] for feature in features]
    assert {"name": "NA", "color": [0x12, 0x34, 0x56]} in kinds


# -- kept columns ----------------------------------------------------------------------------------------------------


def mark(out: Path, types: Any = None, outlines: tuple[int, ...] = ()) -> CellsState:
    table = read_csv(out / "cells.csv")
    now = table["type"] if types is None else types
    return CellsState(outlines_mark(outlines), types_mark(table["label"], np.asarray(now, object)))


def keep(out: Path, name: str, needs: Any, state: CellsState) -> KeptColumns:
    labels = read_csv(out / "cells.csv")["label"]
    values = pd.DataFrame({"label": labels[::-1], name: labels[::-1] * 2.5})
    return KeptColumns(values, (Kept((name,), "a test", needs, state.outlines, state.types),))


def test_kept_columns_are_saved_exported_and_outdated(made: tuple[Path, Path]) -> None:
    _, out = made
    save_table(out, keep(out, "near_neuron_30um", ("outlines", "types"), mark(out)))
    table = read_cells(out)
    assert table["near_neuron_30um"].tolist() == (table["label"] * 2.5).tolist()
    exported = read_csv(export(out, "csv", out.parent / "a.csv"))
    assert exported["near_neuron_30um"].tolist() == (exported["label"] * 2.5).tolist()
    features = json.loads(export(out, "geojson", out.parent / "a.geojson").read_text(encoding="utf-8"))[
        "features"
    ]
    measured = {f["properties"]["name"]: f["properties"]["measurements"] for f in features}
    assert measured["4"]["near_neuron_30um"] == 10.0
    # a type is corrected: exports know at once, the file once it is saved
    journal(made, given(out, 1, [1], "neuron"))
    watch = Watch()
    exported = read_csv(export(out, "csv", out.parent / "b.csv", watch=watch))
    assert "near_neuron_30um_outdated" in exported and "near_neuron_30um" not in exported
    assert "near_neuron_30um_outdated" in watch.notes[0]
    save_table(out)
    assert "near_neuron_30um_outdated" in read_cells(out)
    # undone, it holds again
    journal(made, given(out, 1, [1], "neuron"), mark_record(2, 1, "undo"))
    save_table(out)
    assert "near_neuron_30um" in read_cells(out) and read_run(out)["columns"][0]["outdated"] is False


def test_places_on_a_map_do_not_mind_types_but_outlines(made: tuple[Path, Path]) -> None:
    _, out = made
    save_table(out, keep(out, "pca_1", ("outlines",), mark(out)))
    journal(made, given(out, 1, [1], "neuron"))
    save_table(out)
    assert "pca_1" in read_cells(out)
    gone = [{"label": 3, "y": 1.0, "x": 1.0, "type": "neuron", "reviewed": False, "row": {"label": 3}}]
    journal(
        made,
        given(out, 1, [1], "neuron"),
        outline_record(2, (0, 8, 0, 8), [], gone=gone, come=[], what="delete"),
    )
    save_table(out)
    table = read_cells(out)
    assert "pca_1_outdated" in table and "pca_1" not in table
    # made anew, it has its name again, and the old one is gone
    save_table(out, keep(out, "pca_1", ("outlines",), CellsState(outlines_mark([2]), "")))
    assert "pca_1" in read_cells(out) and "pca_1_outdated" not in read_cells(out)


def test_killed_while_columns_are_written_leaves_them_outdated(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = made
    save_table(out, keep(out, "near", ("outlines", "types"), mark(out)))

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    journal(made, given(out, 1, [1], "neuron"))
    types = np.asarray(read_csv(out / "cells.csv")["type"], object)
    types[0] = "neuron"
    monkeypatch.setattr(saved_table, "replace_table", dies)
    with pytest.raises(KeyboardInterrupt):  # counted anew for the cells as they are now, and not written
        save_table(out, keep(out, "near", ("outlines", "types"), mark(out, types)))
    exported = read_csv(export(out, "csv", out.parent / "e.csv"))
    assert "near_outdated" in exported and "near" not in exported
    monkeypatch.undo()
    save_table(out, keep(out, "near", ("outlines", "types"), mark(out, types)))
    assert "near" in read_cells(out)


def test_the_mark_of_types_is_that_of_a_set() -> None:
    labels, types = np.array([5, 2, 900]), np.array(["a", "b", "cell"], object)
    assert types_mark(labels, types) == types_mark(labels[::-1], types[::-1])
    assert types_mark(labels, types) == types_mark(labels, np.array(["a", "b", ""], object))
    assert types_mark(labels, types) != types_mark(labels, np.array(["b", "a", ""], object))
    assert types_mark(labels, types) != types_mark(labels[:2], types[:2])
    random = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        labels = np.sort(random.choice(2000, 500, replace=False))
        seen.add(types_mark(labels, random.choice(np.array(["a", "b"], object), 500)))
    assert len(seen) == 300
