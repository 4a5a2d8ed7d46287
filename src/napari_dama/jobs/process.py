"""Start, stop, resume and delete jobs: each is a process of its own that outlives windows and terminals. No torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from napari_dama.errors import JobError, OutputError, SettingsError
from napari_dama.jobs import analysis
from napari_dama.jobs.analysis import AnalyseSettings
from napari_dama.jobs.folder import ENDED, JobView, process_lives, read_job, read_status
from napari_dama.jobs.shelf import forget, remember
from napari_dama.jobs.tickets import reserved
from napari_dama.predict.device import DEVICES
from napari_dama.training.files import ANNOTATIONS
from napari_dama.training.folder import STOP, RunFolder, clear, reached
from napari_dama.training.identity import ProcessId
from napari_dama.training.improve_settings import ImproveSettings
from napari_dama.training.job_settings import JobSettings
from napari_dama.training.lock import LOCK, FolderLock
from napari_dama.training.place import find_place
from napari_dama.training.settings import FinetuneSettings, PretrainSettings, RunSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

S = TypeVar("S", bound=JobSettings)
ENDING_S = 10.0
"""A process that has said its last word, or was killed, may hold the folder for another moment."""
KINDS: dict[str, type[JobSettings]] = {
    "pretrain": PretrainSettings,
    "finetune": FinetuneSettings,
    "analyse": AnalyseSettings,
    "improve": ImproveSettings,
}


def start(settings: JobSettings, *, resume: bool = False, overwrite: bool = False) -> JobView:
    """Begin a run or an analysis in a process of its own.

    The folder is made and checked here, so that mistakes show at once; paths in the settings become absolute. Whether the
    device is free is not asked: `napari_dama.jobs.queue.enqueue` waits for it.

    Parameters
    ----------
    settings
        The whole run; ``settings.out`` is the job's folder.
    resume, overwrite
        Continue, or replace, a run that stands there.

    Raises
    ------
    OutputError, JobError, SettingsError
        As `napari_dama.training.folder.RunFolder.begin`; for an analysis also as `napari_dama.jobs.analysis.check`.
    """
    since = time.time()
    with reserved(settings.out, settings.device, state="running", since=since):
        words = ["--since", repr(since)]
        return launch(settings, words, state="starting", resume=resume, overwrite=overwrite)


def launch(
    settings: JobSettings, words: Sequence[str], *, state: str, resume: bool, overwrite: bool
) -> JobView:
    """Begin the folder and leave it to a runner that is given ``words``; what `start` and the queue share."""
    if settings.device.partition(":")[0] not in DEVICES:
        raise SettingsError(f"device must be one of {', '.join(DEVICES)}, got {settings.device!r}")
    if isinstance(settings, RunSettings):
        find_place(settings)  # several devices: what does not fit shows now
    settings = with_whole_paths(settings)
    if isinstance(settings, AnalyseSettings):
        analysis.check(settings, resume=resume, overwrite=overwrite)
    status = read_status(settings.out)
    if status.get("slurm") and (view := read_job(settings.out)).going:
        raise JobError(f"{view.name} is {view.state} already ({view.place}): stop it first")
    ending = status.get("state") in ENDED or not process_lives(status)
    run = RunFolder.begin(settings, resume=resume, overwrite=overwrite, wait_s=ENDING_S if ending else 0)
    try:
        if overwrite and isinstance(settings, AnalyseSettings):
            analysis.begin_anew(settings)
        process = _spawn(run.path, words)
        run.status(state=state, **ProcessId.of(process.pid).facts(), **reached(run.path))
        process.returncode = 0  # it is meant to outlive this one: no warning that it still runs
    except BaseException as error:
        run.failed(f"its process could not be started: {error}")
        raise
    finally:
        run.close()  # the runner waits for this
    remember(run.path)
    return read_job(run.path)


def request_stop(path: str | Path) -> None:
    """Ask a job to finish its step, save a checkpoint and end; one that waits (for a device, or for SLURM) ends at once.

    Raises
    ------
    JobError
        If there is no such job, or no process works on it.
    """
    path = Path(path)
    view = read_job(path)
    if not view.going:
        raise JobError(f"{view.name} is {view.state}: there is nothing to stop")
    try:
        (path / STOP).touch()
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {error.strerror or error}") from error
    if view.slurm and view.state in ("waiting", "stopping"):
        from napari_dama.jobs.submission import leave_queue

        leave_queue(path, view)


def is_alive(path: str | Path) -> bool:
    """Whether the process that was last at work on a job lives; see `napari_dama.jobs.folder.read_job`."""
    return process_lives(read_status(Path(path)))


def resume(path: str | Path, *, here: bool = False) -> JobView:
    """Go on with a job from its last checkpoint, in a process of its own, with the settings in its folder.

    A folder that was moved goes on where it is now. A job that ran on a cluster is submitted again, as it was before, unless
    it is to go on ``here``, on this computer.

    Raises
    ------
    JobError
        If it is at work or finished already, or no job.
    SettingsError
        If its ``job.yaml`` is no longer valid.
    """
    view = read_job(path)
    if view.going:
        raise JobError(f"{view.name} is {view.state} already ({view.place})")
    if view.state == "finished":
        raise JobError(f"{view.name} is finished: there is nothing to go on with")
    if view.slurm and not here:
        from napari_dama.jobs.submission import submit_folder

        return submit_folder(path)
    return start(read_settings(Path(path)), resume=True)


def delete(path: str | Path) -> None:
    """Remove what a job wrote, and its folder if nothing else lies in it. The result of an analysis stays.

    Raises
    ------
    JobError
        If it is at work, or no job.
    """
    path = Path(path)
    view = read_job(path)
    if view.going:
        raise JobError(f"{view.name} is {view.state} ({view.place}): stop it first")
    lock = FolderLock(path, wait_s=ENDING_S)
    try:
        clear(path)
        shutil.rmtree(path / ANNOTATIONS, ignore_errors=True)
    finally:
        lock.release()
    (path / LOCK).unlink(missing_ok=True)
    if not any(path.iterdir()):
        path.rmdir()
        if view.kind == "analyse" and not any(path.parent.iterdir()):
            path.parent.rmdir()  # a result that was never begun
    forget(path)


def read_settings(path: Path) -> JobSettings:
    """Settings in a job's folder, with that folder as ``out``.

    Raises
    ------
    SettingsError
        If ``job.yaml`` is missing, damaged, names no known kind, or a setting is out of bounds.
    """
    file = path / "job.yaml"
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    kind = KINDS.get(str(raw.get("kind"))) if isinstance(raw, dict) else None
    if kind is None:
        raise SettingsError(
            f"{file} does not say which kind of job it is: kind must be pretrain, finetune, analyse or improve"
        )
    return kind.from_file(file).model_copy(update={"out": path})


def with_whole_paths(settings: S) -> S:
    """Settings whose paths do not depend on the folder that one stands in."""
    changes: dict[str, Any] = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, Path):
            changes[name] = value.expanduser().absolute()
        elif isinstance(value, list) and any(isinstance(each, Path) for each in value):
            changes[name] = [each.expanduser().absolute() for each in value]
    for name in ("init", "model"):  # a name on the shelf, or a folder
        value = getattr(settings, name, None)
        if isinstance(value, str) and value != "random" and Path(value).is_dir():
            changes[name] = str(Path(value).absolute())
    return settings.model_copy(update=changes)


def _spawn(path: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the runner in a session of its own, its output in the job's log; no shell."""
    command = [sys.executable, "-m", "napari_dama.jobs.runner", str(path), *words]
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    try:
        with (path / "log.txt").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                close_fds=True,
                env=environment,
                **options,
            )
    except OSError as error:
        raise OutputError(f"cannot start the job's process: {error.strerror or error}") from error
