"""A file of records that only grows: one JSON object per line, on the disk before it counts as saved.

A thread writes, so that whoever appends never waits for the disk. What cannot be written is kept and tried again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from napari_dama.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RETRY_S: Final = 2.0
"""Seconds until a write that failed is tried again."""


@dataclass(frozen=True, slots=True)
class Saved:
    """How things stand between memory and disk.

    Attributes
    ----------
    pending : int
        Records that are not on the disk yet.
    at : float
        When the last one was written, seconds since 1970; 0 where none was.
    why_not : str
        Why writing failed, in a sentence; empty where it did not.
    """

    pending: int
    at: float
    why_not: str


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Read the records of a journal, and how many lines were damaged and passed over.

    A line that was cut off when a machine or program died is damaged; those before and after it count.

    Raises
    ------
    OutputError
        The file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror or error}") from error
    records, damaged = [], 0
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            damaged += 1
            continue
        if isinstance(record, dict):
            records.append(record)
        else:
            damaged += 1
    return records, damaged


class Journal:
    """Append records to a file from a thread, each flushed to the disk.

    Parameters
    ----------
    path
        The file; it is made with the first record. A cut last line of an earlier run is closed off, never removed.
    on_change
        Called from the writing thread after every change of `saved`.

    Raises
    ------
    OutputError
        Another process writes this journal, or its folder cannot be written.
    """

    def __init__(self, path: Path, *, on_change: Callable[[], None] | None = None) -> None:
        self.path = path
        self._on_change = on_change
        self._waiting: list[str] = []
        self._ready = threading.Condition()
        self._closing = False
        self._at = 0.0
        self._why_not = ""
        self._whole: int | None = None  # length of the file before a write that failed
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(
                f"{path} is open in another window or program; close it there to annotate here"
            ) from None
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
        self._thread = threading.Thread(target=self._run, name="napari-dama-journal", daemon=True)
        self._thread.start()

    @property
    def saved(self) -> Saved:
        """How things stand."""
        with self._ready:
            return Saved(len(self._waiting), self._at, self._why_not)

    def append(self, record: dict[str, Any]) -> None:
        """Add a record; returns at once.

        Raises
        ------
        ValueError
            The record is no JSON, or the journal is closed.
        """
        line = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        with self._ready:
            if self._closing:
                raise ValueError(f"{self.path} is closed")
            self._waiting.append(line)
            self._ready.notify_all()

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until everything is on the disk; False where it is not after some seconds."""
        until = time.monotonic() + seconds
        with self._ready:
            while self._waiting and time.monotonic() < until:
                self._ready.notify_all()
                self._ready.wait(0.05)
            return not self._waiting

    def close(self, seconds: float = 10.0) -> bool:
        """Write what is left and let others have the file; False where something could not be written."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        self._thread.join(seconds)
        self._lock.release(force=True)
        return not self._waiting

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._waiting and not self._closing:
                    self._ready.wait()
                if not self._waiting:
                    return
                lines = list(self._waiting)
            why_not = self._write(lines)
            with self._ready:
                self._why_not = why_not
                if not why_not:
                    del self._waiting[: len(lines)]
                    self._at = time.time()
                self._ready.notify_all()
                closing = self._closing
            if self._on_change is not None:
                self._on_change()
            if why_not and closing:
                return
            if why_not:
                with self._ready:
                    self._ready.wait(RETRY_S)

    def _write(self, lines: list[str]) -> str:
        """Put lines at the file's end; what half a failed write left is taken away again. Returns why it failed."""
        try:
            with self.path.open("a+b") as file:
                end = file.seek(0, os.SEEK_END)
                if self._whole is not None and end > self._whole:
                    file.truncate(self._whole)
                    end = self._whole
                if end:
                    file.seek(end - 1)
                    if file.read(1) != b"\n":
                        lines = ["", *lines]
                self._whole = end
                file.seek(end)
                file.write("\n".join([*lines, ""]).encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
                self._whole = None
        except OSError as error:
            return f"{self.path} cannot be written: {error.strerror or error}"
        return ""
