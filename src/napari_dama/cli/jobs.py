"""jobs: training and analyses that run in processes of their own, from any terminal."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_dama.cli import cluster
from napari_dama.cli.console import Json, Reporter, duration, print_facts, print_json, print_table
from napari_dama.errors import DamaError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dama.jobs.folder import JobView

POLL_S = 0.5
LAST_EVENTS = 12

jobs = typer.Typer(
    no_args_is_help=True,
    help="Training and analyses in processes of their own: list, show, watch, stop, resume, queue, submit.",
)
cluster.register(jobs)
Job = Annotated[str, typer.Argument(help="A job's folder, or its name in the list.")]
Wait = Annotated[bool, typer.Option("--wait", help="Come back when the job has ended.")]
Priority = Annotated[int | None, typer.Option(help="Higher goes first; 0 by default.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(jobs, name="jobs")


@jobs.command("list")
def list_(as_json: Json = False) -> None:
    """List the jobs that were started here, those at work first.

    For example: napari-dama jobs list
    """
    from napari_dama.jobs.shelf import list_jobs

    views = list_jobs()
    if as_json:
        print_json([facts_of(view) for view in views])
        return
    if not views:
        typer.echo("no job is known here; start one with napari-dama pretrain ... (or analyse ...) --detach")
        return
    print_table(
        [
            {
                "name": view.name,
                "kind": view.kind,
                "state": view.state,
                "step": f"{view.step}/{view.steps}" if view.steps else "-",
                "loss": "-" if view.loss is None else f"{view.loss:.4g}",
                "pace": (_pace(view) if view.going else "") or "-",
                "left": duration(view.eta_s) if view.going and view.eta_s is not None else "-",
                "device": view.device or "-",
                "where": view.place if view.slurm else view.host or "-",
                "folder": view.path,
                "why": view.why if view.going and view.why else "-",
            }
            for view in views
        ]
    )


@jobs.command()
def show(job: Job, as_json: Json = False) -> None:
    """Show all that a job's folder says, with its last events.

    For example: napari-dama jobs show job
    """
    from napari_dama.jobs.folder import read_events, read_job
    from napari_dama.jobs.shelf import find_job

    path = find_job(job)
    view, events = read_job(path), read_events(path).records[-LAST_EVENTS:]
    if as_json:
        print_json({**facts_of(view), "events": events})
        return
    facts: dict[str, Any] = {
        "job": view.path,
        "name": view.name,
        "kind": " ".join(part for part in (view.kind, view.task) if part) or "unknown",
        "state": view.state,
    }
    if view.why:
        facts["why"] = view.why
    facts[view.unit.removesuffix("s")] = f"{view.step} of {view.steps}" if view.steps else "none yet"
    if view.cells is not None:
        facts["cells"] = view.cells
    if view.loss is not None:
        facts["loss"] = f"{view.loss:.5g}"
    if view.going and (pace := _pace(view)):
        facts["pace"] = pace
    if view.going and view.eta_s is not None:
        facts["left"] = duration(view.eta_s)
    facts["device"] = view.device or "not known yet"
    if view.kind != "analyse":
        facts["parent"] = view.parent or "none"
        facts["best"] = [f"{name}: {value:.5g}" for name, value in view.best.items()]
    if view.started is not None:
        facts["started"] = f"{datetime.fromtimestamp(view.started):%Y-%m-%d %H:%M:%S}"
    if view.slurm:
        facts["where"] = view.place
    if view.pid is not None:
        facts["process"] = f"{view.pid} on {view.host or 'this machine'}"
    if view.heartbeat_age_s is not None:
        facts["last sign"] = f"{duration(view.heartbeat_age_s)} ago"
    if view.model is not None:
        facts["model"] = view.model
    if view.result is not None:
        facts["result"] = view.result
    facts["events"] = [_event_text(event) for event in events]
    print_facts(facts)


@jobs.command()
def watch(job: Job, as_json: Json = False) -> None:
    """Follow a job until it ends. Ctrl-C ends the watching, not the job.

    The exit code is 0 for a finished job, 1 for a failed or dead one, 130 for a stopped one.

    For example: napari-dama jobs watch job
    """
    from napari_dama.jobs.shelf import find_job

    view = _follow(find_job(job))
    _print_end(view, as_json)


@jobs.command()
def stop(
    job: Job,
    wait: Wait = False,
    now: Annotated[
        bool, typer.Option("--now", help="On a cluster: scancel at once, not only the polite request.")
    ] = False,
    grace: Annotated[
        float, typer.Option(min=0, help="On a cluster, with --wait: scancel after so many seconds.")
    ] = 300.0,
    as_json: Json = False,
) -> None:
    """Ask a job to finish its step (or tile), save what it has and end. One that waits for its device leaves the queue.

    For example: napari-dama jobs stop job --wait
    """
    from napari_dama.jobs.folder import read_job
    from napari_dama.jobs.process import request_stop
    from napari_dama.jobs.shelf import find_job

    path = find_job(job)
    if now and not read_job(path).slurm:
        raise SettingsError(f"--now is for jobs on a cluster, and {job} is none")
    request_stop(path)
    if now or (wait and read_job(path).slurm):
        from napari_dama.jobs.submission import cancel_now, wait_or_cancel

        if now and read_job(path).going:
            cancel_now(path)
        view = wait_or_cancel(path, grace) if wait else read_job(path)
    else:
        view = _until_ended(path) if wait else read_job(path)
    print_json(facts_of(view)) if as_json else print_facts(_short(view))


@jobs.command()
def resume(
    job: Job,
    queue: Annotated[bool, typer.Option("--queue", help="Wait until the device is free.")] = False,
    priority: Priority = None,
    here: Annotated[
        bool, typer.Option("--here", help="On this computer, though the job ran on a cluster.")
    ] = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Go on with a job from its last checkpoint, in a process of its own; one from a cluster is submitted again.

    For example: napari-dama jobs resume job --wait
    """
    from napari_dama.jobs import process
    from napari_dama.jobs.queue import requeue
    from napari_dama.jobs.shelf import find_job

    if priority is not None and not queue:
        raise SettingsError("--priority is for a job that waits: give --queue, too")
    path = find_job(job)
    view = requeue(path, priority or 0) if queue else process.resume(path, here=here)
    if wait:
        _print_end(_follow(path), as_json)
    else:
        print_json(facts_of(view)) if as_json else print_facts(_short(view))


@jobs.command()
def queue(
    job: Annotated[str | None, typer.Argument(help="A waiting job whose place is to change.")] = None,
    priority: Priority = None,
    as_json: Json = False,
) -> None:
    """Show which jobs use this machine's devices and which wait for them, in order; or change a job's place.

    For example:

      napari-dama jobs queue

      napari-dama jobs queue job --priority 5
    """
    from dataclasses import asdict

    from napari_dama.jobs.queue import list_queue, set_priority
    from napari_dama.jobs.shelf import find_job

    if job is not None:
        path = find_job(job)
        if priority is not None:
            set_priority(path, priority)
    elif priority is not None:
        raise SettingsError("--priority needs the name of a job")
    tickets = [ticket for ticket in list_queue() if job is None or ticket.job == str(path)]
    if as_json:
        print_json([asdict(ticket) for ticket in tickets])
    elif tickets:
        print_table(
            [
                {
                    "job": ticket.name,
                    "state": ticket.state,
                    "device": ticket.device or "auto",
                    "priority": ticket.priority,
                    "why": ticket.why or "-",
                }
                for ticket in tickets
            ]
        )
    else:
        typer.echo("no job uses a device of this machine" if job is None else f"{job} is not in the queue")


def facts_of(view: JobView) -> dict[str, Any]:
    """A job as plain values."""
    from dataclasses import asdict

    folders = {name: getattr(view, name) for name in ("path", "model", "result")}
    return {**asdict(view), **{name: None if path is None else str(path) for name, path in folders.items()}}


def _pace(view: JobView) -> str:
    if view.mpx_per_s:
        return f"{view.mpx_per_s:.3g} Mpx/s"
    return f"{view.images_per_s:.0f} images/s" if view.images_per_s else ""


def _short(view: JobView) -> dict[str, Any]:
    unit = view.unit.removesuffix("s")
    facts = {"job": str(view.path), "state": view.state, unit: f"{view.step} of {view.steps}"}
    if view.result is not None:
        facts |= {"cells": str(view.cells or 0), "result": str(view.result)}
    if view.why:
        facts["why"] = view.why
    if view.slurm:
        facts["where"] = view.place
    elif view.pid is not None:
        facts["process"] = str(view.pid)
    return facts


def _follow(path: Path) -> JobView:
    """Show progress until the job has ended."""
    from napari_dama.jobs.folder import read_job

    said = ""
    with Reporter() as reporter:
        while (view := read_job(path)).going:
            if view.state == "running" and view.steps:
                loss = "" if view.loss is None else f"loss {view.loss:.4g}"
                cells = "" if view.cells is None else f"{view.cells} cells"
                unit = view.unit.removesuffix("s")
                reporter.show(unit, view.step, view.steps, loss, cells, _pace(view), left_s=view.eta_s)
            elif (words := f"{view.state}: {view.why}" if view.why else view.state) != said:
                typer.echo(words, err=True)
                said = words
            time.sleep(POLL_S)
    return view


def _until_ended(path: Path) -> JobView:
    from napari_dama.jobs.folder import read_job

    while (view := read_job(path)).going:
        time.sleep(POLL_S)
    return view


def _print_end(view: JobView, as_json: bool) -> None:
    if as_json:
        print_json(facts_of(view))
    else:
        best = [f"{name}: {value:.5g}" for name, value in view.best.items()]
        print_facts(_short(view) | ({"best": best} if best else {}))
    if view.state in ("failed", "dead"):
        raise DamaError(f"{view.name} {'is dead' if view.state == 'dead' else 'failed'}: {view.why}")
    if view.state == "stopped":
        raise typer.Exit(130)


def _event_text(event: dict[str, Any]) -> str:
    when = event.get("time")
    clock = f"{datetime.fromtimestamp(when):%H:%M:%S} " if isinstance(when, int | float) else ""
    rest = {key: value for key, value in event.items() if key not in ("time", "kind", "findings")}
    words = [f"{key} {_value(value)}" for key, value in rest.items()]
    words += [f"{found['level']}: {found['text']}" for found in event.get("findings", []) if "text" in found]
    return f"{clock}{event['kind']}" + (": " + "; ".join(words) if words else "")


def _value(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
