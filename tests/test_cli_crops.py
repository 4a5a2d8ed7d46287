"""`napari-dama crops`: whose panel, which cells, and folders of crops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_dama.cells.store import CropStore
from napari_dama.cli import app
from napari_dama.models.build import brain_card
from test_cli import write_slide

Run = Callable[..., Any]


@pytest.fixture
def run() -> Run:
    """Run ``crops`` in this process; facts, or the sentence on stderr where a code is expected."""

    def go(*words: object, code: int = 0) -> Any:
        result = CliRunner().invoke(app, ["crops", *(str(word) for word in words), "--json"])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if code == 0 else result.stderr

    return go


@pytest.fixture
def slides(tmp_path: Path) -> list[Path]:
    """Two slides of three markers that the brain panel does not know, but for one."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(2):
        image = rng.integers(0, 100, (3, 200, 240)).astype(np.uint16)
        yy, xx = np.mgrid[:200, :240]
        for y in range(30, 180, 35):
            for x in range(30, 220, 35):
                image[1][(yy - y) ** 2 + (xx - x) ** 2 < 100] += 3000
        paths.append(write_slide(tmp_path / f"s{i}.ome.tif", image, markers=["CD3", "Hoechst", "CD8"]))
    return paths


def test_own_panel_and_a_subset(run: Run, slides: list[Path], tmp_path: Path) -> None:
    facts = run(*slides, "-o", tmp_path / "store", "--panel", "own", "--max-cells", 21, "--seed", 4)
    assert facts["markers"] == "CD3, Hoechst, CD8" and facts["crops"] == 21 and facts["groups"] == 2
    store = CropStore.open(tmp_path / "store")
    assert store.present.all() and store.crops.shape == (21, 3, 100, 100)
    centre = store.crops[:, :, 48:52, 48:52].mean((2, 3))
    assert (centre[:, 1] > 10 * centre[:, 0]).all()


def test_an_own_panel_without_a_known_nucleus_asks_for_it(
    run: Run, slides: list[Path], tmp_path: Path
) -> None:
    image = tifffile.imread(slides[0])
    path = write_slide(tmp_path / "x.ome.tif", image, markers=["CD3", "blue", "CD8"])
    assert "say it with --map DAPI=CHANNEL" in run(path, "-o", tmp_path / "a", "--panel", "own", code=1)
    facts = run(path, "-o", tmp_path / "b", "--panel", "own", "--map", "DAPI=blue")
    assert facts["markers"] == "CD3, blue, CD8" and facts["crops"] > 10


def test_a_models_panel_and_crop_width(run: Run, slides: list[Path], tmp_path: Path) -> None:
    card = brain_card("other", tasks=("reconstruct",)).model_copy(
        update={
            "panel": ["Hoechst", "CD8"],
            "nuclear": ["Hoechst"],
            "type_markers": [],
            "type_markers_min": 0,
        }
    )
    card.crop_um = 20.0
    (tmp_path / "model").mkdir()
    card.save(tmp_path / "model")
    facts = run(*slides, "-o", tmp_path / "store", "--model", tmp_path / "model")
    assert facts["markers"] == "Hoechst, CD8" and facts["crop"] == "20 um, 100 px"
    facts = run(slides[0], "-o", tmp_path / "b", "--model", tmp_path / "model", "--crop-um", 30)
    assert facts["crop"] == "30 um, 100 px"


def test_folders_are_recognised_and_asked_for(run: Run, tmp_path: Path) -> None:
    for kind in ("neuron", "microglia"):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for i in range(3):
            tifffile.imwrite(tmp_path / "in" / kind / f"f{i % 2}_{i}.tif", np.full((7, 16, 16), i, np.uint8))
    facts = run(tmp_path / "in", "-o", tmp_path / "store", "--group-pattern", r"(.+)_\d+")
    assert facts["types"] == {"microglia": 3, "neuron": 3} and facts["groups"] == 2
    assert facts["crop"] == "32.5 um, 16 px"
    facts = run(tmp_path / "in", "-o", tmp_path / "other", "--markers", "a,b,c,d,e,f,g")
    assert facts["markers"] == "a, b, c, d, e, f, g"
    assert any("--group-pattern" in note for note in facts["notes"])
    (tmp_path / "none").mkdir()
    assert "must be a folder for each class" in run(
        tmp_path / "none", "-o", tmp_path / "x", "--from-folders", code=1
    )


def test_options_that_would_do_nothing_are_refused(run: Run, slides: list[Path], tmp_path: Path) -> None:
    (tmp_path / "in" / "t").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "in/t/a.tif", np.zeros((7, 16, 16), np.uint8))
    out = ("-o", tmp_path / "x")
    assert "--model is for slides" in run(tmp_path / "in", *out, "--model", "m", code=2)
    assert "--panel is for slides" in run(tmp_path / "in", *out, "--panel", "own", code=2)
    assert "--markers is for folders of crops" in run(*slides, *out, "--markers", "a,b,c", code=2)
    assert "--panel is brain7 or own" in run(*slides, *out, "--panel", "mine", code=2)
    assert "leave --panel out" in run(*slides, *out, "--panel", "own", "--model", "m", code=2)
    assert "first or last" in run(tmp_path / "in", *out, "--channel-axis", "middle", code=2)
    assert not (tmp_path / "x").exists()
