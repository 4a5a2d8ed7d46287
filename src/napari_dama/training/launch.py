"""Start the other processes of a run on this machine, and end them. No torch, no shell, no fork."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from napari_dama.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dama.training.place import Place

MODULE = "napari_dama.training.follow"


def start_followers(place: Place, folder: Path, port: int) -> list[subprocess.Popen[bytes]]:
    """Start processes 1, 2, ... of this machine, which read their settings from the run's folder.

    They are in a session of their own, so that Ctrl-C reaches the first process alone, which decides for all. What they say
    goes where this process's errors go.

    Raises
    ------
    OutputError
        If a process cannot be started; none is left.
    """
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    started: list[subprocess.Popen[bytes]] = []
    for rank in range(1, place.local_world):
        environment = {**os.environ, "PYTHONUTF8": "1", **place.environment_of(rank, port)}
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                **options,
            )
        except OSError as error:
            end_followers(started, wait_s=0)
            raise OutputError(f"cannot start process {rank} of the run: {error.strerror or error}") from error
        started.append(process)
    return started


def end_followers(processes: list[subprocess.Popen[bytes]], *, wait_s: float) -> None:
    """Let them end by themselves for a while, then end those that have not."""
    for process in processes:
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
