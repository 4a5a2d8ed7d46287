"""Who uses a device of this machine, and who waits for it: one job per device, the most urgent and then the oldest first.

There is no server that must live. Every job that runs in a process of its own, or waits to, has a **ticket**: a small
file in the user's folder, one folder of tickets per machine. A waiting job is its own process, which looks at the tickets
once a second; a ticket whose process is gone counts for nothing. Looking and claiming happen under one file lock. No torch.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from napari_dama.errors import JobError, OutputError
from napari_dama.jobs.shelf import jobs_folder
from napari_dama.predict.record import JOB
from napari_dama.training.files import write_json
from napari_dama.training.identity import ProcessId, host_name

if TYPE_CHECKING:
    from collections.abc import Iterator


GRACE_S = 60.0
"""A ticket may lack its process for so long: the job has only just been enqueued."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job's place at its device.

    Attributes
    ----------
    job : str
        Path of its folder.
    device : str
        ``cpu``, ``mps``, ``cuda:0``; empty as long as ``auto`` is not resolved, and then it stands against every device.
    priority : int
        Higher goes first.
    since : float
        When it was enqueued, seconds since 1970.
    state : {'waiting', 'running'}
    pid, born, host
        Its process, see `ProcessId`; pid 0 while there is none yet.
    why : str
        What it waits for; empty when it runs.
    """

    job: str
    device: str
    priority: int
    since: float
    state: Literal["waiting", "running"]
    pid: int = 0
    born: str = ""
    host: str = ""
    why: str = ""

    @property
    def name(self) -> str:
        """Name of the job's folder; of an analysis that of its result."""
        path = Path(self.job)
        return path.parent.name if path.name == JOB else path.name

    @property
    def place(self) -> tuple[int, float, str]:
        """What sorts tickets."""
        return -self.priority, self.since, self.job

    def meets(self, other: Ticket) -> bool:
        """Whether both need, or may need, one device."""
        return not self.device or not other.device or self.device == other.device


def list_queue() -> list[Ticket]:
    """Jobs of this machine: those that run, then those that wait in the order in which they will be taken."""
    with _tickets() as folder:
        found = _living(folder)
    running = sorted(
        (ticket for ticket in found if ticket.state == "running"), key=lambda ticket: ticket.since
    )
    waiting = sorted(
        (ticket for ticket in found if ticket.state == "waiting"), key=lambda ticket: ticket.place
    )
    return [*running, *(_explained(ticket, found) for ticket in waiting)]


def set_priority(path: str | Path, priority: int) -> None:
    """Let a waiting job go earlier or later; higher goes first. Raises `JobError` if it does not wait."""
    with _tickets() as folder:
        file = _file(folder, str(Path(path).absolute()))
        ticket = _read(file)
        if ticket is None or ticket.state != "waiting":
            raise JobError(f"{path} does not wait for a device")
        write_json(file, {**asdict(ticket), "priority": priority})


def move(path: str | Path, *, earlier: bool) -> None:
    """Let a waiting job change places with its neighbour in the line; one that is first, or last, stays there.

    Priorities are raised as little as the new order needs.

    Raises
    ------
    JobError
        If it does not wait.
    """
    with _tickets() as folder:
        own = _read(_file(folder, str(Path(path).absolute())))
        if own is None or own.state != "waiting":
            raise JobError(f"{path} does not wait for a device")
        line = [other for other in _living(folder) if other.state == "waiting" and own.meets(other)]
        line.sort(key=lambda ticket: ticket.place)
        here = next((index for index, ticket in enumerate(line) if ticket.job == own.job), None)
        there = None if here is None else here + (-1 if earlier else 1)
        if here is None or there is None or not 0 <= there < len(line):
            return
        line[here], line[there] = line[there], line[here]
        for ticket in _in_order(line):
            write_json(_file(folder, ticket.job), asdict(ticket))


def _in_order(line: list[Ticket]) -> list[Ticket]:
    """Tickets whose priorities bring them into this order."""
    done: list[Ticket] = []
    for ticket in reversed(line):
        after = done[-1] if done else None
        if after is not None and ticket.place >= after.place:
            level = replace(ticket, priority=after.priority)
            ticket = level if level.place < after.place else replace(ticket, priority=after.priority + 1)
        done.append(ticket)
    return done[::-1]


class Place:
    """A job's own place in the queue, held by its runner.

    Parameters
    ----------
    job
        Its folder.
    device
        As the settings say it; ``auto`` must have been resolved.
    priority, since
        As `enqueue` gave them.
    """

    def __init__(self, job: Path, device: str, *, priority: int = 0, since: float | None = None) -> None:
        begun = time.time() if since is None else since
        self.ticket = Ticket(
            str(job.absolute()), device_key(device), priority, begun, "waiting", **ProcessId.of().facts()
        )

    def claim(self, *, wait: bool = True) -> str:
        """Take the device if it is free and nobody goes first; otherwise say what this job waits for.

        Without ``wait`` it is taken whoever uses it, and others wait for this job, too.

        Returns
        -------
        str
            Empty when the device is this job's; else the reason in words.
        """
        with _tickets() as folder:
            file = _file(folder, self.ticket.job)
            before = _read(file)
            priority = (
                self.ticket.priority if before is None or before.state == "running" else before.priority
            )
            ticket = Ticket(**{**asdict(self.ticket), "priority": priority})
            others = [other for other in _living(folder) if other.job != ticket.job]
            why = _explained(ticket, others).why if wait else ""
            self.ticket = Ticket(**{**asdict(ticket), "state": "waiting" if why else "running"})
            write_json(file, asdict(self.ticket))
        return why

    def leave(self) -> None:
        """Let the device go."""
        with _tickets() as folder:
            file = _file(folder, self.ticket.job)
            held = _read(file)
            if held is not None and held.pid == self.ticket.pid:
                file.unlink(missing_ok=True)


def device_key(device: str) -> str:
    """One name per device: ``cuda`` is ``cuda:0``, and ``auto`` is nothing yet."""
    return {"auto": "", "cuda": "cuda:0"}.get(device, device)


def _explained(ticket: Ticket, others: list[Ticket]) -> Ticket:
    """The ticket with what it waits for; nothing where it may go."""
    rivals = [other for other in others if other.job != ticket.job and ticket.meets(other)]
    running = sorted((other for other in rivals if other.state == "running"), key=lambda t: t.since)
    ahead = [other for other in rivals if other.state == "waiting" and other.place < ticket.place]
    parts = []
    if running:
        holders = ", ".join(f"{other.name} (process {other.pid})" for other in running)
        parts.append(f"{ticket.device or running[0].device or 'the device'} is used by {holders}")
    if ahead:
        parts.append("before it: " + ", ".join(other.name for other in sorted(ahead, key=lambda t: t.place)))
    return Ticket(**{**asdict(ticket), "why": "; ".join(parts)})


def _living(folder: Path) -> list[Ticket]:
    """Tickets that count; those of dead processes are cleared away."""
    found = []
    for file in sorted(folder.glob("*.json")):
        ticket = _read(file)
        if ticket is None or not _counts(ticket, file):
            file.unlink(missing_ok=True)
        else:
            found.append(ticket)
    return found


def _counts(ticket: Ticket, file: Path) -> bool:
    if ticket.pid:
        return ProcessId(ticket.pid, ticket.born, ticket.host).alive
    return abs(time.time() - file.stat().st_mtime) < GRACE_S


def ticket_of(path: str | Path) -> Ticket | None:
    """The ticket of a job; None if it neither uses a device nor waits for one."""
    with _tickets() as folder:
        file = _file(folder, str(Path(path).absolute()))
        ticket = _read(file)
        return ticket if ticket is not None and _counts(ticket, file) else None


def _file(folder: Path, job: str) -> Path:
    return folder / f"{hashlib.sha256(job.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}.json"


def _read(file: Path) -> Ticket | None:
    try:
        raw: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        ticket = Ticket(**raw)
    except (OSError, ValueError, TypeError):
        return None
    numbers = (
        isinstance(ticket.priority, int)
        and isinstance(ticket.since, int | float)
        and isinstance(ticket.pid, int)
    )
    texts = all(isinstance(text, str) for text in (ticket.job, ticket.device, ticket.born, ticket.host))
    return ticket if numbers and texts and ticket.state in ("waiting", "running") else None


@contextmanager
def reserved(
    job: Path, device: str, *, state: Literal["waiting", "running"], priority: int = 0, since: float
) -> Iterator[None]:
    """Keep a place for a job whose process is about to begin; if the block fails, all is as before."""
    job = job.absolute()
    with _tickets() as folder:
        file = _file(folder, str(job))
        held = _read(file)
        own = held is None or not held.pid or not _counts(held, file)
        if own:  # else a live job has the folder, whose lock is about to refuse this one
            ticket = Ticket(str(job), device_key(device), priority, since, state, host=host_name())
            write_json(file, asdict(ticket))
    try:
        yield
    except BaseException:
        if own:
            file.unlink(missing_ok=True)
        raise


@contextmanager
def _tickets() -> Iterator[Path]:
    """The folder of this machine's tickets, for one process at a time."""
    folder = jobs_folder() / "queue" / "".join(c if c.isalnum() or c in "-_." else "_" for c in host_name())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=30)
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"the queue {folder} is locked by another process") from error
    except OSError as error:
        raise OutputError(f"cannot write to the queue {folder}: {error.strerror or error}") from error
    try:
        yield folder
    finally:
        lock.release()
