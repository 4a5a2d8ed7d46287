"""SLURM on the command line: the script is looked at, a run is submitted, seen, stopped and submitted again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gui.fake_jobs import fake_job
from jobs.fake_slurm import Slurm
from napari_dama.cli import app
from napari_dama.jobs import scheduler
from training.conftest import write_store

Run = Callable[..., Any]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stand-ins are shell scripts")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    pytest.importorskip("submitit")
    monkeypatch.setenv("NAPARI_DAMA_JOBS", str(tmp_path / "own list"))
    monkeypatch.chdir(tmp_path)
    write_store(tmp_path / "store")

    def go(*words: object, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == code, f"{result.exit_code}: {result.output}{result.exception!r}"
        return result

    return go


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    made = Slurm(tmp_path / "programs-of-slurm")
    monkeypatch.setenv("PATH", f"{made.folder}{os.pathsep}{os.environ['PATH']}")
    yield made
    scheduler.look_again()


def test_the_script_is_looked_at_and_nothing_is_done(run: Run, tmp_path: Path) -> None:
    run("jobs", "cluster", "--set", "partition=gpu", "account=lab")
    words = ("pretrain", "--crops", "store", "-o", "my job", "--slurm", "--dry-run")
    text = run(*words, "--slurm-set", "time=8:00:00", "gpus=2", "--set", "epochs=3").stdout
    assert text.startswith("#!/bin/bash\n")
    for line in ("partition=gpu", "account=lab", "time=480", "ntasks-per-node=2", "job-name='my job'"):
        assert f"#SBATCH --{line}\n" in text
    assert f"'{tmp_path / 'my job' / 'slurm'}'" in text and not (tmp_path / "my job").exists()
    facts = json.loads(run("jobs", "cluster", "--json").stdout)
    assert facts["partition"] == "gpu" and facts["time"] == "4:00:00" and facts["submits"] is False
    assert "there is no sbatch" in run("jobs", "cluster").stdout
    assert "partition" in run("jobs", "cluster", "--reset").stdout
    assert json.loads(run("jobs", "cluster", "--json").stdout)["partition"] is None


def test_submitted_seen_stopped_and_submitted_again(run: Run, slurm: Slurm, tmp_path: Path) -> None:
    words = ("finetune", "--task", "types", "--data", "store", "-o", "job", "--slurm", "--set", "max_steps=3")
    facts = json.loads(run(*words, "--slurm-set", "partition=gpu", "gpus=1", "--json").stdout)
    assert facts["state"] == "waiting" and facts["slurm"] == "4711" and facts["watch"].endswith("/job")
    slurm.says("4711|PENDING|Priority|N/A|\n")
    line = next(line for line in run("jobs", "list").stdout.splitlines() if line.startswith("job"))
    assert " waiting " in line and "SLURM job 4711" in line and "other jobs go first (Priority)" in line
    shown = run("jobs", "show", "job").stdout
    assert "SLURM job 4711" in shown and "other jobs go first" in shown
    assert "SLURM job 4711" in run("jobs", "submit", "job", code=1).stderr
    stopped = json.loads(run("jobs", "stop", "job", "--wait", "--json").stdout)
    assert stopped["state"] == "stopped" and slurm.calls("scancel") == ["scancel 4711"]

    before = (slurm.folder / "script").read_text()
    text = run("jobs", "submit", "job", "--slurm-set", "time=1-00", "--dry-run").stdout
    assert text == before.replace("--time=240", "--time=1440")
    (slurm.folder / "number").write_text("4712")
    assert "SLURM job 4712" in run("jobs", "submit", "job", "--slurm-set", "time=1-00").stdout
    slurm.says("4712|RUNNING|None|N/A|n7\n")
    assert json.loads(run("jobs", "stop", "job", "--now", "--json").stdout)["slurm"] == "4712"
    assert slurm.calls("scancel")[-1] == "scancel 4712"
    (slurm.folder / "number").write_text("4713")
    assert "SLURM job 4713" in run("jobs", "resume", "job").stdout  # as it was submitted last
    assert "#SBATCH --time=1440\n" in (slurm.folder / "script").read_text()


def test_mistakes_are_one_sentence(run: Run, tmp_path: Path) -> None:
    words = ("pretrain", "--crops", "store", "-o", "job")
    for more, said in (
        (("--slurm-set", "gpus=2"), "--slurm-set goes with --slurm"),
        (("--dry-run",), "--dry-run goes with --slurm"),
        (("--slurm", "--detach"), "keep it here"),
        (("--slurm", "--slurm-set", "gpu=2"), "no cluster setting gpu"),
        (("--slurm", "--slurm-set", "gpus=many"), "gpus"),
        (("--slurm", "--slurm-set", "gpus=0", "--set", "device=cuda"), "asks for no GPU"),
    ):
        text = run(*words, *more, code=2).stderr
        assert text.startswith("error: ") and said in text and text.count("\n") == 1
    assert "there is no sbatch" in run(*words, "--slurm", code=1).stderr
    assert not (tmp_path / "job").exists()
    fake_job(tmp_path / "other")
    assert "--now is for jobs on a cluster" in run("jobs", "stop", "other", "--now", code=2).stderr
