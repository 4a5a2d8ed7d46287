"""Options of commands whose work can have a process of its own, and what is said of such a job."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from napari_dama.jobs.folder import JobView

Detach = Annotated[
    bool, typer.Option("--detach", help="Run in a process of its own that outlives this terminal.")
]
Queue = Annotated[
    bool, typer.Option("--queue", help="As --detach, but wait until no other such job uses the device.")
]
Priority = Annotated[int, typer.Option(help="With --queue: higher goes first.")]


def apart_facts(view: JobView) -> dict[str, Any]:
    """What to print of a job that was just begun: where it is, and how to follow and stop it."""
    job = shlex.quote(str(view.path))
    return {
        "job": str(view.path),
        "state": view.state,
        "process": view.pid,
        "log": str(view.path / "log.txt"),
        "watch": f"napari-dama jobs watch {job}",
        "stop": f"napari-dama jobs stop {job}",
    }
