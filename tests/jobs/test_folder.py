"""Whoever reads a job's folder knows everything, however badly it was treated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.conftest import Settings
from napari_dama.errors import JobError
from napari_dama.jobs.folder import read_events, read_job, read_metrics
from napari_dama.training.files import write_json
from napari_dama.training.folder import RunFolder
from napari_dama.training.identity import ProcessId


def say(path: Path, process: ProcessId, **facts: Any) -> None:
    write_json(
        path / "status.json", {**process.facts(), "heartbeat": time.time(), "state": "running", **facts}
    )


@pytest.fixture
def job(settings: Settings) -> Path:
    run = RunFolder.begin(settings(), resume=False, overwrite=False)
    run.close()
    return run.path


def gone() -> ProcessId:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        return ProcessId.of(child.pid)


def test_what_a_running_job_says(job: Path, settings: Settings) -> None:
    best = {"score": 0.5, "step": 4.0}
    facts = {"step": 5, "steps": 20, "loss": 0.25, "images_per_s": 12.5, "eta_s": 30.0, "device": "cpu"}
    say(job, ProcessId.of(), best=best, started=100.0, **facts)
    view = read_job(job)
    assert (view.name, view.kind, view.task, view.state) == ("job", "pretrain", "mae", "running")
    assert {name: getattr(view, name) for name in facts} == facts
    assert view.going and view.share == 0.25 and view.best == best and view.parent is None
    assert view.pid == os.getpid() and view.started == 100.0 and view.why == ""
    assert view.heartbeat_age_s is not None and view.heartbeat_age_s < 5


def test_asked_to_stop_and_still_at_work(job: Path) -> None:
    say(job, ProcessId.of())
    (job / "stop").touch()
    assert read_job(job).state == "stopping"
    say(job, ProcessId.of(), state="stopped")
    assert read_job(job).state == "stopped"


def test_a_process_that_is_gone_is_said_with_its_last_word(job: Path) -> None:
    process = gone()
    say(job, process, step=3, steps=9)
    (job / "log.txt").write_text("started\nterminate called after throwing\n\n")
    view = read_job(job)
    assert view.state == "dead" and not view.going and view.step == 3
    assert str(process.pid) in view.why and "terminate called after throwing" in view.why


def test_a_recycled_pid_is_not_mistaken(job: Path) -> None:
    me = ProcessId.of()
    say(job, ProcessId(me.pid, me.born + "0", me.host))
    assert read_job(job).state == "dead"


def test_a_killed_child_that_nobody_waited_for_is_dead(job: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = ProcessId.of(child.pid)
    say(job, process)
    assert process.alive and read_job(job).state == "running"
    child.kill()
    end = time.monotonic() + 10
    while process.alive and time.monotonic() < end:
        time.sleep(0.01)
    assert read_job(job).state == "dead"
    child.communicate()


@pytest.mark.parametrize("shift", [-1e6, 1e6, -70, 70])
def test_a_changed_clock_kills_no_live_job_of_this_machine(job: Path, shift: float) -> None:
    say(job, ProcessId.of(), heartbeat=time.time() + shift)
    view = read_job(job)
    assert view.state == "running" and view.heartbeat_age_s is not None and view.heartbeat_age_s >= 0


@pytest.mark.parametrize(("age", "state"), [(10, "running"), (50, "running"), (70, "dead")])
def test_of_another_machine_the_heartbeat_tells(job: Path, age: float, state: str) -> None:
    say(job, ProcessId(os.getpid(), "other:1", "elsewhere"), heartbeat=time.time() - age)
    view = read_job(job)
    assert view.state == state and view.host == "elsewhere"
    assert ("elsewhere is gone" in view.why) == (state == "dead")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"state": 7}', '{"state": "odd", "pid": "x"}', "\x00\xff"])
def test_a_damaged_status_is_no_error(job: Path, text: str) -> None:
    (job / "status.json").write_text(text, encoding="latin-1")
    assert read_job(job).state == "dead"
    (job / "status.json").unlink()
    assert "left no status" in read_job(job).why


@pytest.mark.parametrize("text", ["", "kind: [", "- 1", "max_steps: many\nkind: odd", "\x00\xff"])
def test_settings_edited_into_nonsense_are_no_error_to_a_reader(job: Path, text: str) -> None:
    say(job, ProcessId.of())
    (job / "job.yaml").write_text(text, encoding="latin-1")
    view = read_job(job)
    assert view.state == "running" and view.name == "job"


def test_numbers_that_are_none_are_passed_over(job: Path) -> None:
    say(job, ProcessId.of(), loss=float("nan"), eta_s="soon", step=None, best=[1], images_per_s=True)
    view = read_job(job)
    assert (view.loss, view.eta_s, view.step, view.best, view.images_per_s) == (None, None, 0, {}, None)


def test_what_is_no_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="no such folder"):
        read_job(tmp_path / "nowhere")
    with pytest.raises(JobError, match=r"neither job\.yaml nor status\.json"):
        read_job(tmp_path)


def test_events_cut_in_the_middle_of_a_line(job: Path) -> None:
    run = RunFolder(job)
    run.event("one", text="µ")
    with (job / "events.jsonl").open("ab") as file:
        file.write(b'{"kind": "two", "te')
    found = read_events(job)
    assert [record["kind"] for record in found.records] == ["one"]
    run.event("three")  # a new line begins after the one that was cut
    later = read_events(job, found.next_byte)
    assert [record["kind"] for record in later.records] == ["three"]
    assert read_events(job, later.next_byte).records == []
    assert [record["kind"] for record in read_events(job).records] == ["one", "three"]


def test_events_of_a_job_that_began_anew(job: Path) -> None:
    run = RunFolder(job)
    for _ in range(5):
        run.event("old")
    seen = read_events(job)
    (job / "events.jsonl").unlink()
    assert read_events(job, seen.next_byte).records == []
    run.event("anew")
    found = read_events(job, seen.next_byte)
    assert [record["kind"] for record in found.records] == ["anew"] and found.skipped


@pytest.mark.parametrize("most", [1, 10, 100, 300, 10_000, None])
def test_only_the_end_of_many_events_is_read(job: Path, most: int | None) -> None:
    lines = [json.dumps({"kind": "step", "n": n}) + "\n" for n in range(200)]
    (job / "events.jsonl").write_text("".join(lines))
    found = read_events(job, most_bytes=most)
    whole = [json.loads(line) for line in lines]
    assert found.records == whole[len(whole) - len(found.records) :]
    assert found.next_byte == sum(map(len, lines))
    assert found.skipped == (most in (1, 10, 100, 300))
    longest = 0 if most is None else most
    assert sum(len(json.dumps(record)) + 1 for record in found.records) <= max(longest, 0 if most else 10**9)


@pytest.mark.parametrize("since", [0, 1, 5, 10, 2499, 2500, 4990, 5000, 9999])
def test_metrics_after_a_step_are_those_of_a_plain_reading(job: Path, since: int) -> None:
    run = RunFolder(job)
    for step in range(10, 5001, 10):
        run.metrics({"step": step, "epoch": step // 100, "loss": 1 / step, "lr": 1e-3})
    found = read_metrics(job, since)
    steps = [step for step in range(10, 5001, 10) if step > since]
    assert found.step.tolist() == steps
    assert set(found.columns) == {"epoch", "loss", "lr"}
    assert found.columns["loss"].tolist() == [1 / step for step in steps]


def test_metrics_that_are_damaged_are_left_out(job: Path) -> None:
    assert len(read_metrics(job)) == 0
    (job / "metrics.csv").write_text("step,loss\n1,0.5\nx,y\n2\n3,,4\n4,\n5,0.25\n6,0.12")
    found = read_metrics(job)
    assert found.step.tolist() == [1, 4, 5]
    assert found.columns["loss"][[0, 2]].tolist() == [0.5, 0.25]
    (job / "metrics.csv").write_text("st")
    assert len(read_metrics(job)) == 0


def test_the_heart_beats_through_a_long_step(
    job: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr("napari_dama.training.folder.HEARTBEAT_S", 0.02)
    with RunFolder.begin(settings(), resume=True, overwrite=False) as run:
        run.status(state="running", step=3)
        first = json.loads((job / "status.json").read_text())["heartbeat"]
        end = time.monotonic() + 10
        while json.loads((job / "status.json").read_text())["heartbeat"] <= first + 0.05:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert json.loads((job / "status.json").read_text())["step"] == 3
    assert "heartbeat" not in [thread.name for thread in __import__("threading").enumerate()]
