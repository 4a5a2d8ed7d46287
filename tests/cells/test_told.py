"""Types that an improved model told anew, in the journal: folded under what people said, renamed, undone, damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from napari_dama.cells.correction_records import (
    class_record,
    header,
    is_sound,
    mark_record,
    told_record,
    type_record,
)
from napari_dama.cells.corrections import read_corrections


def write(path: Path, *records: dict[str, Any]) -> Path:
    head = header("tissue.ome.tif", ("tissue_dama", "today"))
    path.write_text("".join(json.dumps(record) + "\n" for record in (head, *records)), encoding="utf-8")
    return path


def test_told_types_are_kept_apart_from_reviewed_ones(tmp_path: Path) -> None:
    told = told_record(1, [3, 4, 5], ["neuron", "glia", "glia"], ["glia", "neuron", "cell"], "better")
    one = pd.DataFrame({"label": [4], "y": [1.0], "x": [2.0], "type": ["glia"], "reviewed": [False]})
    rename = class_record(3, "rename", "glia", "star", "glia")
    file = write(tmp_path / "a.jsonl", told, type_record(2, one, "neuron", "click"), rename)
    found = read_corrections(file)
    assert found.told == {3: "neuron", 4: "star", 5: "star"} and not found.notes
    assert found.typed[["label", "type"]].to_numpy().tolist() == [[4, "neuron"]]
    again = write(tmp_path / "b.jsonl", told, mark_record(2, 1, "undo"))
    assert read_corrections(again).told == {}


@pytest.mark.parametrize(
    "change", [{"type": [0, 0]}, {"type": [0, 0, 9]}, {"names": "ab"}, {"label": [0, 1, 2]}, {"before": None}]
)
def test_a_damaged_line_is_passed_over(tmp_path: Path, change: dict[str, Any]) -> None:
    record = told_record(1, [3, 4, 5], ["a", "b", "b"], ["b", "a", "cell"], "better")
    assert is_sound(record) and not is_sound({**record, **change})
    found = read_corrections(write(tmp_path / "a.jsonl", {**record, **change}))
    assert found.told == {} and "1 line" in found.notes[0]
