"""The list of jobs that this user knows: paths of folders in one small file. No torch."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_dama.errors import JobError, OutputError
from napari_dama.jobs.folder import JobView, read_job
from napari_dama.predict.record import JOB
from napari_dama.training.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LIST = "jobs.json"


def jobs_folder() -> Path:
    """Where the list and the queue lie: ``NAPARI_DAMA_JOBS``, or ``~/.napari-dama``."""
    given = os.environ.get("NAPARI_DAMA_JOBS")
    return Path(given) if given else Path.home() / ".napari-dama"


def list_jobs(roots: Iterable[str | Path] | None = None) -> list[JobView]:
    """Every job that can be read, those at work first, then the latest first.

    Parameters
    ----------
    roots
        Look at these folders, at the folders right in them, and at the analyses of results among these; by default at all
        that `remember` was told of. A folder that vanished or was moved is left out.
    """
    if roots is None:
        paths = _read()
    else:
        paths = []
        for root in map(Path, roots):
            inside = sorted(entry for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
            paths += [path for folder in (root, *inside) for path in (folder, folder / JOB)]
    views = []
    for path in paths:
        try:
            views.append(read_job(path))
        except (JobError, OSError):
            continue
    return sorted(views, key=lambda view: (not view.going, -(view.started or 0.0)))


def remember(path: str | Path) -> None:
    """Put a job's folder on the list.

    Raises
    ------
    OutputError
        If the list cannot be written.
    """
    path = _plain(path)
    with _changing() as paths:
        if path not in paths:
            paths.append(path)


def forget(path: str | Path) -> None:
    """Take a job's folder off the list; the folder stays. Raises as `remember`."""
    path = _plain(path)
    with _changing() as paths:
        paths[:] = [each for each in paths if each != path]


def find_job(name: str | Path) -> Path:
    """Folder of a job: a path, also that of an analysis' result, or the name of a job (or of its folder) on the list.

    Raises
    ------
    JobError
        If there is none, or several of that name.
    """
    for path in (Path(name), Path(name) / JOB):
        if (path / "job.yaml").is_file() or (path / "status.json").is_file():
            return _plain(path)
    views = list_jobs()
    found = [view.path for view in views if str(name) in (view.name, view.path.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise JobError(
            f"{len(found)} jobs are named {name}: {', '.join(map(str, found))}; give the folder of one"
        )
    known = ", ".join(view.name for view in views[:20]) or "none"
    raise JobError(f"{name} is no job's folder, and no job of that name is known; there are: {known}")


def _plain(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _read() -> list[Path]:
    try:
        found = json.loads((jobs_folder() / LIST).read_text(encoding="utf-8"))
        return [Path(path) for path in found["jobs"] if isinstance(path, str)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


@contextmanager
def _changing() -> Iterator[list[Path]]:
    """The list, to be changed: written atomically, one process at a time."""
    folder = jobs_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{LIST}.lock", timeout=10):
            paths = _read()
            before = list(paths)
            yield paths
            if paths != before:
                write_json(folder / LIST, {"jobs": [str(path) for path in paths]})
    except Timeout as error:
        raise OutputError(f"the list of jobs {folder / LIST} is locked by another process") from error
    except OSError as error:
        raise OutputError(f"cannot write {folder / LIST}: {error.strerror or error}") from error
