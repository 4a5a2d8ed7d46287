"""`napari-dama export` takes each format's options, says what it wrote, and ends with the documented codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.export.fields import make_result
from typer.testing import CliRunner

from napari_dama.cells.table import read_csv
from napari_dama.cli.app import app
from napari_dama.export import FORMATS

run = CliRunner().invoke


def test_the_list_names_every_format_and_its_reader() -> None:
    done = run(app, ["export", "--list"])
    assert done.exit_code == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert list(lines) == list(FORMATS)
    assert "QuPath" in lines["geojson"]
    if not FORMATS["anndata"].available:
        assert 'pip install "napari-dama[anndata]"' in lines["anndata"]


def test_a_picture_with_options(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    command = ["export", str(out), str(tmp_path / "p.svg"), "--to", "picture", "--region", "0:100,0:100"]
    done = run(app, [*command, "--markers", "DAPI=#0000ff", "--fill", "--types", "neuron", "--max-px", "400"])
    assert done.exit_code == 0, done.output
    assert "scale bar" in done.stdout and "p.svg" in done.stdout
    text = (tmp_path / "p.svg").read_text(encoding="utf-8")
    assert "neuron (" in text and "microglia" not in text and "NeuN" not in text


def test_outlines_as_detections(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    file = tmp_path / "c.geojson"
    done = run(app, ["export", str(out), str(file), "--to", "geojson", "--object", "detection"])
    assert done.exit_code == 0, done.output
    assert {f["properties"]["objectType"] for f in json.loads(file.read_text())["features"]} == {"detection"}
    again = run(app, ["export", str(out), str(file), "--to", "geojson"])
    assert again.exit_code == 1 and "exists already" in again.output
    assert run(app, ["export", str(out), str(file), "--to", "geojson", "--overwrite"]).exit_code == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--to", "excel"], "csv, parquet"),
        (["--to", "csv", "--max-px", "300"], "no option 'max_px'"),
        (["--to", "picture", "--no-cells", "--fill"], "give one"),
    ],
)
def test_wrong_usage_is_code_two(tmp_path: Path, words: list[str], why: str) -> None:
    done = run(app, ["export", str(make_result(tmp_path)), str(tmp_path / "f.png"), *words])
    assert done.exit_code == 2 and why in done.output


def test_corrections_are_told_and_brought_into_the_table(tmp_path: Path) -> None:
    from tests.export.test_corrected import correct

    out = make_result(tmp_path)
    done = run(app, ["corrections", str(out), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["types_changed"] == 0
    assert "type_corrected" not in (out / "cells.csv").read_text(encoding="utf-8")
    changed, confirmed = correct(out, tmp_path / "tissue.ome.tif")
    done = run(app, ["corrections", str(out)])
    assert done.exit_code == 0, done.output
    assert "types changed" in done.stdout
    table = read_csv(out / "cells.csv").set_index("label")
    assert table.loc[changed, ["type_corrected", "corrected_by"]].tolist() == ["Tumour", "hand"]
    assert table.loc[confirmed, "corrected_by"] == "confirmed"
    assert run(app, ["corrections", str(tmp_path / "nowhere")]).exit_code == 1


def test_neighbours_are_counted_by_corrected_types(tmp_path: Path) -> None:
    from tests.export.test_corrected import correct

    out = make_result(tmp_path)
    correct(out, tmp_path / "tissue.ome.tif")
    command = ["evaluate", "neighbourhoods", str(out), "--nearest", "2", "--permutations", "0", "--json"]
    assert "Tumour" in run(app, command).stdout
    assert "Tumour" not in run(app, [*command, "--model-types"]).stdout
