"""What a cluster is asked for, and what it answers: programs that stand in for SLURM's print what SLURM's would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.conftest import Settings
from jobs.fake_slurm import Slurm
from napari_dama.errors import JobError, SettingsError
from napari_dama.jobs import far, process, scheduler
from napari_dama.jobs.cluster import (
    ClusterSettings,
    default_settings,
    keep_as_defaults,
    minutes_of,
    settings_of,
)
from napari_dama.jobs.folder import JobView, read_job
from napari_dama.jobs.process import request_stop, resume
from napari_dama.jobs.shelf import list_jobs
from napari_dama.jobs.submission import cancel_now, script_text, submit, submit_folder, wait_or_cancel
from napari_dama.training.identity import ProcessId

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stand-ins are shell scripts")

SCRIPT = """\
#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --gpus-per-node=a100:2
#SBATCH --job-name=pre
#SBATCH --mail-type=END
#SBATCH --mem=64GB
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --open-mode=append
#SBATCH --output='/data/my job/slurm/%j_0_log.out'
#SBATCH --partition=gpu
#SBATCH --signal=USR2@120
#SBATCH --time=240

# setup
module load cuda/12
source ~/dama/bin/activate

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/data/my job/slurm/%j_%t_log.out' --cpus-per-task=8 \
python3 -u -m submitit.core._submit '/data/my job/slurm'
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    pytest.importorskip("submitit")
    made = Slurm(tmp_path / "programs-of-slurm")
    monkeypatch.setenv("PATH", f"{made.folder}{os.pathsep}{os.environ['PATH']}")
    yield made
    scheduler.look_again()


@pytest.fixture
def no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PATH", str(tmp_path))
    scheduler.look_again()
    yield
    scheduler.look_again()


@pytest.fixture
def submitted(settings: Settings, slurm: Slurm) -> Path:
    """A job that waits in SLURM's queue, as it says in a minute from now: the first heartbeat is old."""
    path = submit(settings(max_steps=100), ClusterSettings(partition="gpu", time="30")).path
    say(path, heartbeat=time.time() - 3600)
    os.utime(path / "status.json", (time.time() - 3600,) * 2)
    return path


def say(path: Path, **facts: Any) -> None:
    file = path / "status.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))
    os.utime(file, (time.time() - 3600,) * 2)


def on_a_node(**facts: Any) -> dict[str, Any]:
    return {**ProcessId(77, "other:1", "n7").facts(), "step": 40, "steps": 100, "state": "running", **facts}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:30", 91),
        ("4:00:00", 240),
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("2-00:00:01", 2881),
    ],
)
def test_time_limits_in_slurms_forms(text: str, minutes: int) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "4h", "0", "-3", "1:2:3:4", "1-2-3"])
def test_what_is_no_time_limit(text: str) -> None:
    with pytest.raises(ValueError, match="time limit"):
        minutes_of(text)


def test_settings_are_checked_kept_and_read_as_people_write_them(tmp_path: Path) -> None:
    plain = ClusterSettings()
    chosen = plain.with_overrides(
        [
            "time=4:00:00",
            "gpus=0",
            "memory_gb=",
            "setup=module load a",
            "setup=module load b",
            "extra=--mail-type=END",
        ]
    )
    assert (
        chosen.setup == ["module load a", "module load b"] and chosen.memory_gb is None and chosen.tasks == 1
    )
    assert plain.with_overrides(["nodes=2", "gpus=4"]).tasks == 8
    chosen.to_file(tmp_path / "cluster.yaml")
    assert ClusterSettings.from_file(tmp_path / "cluster.yaml") == chosen == settings_of(tmp_path)
    (tmp_path / "cluster.yaml").write_text("time: 4:00:00\npartition: 12\nmemory_gb: null\nnodes: 2\n")
    by_hand = ClusterSettings.from_file(tmp_path / "cluster.yaml")  # YAML alone takes this time for 14400
    assert (by_hand.minutes, by_hand.partition, by_hand.memory_gb, by_hand.nodes) == (240, "12", None, 2)
    assert default_settings() == plain
    keep_as_defaults(chosen)
    assert default_settings() == chosen == settings_of(tmp_path / "elsewhere")
    for pair, words in (
        ("gpus=-1", "gpus"),
        ("time=4h", "a time limit is written as"),
        ("extra=--time=3", "--time follows from the other settings"),
        ("extra=mail me", "an option is written as --mail-type=END"),
        ("partition=a\nb", "one line"),
        ("colour=red", "no cluster setting colour; there are: partition"),
        ("nodes", "takes key=value"),
    ):
        with pytest.raises(SettingsError, match=words):
            plain.with_overrides([pair])
    with pytest.raises(SettingsError, match="must be shorter than time"):
        plain.with_overrides(["time=10", "checkpoint_s=600"])
    (tmp_path / "cluster.yaml").write_text("- 1\n")
    with pytest.raises(SettingsError, match="holds no settings"):
        ClusterSettings.from_file(tmp_path / "cluster.yaml")


def test_the_script_can_be_looked_at_without_slurm(no_slurm: None) -> None:
    pytest.importorskip("submitit")
    pairs = [
        "partition=gpu",
        "account=lab",
        "nodes=2",
        "gpus=2",
        "gpu_type=a100",
        "cpus=8",
        "memory_gb=64",
        "python=python3",
    ]
    pairs += ["setup=module load cuda/12", "setup=source ~/dama/bin/activate", "extra=--mail-type=END"]
    pairs += ["extra=#SBATCH --exclusive"]
    chosen = ClusterSettings().with_overrides(pairs)
    assert script_text(Path("/data/my job"), chosen, "pre") == SCRIPT
    other = script_text(
        Path("/data/j"), chosen.with_overrides(["gpu_request=gres", "time=1-00", "memory_gb=1.5"]), "pre"
    )
    for line in ("--gres=gpu:a100:2", "--time=1440", "--mem=1536MB"):
        assert f"#SBATCH {line}\n" in other
    assert "gpus-per-node" not in other
    done = subprocess.run(["/bin/bash", "-n"], input=SCRIPT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_submitted_waits_with_its_reason_and_begins(submitted: Path, slurm: Slurm) -> None:
    assert (slurm.folder / "script").read_text() == script_text(
        submitted, ClusterSettings(partition="gpu", time="30"), submitted.name
    )
    assert (submitted / "slurm" / "4711_submitted.pkl").is_file()
    slurm.says("4711|PENDING|Resources|2026-11-25T10:00:00|\n99|RUNNING|None|N/A|n1\n")
    view = read_job(submitted)
    assert (view.state, view.slurm, view.place) == ("waiting", "4711", "SLURM job 4711")
    assert view.why == (
        "SLURM job 4711: no node is free yet (Resources); expected to begin 2026-11-25 10:00:00"
    )
    assert [each.path for each in list_jobs()] == [submitted]
    begin = len(slurm.calls("squeue"))
    for _ in range(20):
        list_jobs()
    assert len(slurm.calls("squeue")) == begin, "an answer is kept for some seconds"
    slurm.says("4711|RUNNING|None|2026-11-25T10:00:00|n7\n")
    assert read_job(submitted).state == "starting"
    say(submitted, **on_a_node())
    view = read_job(submitted)
    assert view.state == "running" and view.why == "" and view.place == "SLURM job 4711 on n7"
    for action in (resume, submit_folder, process.delete):
        with pytest.raises(JobError, match="SLURM job 4711 on n7"):
            action(submitted)
    slurm.says("4711|PENDING|BeginTime|N/A|\n")  # its node failed, and SLURM queued it again by itself
    assert read_job(submitted).state == "waiting" and "queued again" in read_job(submitted).why


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("TIMEOUT", "time limit"),
        ("OUT_OF_MEMORY", "raise memory_gb"),
        ("CANCELLED by 1000", "was cancelled .CANCELLED."),
        ("NODE_FAIL", "its node failed"),
        ("", "no longer knows it"),
    ],
)
def test_what_ended_without_a_word_is_dead_with_slurms_reason(
    submitted: Path, slurm: Slurm, word: str, why: str
) -> None:
    import re

    say(submitted, **on_a_node())
    slurm.says("", f"4711|{word}|n7\n4711.batch|FAILED|n7\n" if word else "")
    view = read_job(submitted)
    assert view.state == "dead" and re.search(why, view.why) and "SLURM job 4711" in view.why
    if word.startswith("CANCELLED"):
        (submitted / "stop").touch()  # by someone who had asked it to stop
        assert read_job(submitted).state == "stopped"


def test_clocks_of_other_machines_kill_no_job(submitted: Path, slurm: Slurm) -> None:
    say(submitted, **on_a_node(heartbeat=time.time() - 900))  # its clock is a quarter of an hour slow
    slurm.says("4711|RUNNING|None|N/A|n7\n")
    assert read_job(submitted).state == "running"
    (slurm.folder / "down").touch()  # nobody answers: the storage's clock decides
    slurm.says("")
    assert read_job(submitted).state == "dead"
    os.utime(submitted / "status.json")
    assert read_job(submitted).state == "running"
    assert [file.name for file in submitted.glob(".clock*")] == []


def test_without_squeue_the_folder_tells(
    submitted: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    scheduler.look_again()
    view = read_job(submitted)
    assert view.state == "waiting" and "no squeue" in view.why
    say(submitted, **on_a_node(heartbeat=time.time()))
    assert read_job(submitted).state == "running"
    say(submitted, **on_a_node(heartbeat=time.time() - 3600))
    assert read_job(submitted).state == "dead" and "n7" in read_job(submitted).why
    say(submitted, state="waiting")
    request_stop(submitted)
    assert read_job(submitted).state == "stopping" and (submitted / "stop").exists()
    with pytest.raises(JobError, match="no scancel"):
        cancel_now(submitted)


def test_stopping_in_the_queue_and_going_on_with_the_same_settings(submitted: Path, slurm: Slurm) -> None:
    slurm.says("4711|PENDING|Priority|N/A|\n")
    request_stop(submitted)
    assert slurm.calls("scancel") == ["scancel 4711"]
    assert read_job(submitted).state == "stopped"
    (slurm.folder / "number").write_text("4712")
    view = resume(submitted)
    assert view.slurm == "4712" and view.going and not (submitted / "stop").exists()
    assert (
        settings_of(submitted).partition == "gpu"
        and "--partition=gpu" in (slurm.folder / "script").read_text()
    )


def test_a_job_that_slurm_took_its_node_from_waits_and_is_not_over(submitted: Path, slurm: Slurm) -> None:
    say(submitted, **on_a_node(state="stopped"))  # it saved when it was told to end
    assert read_job(submitted).state == "stopped"
    slurm.says("4711|PENDING|BeginTime|N/A|\n")
    view = read_job(submitted)
    assert view.state == "waiting" and "queued again" in view.why and view.step == 40
    with pytest.raises(JobError, match="is waiting already"):
        resume(submitted)
    request_stop(submitted)
    assert slurm.calls("scancel") == ["scancel 4711"] and read_job(submitted).state == "stopped"


def test_a_run_that_does_not_heed_its_stop_is_cancelled(submitted: Path, slurm: Slurm) -> None:
    say(submitted, **on_a_node())
    slurm.says("4711|RUNNING|None|N/A|n7\n")
    request_stop(submitted)
    assert slurm.calls("scancel") == [] and read_job(submitted).state == "stopping"
    view: JobView = wait_or_cancel(submitted, 0.0, poll_s=0.01)
    assert slurm.calls("scancel") == ["scancel 4711"] and view.state == "stopped"


def test_a_refusal_is_told_and_mended(settings: Settings, slurm: Slurm) -> None:
    slurm.program("sbatch", "echo 'sbatch: error: invalid partition specified: gqu' >&2; exit 1")
    chosen = settings()
    with pytest.raises(JobError, match="invalid partition specified: gqu"):
        submit(chosen, ClusterSettings(partition="gqu"))
    view = read_job(chosen.out)
    assert view.state == "failed" and "gqu" in view.why
    slurm.program("sbatch", 'echo "Submitted batch job 12"')
    view = submit_folder(chosen.out, settings_of(chosen.out).with_overrides(["partition=gpu"]))
    assert view.slurm == "12" and view.going


def test_the_state_of_a_job_of_this_machine_is_its_process(submitted: Path, slurm: Slurm) -> None:
    slurm.says("4711|RUNNING|None|N/A|n7\n")
    say(submitted, **on_a_node(**ProcessId.of().facts()))
    assert read_job(submitted).state == "running"
    say(submitted, **on_a_node(**ProcessId(999_999_999, "long ago", ProcessId.of().host).facts()))
    assert read_job(submitted).state == "dead"
    assert far.OFFSET_S > 0
