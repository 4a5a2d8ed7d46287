"""pretrain and finetune: one file of settings is one run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from napari_dama.cli.apart import Detach, Priority, Queue, apart_facts
from napari_dama.cli.cluster import DryRun, Slurm, SlurmSet, Wish, sent
from napari_dama.cli.console import (
    GreedyCommand,
    Json,
    Overwrite,
    Reporter,
    print_facts,
    print_json,
    stop_on_interrupt,
)
from napari_dama.errors import SettingsError
from napari_dama.training.place import environment_place, is_follower

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dama.training.settings import RunSettings

S = TypeVar("S", bound="RunSettings")
BESIDE_TORCHRUN = (
    "--detach and --queue start the processes of a run by themselves: leave torchrun out, or them"
)
Job = Annotated[
    Path, typer.Option("--out", "-o", help="Folder of the run: settings, metrics, checkpoints, model.")
]
Pairs = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Settings as key=value: size, epochs, max_steps, batch_size, lr, seed, device, ..."
    ),
]
Init = Annotated[str | None, typer.Option(help="A model to start from, or random.")]
Devices = Annotated[
    int | None, typer.Option("--devices", help="GPUs (or CPU processes) of each machine that share a batch.")
]
Nodes = Annotated[
    int | None,
    typer.Option("--nodes", help="Machines; torchrun or SLURM starts the run on each (docs/cluster.md)."),
]
Strategy = Annotated[
    str | None,
    typer.Option("--strategy", help="auto or ddp: all weights on every device; fsdp: a shard on each."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a run from its last checkpoint.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(cls=GreedyCommand)(pretrain)
    app.command(cls=GreedyCommand)(finetune)


def _list_recipes(asked: bool) -> None:
    if asked:
        from napari_dama.training.recipes import recipe_names

        typer.echo("\n".join(recipe_names()))
        raise typer.Exit


def pretrain(
    out: Job,
    crops: Annotated[Path | None, typer.Option(help="The crop store (napari-dama crops).")] = None,
    method: Annotated[
        str | None, typer.Option(help="dama, dama-random, mae, data2vec, moco or simmim.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Published settings by name, such as brain7/dama-base (--list-recipes)."),
    ] = None,
    pairs: Pairs = None,
    init: Init = None,
    settings: Annotated[Path | None, typer.Option(help="A job.yaml to take all settings from.")] = None,
    list_recipes: Annotated[
        bool, typer.Option("--list-recipes", is_eager=True, callback=_list_recipes, help="Name them all.")
    ] = False,
    devices: Devices = None,
    nodes: Nodes = None,
    strategy: Strategy = None,
    detach: Detach = False,
    queue: Queue = False,
    priority: Priority = 0,
    slurm: Slurm = False,
    slurm_set: SlurmSet = None,
    dry_run: DryRun = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Teach an encoder on crops without labels; --devices 4 shares each batch among four GPUs.

    Ctrl-C writes a checkpoint; --resume continues from it (with the settings in JOB, if none are given).

    For example:

      napari-dama pretrain --crops store -o job --set epochs=50 --set batch_size=128

      napari-dama pretrain --crops store -o job --method mae --set max_steps=500 --detach

      napari-dama pretrain --crops store -o job --recipe brain7/dama-base --set batch_size=256

      napari-dama pretrain --crops store -o job --queue --set device=cuda

      napari-dama pretrain --crops store -o job --slurm --slurm-set partition=gpu time=8:00:00 --dry-run

      napari-dama pretrain --crops store -o job --devices 4 --detach

      napari-dama pretrain -o job --resume
    """
    from napari_dama.training.settings import PretrainSettings

    given: dict[str, Any] = {"crops": crops, "method": method, "init": init}
    given |= {"devices": devices, "nodes": nodes, "strategy": strategy}
    if recipe is not None:
        from napari_dama.training.recipes import recipe as published

        if settings is not None:
            raise SettingsError("--recipe and --settings both give all settings: give one of them")
        if resume and (out / "job.yaml").is_file():
            raise SettingsError("--resume goes on with the settings in the job's folder: leave --recipe out")
        given = published(recipe) | {key: value for key, value in given.items() if value is not None}
    wanted = _settings(PretrainSettings, out, given, pairs, settings, resume=resume)

    def run(**options: Any) -> dict[str, float]:
        from napari_dama.training.pretrain import pretrain as train

        return train(wanted, **options)

    wish = Wish(slurm, slurm_set, dry_run, apart=detach or queue)
    if sent(wanted, wish, resume=resume, overwrite=overwrite, as_json=as_json):
        return
    apart = Apart(detach, queue, priority)
    _run(wanted, run, apart, resume=resume, overwrite=overwrite, as_json=as_json)


def finetune(
    out: Job,
    task: Annotated[str | None, typer.Option(help="types or segments.")] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="types: a crop store with types. segments: folders of NAME.ome.tif with NAME_cells.tif, "
            "or COCO annotations (.json) beside their images."
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Settings by name: paper-types, linear-probe; --set changes some.")
    ] = None,
    pairs: Pairs = None,
    init: Init = None,
    settings: Annotated[Path | None, typer.Option(help="A job.yaml to take all settings from.")] = None,
    devices: Devices = None,
    nodes: Nodes = None,
    strategy: Strategy = None,
    detach: Detach = False,
    queue: Queue = False,
    priority: Priority = 0,
    slurm: Slurm = False,
    slurm_set: SlurmSet = None,
    dry_run: DryRun = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Teach a model cell types or outlines from labelled data.

    Ctrl-C writes a checkpoint; --resume continues from it (with the settings in JOB, if none are given).

    For example:

      napari-dama finetune --task types --data store -o types_job --init job/model

      napari-dama finetune --task segments --data demo -o segments_job --set epochs=20 --set lr=1e-3

      napari-dama finetune --task segments --data demo -o boxes_job --set head=mask-rcnn --set batch_size=8

      napari-dama finetune --task types --data store -o paper_job --init job/model --recipe paper-types --set size=tiny

      napari-dama finetune --task types --data store -o probe_job --init job/model --recipe linear-probe
    """
    from napari_dama.training.settings import FinetuneSettings

    given: dict[str, Any] = {"task": task, "data": data or None, "init": init}
    given |= {"devices": devices, "nodes": nodes, "strategy": strategy}
    if recipe is not None:
        from napari_dama.training.finetune_recipes import finetune_recipe

        if settings is not None:
            raise SettingsError("--recipe and --settings both give all settings: give one of them")
        if resume and (out / "job.yaml").is_file():
            raise SettingsError("--resume goes on with the settings in the job's folder: leave --recipe out")
        given = finetune_recipe(recipe) | {key: value for key, value in given.items() if value is not None}
    wanted = _settings(FinetuneSettings, out, given, pairs, settings, resume=resume)

    def run(**options: Any) -> dict[str, float]:
        from napari_dama.training.finetune import finetune as train

        return train(wanted, **options)

    wish = Wish(slurm, slurm_set, dry_run, apart=detach or queue)
    if sent(wanted, wish, resume=resume, overwrite=overwrite, as_json=as_json):
        return
    apart = Apart(detach, queue, priority)
    _run(wanted, run, apart, resume=resume, overwrite=overwrite, as_json=as_json)


def _settings(
    kind: type[S],
    out: Path,
    given: dict[str, Any],
    pairs: list[str] | None,
    file: Path | None,
    *,
    resume: bool,
) -> S:
    """Settings from a file (the job's own when it is resumed), with what the command line says on top."""
    from napari_dama.training.settings import checked

    named = {key: value for key, value in given.items() if value is not None}
    if file is None and resume and (out / "job.yaml").is_file():
        file = out / "job.yaml"
    if file is not None:
        raw = kind.from_file(file).model_dump()
        found = checked(kind, {**raw, **named, "out": out}, where="settings")
    else:
        required = {name for name, field in kind.model_fields.items() if field.is_required()} - {"out"}
        missing = sorted(required - set(named))
        if missing:
            raise SettingsError(
                f"{', '.join('--' + name for name in missing)} is missing; --help shows examples"
            )
        found = checked(kind, {**named, "out": out}, where="settings")
    return found.with_overrides(pairs or [])


@dataclass(frozen=True, slots=True)
class Apart:
    """Whether a run gets a process of its own, and whether that one waits for the device."""

    detach: bool
    queue: bool
    priority: int


def _run(
    settings: RunSettings,
    train: Callable[..., dict[str, float]],
    apart: Apart,
    *,
    resume: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    if resume and overwrite:
        raise SettingsError("--overwrite begins anew and --resume continues: give one of them")
    if apart.priority and not apart.queue:
        raise SettingsError("--priority is for a job that waits: give --queue, too")
    if is_follower():  # torchrun started several of these: the first one writes and speaks
        if apart.detach or apart.queue:
            raise SettingsError(BESIDE_TORCHRUN)
        with stop_on_interrupt() as stop:
            train(resume=resume, overwrite=overwrite, stop=stop)
        return
    if apart.detach or apart.queue:
        facts: dict[str, Any] = _detach(settings, apart, resume=resume, overwrite=overwrite)
    else:
        _remember(settings.out)
        with Reporter() as reporter, stop_on_interrupt() as stop:

            def tell(now: Any) -> None:
                loss, rate = f"loss {now.loss:.4g}", f"{now.images_per_s:.0f} images/s"
                reporter.show("step", now.step, now.steps, loss, rate, left_s=now.eta_s)

            metrics = train(resume=resume, overwrite=overwrite, progress=tell, stop=stop)
        facts = {"job": str(settings.out), "model": str(settings.out / "model"), **metrics}
        facts |= _notes(settings.out)
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


def _remember(job: Path) -> None:
    """Put a run of this terminal on the list of jobs; training goes on where that list cannot be written."""
    from napari_dama.errors import OutputError
    from napari_dama.jobs.shelf import remember

    try:
        remember(job)
    except OutputError as error:
        typer.echo(f"warning: {error}", err=True)


def _notes(job: Path) -> dict[str, list[str]]:
    """What the run had to say of its data."""
    from napari_dama.jobs.folder import read_events

    notes: list[str] = []
    for event in read_events(job, most_bytes=None).records:
        if event["kind"] == "data":
            notes = list(event.get("notes", []))  # of the last session
        elif event["kind"] == "checked":
            notes += [found["text"] for found in event.get("findings", []) if found.get("level") == "warning"]
        elif event["kind"] == "memory":
            notes.append(str(event.get("text")))
    return {"notes": notes} if notes else {}


def _detach(settings: RunSettings, apart: Apart, *, resume: bool, overwrite: bool) -> dict[str, Any]:
    """Begin the run's folder here, so that mistakes show at once, and leave the work to another process."""
    if environment_place(os.environ) is not None:
        raise SettingsError(BESIDE_TORCHRUN)
    if apart.queue:
        from napari_dama.jobs.queue import enqueue

        view = enqueue(settings, priority=apart.priority, resume=resume, overwrite=overwrite)
    else:
        from napari_dama.jobs.process import start

        view = start(settings, resume=resume, overwrite=overwrite)
    return apart_facts(view)
