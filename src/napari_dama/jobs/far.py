"""Whether a job that was submitted to SLURM lives, told from its folder and from the queue. No torch.

The processes of such a job are on other machines, whose clocks may differ from ours by minutes, and whose writes may reach
the shared storage late. What SLURM says therefore goes before the heartbeat.
"""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final

from napari_dama.jobs.scheduler import ask, in_own_queue
from napari_dama.training.folder import STOP
from napari_dama.training.identity import ProcessId

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OFFSET_S: Final = 600.0
"""The difference between two clocks is measured again after so long."""
_offsets: dict[str, tuple[float, float]] = {}


def state_of(path: Path, status: Mapping[str, Any], *, silent_s: float) -> tuple[str, str]:
    """State of a submitted job whose status does not say that it ended, and the reason in words.

    Parameters
    ----------
    path, status
        Its folder, and what ``status.json`` says; ``slurm`` is SLURM's number.
    silent_s
        Without a sign for so long it counts as dead, where SLURM cannot be asked.
    """
    said, job = str(status["state"]), str(status["slurm"])
    stop = (path / STOP).exists()
    process = ProcessId.read(status)
    here = process is not None and process.here
    if process is not None and process.alive:
        return ("stopping" if stop else said), str(status.get("why") or "")
    seen = ask(job)
    if seen is not None and seen.waits:
        words = f"SLURM job {job}: {seen.words}"
        return ("stopping", f"{words}; it stops as soon as it begins") if stop else ("waiting", words)
    if seen is not None and seen.works:
        if here and said != "waiting":
            return "dead", f"its process is gone without a word, and SLURM job {job} has not ended yet"
        return ("stopping" if stop else "starting" if said == "waiting" else said), ""
    ended = seen is not None and bool(seen.state)
    heard = _age(path, status, silent_s) <= silent_s
    if heard and not (ended if said == "waiting" else here):
        return ("stopping" if stop else said), str(status.get("why") or f"submitted as SLURM job {job}")
    if seen is not None:
        if stop:
            return "stopped", ""
        return "dead", f"SLURM job {job} is over: {seen.words or 'SLURM no longer knows it'}"
    if said == "waiting":
        why = f"submitted as SLURM job {job}; this computer has no squeue to ask how it stands"
        return ("stopping" if stop else "waiting"), why
    host = status.get("host") or "its node"
    return "dead", f"no sign from SLURM job {job} on {host}, and this computer has no squeue to ask for it"


def queued_again(job: str) -> bool:
    """Whether SLURM queued a job again by itself after it stopped politely, as it does when another job takes its node."""
    seen = in_own_queue(job)
    return seen is not None and seen.waits


def _age(path: Path, status: Mapping[str, Any], silent_s: float) -> float:
    """Seconds since the last sign of life.

    Where the two clocks disagree, the one of the storage decides: it dated the status file, and it dates a file that
    is made now.
    """
    beat = status.get("heartbeat")
    age = abs(time.time() - beat) if isinstance(beat, int | float) else float("inf")
    if age <= silent_s:
        return age
    try:
        written = (path / "status.json").stat().st_mtime
        return min(age, abs(time.time() + _offset(path) - written))
    except OSError:
        return age


def _offset(path: Path) -> float:
    """How far the storage's clock is ahead of ours, seconds. Raises OSError where nothing can be written."""
    when, offset = _offsets.get(str(path), (-1e9, 0.0))
    if time.monotonic() - when > OFFSET_S:
        with tempfile.NamedTemporaryFile(prefix=".clock-", dir=path) as probe:
            offset = os.fstat(probe.fileno()).st_mtime - time.time()
        _offsets[str(path)] = (time.monotonic(), offset)
    return offset
