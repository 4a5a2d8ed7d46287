"""Training from the window: the commands of a run, and what its folder says of it. No Qt, no torch."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_dama.errors import OutputError, SettingsError
from napari_dama.gui.resolve import duration, unused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_dama.gui.state import TrainState

SILENT_S = 180.0


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """The processes of a run, one after the other, and the job folder that the last one writes."""

    commands: tuple[tuple[str, ...], ...]
    job: Path


def resolve_train(
    state: TrainState, slides: Sequence[str], chosen: Mapping[str, str], pixel_um: float | None, base: Path
) -> TrainPlan:
    """Return the commands for a run.

    Parameters
    ----------
    state : TrainState
        The user's wishes.
    slides : sequence of str
        Paths of the open slides; crops of them are made when no data are given.
    chosen, pixel_um : dict, float
        The choices in *Channels*, for crops.
    base : Path
        Folder that stores and jobs are put in.

    Raises
    ------
    SettingsError
        When the run lacks data that cannot be made from the open slides.
    """
    job = unused(base / f"dama_{'pretrain' if state.kind == 'pretrain' else 'finetune_' + state.kind}")
    commands: list[tuple[str, ...]] = []
    data = state.data.strip()
    if state.kind == "pretrain":
        if not data:
            if not slides:
                raise SettingsError(
                    "Open a slide first, or choose a crop store: pretraining needs cells to look at."
                )
            data = str(unused(base / "dama_crops"))
            commands.append(crops_command(slides, data, chosen, pixel_um))
        last = ["pretrain", "--crops", data]
    else:
        if not data:
            what = (
                "a crop store whose cells have types"
                if state.kind == "types"
                else "a folder of slides with outlined cells"
            )
            raise SettingsError(f"Choose the data first: fine-tuning needs {what}.")
        last = ["finetune", "--task", state.kind, "--data", data]
    last += ["-o", str(job), "--init", state.init]
    settings = {"epochs": state.epochs, "batch_size": state.batch_size, "seed": state.seed, "log_every": 5}
    if state.max_steps:
        settings["max_steps"] = state.max_steps
    for key, value in settings.items():
        last += ["--set", f"{key}={value}"]
    commands.append((*python_module(), *last))
    return TrainPlan(tuple(commands), job)


def crops_command(
    slides: Sequence[str], store: str, chosen: Mapping[str, str], pixel_um: float | None
) -> tuple[str, ...]:
    """Return the command that cuts crops from slides into a store."""
    command = [*python_module(), "crops", *slides, "-o", store]
    if chosen:
        command += ["--map", ",".join(f"{model}={mine}" for model, mine in chosen.items())]
    if pixel_um is not None:
        command += ["--pixel-um", f"{pixel_um:g}"]
    return tuple(command)


def python_module() -> tuple[str, ...]:
    """Return how the command line is started with this very Python."""
    return (sys.executable, "-m", "napari_dama")


@dataclass(frozen=True, slots=True)
class JobView:
    """What a job folder says.

    Attributes
    ----------
    state : str
        ``waiting``, ``running``, ``stopped``, ``failed``, ``finished`` or ``silent`` (no sign of life for minutes).
    share : float
        Share of the steps that are done.
    text : str
        Progress in words.
    steps, losses : tuple of float
        The curve.
    model : Path or None
        The finished model's folder.
    """

    state: str
    share: float
    text: str
    steps: tuple[float, ...]
    losses: tuple[float, ...]
    model: Path | None


def read_job(folder: Path, *, now: float | None = None) -> JobView:
    """Read a job folder as it stands; half-written files are passed over."""
    status = _json(folder / "status.json")
    steps, losses = read_curve(folder / "metrics.csv")
    model = folder / "model" if (folder / "model" / "card.json").is_file() else None
    if not status:
        return JobView("waiting", 0.0, "Starting ...", steps, losses, None)
    state = str(status.get("state", "running"))
    silent = (time.time() if now is None else now) - float(status.get("heartbeat", 0)) > SILENT_S
    if state == "running" and silent:
        state = "silent"
    step, total = int(status.get("step", 0)), int(status.get("steps", 0))
    share = step / total if total else 0.0
    return JobView(
        state,
        share,
        _words(state, step, total, status),
        steps,
        losses,
        model if state == "finished" else None,
    )


def _words(state: str, step: int, total: int, status: Mapping[str, Any]) -> str:
    if state == "failed" and status.get("why"):
        return f"Failed: {status['why']}"
    parts = [f"Step {step} of {total}"]
    rate, left, loss = status.get("images_per_s"), status.get("eta_s"), status.get("loss")
    if isinstance(loss, int | float):
        parts.append(f"loss {loss:.4g}")
    if state == "running":
        if rate:
            parts.append(f"{rate:.0f} cells/s")
        if isinstance(left, int | float):
            parts.append(f"about {duration(float(left))} left")
    ends = {
        "finished": "Finished. ",
        "stopped": "Stopped; a checkpoint is kept and the job can be resumed. ",
        "failed": "Failed. ",
        "silent": "No sign of life for some minutes: the process may have been ended from outside. ",
    }
    return ends.get(state, "") + ", ".join(parts) + "."


def read_curve(file: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return steps and losses of a job's ``metrics.csv``; empty while there is none."""
    try:
        with file.open(newline="", encoding="utf-8") as rows:
            found = [(row.get("step"), row.get("loss")) for row in csv.DictReader(rows)]
    except OSError:
        return (), ()
    pairs = [(float(step), float(loss)) for step, loss in found if step and loss and _is_number(loss)]
    return tuple(step for step, _ in pairs), tuple(loss for _, loss in pairs)


def ask_to_stop(folder: Path) -> None:
    """Ask a job to save a checkpoint and end: a file named ``stop`` in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stop").touch()


def put_on_shelf(model: Path, shelf: Path) -> str:
    """Copy a finished model to the user's shelf and return its name.

    Raises
    ------
    OutputError
        When a model of that name is there already, or it cannot be written.
    """
    from napari_dama.models.card import Card

    card = Card.read(model)
    target = shelf / card.name
    if target.exists():
        raise OutputError(
            f"The shelf has a model {card.name} already ({target}): remove or rename that one first."
        )
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        shutil.copytree(model, target)
    except OSError as error:
        raise OutputError(
            f"The model cannot be put on the shelf {shelf}: {error.strerror or error}"
        ) from error
    return card.name


def last_words(log: Path) -> str:
    """Return the last line that a process wrote: the command line's own sentence when it failed."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line), "").removeprefix("error: ")


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True
