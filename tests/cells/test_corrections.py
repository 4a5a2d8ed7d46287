"""The journal of corrections: what is written is read back, whatever happens in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_dama.cells.correction_records import (
    class_record,
    header,
    mark_record,
    outline_record,
    type_record,
)
from napari_dama.cells.corrections import journal_path, read_corrections, read_sections, result_key, stem_of
from napari_dama.cells.journal import Journal, read_lines
from napari_dama.cells.outlines import apply_changes, changed_box, changes_between
from napari_dama.errors import OutputError, SlideError


def some(*labels: int, types: str = "Glia") -> pd.DataFrame:
    numbers = np.array(labels)
    return pd.DataFrame(
        {"label": numbers, "y": numbers * 1.5, "x": numbers * 2.0, "type": types, "reviewed": False}
    )


def write(path: Path, *records: dict) -> Path:  # type: ignore[type-arg]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


HEAD = header("tissue.ome.tif", ("tissue_dama", "2026"))


def test_what_is_appended_is_on_the_disk_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "tissue.dama-corrections.jsonl"
    journal = Journal(path)
    assert journal.saved.at == 0 and not path.exists()
    journal.append(HEAD)
    journal.append(type_record(1, some(3, 4), "Neuron", "box"))
    assert journal.flush()
    assert read_lines(path)[0][1]["label"] == [3, 4]
    assert abs(journal.saved.at - time.time()) < 5 and journal.saved.pending == 0
    assert journal.close()
    found = read_corrections(path)
    assert found.slide == "tissue.ome.tif" and found.result == "tissue_dama"
    assert found.cells[["label", "y", "x", "type", "who"]].to_numpy().tolist() == [
        [3, 4.5, 6.0, "Neuron", "box"],
        [4, 6.0, 8.0, "Neuron", "box"],
    ]


def test_two_windows_cannot_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "a.dama-corrections.jsonl"
    first = Journal(path)
    with pytest.raises(OutputError, match="another window"):
        Journal(path)
    first.close()
    Journal(path).close()


def test_a_line_that_was_cut_off_is_passed_over_and_the_next_one_stands_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dama-corrections.jsonl", HEAD, type_record(1, some(1), "Neuron", "click"))
    whole = path.read_bytes()
    half = (json.dumps(type_record(2, some(2), "Neuron", "click")) + "\n").encode()
    for cut in (1, 10, len(half) - 2):
        path.write_bytes(whole + half[:cut])
        found = read_corrections(path)
        assert found.cells["label"].tolist() == [1]
        assert "1 line of a.dama-corrections.jsonl" in found.notes[0]
    journal = Journal(path)
    journal.append(type_record(3, some(7), "Neuron", "click"))
    journal.close()
    assert read_corrections(path).cells["label"].tolist() == [1, 7]


def test_nonsense_between_the_lines_harms_nothing(tmp_path: Path) -> None:
    strange = [
        {"record": "type", "n": 2, "label": [1.5], "y": [0], "x": [0], "type": "Neuron"},
        {"record": "type", "n": 2, "label": [5], "y": [0, 1], "x": [0], "type": "Neuron"},
        {"record": "type", "n": 2, "label": [5], "y": [0], "x": [0], "type": 7},
        {"record": "undo", "n": 3, "of": 99},
        {"record": "class", "n": 3, "what": "explode", "name": "a"},
        {"record": "outline", "n": 4, "box": [0, 1], "changes": [], "gone": [], "come": []},
        {"record": "??", "n": 4},
        {"record": "type"},
    ]
    path = write(tmp_path / "a.jsonl", HEAD, *strange, type_record(9, some(1), "Neuron", "click"))
    with path.open("ab") as file:
        file.write(b"\xff\xfe{\n[1,2]\n")
    found = read_corrections(path)
    assert found.cells["label"].tolist() == [1]
    assert "10 lines" in found.notes[0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="no file of napari-dama"):
        read_corrections(write(tmp_path / "a.jsonl", {"x": 1}))
    with pytest.raises(SlideError, match="version 2"):
        read_corrections(write(tmp_path / "a.jsonl", {**HEAD, "version": 2}))
    with pytest.raises(SlideError, match="Nothing was corrected"):
        read_corrections(tmp_path / "tissue.ome.tif")


def test_undo_and_redo_count(tmp_path: Path) -> None:
    records = [
        HEAD,
        type_record(1, some(1), "Neuron", "click"),
        type_record(2, some(1, types="Neuron"), "Microglia", "click"),
        mark_record(3, 2, "undo"),
    ]
    path = write(tmp_path / "a.jsonl", *records)
    assert read_corrections(path).cells["type"].tolist() == ["Neuron"]
    write(path, *records, mark_record(4, 1, "undo"))
    assert read_corrections(path).cells.empty
    write(path, *records, mark_record(4, 1, "undo"), mark_record(5, 1, "redo"), mark_record(6, 2, "redo"))
    assert read_corrections(path).cells["type"].tolist() == ["Microglia"]


def test_a_confirmed_cell_is_reviewed_and_one_without_type_teaches_nothing(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        HEAD,
        type_record(1, some(1), "Glia", "confirm"),
        type_record(2, some(2), "cell", "click"),
    )
    found = read_corrections(path)
    assert found.cells["reviewed"].all()
    assert found.typed.to_numpy().tolist() == [[1, 1.5, 2.0, "Glia"]]


def test_classes_are_renamed_with_their_cells(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        HEAD,
        class_record(1, "add", "Tumour", "#ff0000"),
        type_record(2, some(1), "Tumour", "click"),
        type_record(3, some(2), "Glia", "click"),
        class_record(4, "rename", "Tumour", "Carcinoma", "Tumour"),
        class_record(5, "colour", "Glia", "#00ff00", "#111111"),
        class_record(6, "rename", "Glia", "Astrocyte", "Glia"),
        class_record(7, "rename", "Astrocyte", "Astroglia", "Astrocyte"),
        class_record(8, "add", "Odd", "#0000ff"),
        class_record(9, "delete", "Odd"),
    )
    found = read_corrections(path)
    assert found.cells["type"].tolist() == ["Carcinoma", "Astroglia"]
    assert found.classes == {"Carcinoma": "#ff0000", "Astroglia": "#00ff00"}
    assert found.renamed == {"Glia": "Astroglia"}
    assert found.deleted == ("Odd",)


def test_results_of_a_slide_have_sections_and_the_last_one_counts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "tissue.dama-corrections.jsonl",
        HEAD,
        type_record(1, some(1), "Neuron", "click"),
        header("tissue.ome.tif", ("second", "2027")),
        type_record(2, some(5), "Neuron", "click"),
    )
    assert read_corrections(path).cells["label"].tolist() == [5]
    assert read_corrections(path, result=tmp_path / "tissue_dama").cells["label"].tolist() == [1]
    sections, _, top, _ = read_sections(path)
    assert [section.result for section in sections] == ["tissue_dama", "second"] and top == 2


def test_the_journal_lies_beside_the_slide_or_in_the_result(tmp_path: Path) -> None:
    slide = tmp_path / "tissue.ome.tif"
    slide.touch()
    assert journal_path(slide, tmp_path / "r") == tmp_path / "tissue.dama-corrections.jsonl"
    assert (
        journal_path(tmp_path / "gone.tif", tmp_path / "r") == tmp_path / "r" / "gone.dama-corrections.jsonl"
    )
    assert journal_path("", tmp_path / "r") == tmp_path / "r" / "r.dama-corrections.jsonl"
    names = ("a.b.ome.tiff", "a.ome.zarr", "a.qptiff", ".tif", "a")
    assert [stem_of(Path(name)) for name in names] == ["a.b", "a", "a", ".tif", "a"]
    assert result_key(tmp_path / "x.jsonl", tmp_path / "deep" / "r", "m") == ("deep/r", "m")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions bind no root")
def test_a_folder_that_cannot_be_written_sends_the_journal_to_the_result(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "tissue.tif").touch()
    folder.chmod(0o500)
    try:
        assert journal_path(folder / "tissue.tif", tmp_path).parent == tmp_path
    finally:
        folder.chmod(0o700)


def test_a_failed_write_is_said_and_made_good(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    path = folder / "a.dama-corrections.jsonl"
    journal = Journal(path)
    path.mkdir()  # nothing can be written to a folder
    journal.append(HEAD)
    assert not journal.flush(0.5)
    assert "cannot be written" in journal.saved.why_not and journal.saved.pending == 1
    path.rmdir()
    assert journal.flush(5)
    assert journal.saved.why_not == "" and read_lines(path)[0] == [HEAD]
    journal.close()


def test_changed_outlines_are_told_and_put_back() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        before = random.integers(0, 5, (9, 13)).astype(np.uint32)
        after = before.copy()
        after[random.random(before.shape) < 0.3] = 2**32 - 2
        changes = json.loads(json.dumps(changes_between(before, after)))
        image = before.copy()
        apply_changes(image, changes)
        assert np.array_equal(image, after)
        apply_changes(image, changes)
        assert np.array_equal(image, after)
        apply_changes(image, changes, back=True)
        assert np.array_equal(image, before)
    assert changes_between(before, before) == [] and changed_box(before, before) is None
    other = before.copy()
    other[3:5, 4:8] += 1
    assert changed_box(before, other) == (3, 5, 4, 8)


def test_damaged_outlines_are_refused_and_change_nothing() -> None:
    image = np.zeros((4, 4), np.uint32)
    after = image.copy()
    after[1:3, 1:3] = 7
    (change,) = changes_between(image, after)
    with pytest.raises(SlideError):
        apply_changes(image, [change, {**change, "size": [5, 5]}])
    assert not image.any()


def test_outlines_take_cells_away_and_bring_others(tmp_path: Path) -> None:
    gone = [{"label": 1, "y": 1.0, "x": 1.0, "type": "Neuron", "reviewed": True, "row": {}}]
    come = [{"label": 8, "y": 1.5, "x": 1.0, "type": "Neuron", "reviewed": True, "row": {}}]
    records = [
        HEAD,
        type_record(1, some(1, 2), "Neuron", "box"),
        outline_record(2, (0, 4, 0, 4), [], gone=gone, come=come, what="merge"),
    ]
    path = write(tmp_path / "a.jsonl", *records)
    found = read_corrections(path)
    assert found.cells["label"].tolist() == [2, 8]
    assert found.outlines == (8,) and found.removed == (1,)
    write(path, *records, mark_record(3, 2, "undo"))
    found = read_corrections(path)
    assert found.cells["label"].tolist() == [1, 2] and found.outlines == ()


def test_a_killed_program_loses_at_most_the_edit_it_was_at(tmp_path: Path) -> None:
    path = tmp_path / "a.dama-corrections.jsonl"
    code = (
        "import sys; from pathlib import Path; from napari_dama.cells.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); journal.append({'record': 'header', 'version': 1})\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    journal.append({'record': 'type', 'n': n, 'label': [n], 'y': [0], 'x': [0], 'type': 'A'})\n"
        "    journal.flush(); print(n, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(30):
        told = int(process.stdout.readline())
    process.kill()
    rest = process.communicate()[0].split()
    told = int(rest[-1]) if rest else told
    labels = read_corrections(path).cells["label"].tolist()
    assert labels[:told] == list(range(1, told + 1)) and len(labels) <= told + 1


def test_a_journal_is_taken_where_typed_cells_are(tmp_path: Path) -> None:
    from napari_dama.cells.given import given_cells

    path = write(
        tmp_path / "a.dama-corrections.jsonl",
        HEAD,
        type_record(1, some(1, 2), ["Neuron", "cell"], "box"),
    )
    assert given_cells(path, (50, 50)).to_numpy().tolist() == [[1, 1.5, 2.0, "Neuron"]]
    with pytest.raises(SlideError, match="outside"):
        given_cells(path, (1, 1))
