"""Jobs that wait until their device is free: enqueue, look, change the order, cancel. No torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dama.errors import JobError
from napari_dama.jobs.process import launch, read_settings, request_stop
from napari_dama.jobs.tickets import Ticket, list_queue, move, reserved, set_priority, ticket_of

if TYPE_CHECKING:
    from napari_dama.jobs.folder import JobView
    from napari_dama.training.job_settings import JobSettings

__all__ = ["Ticket", "cancel", "enqueue", "list_queue", "move", "requeue", "set_priority"]


def enqueue(
    settings: JobSettings,
    device: str | None = None,
    priority: int = 0,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> JobView:
    """Begin a job that waits until its device is free.

    Parameters
    ----------
    settings
        The whole run.
    device
        In place of ``settings.device``: ``auto``, ``cpu``, ``mps``, ``cuda`` (the first GPU), ``cuda:1``, ...
    priority
        Higher goes first; among equals the oldest.
    resume, overwrite
        As for `napari_dama.jobs.process.start`.
    """
    if device is not None:
        settings = settings.model_copy(update={"device": device})
    since = time.time()
    words = ["--queue", "--priority", str(priority), "--since", repr(since)]
    with reserved(settings.out, settings.device, state="waiting", priority=priority, since=since):
        return launch(settings, words, state="waiting", resume=resume, overwrite=overwrite)


def requeue(path: str | Path, priority: int = 0) -> JobView:
    """Resume a job as soon as its device is free; as `enqueue` with the settings in its folder."""
    return enqueue(read_settings(Path(path)), priority=priority, resume=True)


def cancel(path: str | Path) -> None:
    """Take a waiting job out of the queue: its process ends, its folder stays.

    Raises
    ------
    JobError
        If it does not wait.
    """
    ticket = ticket_of(path)
    if ticket is None or ticket.state != "waiting":
        raise JobError(f"{path} does not wait for a device")
    request_stop(path)
