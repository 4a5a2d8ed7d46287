"""What the command line says of SLURM: options of runs, ``jobs submit`` and the user's defaults, ``jobs cluster``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_dama.cli.console import GreedyCommand, Json, print_facts, print_json
from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from napari_dama.jobs.folder import JobView
    from napari_dama.training.settings import RunSettings

Slurm = Annotated[
    bool, typer.Option("--slurm", help="Send the run to a SLURM cluster; JOB lies where its nodes see it.")
]
SlurmSet = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm-set",
        help="Resources as key=value: partition, account, time, nodes, gpus, cpus, memory_gb, setup, extra, ... "
        "in place of your defaults (napari-dama jobs cluster).",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the script that sbatch would get, and do nothing.")
]


def register(jobs: typer.Typer) -> None:
    """Add the commands to ``jobs``."""
    jobs.command("submit", cls=GreedyCommand)(submit_job)
    jobs.command(cls=GreedyCommand)(cluster)


def submit_job(
    job: Annotated[str, typer.Argument(help="A job's folder, or its name in the list.")],
    slurm_set: SlurmSet = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Send a job that has a folder to a SLURM cluster: for the first time, or to go on from its last checkpoint.

    It asks for what it asked for before (cluster.yaml in its folder), else for your defaults.

    For example:

      napari-dama jobs submit job

      napari-dama jobs submit job --slurm-set time=12:00:00 gpus=2 --dry-run
    """
    from napari_dama.jobs.cluster import settings_of
    from napari_dama.jobs.folder import read_job
    from napari_dama.jobs.shelf import find_job
    from napari_dama.jobs.submission import script_text, submit_folder

    path = find_job(job)
    wanted = settings_of(path).with_overrides(slurm_set or [])
    if dry_run:
        typer.echo(script_text(path, wanted, read_job(path).name), nl=False)
        return
    facts = _facts(submit_folder(path, wanted))
    print_json(facts) if as_json else print_facts(facts)


def cluster(
    pairs: Annotated[
        list[str] | None, typer.Option("--set", help="Change defaults: key=value, as --slurm-set takes them.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget them first.")] = False,
    as_json: Json = False,
) -> None:
    """Show your defaults for SLURM, or change them: what runs ask for with --slurm, here and in the window.

    For example:

      napari-dama jobs cluster --set partition=gpu account=lab time=8:00:00

      napari-dama jobs cluster --set setup="module load cuda" --set setup="source ~/dama/bin/activate"
    """
    from napari_dama.jobs.cluster import ClusterSettings, default_settings, defaults_file, keep_as_defaults
    from napari_dama.jobs.submission import why_not_here

    if reset:
        defaults_file().unlink(missing_ok=True)
    found = default_settings()
    if pairs:
        found = found.with_overrides(pairs)
        keep_as_defaults(found)
    values = ClusterSettings.model_dump(found)
    if as_json:
        print_json({"file": str(defaults_file()), "submits": not why_not_here(), **values})
        return
    said = {"file": defaults_file() if defaults_file().is_file() else "none yet; these are the program's own"}
    said["here"] = why_not_here() or "jobs can be submitted from this computer"
    shown = {key: _shown(value) for key, value in values.items()}
    print_facts({**said, **shown})


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run was told of a cluster; ``apart`` says that it was told to stay here as well."""

    slurm: bool
    pairs: list[str] | None
    dry_run: bool
    apart: bool


def sent(settings: RunSettings, wish: Wish, *, resume: bool, overwrite: bool, as_json: bool) -> bool:
    """Submit a run, or print its script, where that is wished; whether it was.

    Raises
    ------
    SettingsError
        If an option lacks ``--slurm``, or speaks against it.
    """
    if not wish.slurm:
        if wish.pairs or wish.dry_run:
            option = "--slurm-set" if wish.pairs else "--dry-run"
            raise SettingsError(f"{option} goes with --slurm: give that, too")
        return False
    if wish.apart:
        raise SettingsError(
            "--slurm sends the run to a cluster, --detach and --queue keep it here: give one of them"
        )
    if resume and overwrite:
        raise SettingsError("--overwrite begins anew and --resume continues: give one of them")
    from napari_dama.jobs.cluster import default_settings, settings_of
    from napari_dama.jobs.process import with_whole_paths
    from napari_dama.jobs.submission import fitted, script_text, submit

    before = settings_of(settings.out) if resume else default_settings()
    cluster = fitted(before, settings, wish.pairs or [])
    if wish.dry_run:
        whole = with_whole_paths(settings)
        typer.echo(script_text(whole.out, cluster, whole.name or whole.out.name), nl=False)
        return True
    facts = _facts(submit(settings, cluster, resume=resume, overwrite=overwrite))
    print_json(facts) if as_json else print_facts(facts)
    return True


def _facts(view: JobView) -> dict[str, Any]:
    name = shlex.quote(str(view.path))
    return {
        "job": str(view.path),
        "state": view.state,
        "slurm": view.slurm,
        "why": view.why,
        "log": str(view.path / "log.txt"),
        "watch": f"napari-dama jobs watch {name}",
        "stop": f"napari-dama jobs stop {name}",
    }


def _shown(value: Any) -> Any:
    return "-" if value is None else (value or ["none"]) if isinstance(value, list) else value
