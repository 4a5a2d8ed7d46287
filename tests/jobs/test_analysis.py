"""Analyses as jobs: killed at any moment, stopped, moved and resumed, they end with the result of one left alone."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs import analysis_victim
from jobs.conftest import Begin, ended, forking, until
from napari_dama.errors import JobError, OutputError, SettingsError, SlideError
from napari_dama.jobs import tickets
from napari_dama.jobs.analysis import AnalyseSettings, check, job_folder
from napari_dama.jobs.folder import read_events, read_job, read_metrics
from napari_dama.jobs.process import delete, read_settings, request_stop, resume, start
from napari_dama.jobs.queue import enqueue
from napari_dama.jobs.shelf import find_job, list_jobs
from napari_dama.predict.result import ResultFolder
from napari_dama.training.folder import RunFolder
from predict.conftest import cells_tiff as cells_tiff

forks = pytest.mark.skipif(sys.platform == "win32", reason="forks and kills POSIX processes")
TILES = 20


@pytest.fixture
def settings(cells_tiff: Path, tmp_path: Path) -> Callable[..., AnalyseSettings]:
    def make(result: str = "result", **changes: Any) -> AnalyseSettings:
        usual = {"slide": cells_tiff, "device": "cpu", "tile_px": 256, "threads": 1}
        return AnalyseSettings(**(usual | {"out": job_folder(tmp_path / result)} | changes))

    return make


@pytest.fixture(scope="module")
def begin() -> Iterator[Begin]:
    yield from forking(analysis_victim)


def laid_down(settings: AnalyseSettings) -> Path:
    """A job that no process works on yet."""
    RunFolder.begin(settings, resume=False, overwrite=False).close()
    (settings.out / "status.json").unlink()
    (settings.out / "log.txt").touch()
    return settings.out


def finish(begin: Begin, job: Path) -> None:
    (job / "stop").unlink(missing_ok=True)  # as the one who resumes it does
    process = begin(job)
    process.join(120)
    assert process.exitcode == 0, (job / "log.txt").read_text()


def outcome(result: Path) -> tuple[bytes, bytes]:
    """What must be the same to the last bit."""
    folder = ResultFolder.open(result)
    assert folder.state == "done"
    levels = [level.compute().tobytes() for level in folder.label_levels]
    return (result / "cells.csv").read_bytes(), b"".join(levels)


@forks
def test_killed_at_random_moments_it_ends_with_the_same_table(
    begin: Begin, settings: Callable[..., AnalyseSettings]
) -> None:
    whole, killed = (laid_down(settings(name)) for name in ("whole", "killed"))
    finish(begin, whole)
    view = read_job(whole)
    assert view.state == "finished" and (view.step, view.steps) == (TILES, TILES)
    assert view.cells and view.result == whole.parent and view.unit == "tiles"
    assert read_metrics(whole).step.tolist() == list(range(1, TILES + 1))
    rng, kills = random.Random(time.time_ns()), 0
    for target in (1, 7, 13):
        process = begin(killed)
        until(lambda t=target: read_job(killed).step >= t or read_job(killed).state == "finished")
        time.sleep(rng.uniform(0, 0.15))
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
        assert read_job(killed).state in ("dead", "finished")
    finish(begin, killed)
    assert kills > 1
    assert outcome(killed.parent) == outcome(whole.parent)
    steps = read_metrics(killed).step.tolist()
    assert steps == sorted(set(steps)) and steps[-1] == TILES
    begun = [e for e in read_events(killed, most_bytes=None).records if e["kind"] == "analysing"]
    print(f"{kills} kills; it went on at tiles {[event['tiles_done'] for event in begun]}")
    assert len({event["tiles_done"] for event in begun}) > 1


@forks
def test_a_stop_finishes_the_tile_and_a_moved_result_goes_on_where_it_is(
    begin: Begin, settings: Callable[..., AnalyseSettings], tmp_path: Path
) -> None:
    whole, job = laid_down(settings("whole")), laid_down(settings())
    finish(begin, whole)
    process = begin(job)
    until(lambda: read_job(job).step > 1)
    so_far = ResultFolder.open(job.parent)  # looked at while it grows
    assert so_far.state == "running" and len(so_far.cells()) >= 1
    (job / "stop").touch()
    assert read_job(job).state in ("stopping", "stopped")
    process.join(60)
    view = read_job(job)
    assert process.exitcode == 130 and view.state == "stopped" and 1 < view.step < TILES
    assert "continues" in (job / "log.txt").read_text()
    run = ResultFolder.open(job.parent).run
    assert run["state"] == "interrupted" and run["tiles_done"] == view.step and run["cells"] == view.cells

    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    job.parent.rename(moved)
    assert find_job(moved) == job_folder(moved) and read_job(job_folder(moved)).name == "renamed"
    finish(begin, job_folder(moved))
    assert outcome(moved) == outcome(whole.parent)
    assert not job.parent.exists()


@forks
def test_a_result_moved_while_it_is_made_ends_the_job_and_leaves_nothing_behind(
    begin: Begin, settings: Callable[..., AnalyseSettings], tmp_path: Path
) -> None:
    job, moved = laid_down(settings()), tmp_path / "moved"
    process = begin(job)
    until(lambda: read_job(job).step > 0)
    job.parent.rename(moved)
    process.join(60)
    assert process.exitcode == 1
    assert read_job(job_folder(moved)).state == "dead"
    finish(begin, job_folder(moved))
    assert read_job(job_folder(moved)).state == "finished"


@forks
@pytest.mark.parametrize("cut", ["first record", "files"])
def test_killed_while_the_result_is_begun_it_begins_anew(
    begin: Begin, settings: Callable[..., AnalyseSettings], cut: str
) -> None:
    job = laid_down(settings())
    if cut == "first record":
        (job.parent / "run.json.part").write_text('{"kind": "napari')
    else:
        finish(begin, job)
        record = json.loads((job.parent / "run.json").read_text())
        (job.parent / "run.json").write_text(json.dumps({**record, "state": "beginning", "owner": None}))
        (job.parent / "cells.csv").unlink()
    finish(begin, job)
    assert ResultFolder.open(job.parent).state == "done"


def test_a_process_of_its_own_with_a_place_in_the_queue(
    settings: Callable[..., AnalyseSettings], cells_tiff: Path, tmp_path: Path
) -> None:
    """Real networks: started, seen, followed by one that waits, stopped, resumed to its end, deleted."""
    chosen = settings("my résult", region="0:300,0:300")
    view = start(chosen)
    assert view.state == "starting" and view.name == "my résult" and view.kind == "analyse"
    second = enqueue(settings("second"), priority=1).path
    until(lambda: bool(read_job(second).why))
    assert "my résult" in read_job(second).why
    assert [ticket.name for ticket in tickets.list_queue()] == ["my résult", "second"]
    request_stop(second)
    assert ended(second).state == "stopped" and ended(second).result is None
    assert {job.name for job in list_jobs([tmp_path])} == {"my résult", "second"}
    delete(second)
    assert not second.parent.exists()
    job = view.path
    with pytest.raises(JobError, match="stop it first"):
        delete(job)
    request_stop(job)
    assert ended(job).state in ("stopped", "finished")
    if ended(job).state == "stopped":
        resume(job)
    assert ended(job).state == "finished"
    assert ResultFolder.open(job.parent).run["settings"]["region"] == [0, 300, 0, 300]
    with pytest.raises(OutputError, match="already holds a result"):
        start(chosen)
    delete(job)
    assert not job.exists() and ResultFolder.open(job.parent).state == "done"
    assert list_jobs() == []


def test_what_cannot_be_run_is_refused_before_a_process_begins(
    settings: Callable[..., AnalyseSettings], tmp_path: Path, cells_tiff: Path
) -> None:
    with pytest.raises(SlideError, match="no file or folder"):
        start(settings(slide=tmp_path / "gone.tif"))
    with pytest.raises(SettingsError, match="lies outside the slide"):
        start(settings(region="5000:6000,0:10"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(OutputError, match="holds other files"):
        start(settings("photos"))
    with pytest.raises(ValueError, match=r"region.*not of the form"):
        settings(region="here")
    assert not (tmp_path / "result").exists() and list_jobs() == []


@forks
def test_a_result_is_not_continued_with_other_settings(
    begin: Begin, settings: Callable[..., AnalyseSettings]
) -> None:
    chosen = settings()
    job = laid_down(chosen)
    (job / "stop").touch()
    process = begin(job)
    process.join(60)
    assert process.exitcode == 130
    check(chosen, resume=True, overwrite=False)
    with pytest.raises(SettingsError, match="tile_px was 256, now 512"):
        check(settings(tile_px=512), resume=True, overwrite=False)
    with pytest.raises(OutputError, match="--resume continues it"):
        check(chosen, resume=False, overwrite=False)
    check(settings(tile_px=512), resume=False, overwrite=True)


@forks
def test_settings_in_a_folder_are_checked_and_a_lost_slide_is_said(
    settings: Callable[..., AnalyseSettings], begin: Begin, cells_tiff: Path, tmp_path: Path
) -> None:
    slide = tmp_path / "slide.ome.tif"
    shutil.copy(cells_tiff, slide)
    job = laid_down(settings(slide=slide))
    assert read_settings(job) == settings(slide=slide)
    slide.unlink()
    process = begin(job)
    process.join(60)
    assert process.exitcode == 2
    assert read_job(job).state == "failed" and "put it back" in read_job(job).why
    raw = yaml.safe_load((job / "job.yaml").read_text())
    (job / "job.yaml").write_text(yaml.safe_dump({**raw, "pixel_um": 1000}))
    with pytest.raises(SettingsError, match="pixel_um"):
        read_settings(job)
