"""Killed at any moment and resumed, a run ends with the very numbers of one left alone."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import victim
from jobs.conftest import Begin, Settings, forking
from napari_dama.jobs.folder import read_events, read_job
from napari_dama.training.folder import RunFolder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks and kills POSIX processes")
LONG = {
    "validate_every": 10,
    "method": "dama",
    "last_blocks": 2,
    "name": "same",
    "log_every": 3,
}


@pytest.fixture(scope="module")
def begin() -> Iterator[Begin]:
    yield from forking(victim)


def results(job: Path) -> tuple[bytes, bytes]:
    """What must be the same to the last bit."""
    return (job / "metrics.csv").read_bytes(), (job / "model" / "weights.safetensors").read_bytes()


def to_its_end(begin: Begin, job: Path) -> float:
    """Seconds that a run takes which nobody disturbs."""
    start = time.monotonic()
    process = begin(job)
    process.join(120)
    assert process.exitcode == 0, (job / "log.txt").read_text()
    return time.monotonic() - start


def check(
    begin: Begin, settings: Settings, moments: int, seed: int, checkpoint_seconds: float, steps: int = 40
) -> None:
    jobs = {}
    for name in ("whole", "killed"):
        chosen = settings(name, **LONG, max_steps=steps, checkpoint_seconds=checkpoint_seconds)
        RunFolder.begin(chosen, resume=False, overwrite=False).close()
        (chosen.out / "status.json").unlink()  # this process is not at work on it
        (chosen.out / "log.txt").touch()
        jobs[name] = chosen.out
    to_its_end(begin, jobs["whole"])
    start = to_its_end(begin, jobs["whole"])  # of a run that finds all done: hardly more than its start
    rng = random.Random(seed)
    kills = 0
    for moment in range(moments):
        process = begin(jobs["killed"])
        process.join(start * (rng.uniform(0.5, 2) if moment else 0.7))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            assert read_job(jobs["killed"]).state in ("dead", "finished")
    to_its_end(begin, jobs["killed"])
    assert results(jobs["whole"]) == results(jobs["killed"])
    assert read_job(jobs["killed"]).state == "finished"
    starts = [
        event["step"]
        for event in read_events(jobs["killed"], most_bytes=None).records
        if event["kind"] == "started"
    ]
    print(f"{kills} kills; it went on at steps {starts}")
    assert kills > 0


@pytest.mark.parametrize(("seed", "checkpoint_seconds"), [(0, 1e-9), (1, 0.05)])
def test_killed_at_a_few_moments(
    begin: Begin, settings: Settings, seed: int, checkpoint_seconds: float
) -> None:
    check(begin, settings, 4, seed, checkpoint_seconds)


@pytest.mark.slow
def test_killed_at_twenty_moments(begin: Begin, settings: Settings) -> None:
    check(begin, settings, 20, 7, 0.02, steps=150)
