"""Folders of jobs, and tiny jobs in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from napari_dama.jobs.folder import JobView, read_job
from napari_dama.jobs.shelf import list_jobs
from napari_dama.training.settings import PretrainSettings
from training.conftest import small_networks as small_networks
from training.conftest import store_path as store_path

TINY = {
    **{
        "method": "mae",
        "image_px": 32,
        "patch_px": 8,
        "batch_size": 4,
        "log_every": 1,
        "validate_every": 1000,
    },
    **{"decoder_depth": 1, "decoder_width": 16, "decoder_heads": 1},
    **{"device": "cpu", "threads": 1, "precision": "float32", "epochs": 100_000},
}
Settings = Callable[..., PretrainSettings]
Begin = Callable[[Path], BaseProcess]


def until(condition: Callable[[], bool], *, seconds: float = 120.0) -> None:
    """Wait for something; a failing test is better than one that never ends."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def ended(path: Path) -> JobView:
    """The job when it has ended."""
    until(lambda: not read_job(path).going)
    return read_job(path)


def forking(module: ModuleType) -> Iterator[Begin]:
    """Start runners by ``module.work`` that are forked, so that none has to load torch again; none outlives the fixture."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module.__name__])
    started: list[BaseProcess] = []

    def go(job: Path) -> BaseProcess:
        process = context.Process(target=module.work, args=(str(job),))
        with pytest.MonkeyPatch.context() as patch:  # the server of forks looks there for what it loads
            patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
            process.start()
        started.append(process)
        return process

    yield go
    for process in started:
        if process.is_alive():
            process.kill()
        process.join()
        process.close()


@pytest.fixture
def settings(store_path: Path, tmp_path: Path) -> Settings:
    """Settings of a pretraining that takes hundredths of a second per step."""

    def make(folder: str = "job", **changes: Any) -> PretrainSettings:
        usual = {"crops": store_path, "out": tmp_path / folder, "max_steps": 5}
        return PretrainSettings(**(TINY | usual | changes))

    return make


@pytest.fixture(autouse=True)
def own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A list and a queue of jobs for each test, whose processes do not outlive it."""
    folder = tmp_path / "own list"
    monkeypatch.setenv("NAPARI_DAMA_JOBS", str(folder))
    yield folder
    for view in list_jobs():
        if view.going and view.pid:
            psutil.Process(view.pid).kill()
