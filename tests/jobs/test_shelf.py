"""The list of jobs: tolerant of folders that vanish, moved or stand twice."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from jobs.conftest import Settings
from napari_dama.errors import JobError
from napari_dama.jobs.shelf import find_job, forget, jobs_folder, list_jobs, remember
from napari_dama.training.folder import RunFolder


def made(settings: Settings, name: str) -> Path:
    run = RunFolder.begin(settings(name), resume=False, overwrite=False)
    run.status(state="finished", started=float(len(name)))
    run.close()
    return run.path


def names() -> list[str]:
    return [view.name for view in list_jobs()]


def test_remembered_once_and_forgotten(settings: Settings) -> None:
    assert names() == []
    path = made(settings, "jöb with space")
    remember(path)
    remember(path)
    remember(made(settings, "b"))
    assert names() == ["jöb with space", "b"]
    forget(path)
    assert names() == ["b"] and path.is_dir()


def test_a_vanished_folder_is_left_out_and_comes_back(settings: Settings, tmp_path: Path) -> None:
    for name in ("one", "other"):
        remember(made(settings, name))
    (tmp_path / "one").rename(tmp_path / "moved")
    assert names() == ["other"]
    (tmp_path / "moved").rename(tmp_path / "one")
    assert sorted(names()) == ["one", "other"]
    shutil.rmtree(tmp_path / "one")
    remember(made(settings, "third"))
    assert sorted(names()) == ["other", "third"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"jobs": 3}', '{"jobs": [1, null]}'])
def test_a_damaged_list_is_an_empty_one(settings: Settings, text: str) -> None:
    jobs_folder().mkdir()
    (jobs_folder() / "jobs.json").write_text(text)
    assert names() == []
    remember(made(settings, "one"))
    assert names() == ["one"]


def test_folders_in_a_root(settings: Settings, tmp_path: Path) -> None:
    made(settings, "one")
    made(settings, "four")
    (tmp_path / "photos").mkdir()
    assert [view.name for view in list_jobs([tmp_path, tmp_path / "nowhere"])] == ["four", "one"]


def test_a_job_is_found_by_folder_and_by_name(settings: Settings, tmp_path: Path) -> None:
    remember(made(settings, "one"))
    remember(made(settings, "deep/one"))
    remember(made(settings, "two"))
    assert find_job("two") == find_job(tmp_path / "two") == tmp_path / "two"
    with pytest.raises(JobError, match="2 jobs are named one"):
        find_job("one")
    with pytest.raises(JobError, match=r"no job of that name is known; there are: .*two"):
        find_job("three")


def test_many_at_once_lose_nothing(settings: Settings) -> None:
    paths = [made(settings, f"job{n}") for n in range(12)]
    threads = [threading.Thread(target=remember, args=[path]) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = json.loads((jobs_folder() / "jobs.json").read_text())["jobs"]
    assert sorted(found) == sorted(map(str, paths))
