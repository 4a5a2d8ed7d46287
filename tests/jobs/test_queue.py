"""Jobs that share a device go one after the other, and what waits says why."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.conftest import Settings, ended, until
from napari_dama.errors import JobError, OutputError
from napari_dama.jobs.folder import read_job
from napari_dama.jobs.process import request_stop
from napari_dama.jobs.queue import cancel, enqueue, list_queue, move, set_priority
from napari_dama.jobs.tickets import Place, device_key
from napari_dama.training.folder import RunFolder
from napari_dama.training.identity import ProcessId


@pytest.fixture
def other() -> Iterator[ProcessId]:
    """A process that lives until the test ends."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield ProcessId.of(child.pid)
        child.kill()


def place(name: str, device: str = "cpu", *, priority: int = 0, since: float = 0.0) -> Place:
    return Place(Path("/jobs") / name, device, priority=priority, since=since)


def test_one_per_device_first_come_first_served() -> None:
    first, second, third = (place(name, since=n) for n, name in enumerate("abc"))
    elsewhere = place("d", "cuda", since=9)
    assert first.claim() == ""
    assert f"cpu is used by a (process {os.getpid()})" in second.claim()
    assert "before it: b" in third.claim()
    assert elsewhere.claim() == ""
    assert [(t.name, t.state) for t in list_queue()] == [
        *(("a", "running"), ("d", "running")),
        *(("b", "waiting"), ("c", "waiting")),
    ]
    first.leave()
    assert third.claim() == "before it: b" and second.claim() == ""
    assert third.claim().startswith("cpu is used by b")
    second.leave()
    assert third.claim() == ""


def test_the_urgent_goes_first() -> None:
    running, usual, urgent = place("a"), place("b", since=1), place("c", since=2, priority=3)
    running.claim()
    assert "before it" not in usual.claim()
    assert "before it" not in urgent.claim()
    assert "before it: c" in usual.claim()
    set_priority("/jobs/b", 5)
    assert "before it" not in usual.claim() and "before it: b" in urgent.claim()
    with pytest.raises(JobError, match="does not wait"):
        set_priority("/jobs/a", 5)
    with pytest.raises(JobError, match="does not wait"):
        cancel("/jobs/none")


@pytest.mark.parametrize(
    ("one", "other_device", "meet"),
    [("cuda", "cuda:0", True), ("cuda:1", "cuda:0", False), ("cpu", "cuda", False), ("cpu", "cpu", True)],
)
def test_which_devices_are_the_same(one: str, other_device: str, meet: bool) -> None:
    place("a", one).claim()
    assert bool(place("b", other_device, since=1).claim()) == meet
    assert device_key("auto") == ""


def test_a_dead_process_holds_nothing(other: ProcessId, monkeypatch: pytest.MonkeyPatch) -> None:
    me = ProcessId.of()
    monkeypatch.setattr(ProcessId, "of", classmethod(lambda cls, pid=None: other))
    held = place("a")
    monkeypatch.setattr(ProcessId, "of", classmethod(lambda cls, pid=None: me))
    assert held.claim() == ""
    waiting = place("b", since=1)
    assert f"used by a (process {other.pid})" in waiting.claim()
    os.kill(other.pid, 9)
    until(lambda: not other.alive)
    assert waiting.claim() == ""
    assert [ticket.name for ticket in list_queue()] == ["b"]


def test_what_runs_without_waiting_is_waited_for() -> None:
    place("a").claim()
    assert place("b", since=1).claim(wait=False) == ""
    me = os.getpid()
    assert place("c", since=2).claim() == f"cpu is used by a (process {me}), b (process {me})"


@pytest.mark.parametrize("text", ["", "[]", '{"job": 3}', '{"job": "x", "device": "cpu"}'])
def test_damaged_tickets_are_cleared_away(own_list: Path, text: str) -> None:
    place("a").claim()
    (folder,) = (own_list / "queue").iterdir()
    (folder / "damaged.json").write_text(text)
    assert "used by a" in place("b", since=1).claim()
    assert not (folder / "damaged.json").exists()


def test_two_real_jobs_one_waits_and_is_cancelled(settings: Settings) -> None:
    first, second = settings("first", max_steps=100_000), settings("second")
    enqueue(first)
    until(lambda: [(t.name, t.state) for t in list_queue()] == [("first", "running")])
    view = enqueue(second, priority=2)
    assert view.state == "waiting"
    until(lambda: read_job(second.out).why != "")
    view = read_job(second.out)
    assert view.state == "waiting" and "cpu is used by first (process" in view.why and view.device == "cpu"
    with pytest.raises(JobError, match="worked on by process"):
        RunFolder.begin(second, resume=True, overwrite=False)
    cancel(second.out)
    begin = time.monotonic()
    assert ended(second.out).state == "stopped" and time.monotonic() - begin < 30
    assert [ticket.name for ticket in list_queue()] == ["first"]

    enqueue(second, resume=True)
    request_stop(first.out)
    assert ended(second.out).state == "finished"
    assert read_job(first.out).state == "stopped"
    until(lambda: list_queue() == [])


def test_a_job_that_cannot_begin_leaves_no_ticket(settings: Settings) -> None:
    RunFolder.begin(settings(), resume=False, overwrite=False).close()
    with pytest.raises(OutputError, match="holds a run already"):
        enqueue(settings())
    assert list_queue() == []


@pytest.mark.parametrize("seed", range(5))
def test_a_waiting_job_changes_places_with_its_neighbour_and_nobody_else(seed: int) -> None:
    rng = random.Random(seed)
    holder = place("holder", since=-1)
    holder.claim()
    names = list("abcdef")
    made = {name: place(name, priority=rng.randint(0, 2), since=n) for n, name in enumerate(names)}
    for each in made.values():
        each.claim()

    def line() -> list[str]:
        return [ticket.name for ticket in list_queue() if ticket.state == "waiting"]

    for _ in range(12):
        before, name, earlier = line(), rng.choice(names), rng.random() < 0.5
        expected = list(before)
        here = expected.index(name)
        there = here + (-1 if earlier else 1)
        if 0 <= there < len(expected):
            expected[here], expected[there] = expected[there], expected[here]
        move(f"/jobs/{name}", earlier=earlier)
        assert line() == expected
        for each in made.values():
            each.claim()  # as its runner does every second: it keeps its place
        assert line() == expected
    with pytest.raises(JobError, match="does not wait"):
        move("/jobs/holder", earlier=True)
    move("/jobs/a", earlier=True)
    holder.leave()
    first = line()[0]
    assert made[first].claim() == "" and list_queue()[0].name == first
