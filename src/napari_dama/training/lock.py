"""One runner per folder: a lock of the operating system, which a killed process lets go by itself. No torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_dama.errors import JobError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

LOCK = ".lock"


class FolderLock:
    """Hold a job's folder until `release`, the end of the process, or the end of this object.

    Parameters
    ----------
    folder
        The job's folder; it must exist.
    wait_s
        How long to wait for another holder; 0 gives up at once.

    Raises
    ------
    JobError
        If another run (of this process, too) holds the folder; the message names its pid.
    OutputError
        If no lock can be made there.
    """

    def __init__(self, folder: Path, *, wait_s: float = 0.0) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK, thread_local=False)
        try:
            self._lock.acquire(timeout=wait_s, poll_interval=0.05)
        except Timeout:
            raise JobError(f"{folder} is being worked on{_holder(folder)}: stop that one first") from None
        except OSError as error:
            raise OutputError(f"cannot lock {folder}: {error.strerror or error}") from error

    @property
    def held(self) -> bool:
        """Whether it is still held by this object."""
        return bool(self._lock.is_locked)

    def release(self) -> None:
        """Let others have the folder."""
        self._lock.release(force=True)


def _holder(folder: Path) -> str:
    """Who it is, as far as its status says."""
    try:
        facts = json.loads((folder / "status.json").read_text(encoding="utf-8"))
        return f" by process {int(facts['pid'])} on {facts.get('host', 'this machine')}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return " by another process"
