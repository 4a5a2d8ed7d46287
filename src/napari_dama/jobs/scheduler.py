"""What SLURM says of a job: ``squeue`` while it is in the queue, ``sacct`` afterwards, ``scancel`` to end it. No torch.

Answers are kept for some seconds, so that a list of jobs that is looked at every second asks the cluster's controller
rarely. Where these programs are not there, only the job's folder tells.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from napari_dama.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOK_S: Final = 10.0
"""An answer of the cluster is good for so long."""
SILENCE_S: Final = 60.0
"""Where there is no answer, the next question waits for so long."""
ANSWER_S: Final = 10.0
"""Longer than that nobody waits for an answer."""
_FORMAT: Final = "%i|%T|%r|%S|%N"
_WAITING: Final = frozenset(
    ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
)
_WORKING: Final = frozenset(
    ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
)
_REASONS: Final = {
    "Priority": "other jobs go first",
    "Resources": "no node is free yet",
    "BeginTime": "it was queued again, and SLURM waits a moment before it begins",
    "Dependency": "it waits for another job",
    "JobHeldUser": "it is held; scontrol release lets it go",
    "JobHeldAdmin": "it is held by the administrators",
    "PartitionTimeLimit": "it asks for more time than the partition allows",
    "PartitionNodeLimit": "it asks for more nodes than the partition has",
    "ReqNodeNotAvail": "the nodes that it needs are not available",
    "Licenses": "it waits for a licence",
    "Cleaning": "it was queued again, and its nodes are being cleaned up",
    "None": "SLURM has not looked at it yet",
}
_ENDS: Final = {
    "TIMEOUT": "its time limit was reached",
    "OUT_OF_MEMORY": "it used more main memory than it asked for: raise memory_gb",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "another job took its node",
    "CANCELLED": "it was cancelled",
    "FAILED": "it failed; the last lines of log.txt and slurm/*.out say more",
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "its deadline passed",
    "COMPLETED": "its process ended without leaving a word",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What SLURM says of a job.

    Attributes
    ----------
    state : str
        SLURM's word, such as ``PENDING``; empty when the job is no longer known.
    reason : str
        Why it waits, in SLURM's word.
    start : str
        When it is expected to begin, as SLURM writes it; empty while that is not known.
    nodes : str
        Where it runs, in SLURM's short form.
    """

    state: str
    reason: str = ""
    start: str = ""
    nodes: str = ""

    @property
    def waits(self) -> bool:
        """Whether it is in the queue and does not run yet."""
        return self.state in _WAITING

    @property
    def works(self) -> bool:
        """Whether it has its nodes."""
        return self.state in _WORKING

    @property
    def words(self) -> str:
        """Why it waits or how it ended, for people; SLURM's own word stands beside it."""
        if self.waits:
            word = self.reason or "None"
            known = _REASONS.get(word) or (
                "a limit of the account or the QOS is reached" if "Max" in word or "Grp" in word else ""
            )
            text = f"{known} ({word})" if known else word
            return f"{text}; expected to begin {self.start.replace('T', ' ')}" if self.start else text
        if self.works or not self.state:
            return self.state.lower()
        return f"{_ENDS.get(self.state, 'it ended')} ({self.state})"


@dataclass
class _Looks:
    """Answers of the cluster, and until when they hold."""

    until: float = -1e9
    found: dict[str, Seen] | None = None
    single: dict[str, tuple[float, Seen | None]] = field(default_factory=dict)


_looks = _Looks()
_looking = threading.Lock()


def ask(job: str) -> Seen | None:
    """What SLURM says of a job by its number; None where nobody here can tell.

    A state of ``""`` says that SLURM is there and does not know the job, or no longer.
    """
    with _looking:
        found, now = _found(), time.monotonic()
        if found is None or job in found:
            return None if found is None else found[job]
        when, seen = _looks.single.get(job, (-1e9, None))
        if now - when > LOOK_S:
            seen = _one(job)
            _looks.single[job] = (now, seen)
        return seen


def in_own_queue(job: str) -> Seen | None:
    """What SLURM says of a job among this user's in the queue; costs nothing beyond the question for all of them."""
    with _looking:
        return (_found() or {}).get(job)


def look_again() -> None:
    """Let the next look ask the cluster, because something was changed there."""
    with _looking:
        _looks.until = -1e9
        _looks.single.clear()


def cancel(job: str) -> None:
    """Take a job out of SLURM's queue, or end it: it is told to (SIGTERM), and killed some 30 s later.

    Raises
    ------
    JobError
        If there is no ``scancel`` here, or it refuses.
    """
    if shutil.which("scancel") is None:
        raise JobError(f"there is no scancel on this computer: cancel SLURM job {job} where you submit jobs")
    done = _run(["scancel", job])
    look_again()
    if done is None:
        raise JobError(f"SLURM job {job} could not be cancelled: scancel gave no answer")
    if done.returncode:
        raise JobError(f"SLURM job {job} could not be cancelled: {' '.join(done.stderr.split())}")


def _found() -> dict[str, Seen] | None:
    """Jobs of this user in the queue, asked for if the last answer is too old; None where there is no answer."""
    if time.monotonic() > _looks.until:
        _looks.found = _own_queue()
        _looks.until = time.monotonic() + (SILENCE_S if _looks.found is None else LOOK_S)
    return _looks.found


def _own_queue() -> dict[str, Seen] | None:
    """All jobs of this user in one question; None where there is no answer."""
    if shutil.which("squeue") is None or not hasattr(os, "getuid"):
        return None
    done = _run(["squeue", "--noheader", f"--user={os.getuid()}", f"--format={_FORMAT}"])
    return None if done is None or done.returncode else _rows(done.stdout)


def _one(job: str) -> Seen | None:
    """A job that is not among this user's in the queue: of somebody else, or ended."""
    done = _run(["squeue", "--noheader", f"--jobs={job}", f"--format={_FORMAT}"])
    if done is not None and not done.returncode and job in (rows := _rows(done.stdout)):
        return rows[job]
    if shutil.which("sacct") is None:
        return None if done is None else Seen("")
    done = _run(
        [
            "sacct",
            "--noheader",
            "--allocations",
            "--parsable2",
            f"--jobs={job}",
            "--format=JobID,State,NodeList",
        ]
    )
    if done is None or done.returncode:
        return Seen("")
    for line in done.stdout.splitlines():
        name, state, nodes = (*line.split("|"), "", "", "")[:3]
        if name.strip() == job and state.strip():
            return Seen(state.split()[0].upper(), nodes=_named(nodes))  # "CANCELLED by 1000"
    return Seen("")


def _rows(text: str) -> dict[str, Seen]:
    found = {}
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 5 and parts[0]:
            name, state, reason, start, nodes = parts
            found[name] = Seen(state.upper(), reason, _named(start), _named(nodes))
    return found


def _named(text: str) -> str:
    return "" if text.strip() in ("N/A", "n/a", "(null)", "None assigned", "None") else text.strip()


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    """Ask a program; None where it is not there or does not answer in time."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
