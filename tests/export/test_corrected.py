"""What people corrected is what is handed over."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from tests.export.fields import TYPES, make_result

from napari_dama.cells.correction_records import class_record, header, type_record
from napari_dama.cells.corrections import journal_path, result_key
from napari_dama.export import export
from napari_dama.export.source import ResultSource


def correct(out: Path, slide: Path, *, made: str = "") -> tuple[int, int]:
    """Write a journal: one cell gets a new class, one is confirmed, one class has another name."""
    cells = pd.read_csv(out / "cells.csv").assign(reviewed=False)
    path = journal_path(slide, out)
    rows = cells.iloc[[0]], cells.iloc[[1]]
    records = [
        header(slide.name, result_key(path, out, made)),
        class_record(1, "add", "Tumour", "#123456"),
        type_record(2, rows[0], "Tumour", "click"),
        type_record(3, rows[1], str(rows[1]["type"].iloc[0]), "click"),
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return int(rows[0]["label"].iloc[0]), int(rows[1]["label"].iloc[0])


def test_exports_have_the_types_given_by_hand(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    before = pd.read_csv(out / "cells.csv").set_index("label")
    changed, confirmed = correct(out, tmp_path / "tissue.ome.tif")
    table = pd.read_csv(export(out, "csv", tmp_path / "t.csv")).set_index("label")
    assert table.loc[changed, "type"] == "Tumour"
    assert table.loc[changed, "type_model"] == before.loc[changed, "type"]
    assert table.index[table["reviewed"]].tolist() == sorted([changed, confirmed])
    others = table.index.difference([changed])
    assert (table.loc[others, "type"] == before.loc[others, "type"]).all()
    parquet = pd.read_parquet(export(out, "parquet", tmp_path / "t.parquet")).set_index("label")
    assert parquet.loc[changed, "type"] == "Tumour"
    features = json.loads(export(out, "geojson", tmp_path / "t.geojson").read_text(encoding="utf-8"))[
        "features"
    ]
    named = [feature["properties"]["classification"] for feature in features]
    assert {"name": "Tumour", "color": [0x12, 0x34, 0x56]} in named


def test_the_methods_paragraph_says_how_many(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    correct(out, tmp_path / "tissue.ome.tif")
    text = export(out, "methods", tmp_path / "methods.md").read_text(encoding="utf-8")
    assert "types changed: 1" in text and "types confirmed: 1" in text and "1 Tumour" in text


def test_corrections_of_another_result_are_left_alone(tmp_path: Path) -> None:
    out = make_result(tmp_path, created="2026-01-02")
    correct(out, tmp_path / "tissue.ome.tif", made="2025-12-24")  # the same folder, made anew since
    source = ResultSource.open(out)
    assert source.by_hand is None and source.types == list(TYPES)
    assert "reviewed" not in source.cells


def test_outlines_drawn_by_hand_are_counted(tmp_path: Path) -> None:
    out = make_result(tmp_path, corrections={"applied": 7, "drawn": [2, 3], "note": "..."})
    assert ResultSource.open(out).corrections == {"outlines drawn": 2}
