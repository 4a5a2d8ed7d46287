"""The command line, on real small files: what it leaves, how it ends, and that nothing of the user's is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

from napari_dama import __version__
from napari_dama.cli import app
from stand_in import MARKERS, NucleusModel, draw_cells

Run = Callable[..., Any]
COMMANDS = (
    *(
        "doctor",
        "info",
        "simulate",
        "crops",
        "analyse",
        "embed",
        "impute",
        "reconstruct",
        "pretrain",
        "finetune",
        "export",
    ),
    *(
        "evaluate segments",
        "evaluate types",
        "evaluate neighbourhoods",
        "evaluate pictures",
        "evaluate compare",
        *(f"jobs {name}" for name in ("list", "show", "watch", "stop", "resume", "queue")),
        "models list",
        "models info",
        "models import",
    ),
)


@pytest.fixture
def run() -> Run:
    """Run a command in this process; the exit code is checked."""

    def go(*words: object, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [str(word) for word in words])
        trouble = result.exception if not isinstance(result.exception, SystemExit) else None
        assert result.exit_code == code, f"{result.exit_code}: {result.output}{trouble!r}"
        return result

    return go


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shelf with one model of random weights."""
    from napari_dama.models.build import brain_card, new_model, save_model

    folder = tmp_path_factory.mktemp("shelf")
    save_model(new_model(brain_card("untrained")), folder / "untrained")
    return folder


@pytest.fixture(autouse=True)
def _on_the_shelf(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(shelf))


@pytest.fixture
def finds_nuclei(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `analyse` find nuclei although no model is trained."""
    from napari_dama.predict import prepare

    monkeypatch.setattr(prepare, "load_model", lambda *args, **options: NucleusModel())


def write_slide(path: Path, image: Any, *, pixel_um: float | None = 0.325, markers: Any = MARKERS) -> Path:
    metadata: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": list(markers)}}
    if pixel_um is not None:
        metadata |= {"PhysicalSizeX": pixel_um, "PhysicalSizeY": pixel_um}
    tifffile.imwrite(path, image, ome=True, photometric="minisblack", metadata=metadata)
    return path


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_slide(tmp_path / "drawn.ome.tif", draw_cells(300, 400))


def sentence(result: Any) -> str:
    """The one line on stderr, checked to be one."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return str(lines[0])


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_by_example(command: str, run: Run) -> None:
    text = run(*command.split(), "--help").stdout

    assert "For example" in text and f"napari-dama {command}" in text


def test_version_and_help_are_light(run: Run) -> None:
    assert run("--version").stdout.strip() == f"napari-dama {__version__}"
    code = "import sys\nfrom napari_dama.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'napari', 'numpy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_wrong_usage_is_told_apart_from_failure(run: Run, slide: Path, tmp_path: Path) -> None:
    run("analyse", slide, code=2)
    run("analyse", slide, "-o", tmp_path / "out", "--nonsense", code=2)
    run("nonsense", code=2)
    result = run("analyse", slide, "-o", tmp_path / "out", "--model", "untrained", "--region", "5", code=2)
    assert "Y0:Y1,X0:X1" in sentence(result)
    result = run("analyse", slide, "-o", tmp_path / "out", "--model", "missing", code=1)
    assert "untrained" in sentence(result)


def test_debug_shows_the_traceback(slide: Path, tmp_path: Path) -> None:
    words = ["analyse", str(slide), "-o", str(tmp_path / "out"), "--model", "missing"]
    result = CliRunner().invoke(app, [*words, "--debug"])

    assert result.exception is not None and type(result.exception).__name__ == "ModelError"


def test_info_says_what_there_is_and_what_fits(run: Run, slide: Path) -> None:
    facts = json.loads(run("info", slide, "--json").stdout)

    assert facts["shape"] == [7, 300, 400] and facts["dtype"] == "uint16"
    assert facts["markers"] == list(MARKERS) and facts["pixel_um"] == 0.325
    fit = facts["models"]["untrained"]
    assert fit["usable"] and fit["types"] and fit["map"]["NeuN"] == "NeuN"
    text = run("info", slide, "--map", "NeuN=-,S100=-").stdout
    assert "no types" in text and "NeuN" in text
    assert "0.325 um" in text


def test_info_without_nuclear_marker_says_so_and_goes_on(run: Run, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.ome.tif", draw_cells(100, 100)[:2], markers=["CD3", "CD8"])
    facts = json.loads(run("info", path, "--json").stdout)

    assert not facts["models"]["untrained"]["usable"]


def test_analyse_leaves_a_result_and_a_summary(
    run: Run, slide: Path, tmp_path: Path, finds_nuclei: None
) -> None:
    out = tmp_path / "out"
    result = run("analyse", slide, "-o", out, "-m", "untrained", "--map", "RECA1=-", "--tile-px", "256")

    assert sorted(p.name for p in out.iterdir()) == [
        *("cells.csv", "cells.parquet", "labels.ome.zarr", "run.json", "tiles.jsonl")
    ]
    assert "tiles 4/4" in result.stderr and "cells" in result.stderr and "Mpx/s" in result.stderr
    assert "RECA1: not on this slide" in result.stdout and "neuron" in result.stdout
    run_json = json.loads(run("analyse", slide, "-o", out, "--overwrite", "-m", "untrained", "--json").stdout)
    assert run_json["state"] == "done" and run_json["cells"] == len(pd.read_csv(out / "cells.csv")) > 100


def test_results_are_scored_exported_and_explained(
    run: Run, slide: Path, tmp_path: Path, finds_nuclei: None
) -> None:
    out = tmp_path / "out"
    run("analyse", slide, "-o", out, "-m", "untrained")

    labels = tmp_path / "labels.tif"
    run("export", out, "--to", "labels-tiff", labels)
    scores = json.loads(run("evaluate", "segments", "--truth", labels, "--pred", out, "--json").stdout)
    assert scores["f1_50"] == 1 and scores["n_truth"] == scores["n_pred"] > 100
    table = tmp_path / "cells.csv"
    run("export", out, "--to", "csv", table)
    result = run("export", out, "--to", "csv", table, code=1)
    assert "cells.csv" in sentence(result)
    assert "segments" not in run("export", out, "--to", "nonsense", tmp_path / "x", code=2).stdout
    scores = json.loads(run("evaluate", "types", "--truth", table, "--pred", out, "--json").stdout)
    assert scores["accuracy"] == 1
    near, pairs = tmp_path / "near.csv", tmp_path / "pairs.csv"
    words = ("evaluate", "neighbourhoods", out, "--radius-um", 20, "--permutations", 20)
    found = json.loads(run(*words, "--per-cell", near, "--table", pairs, "--json").stdout)
    around = pd.read_csv(near)
    assert sum(map(sum, found["links"])) == around.drop(columns="label").to_numpy().sum()
    assert len(pd.read_csv(pairs)) == len(found["types"]) ** 2
    assert "near.csv exists" in sentence(run(*words, "--per-cell", near, code=1))
    assert "z-score against 20 random deals" in run(*words).stdout
    assert "not both" in sentence(run(*words, "--nearest", 3, code=2))


def test_reconstruct_at_a_place_and_at_a_cell(
    run: Run, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        from napari_dama.predict import prepare

        patch.setattr(prepare, "load_model", lambda *args, **options: NucleusModel())
        run("analyse", slide, "-o", tmp_path / "out", "-m", "untrained")
    run("reconstruct", slide, "--at", "100,150", "-m", "untrained", "-o", tmp_path / "a.png")
    run("reconstruct", slide, "--cell", 5, "--result", tmp_path / "out", "-o", tmp_path / "b.tif")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert tifffile.imread(tmp_path / "b.tif").shape == (25, 128, 128)

    before = files_of(tmp_path)
    common = ("reconstruct", slide, "-m", "untrained")
    assert "exists" in sentence(run(*common, "--at", "1,1", "-o", tmp_path / "a.png", code=1))
    assert "no cell 9999" in sentence(
        run(*common, "--cell", 9999, "--result", tmp_path / "out", "-o", tmp_path / "c.png", code=2)
    )
    assert "--at takes" in sentence(run(*common, "--at", "here", "-o", tmp_path / "c.png", code=2))
    assert ".png" in sentence(run(*common, "--at", "1,1", "-o", tmp_path / "c.jpg", code=2))
    assert "outside" in sentence(run(*common, "--at", "999,1", "-o", tmp_path / "c.png", code=2))
    assert "no folder" in sentence(run(*common, "--at", "1,1", "-o", tmp_path / "no" / "c.png", code=1))
    run(*common, "-o", tmp_path / "c.png", code=2)
    assert files_of(tmp_path) == before


def test_a_marker_is_imputed_and_cells_are_embedded(
    run: Run, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        from napari_dama.predict import prepare

        patch.setattr(prepare, "load_model", lambda *args, **options: NucleusModel())
        run("analyse", slide, "-o", tmp_path / "out", "-m", "untrained", "--region", "0:120,0:120")
    assert "cells" in run("embed", tmp_path / "out", "-m", "untrained").stdout
    assert "--overwrite" in sentence(run("embed", tmp_path / "out", code=1))
    vectors = np.load(tmp_path / "out" / "embeddings.npy", allow_pickle=False)
    assert len(vectors) == len(pd.read_csv(tmp_path / "out" / "cells.csv")) > 5

    common = ("impute", slide, "-m", "untrained", "--region", "0:120,0:120", "-o", tmp_path / "neun.tif")
    facts = json.loads(run(*common, "--marker", "NeuN", "--json").stdout)
    assert facts["quality"]["network"] < 0.6 and tifffile.imread(tmp_path / "neun.tif").shape == (120, 120)
    assert "exists" in sentence(run(*common, "--marker", "NeuN", code=1))
    assert "no marker 'CD8'" in sentence(run(*common, "--marker", "CD8", "--overwrite", code=2))


BAD_SLIDES = ("text", "truncated", "rgb", "empty", "missing", "folder", "nan_header")


@pytest.fixture(params=BAD_SLIDES)
def bad_slide(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"{request.param}.tif"
    if request.param == "text":
        path.write_text("not a slide", encoding="utf-8")
    elif request.param == "truncated":
        write_slide(path, draw_cells(200, 200))
        path.write_bytes(path.read_bytes()[:50_000])
    elif request.param == "rgb":
        tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    elif request.param == "empty":
        path.touch()
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "nan_header":
        path.write_bytes(b"II*\x00" + b"\xff" * 60)
    return path


@pytest.mark.parametrize("command", ["info", "analyse"])
def test_bad_slides_end_in_one_sentence(command: str, bad_slide: Path, run: Run, tmp_path: Path) -> None:
    if command == "info" and bad_slide.stem == "truncated":
        pytest.skip("the header of a cut file can be whole, and info reads no more")
    out = tmp_path / "out"
    words: tuple[object, ...] = (command, bad_slide, "--pixel-um", "0.3")
    if command == "analyse":
        words += ("-o", out, "-m", "untrained")

    said = sentence(run(*words, code=1))

    assert bad_slide.stem in said
    assert not out.exists() or json.loads((out / "run.json").read_text())["state"] == "failed"


def test_analyse_never_touches_what_is_not_its_own(run: Run, slide: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years", encoding="utf-8")
    file = tmp_path / "file"
    file.write_text("x", encoding="utf-8")
    before = files_of(tmp_path)

    for target in (home, file, file / "below"):
        for option in ((), ("--overwrite",), ("--resume",)):
            sentence(run("analyse", slide, "-o", target, "-m", "untrained", *option, code=1))

    assert files_of(tmp_path) == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission_is_refused(run: Run, slide: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "permission" in sentence(run("analyse", slide, "-o", locked / "out", "-m", "untrained", code=1))


def test_wrong_maps_name_both_sides(run: Run, slide: Path, tmp_path: Path) -> None:
    common = ("analyse", slide, "-o", tmp_path / "out", "-m", "untrained", "--map")

    assert "CH_9" in sentence(run(*common, "NeuN=CH_9", code=1))
    assert "FOO" in sentence(run(*common, "FOO=DAPI", code=1))
    assert "MARKER=CHANNEL" in sentence(run(*common, "nonsense", code=2))
    assert not (tmp_path / "out").exists()


def test_a_slide_without_pixel_size_asks_for_it(run: Run, tmp_path: Path, finds_nuclei: None) -> None:
    path = write_slide(tmp_path / "a.ome.tif", draw_cells(100, 100), pixel_um=None)
    common = ("analyse", path, "-o", tmp_path / "out", "-m", "untrained")

    assert "--pixel-um" in sentence(run(*common, code=2))
    run(*common, "--pixel-um", "0.325")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_stopped_in_the_middle_and_resumed(how: signal.Signals, run: Run, tmp_path: Path) -> None:
    slide = write_slide(tmp_path / "a.ome.tif", draw_cells(400, 400))
    out = tmp_path / "out"
    words = ["analyse", str(slide), "-o", str(out), "-m", "untrained", "--tile-px", "128"]
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_dama", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    log = out / "tiles.jsonl"
    begin = time.monotonic()
    while not (log.exists() and log.stat().st_size) and time.monotonic() - begin < 600:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(how)
    _, said = process.communicate(timeout=600)

    assert process.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    if how is signal.SIGINT:
        assert "--resume continues" in said and "Traceback" not in said
        assert record["state"] == "interrupted" and 0 < record["tiles_done"] < record["tiles"]
    before = len(log.read_text(encoding="utf-8").splitlines())
    sentence(run(*words, code=1))
    assert "tile_px" in sentence(run(*words[:-1], "256", "--resume", code=2))
    run(*words, "--resume")
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    lines = log.read_text(encoding="utf-8").splitlines()
    assert record["state"] == "done" and len(lines) == record["tiles"] > before
    cells = pd.read_csv(out / "cells.csv")
    assert cells["label"].is_unique and len(cells) == record["cells"]


def test_simulate_and_crops_feed_training(run: Run, tmp_path: Path) -> None:
    demo, store, job = tmp_path / "demo", tmp_path / "store", tmp_path / "job"
    run("simulate", demo, "--n", 2, "--size", 256, "--seed", 5, "--difficulty", "easy")
    assert "exists" in sentence(
        run("simulate", demo, "--n", 1, "--size", 256, "--seed", 5, "--difficulty", "easy", code=1)
    )
    images = sorted(demo.glob("*.ome.tif"))
    labels = sorted(demo.glob("*_cells.tif"))
    assert len(images) == len(labels) == 2

    facts = json.loads(run("crops", *images, "-o", store, "--labels", *labels, "--json").stdout)
    assert facts["crops"] > 20
    assert "give one per slide" in sentence(run("crops", *images, "-o", store, "--labels", labels[0], code=2))
    sentence(run("crops", *images, "-o", store, code=1))

    settings = ("max_steps=2", "batch_size=4", "log_every=1", "decoder_depth=1", "seed=3", "device=cpu")
    result = run("pretrain", "--crops", store, "-o", job, "--method", "mae", "--set", *settings)
    assert "model" in result.stdout and "step 2/2" in result.stderr
    assert (job / "model" / "card.json").is_file() and len(
        (job / "metrics.csv").read_text().splitlines()
    ) == 3
    before = files_of(job)
    assert "--resume" in sentence(run("pretrain", "--crops", store, "-o", job, code=1))
    assert "lr" in sentence(run("pretrain", "-o", job, "--resume", "--set", "lr=0.5", code=2))
    assert files_of(job) == before
    run("models", "import", job / "model")
    names = [card["name"] for card in json.loads(run("models", "list", "--json").stdout)]
    assert len(names) >= 2
    sentence(run("models", "import", job / "model", code=1))


def test_training_settings_are_checked_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    job = tmp_path / "job"

    assert "--crops" in sentence(run("pretrain", "-o", job, code=2))
    assert "--data, --task" in sentence(run("finetune", "-o", job, code=2))
    common = ("pretrain", "--crops", tmp_path / "missing", "-o", job)
    assert "nonsense" in sentence(run(*common, "--set", "nonsense=1", code=2))
    assert "lr" in sentence(run(*common, "--set", "lr=-1", code=2))
    assert "key=value" in sentence(run(*common, "--set", "lr", code=2))
    assert "missing" in sentence(run(*common, code=1))
    assert not job.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="waits for a POSIX process")
def test_a_detached_run_finishes_by_itself(run: Run, tmp_path: Path) -> None:
    demo, store, job = tmp_path / "demo", tmp_path / "store", tmp_path / "job"
    run("simulate", demo, "--n", 2, "--size", 256, "--difficulty", "easy")
    run("crops", *demo.glob("*.ome.tif"), "-o", store)
    words = ("max_steps=2", "batch_size=4", "log_every=1", "decoder_depth=1", "device=cpu")

    facts = json.loads(
        run("pretrain", "--crops", store, "-o", job, "--detach", "--json", "--set", *words).stdout
    )
    assert facts["process"] > 0
    begin, state = time.monotonic(), ""
    while state not in ("finished", "failed") and time.monotonic() - begin < 900:
        time.sleep(0.2)
        state = json.loads((job / "status.json").read_text(encoding="utf-8"))["state"]
    assert state == "finished", (job / "log.txt").read_text(encoding="utf-8")


def test_models_are_listed_and_described(run: Run, tmp_path: Path) -> None:
    assert "untrained" in run("models", "list").stdout
    card = json.loads(run("models", "info", "untrained", "--json").stdout)
    assert card["name"] == "untrained" and len(card["panel"]) == 7
    assert "DAPI, Histones" in run("models", "info", "untrained").stdout
    assert "untrained" in sentence(run("models", "info", "missing", code=1))
    (tmp_path / "weights.pth").write_bytes(b"nothing")
    assert "--name" in sentence(run("models", "import", tmp_path / "weights.pth", code=2))
    sentence(run("models", "import", tmp_path / "weights.pth", "--name", "x", code=1))


def test_doctor_says_what_is_here(run: Run) -> None:
    facts = json.loads(run("doctor", "--json").stdout)

    assert facts["napari-dama"] == __version__ and "untrained" in facts["models"]
    assert facts["torch"] and facts["devices"][-1]["name"] == "cpu" and facts["devices"][-1]["memory_gb"] > 0
    assert "python" in run("doctor").stdout


def test_doctor_works_without_torch_and_qt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from napari_dama.cli import system

    real = system.version

    def version(name: str) -> str:
        if name.lower().startswith(("torch", "pyqt", "pyside")):
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(system, "version", version)
    monkeypatch.setitem(sys.modules, "torch", None)
    facts = json.loads(run("doctor", "--json").stdout)

    assert facts["torch"] is None and facts["qt"] is None and facts["devices"] == []
    lines = " ".join(item["install"] for item in facts["missing"])
    assert "pip install --upgrade torch" in lines and 'pip install "napari-dama[pyqt6]"' in lines
