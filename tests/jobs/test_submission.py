"""Jobs that are sent through submitit: its local executor runs the real runner to its end, stops it, and begins it again."""

from __future__ import annotations

import json
import pickletools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.conftest import Settings, ended, until
from napari_dama.errors import JobError, SettingsError
from napari_dama.jobs import process
from napari_dama.jobs.cluster import ClusterSettings
from napari_dama.jobs.folder import read_events, read_job, read_metrics, read_status
from napari_dama.jobs.process import delete, request_stop
from napari_dama.jobs.runner import AGAIN_SIGNAL
from napari_dama.jobs.submission import prepare, submit, submit_folder

pytest.importorskip("submitit")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="submitit runs on POSIX")
ENVIRONMENT = """
import json
from napari_dama.jobs.cluster_task import _environment
print(json.dumps(_environment(1)[0]))
"""
PLAIN = ClusterSettings(gpus=0, cpus=1, restarts=2)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """submitit's local executor for a job; what it started does not outlive the test."""
    from submitit import LocalExecutor

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    started: list[Any] = []

    def make(path: Path, **parameters: Any) -> Any:
        executor = LocalExecutor(path)
        executor.update_parameters(**({"timeout_min": 10, "signal_delay_s": 5} | parameters))
        submitted = executor.submit

        def submit_and_keep(task: Any) -> Any:
            started.append(submitted(task))
            return started[-1]

        executor.submit = submit_and_keep
        return executor

    yield make
    for job in started:
        for each in (
            [*psutil.Process(job._process.pid).children(recursive=True)]
            if job._process.poll() is None
            else []
        ):
            each.kill()
        job._process.wait(30)


def task_of(job: str) -> psutil.Process:
    """The process in which submitit called our function: where SLURM would send its signals, too."""
    return next(
        each for each in psutil.Process(int(job)).children() if "submitit.core._submit" in each.cmdline()
    )


def test_the_runner_runs_to_its_end_on_the_other_side(settings: Settings, local: Any) -> None:
    chosen = settings(max_steps=4)
    view = submit(chosen, PLAIN, executor=local)
    assert view.state == "waiting" and view.slurm and view.pid is None
    assert f"SLURM job {view.slurm}" in view.why and view.place == f"SLURM job {view.slurm}"
    assert ClusterSettings.from_file(chosen.out / "cluster.yaml") == PLAIN
    view = ended(chosen.out)
    assert view.state == "finished" and view.step == 4 and view.model is not None
    status = read_status(chosen.out)
    assert status["slurm"] == view.slurm and status["pid"] and status["host"]
    assert next(event["kind"] for event in read_events(chosen.out).records) == "submitted"
    with pytest.raises(JobError, match="is finished"):
        submit_folder(chosen.out)

    # what submitit pickled: the name of our class and the folder; no settings and no code
    file = next((chosen.out / "slurm").glob("*_submitted.pkl"))
    words = [word for _, word, _ in pickletools.genops(file.read_bytes()) if isinstance(word, str)]
    assert "napari_dama.jobs.cluster_task" in words and str(chosen.out) in words
    assert not any(word == "mae" or "<code" in word for word in words) and file.stat().st_size < 2000

    delete(chosen.out)
    assert not chosen.out.exists()


@pytest.mark.slow
def test_a_time_limit_is_a_break_and_a_stop_is_not(settings: Settings, local: Any) -> None:
    """Signalled as before a time limit, begun again by submitit, stopped by the file, gone on with, signalled once more."""
    chosen = settings(max_steps=100_000)
    path, seen = chosen.out, set()

    def sessions() -> list[int]:
        view = read_job(path)
        seen.add(view.state)
        assert view.state != "failed", view.why
        return [event["step"] for event in read_events(path).records if event["kind"] == "started"]

    submit(chosen, PLAIN, executor=local)
    until(lambda: bool(sessions()) and read_job(path).step > 2)
    first = read_job(path)
    assert first.state == "running" and first.place.startswith(f"SLURM job {first.slurm} on ")
    for again in (
        lambda: submit(chosen, PLAIN, resume=True, executor=local),
        lambda: process.start(chosen, resume=True),
    ):
        with pytest.raises(JobError, match=f"running already .SLURM job {first.slurm}"):
            again()

    task_of(first.slurm).send_signal(AGAIN_SIGNAL)
    until(lambda: len(sessions()) == 2 and read_job(path).state == "running")
    records = read_events(path).records
    waited = next(event["why"] for event in records if event["kind"] == "waiting")
    assert f"SLURM job {first.slurm} is queued again" in waited
    stopped = [event["step"] for event in records if event["kind"] == "stopped"]
    assert sessions() == [0, *stopped] and stopped[0] > 0
    assert seen <= {"waiting", "starting", "running"}, "nobody who watched took it for ended"

    request_stop(path)
    halted = ended(path)
    assert halted.state == "stopped" and halted.slurm == first.slurm

    # nothing is left of its restarts: the same signal ends it
    submit(chosen, PLAIN.with_overrides(["restarts=0"]), resume=True, executor=local)
    until(lambda: len(sessions()) == 3 and read_job(path).step > halted.step)
    assert read_job(path).slurm != first.slurm and sessions()[2] == halted.step
    task_of(read_job(path).slurm).send_signal(AGAIN_SIGNAL)
    view = ended(path)
    assert view.state == "stopped" and read_metrics(path).step.tolist() == list(range(1, view.step + 1))


def test_several_tasks_find_each_other(tmp_path: Path, local: Any) -> None:
    """The environment that torchrun would give, taken from submitit's; one task gets nothing more."""
    from submitit.helpers import CommandFunction

    ranks = {}
    for tasks in (1, 2):
        executor = local(tmp_path, tasks_per_node=tasks)
        printed = executor.submit(
            CommandFunction([sys.executable, "-c", ENVIRONMENT], verbose=False)
        ).results()
        ranks[tasks] = [json.loads(text) for text in printed]
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert not set(ranks[1][0]) & set(names)
    first, second = ranks[2]
    assert [one["RANK"] for one in ranks[2]] == [one["LOCAL_RANK"] for one in ranks[2]] == ["0", "1"]
    assert first["WORLD_SIZE"] == first["LOCAL_WORLD_SIZE"] == second["WORLD_SIZE"] == "2"
    assert first["MASTER_ADDR"] == second["MASTER_ADDR"] and first["MASTER_PORT"] == second["MASTER_PORT"]
    assert int(first["MASTER_PORT"]) > 1024 and first["NAPARI_DAMA_SLURM"] == second["NAPARI_DAMA_SLURM"]


def test_what_cannot_be_submitted_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    chosen = settings()
    with pytest.raises(JobError, match="there is no sbatch and no srun on this computer"):
        submit(chosen, PLAIN)
    assert not chosen.out.exists()
    with pytest.raises(SettingsError, match="asks for no GPU"):
        submit(settings(device="cuda:0"), PLAIN)
    with pytest.raises(SettingsError, match="no % in its path"):
        submit(settings("100 %"), PLAIN)
    view = prepare(chosen, PLAIN)
    assert view.state == "stopped" and json.loads((chosen.out / "status.json").read_text())["pid"] is None
    with pytest.raises(JobError, match="no sbatch"):
        submit_folder(chosen.out)
