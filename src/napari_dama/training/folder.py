"""The folder of a job: settings, status, metrics, events and checkpoints, all plain files.

``job.yaml`` all settings; ``metrics.csv`` one row per logged step; ``events.jsonl`` typed records; ``status.json`` the
present state with a heartbeat; ``last/`` and ``best/`` checkpoints; ``model/`` the finished model; ``log.txt``; a file
named ``stop`` asks the run to checkpoint and end. Beginning a run needs no torch; checkpoints do.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from napari_dama.errors import DamaError, Interrupted, OutputError, SettingsError
from napari_dama.training.files import ANNOTATIONS, read_json, write_json
from napari_dama.training.identity import ProcessId
from napari_dama.training.lock import LOCK, FolderLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from torch import Tensor

    from napari_dama.training.job_settings import JobSettings

STOP = "stop"
HEARTBEAT_S = 5.0
FOLDERS = (
    "last",
    "best",
    "model",
    "model-types",
    "model-outlines",
    "last.part",
    "best.part",
    "last.old",
    "best.old",
    "previews",
    "crops",
    "slurm",
)
FILES = (
    *("job.yaml", "metrics.csv", "metrics.part", "events.jsonl", "log.txt", "parent.json", STOP),
    *("status.json", "status.json.part", "job.yaml.part", "cluster.yaml", "cluster.yaml.part"),
    *("improvement.json", "decision.json"),
)


@dataclass
class RunFolder:
    """Writes what a run says about itself. Make one with `begin`, and use it in a ``with`` block.

    From `begin` to `close` no other process can begin a run in the folder; inside the ``with`` block a thread renews the
    heartbeat in ``status.json`` every 5 s, however long a step or a validation takes.
    """

    path: Path
    columns: list[str] = field(default_factory=list)
    lock: FolderLock | None = None
    break_why: Callable[[], str] | None = None
    """Says why a stop is a break only, after which the run is begun again by itself; empty for a real stop."""

    def __post_init__(self) -> None:
        self._facts: dict[str, Any] = {}
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._beat: threading.Thread | None = None
        self._me = ProcessId.of()
        self._began = time.time()
        slurm = os.environ.get("NAPARI_DAMA_SLURM")  # set by jobs.cluster_task
        self._where = {"slurm": slurm} if slurm else {}

    @classmethod
    def begin(
        cls,
        settings: JobSettings,
        *,
        resume: bool,
        overwrite: bool,
        wait_s: float = 0.0,
        keep_stop: bool = False,
    ) -> RunFolder:
        """Make the folder, or take up one that stands, and lock it.

        Parameters
        ----------
        settings
            The whole run; ``settings.out`` is the folder.
        resume, overwrite
            Continue, or replace, a run that stands there.
        wait_s
            How long to wait for another process that holds the folder.
        keep_stop
            Heed a stop that was asked for before this moment, as a process does for whom another one began the run.

        Raises
        ------
        OutputError
            If the folder holds something and neither ``resume`` nor ``overwrite`` is set, or it is no run at all.
        JobError
            If another process works on the folder.
        SettingsError
            If a run is resumed with other settings than it began with.
        """
        path, file = settings.out, settings.out / "job.yaml"
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file; choose a folder for the run")
        if _holds_something(path) and not file.is_file():
            raise OutputError(f"{path} holds other things than a training run; choose a new or empty folder")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write to {path}: {error.strerror or error}") from error
        lock = FolderLock(path, wait_s=wait_s)
        try:
            if file.is_file():
                if resume:
                    _same_settings(type(settings).from_file(file), settings)
                elif overwrite:
                    clear(path)
                else:
                    raise OutputError(
                        f"{path} holds a run already; continue it with --resume, or --overwrite it"
                    )
            try:
                settings.to_file(file)
            except OSError as error:
                raise OutputError(f"cannot write to {path}: {error.strerror or error}") from error
            if not keep_stop:
                (path / STOP).unlink(missing_ok=True)
        except BaseException:
            lock.release()
            raise
        run = cls(path, lock=lock)
        run.status(state="starting", **reached(path))
        return run

    def __enter__(self) -> Self:
        """Start the heartbeat."""
        if self._beat is None:
            self._over.clear()
            self._beat = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
            self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the heartbeat and let the folder go."""
        self.close()

    def close(self) -> None:
        """End the heartbeat and let the folder go."""
        self._over.set()
        if self._beat is not None:
            self._beat.join()
            self._beat = None
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    def status(self, **facts: Any) -> None:
        """Replace ``status.json``; the process, when it began and the heartbeat are added."""
        if facts.get("state") == "stopped" and (why := self.goes_on()):
            facts = {**facts, "state": "waiting", "why": why}
        with self._writing:
            self._facts = facts
            self._write_status()

    def goes_on(self) -> str:
        """Why the run goes on by itself after a stop; empty where it does not, as when someone asked for the stop."""
        return "" if self.break_why is None or self.stop_asked() else self.break_why()

    @contextmanager
    def failures_told(self) -> Iterator[None]:
        """Leave in ``status.json`` and ``events.jsonl`` why the block failed; a stop that was asked for is no failure."""
        try:
            yield
        except Interrupted:
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            self.failed(text if isinstance(error, DamaError) else f"{type(error).__name__}: {text}")
            raise

    def failed(self, why: str) -> None:
        """Say that the run failed; what its status said of its progress stays."""
        with suppress(OutputError):  # the error that brought us here is the one to be told
            if self._facts.get("state") != "failed":
                self.event("failed", step=self._facts.get("step", 0), why=why)
            self.status(**{**self._facts, "state": "failed", "why": why})

    def _write_status(self) -> None:
        who = {**self._me.facts(), **self._where, "started": self._began, "heartbeat": time.time()}
        with self._said("status.json"):
            write_json(self.path / "status.json", {**who, **self._facts})

    def _keep_beating(self) -> None:
        while not self._over.wait(HEARTBEAT_S):
            with self._writing:
                if not self._facts:
                    continue
                try:
                    self._write_status()
                except OutputError:
                    continue  # a full disk may have room again; the loop itself says what it cannot write

    @contextmanager
    def _said(self, name: str) -> Iterator[None]:
        """Say what could not be written, and what to do."""
        try:
            yield
        except OSError as error:
            if not self.path.is_dir():
                raise self._gone() from error
            raise OutputError(f"cannot write {self.path / name}: {error.strerror or error}") from error

    def _gone(self) -> OutputError:
        return OutputError(
            f"{self.path} is gone: it was moved or deleted while its job ran. Resume it where it is now"
        )

    def event(self, kind: str, **facts: Any) -> None:
        """Append a record to ``events.jsonl``."""
        line = json.dumps({"time": time.time(), "kind": kind, **facts}, ensure_ascii=False)
        file = self.path / "events.jsonl"
        with self._said(file.name), file.open("ab+") as out:
            if out.tell():  # a kill may have cut the last line short: it must not swallow this one
                out.seek(-1, os.SEEK_END)
                line = line if out.read(1) == b"\n" else "\n" + line
            out.write((line + "\n").encode("utf-8", errors="replace"))

    def log(self, text: str) -> None:
        """Append a line with the time to ``log.txt``."""
        with self._said("log.txt"), (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def metrics(self, row: dict[str, float | int]) -> None:
        """Append a row to ``metrics.csv``; the first row decides the columns."""
        file = self.path / "metrics.csv"
        if not self.columns and file.is_file():
            with file.open(newline="", encoding="utf-8") as old:
                self.columns = next(csv.reader(old), [])
        fresh = not self.columns
        if fresh:
            self.columns = list(row)
        with self._said(file.name), file.open("a", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, self.columns, restval="", extrasaction="ignore")
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def forget_after(self, step: int) -> None:
        """Drop rows of ``metrics.csv`` beyond ``step``: a resumed run writes them again."""
        file = self.path / "metrics.csv"
        if not file.is_file():
            return
        with file.open(newline="", encoding="utf-8", errors="replace") as old:
            rows = list(csv.reader(old))
        # a kill may have cut the last row short, or the very first one
        whole = [row for row in rows[1:] if len(row) == len(rows[0]) and row[0].isdigit()]
        kept = [row for row in whole if int(row[0]) <= step]
        partial = file.with_suffix(".part")
        with self._said(file.name):
            if not kept:  # the next row writes its own header
                file.unlink()
                self.columns = []
                return
            with partial.open("w", newline="", encoding="utf-8") as out:
                csv.writer(out).writerows(rows[:1] + kept)
            os.replace(partial, file)

    def stop_asked(self) -> bool:
        """Whether someone put a file named ``stop`` into the folder."""
        return (self.path / STOP).exists()

    def refuse_gone(self) -> None:
        """Raise `OutputError` if the folder was moved or deleted, before something is written to its old place."""
        if not self.path.is_dir():
            raise self._gone()

    def save_checkpoint(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Write checkpoint ``last`` or ``best`` so that a kill at any moment leaves the old or the new one whole."""
        from napari_dama.training.checkpoint import save

        try:
            save(self.path / name, tensors, facts)
        except OutputError as error:
            raise (error if self.path.is_dir() else self._gone()) from error.__cause__

    def load_checkpoint(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and facts of a checkpoint, or None where there is none.

        Raises
        ------
        StoreError
            If the checkpoint is damaged.
        """
        from napari_dama.training.checkpoint import load

        return load(self.path / name)


def opened(
    folder: RunFolder | None, settings: JobSettings, *, resume: bool, overwrite: bool
) -> AbstractContextManager[RunFolder]:
    """The folder that a caller has begun, left open at the end; else one that is begun here and closed."""
    if folder is not None:
        return nullcontext(folder)
    return RunFolder.begin(settings, resume=resume, overwrite=overwrite)


def reached(path: Path) -> dict[str, Any]:
    """What a run that is taken up again had reached, as its status says."""
    status = read_json(path / "status.json")
    return {key: status[key] for key in ("step", "steps", "loss", "best", "cells") if key in status}


def clear(path: Path) -> None:
    """Remove what a run writes, and nothing else that may lie in its folder."""
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)
    for name in FILES:
        (path / name).unlink(missing_ok=True)


def _holds_something(path: Path) -> bool:
    return path.is_dir() and any(entry.name not in (LOCK, ANNOTATIONS) for entry in path.iterdir())


def _same_settings(old: JobSettings, asked: JobSettings) -> None:
    free = {"out", "device", "threads", "checkpoint_seconds", "log_every", "previews"}
    free |= {"devices", "nodes", "strategy"}  # the batch and its losses are the same
    for name in type(old).model_fields:
        before, now = getattr(old, name), getattr(asked, name)
        if name not in free and _whole(before) != _whole(now):
            raise SettingsError(
                f"the run in {old.out} was started with {name}={before}, not {now}; resume it unchanged or start anew"
            )


def _whole(value: Any) -> Any:
    """Paths written out, so that a job started elsewhere is known again."""
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, str) and Path(value).exists():
        return Path(value).absolute()
    return value.absolute() if isinstance(value, Path) else value
