"""jobs on the command line: a job that was detached is seen, stopped, resumed and watched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from jobs.conftest import TINY, ended, until
from napari_dama.cli import app
from napari_dama.jobs.folder import read_job
from napari_dama.jobs.shelf import list_jobs
from predict.conftest import cells_tiff as cells_tiff
from training.conftest import write_store

Run = Callable[..., Any]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="waits for POSIX processes")


@pytest.fixture
def run() -> Run:
    def go(*words: object, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == code, f"{result.exit_code}: {result.output}{result.exception!r}"
        return result

    return go


@pytest.fixture(autouse=True)
def own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NAPARI_DAMA_JOBS", str(tmp_path / "own list"))
    yield
    for view in list_jobs():
        if view.going and view.pid:
            psutil.Process(view.pid).kill()


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A pretraining of a store that is named as people do, from where they stand."""
    monkeypatch.chdir(tmp_path)
    write_store(tmp_path / "störe")
    pairs = {**{name: value for name, value in TINY.items() if name != "method"}, "max_steps": 100_000}
    return [
        "pretrain",
        "--crops",
        "störe",
        "--method",
        "mae",
        "--set",
        *(f"{k}={v}" for k, v in pairs.items()),
    ]


def heed_interrupts() -> None:
    """Undo what a shell does to programs in its background, which inherit deafness to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_detached_watched_stopped_and_resumed(run: Run, words: list[str], tmp_path: Path) -> None:
    assert "no job is known" in run("jobs", "list").stdout
    facts = json.loads(run(*words, "-o", "my job", "--detach", "--json").stdout)
    job = tmp_path / "my job"
    assert facts["job"] == str(job) and facts["state"] == "starting"
    assert facts["watch"] == f"napari-dama jobs watch '{job}'"
    waiting = json.loads(run(*words, "-o", "second", "--queue", "--priority", 2, "--json").stdout)
    assert waiting["state"] == "waiting"
    until(lambda: read_job(job).step > 0 and read_job(tmp_path / "second").why != "")

    table = run("jobs", "list").stdout.splitlines()
    assert table[0].split() == [
        "name",
        "kind",
        "state",
        "step",
        "loss",
        "pace",
        "left",
        "device",
        "where",
        "folder",
        "why",
    ]
    assert any(line.startswith("my job") and " running " in line and "/100000" in line for line in table)
    queue = json.loads(run("jobs", "queue", "--json").stdout)
    assert [(ticket["state"], ticket["priority"]) for ticket in queue] == [("running", 0), ("waiting", 2)]
    assert "cpu is used by my job" in run("jobs", "queue", "second", "--priority", 7).stdout
    assert "--priority needs" in run("jobs", "queue", "--priority", 7, code=2).stderr
    shown = json.loads(run("jobs", "show", "my job", "--json").stdout)
    assert shown["state"] == "running" and shown["device"] == "cpu"
    assert [event["kind"] for event in shown["events"]][:3] == ["data", "checked", "started"]

    # Ctrl-C ends the watching, not the job
    with subprocess.Popen(
        [sys.executable, "-m", "napari_dama", "jobs", "watch", "my job"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    ) as watcher:
        try:
            assert watcher.stderr is not None
            assert "step " in watcher.stderr.readline()
            watcher.send_signal(signal.SIGINT)
            assert "interrupted" in watcher.communicate(timeout=60)[1] and watcher.returncode == 130
        finally:
            watcher.kill()
    assert read_job(job).state == "running"

    assert json.loads(run("jobs", "stop", "second", "--wait", "--json").stdout)["state"] == "stopped"
    stopped = json.loads(run("jobs", "stop", job, "--wait", "--json").stdout)
    assert stopped["state"] == "stopped" and stopped["step"] > 0
    assert "nothing to stop" in run("jobs", "stop", job, code=1).stderr
    assert run("jobs", "watch", job, code=130).stdout.startswith("job")
    assert "other settings" not in run("jobs", "resume", job).stdout
    pid = ended_or_running(job)
    os.kill(pid, signal.SIGKILL)
    assert ended(job).state == "dead"
    failed = run("jobs", "watch", "my job", code=1)
    assert f"process {pid}" in failed.stderr and "is gone" in failed.stderr
    text = run("jobs", "show", job).stdout
    assert "dead" in text and "is gone" in text and "started" in text


def ended_or_running(job: Path) -> int:
    until(lambda: read_job(job).state == "running")
    pid = read_job(job).pid
    assert pid is not None
    return pid


def test_a_run_in_this_terminal_is_listed_too_and_resumed_apart(
    run: Run, words: list[str], tmp_path: Path
) -> None:
    run(*words, "max_steps=2", "-o", "job")
    assert [(view.name, view.state, view.step) for view in list_jobs()] == [("job", "finished", 2)]
    assert "finished" in run("jobs", "list").stdout
    assert "is finished" in run("jobs", "resume", "job", code=1).stderr
    run("jobs", "watch", "job")


def test_mistakes_are_one_sentence(run: Run, words: list[str]) -> None:
    assert "--priority is for a job that waits" in run(*words, "-o", "job", "--priority", 3, code=2).stderr
    for command in ("show", "watch", "stop", "resume", "queue"):
        text = run("jobs", command, "nowhere", code=1).stderr
        assert text.startswith("error: nowhere is no job's folder") and text.count("\n") == 1
    begin = time.monotonic()
    assert run("jobs", "queue").stdout == "no job uses a device of this machine\n"
    assert time.monotonic() - begin < 10


def test_an_analysis_is_detached_watched_and_found_by_its_result(
    run: Run, tmp_path: Path, cells_tiff: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("analyse", cells_tiff, "-o", "out", "--region", "0:200,0:200", "--device", "cpu")
    assert "--priority is for" in run(*words, "--detach", "--priority", 2, code=2).stderr
    facts = json.loads(run(*words, "--detach", "--json").stdout)
    assert facts["job"] == str(tmp_path / "out" / "analysis_job") and facts["state"] == "starting"
    watched = run("jobs", "watch", "out")
    assert "finished" in watched.stdout and "cells" in watched.stdout
    shown = json.loads(run("jobs", "show", "out", "--json").stdout)
    assert shown["kind"] == "analyse" and shown["result"] == str(tmp_path / "out") and shown["cells"] > 0
    assert [event["kind"] for event in shown["events"]] == ["analysing", "finished"]
    text = run("jobs", "show", "out").stdout
    assert "tile" in text and "parent" not in text
    assert "out" in run("jobs", "list").stdout
    assert "already holds a result" in run(*words, "--queue", code=1).stderr
    run(*words, "--no-types", "--overwrite", "--detach")
    assert "finished" in run("jobs", "watch", tmp_path / "out").stdout
    assert "type" not in (tmp_path / "out" / "cells.csv").read_text().splitlines()[0].split(",")
