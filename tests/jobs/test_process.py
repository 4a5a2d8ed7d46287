"""Real processes: they outlive who started them, exclude each other, and say how they ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from jobs.conftest import Settings, ended, until
from napari_dama.errors import JobError, OutputError, SettingsError
from napari_dama.jobs.folder import read_events, read_job, read_metrics
from napari_dama.jobs.process import delete, is_alive, read_settings, request_stop, resume, start
from napari_dama.jobs.shelf import list_jobs
from napari_dama.training.folder import RunFolder

HOLD = """
import sys
from pathlib import Path
from napari_dama.training.folder import RunFolder
from napari_dama.training.settings import PretrainSettings
settings = PretrainSettings(crops=Path("store"), out=Path(sys.argv[1]))
with RunFolder.begin(settings, resume=True, overwrite=False):
    print("held", flush=True)
    input()
"""


def test_a_job_outlives_who_started_it_and_is_resumed_where_it_was_moved(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started, stopped, moved, resumed, finished, deleted."""
    monkeypatch.chdir(tmp_path)
    chosen = settings("jöb with space", max_steps=100_000).model_copy(update={"out": Path("jöb with space")})
    view = start(chosen)
    path = tmp_path / "jöb with space"
    assert view.path == path and view.state == "starting" and view.pid not in (None, os.getpid())
    assert [job.path for job in list_jobs()] == [path]
    until(lambda: read_job(path).step > 2)
    view = read_job(path)
    assert view.state == "running" and view.pid is not None and is_alive(path)
    assert os.getsid(view.pid) == view.pid != os.getsid(0), "a session of its own"
    with pytest.raises(JobError, match="is running already"):
        resume(path)
    with pytest.raises(JobError, match="stop it first"):
        delete(path)
    with pytest.raises(JobError, match=rf"worked on by process {view.pid}"):
        start(read_settings(path), resume=True)
    request_stop(path)
    view = ended(path)
    assert view.state == "stopped"
    until(lambda: not is_alive(path))
    with pytest.raises(JobError, match="nothing to stop"):
        request_stop(path)

    moved = tmp_path / "elsewhere" / "job"
    moved.parent.mkdir()
    path.rename(moved)
    raw = yaml.safe_load((moved / "job.yaml").read_text(encoding="utf-8"))
    last = view.step + 5
    (moved / "job.yaml").write_text(yaml.safe_dump({**raw, "max_steps": last}), encoding="utf-8")
    resume(moved)
    view = ended(moved)
    assert view.state == "finished" and view.step == last and view.model == moved / "model"
    assert read_metrics(moved).step.tolist() == list(range(1, last + 1))
    assert not path.exists()
    with pytest.raises(JobError, match="is finished"):
        resume(moved)
    (moved / "notes.txt").write_text("mine")
    delete(moved)
    assert [entry.name for entry in moved.iterdir()] == ["notes.txt"] and list_jobs() == []


def test_a_killed_job_is_dead_and_a_polite_kill_stops_it(settings: Settings) -> None:
    path = settings().out
    start(settings(max_steps=100_000))
    until(lambda: read_job(path).step > 0)
    pid = read_job(path).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    view = ended(path)
    assert view.state == "dead" and str(pid) in view.why
    resume(path)  # the lock went with the process
    until(lambda: read_job(path).state == "running" and read_job(path).step > 0)
    again = read_job(path).pid
    assert again is not None and again != pid
    os.kill(again, signal.SIGTERM)
    assert ended(path).state == "stopped"


def test_a_stop_before_the_first_step_is_heeded(settings: Settings) -> None:
    path = start(settings(max_steps=100_000)).path
    request_stop(path)
    assert read_job(path).state == "stopping"
    view = ended(path)
    assert view.state == "stopped" and view.step == 0
    assert not (path / "metrics.csv").exists()


def test_a_process_that_dies_before_its_first_word_is_dead(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # no Python begins like this
    view = ended(start(settings()).path)
    assert view.state == "dead" and "the last line of its log" in view.why


def test_what_fails_says_why(settings: Settings, tmp_path: Path) -> None:
    """A store that is gone, and settings that someone edited into nonsense."""
    chosen = settings()
    shutil.copytree(chosen.crops, tmp_path / "store")
    start(settings(crops=tmp_path / "store", max_steps=100_000))
    until(lambda: read_job(chosen.out).step > 0)
    shutil.rmtree(tmp_path / "store")  # it is in memory, or mapped
    step = read_job(chosen.out).step
    until(lambda: read_job(chosen.out).step > step)
    request_stop(chosen.out)
    assert ended(chosen.out).state == "stopped"
    resume(chosen.out)
    view = ended(chosen.out)
    assert view.state == "failed" and "no crop store: there is no such folder" in view.why
    assert "error: " in (chosen.out / "log.txt").read_text(encoding="utf-8")

    raw = yaml.safe_load((chosen.out / "job.yaml").read_text(encoding="utf-8"))
    (chosen.out / "job.yaml").write_text(yaml.safe_dump({**raw, "batch_size": "plenty"}), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"batch_size: .*got 'plenty'"):
        resume(chosen.out)
    (chosen.out / "job.yaml").write_text("kind: [", encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot be read"):
        resume(chosen.out)
    (chosen.out / "job.yaml").write_text("kind: cook", encoding="utf-8")
    with pytest.raises(SettingsError, match="kind must be pretrain, finetune, analyse or improve"):
        resume(chosen.out)


def test_a_folder_that_is_moved_while_its_job_runs_ends_it_with_a_word(
    settings: Settings, tmp_path: Path
) -> None:
    path, moved = settings().out, tmp_path / "moved"
    start(settings(max_steps=100_000))
    until(lambda: read_job(path).step > 0)
    path.rename(moved)
    view = ended(moved)
    assert view.state == "dead" and "was moved or deleted while its job ran" in view.why
    assert not path.exists()


def test_runners_of_any_kind_exclude_each_other(tmp_path: Path, settings: Settings) -> None:
    job = tmp_path / "job"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, job], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        for asked in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(JobError, match=rf"worked on by process {holder.pid}"):
                RunFolder.begin(settings(), **{"resume": False, "overwrite": False, **asked})
        assert json.loads((job / "status.json").read_text())["pid"] == holder.pid
        holder.kill()
    settings_of_holder = read_settings(job)
    RunFolder.begin(settings_of_holder, resume=True, overwrite=False).close()


def test_one_process_does_not_run_a_folder_twice(settings: Settings) -> None:
    with RunFolder.begin(settings(), resume=False, overwrite=False):
        with pytest.raises(JobError, match=f"by process {os.getpid()}"):
            RunFolder.begin(settings(), resume=True, overwrite=False)
    RunFolder.begin(settings(), resume=True, overwrite=False).close()


def test_mistakes_show_before_a_process_begins(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "photo.txt").write_text("mine")
    before = len(psutil.Process().children())
    with pytest.raises(OutputError, match="other things"):
        start(settings())
    RunFolder.begin(settings("run"), resume=False, overwrite=False).close()
    with pytest.raises(OutputError, match="holds a run already"):
        start(settings("run"))
    with pytest.raises(SettingsError, match="device must be one of auto, cuda, mps, cpu, got 'gpu'"):
        start(settings("third", device="gpu"))
    assert len(psutil.Process().children()) == before and list_jobs() == []
    assert [entry.name for entry in (tmp_path / "job").iterdir()] == ["photo.txt"]


def test_what_was_written_before_a_failure_is_kept(settings: Settings) -> None:
    run = RunFolder.begin(settings(), resume=False, overwrite=False)
    with run, pytest.raises(RuntimeError), run.failures_told():
        run.status(state="running", step=7, steps=9)
        raise RuntimeError("the cable\nwas pulled")
    view = read_job(run.path)
    assert view.state == "failed" and view.step == 7 and view.why == "RuntimeError: the cable was pulled"
    assert read_events(run.path).records[-1]["kind"] == "failed"
    assert time.time() - read_events(run.path).records[-1]["time"] < 60
