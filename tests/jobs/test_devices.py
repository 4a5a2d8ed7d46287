"""Jobs of two processes: started apart from the terminal, stopped, killed, resumed; and started by torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from jobs.conftest import TINY, Settings, ended, until
from napari_dama.errors import SettingsError
from napari_dama.jobs.folder import read_events, read_job, read_metrics
from napari_dama.jobs.process import request_stop, resume, start
from napari_dama.training.place import Place, environment_place, find_place

OTHER = "napari_dama.training.follow"


def followers(pid: int) -> list[psutil.Process]:
    """The other processes that a runner started, even if it is gone by now."""
    return [child for child in psutil.Process(pid).children() if OTHER in " ".join(child.cmdline())]


@pytest.mark.slow
def test_two_processes_apart_from_the_terminal_are_stopped_killed_and_resumed(settings: Settings) -> None:
    view = start(settings(devices=2, max_steps=100_000))
    path = view.path
    until(lambda: read_job(path).step > 2)
    view = read_job(path)
    assert view.state == "running" and view.device == "2 x cpu" and view.pid is not None
    (other,) = followers(view.pid)
    request_stop(path)
    view = ended(path)
    assert view.state == "stopped" and view.step > 2
    until(lambda: not psutil.pid_exists(other.pid) or other.status() == psutil.STATUS_ZOMBIE)
    stopped_at = view.step

    resume(path)  # one of two is killed: the other says so
    until(lambda: read_job(path).step > stopped_at)
    pid = read_job(path).pid
    assert pid is not None
    followers(pid)[0].kill()
    killed = time.monotonic()
    view = ended(path)
    assert time.monotonic() - killed < 60
    assert view.state == "failed"
    assert "process 1 of 2 (counted from 0) ended: it is gone" in view.why and "resume the job" in view.why

    resume(path)  # and if the first is killed, the other does not stay behind
    until(lambda: read_job(path).state == "running" and read_job(path).step > stopped_at)
    pid = read_job(path).pid
    assert pid is not None
    (other,) = followers(pid)
    os.kill(pid, signal.SIGKILL)
    assert ended(path).state == "dead"
    until(lambda: not psutil.pid_exists(other.pid) or other.status() == psutil.STATUS_ZOMBIE, seconds=60)

    step = read_job(path).step
    one = json.loads((path / "last" / "state.json").read_text())["step"]
    assert stopped_at <= one <= step
    raw = (path / "job.yaml").read_text(encoding="utf-8")
    raw = raw.replace("devices: 2", "devices: 1").replace("max_steps: 100000", f"max_steps: {step + 3}")
    (path / "job.yaml").write_text(raw, encoding="utf-8")
    resume(path)  # one goes on with what two learned
    view = ended(path)
    assert view.state == "finished" and view.device == "cpu"
    assert read_metrics(path).step.tolist() == list(range(1, step + 4))


@pytest.mark.slow
def test_torchrun_starts_the_same_run(settings: Settings, tmp_path: Path) -> None:
    chosen = settings()
    pairs = [f"{key}={value}" for key, value in (TINY | {"max_steps": 3}).items() if key != "method"]
    words = ["pretrain", "--crops", str(chosen.crops), "--method", "mae", "-o", str(chosen.out), "--json"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "napari_dama", *words, "--set", *pairs),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["job"] == str(chosen.out), "the first process alone speaks"
    view = read_job(chosen.out)
    assert view.state == "finished" and view.device == "2 x cpu" and read_metrics(chosen.out).step.size == 3
    assert [event["kind"] for event in read_events(chosen.out).records].count("started") == 1


def test_what_does_not_fit_shows_before_a_process_begins(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for changes, sentence in (
        ({"devices": 8}, "batch_size 4 is shared by 8 processes"),
        ({"devices": 2, "device": "cuda:1"}, "is one device, and the run has 2; say device=cuda"),
        ({"devices": 2, "device": "mps"}, "an Apple GPU cannot share a batch"),
        ({"devices": 2, "strategy": "fsdp", "precision": "float16"}, "bfloat16 or float32"),
        ({"devices": 2, "nodes": 2}, "--nnodes 2 --nproc-per-node 2 .* -m napari_dama pretrain"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            start(settings(**changes))
    monkeypatch.setattr("napari_dama.training.place.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"needs lightning-fabric: pip install 'napari-dama\[cluster\]'"):
        start(settings(devices=2))
    assert not settings().out.exists()


def test_a_place_is_taken_as_the_environment_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_place(settings()) is None
    assert find_place(settings(devices=2)) == Place(0, 2, 0, 2, launches=True)
    given = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1"}
    given |= {"MASTER_ADDR": "first", "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    place = environment_place(given)
    assert place == Place(5, 8, 1, 4, 1, 2, "first", 29500, served=True)
    assert environment_place({**given, "WORLD_SIZE": "1"}) is None and environment_place({}) is None
    with pytest.raises(SettingsError, match="MASTER_ADDR is not: start the run with torchrun"):
        environment_place({key: value for key, value in given.items() if key != "MASTER_ADDR"})
    with pytest.raises(SettingsError, match="must be whole numbers"):
        environment_place({**given, "RANK": "first"})
    with pytest.raises(SettingsError, match="RANK is 9 of 8 processes"):
        environment_place({**given, "RANK": "9"})
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert find_place(settings(batch_size=8)) == place
    with pytest.raises(SettingsError, match="asks for 2 processes, and this is one of 8"):
        find_place(settings(devices=2, batch_size=8))


def test_slurm_tasks_take_their_place(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
    given |= {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "2", "SLURM_NODELIST": "node[7-8]"}
    given |= {"SLURM_JOB_ID": "1234", "SLURM_NTASKS_PER_NODE": "2"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for name in (
        "MASTER_ADDR",
        "MASTER_PORT",
    ):  # Fabric's reader of SLURM's variables sets them: let them be undone
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert find_place(settings()) is None, "one process was asked for"
    place = find_place(settings(devices=2, nodes=2))
    assert place is not None and (place.rank, place.world, place.local_rank, place.nodes) == (3, 4, 1, 2)
    assert place.address == "node7" and place.port > 1024 and not place.launches
    with pytest.raises(SettingsError, match="SLURM started 4 tasks, and the settings ask for 2"):
        find_place(settings(devices=2))
