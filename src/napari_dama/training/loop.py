"""The visible loop of every training run: step, log, validate, checkpoint, stop, resume.

A step's randomness follows from the seed and the step's number alone, so that a run that was killed and resumed goes on
as one left alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from napari_dama.errors import DamaError, Interrupted, JobError, SettingsError
from napari_dama.models.precision import choose_attention, fastest_precision
from napari_dama.predict.device import pick_device
from napari_dama.training import guards
from napari_dama.training.accumulate import WHOLE, Accumulator, Attempt, Part
from napari_dama.training.checkpoint import module_state, optimiser_tensors, take_up, unlogged
from napari_dama.training.crew import Crew
from napari_dama.training.optimiser import make_optimiser, rate_at
from napari_dama.training.place import share_threads

if TYPE_CHECKING:
    from napari_dama.nets.dama import Losses
    from napari_dama.training.folder import RunFolder
    from napari_dama.training.place import Place
    from napari_dama.training.settings import RunSettings
    from napari_dama.training.team import Team


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Where a run stands. ``seconds`` counts this session; ``images_per_s`` is over it as well."""

    step: int
    steps: int
    loss: float
    images_per_s: float
    eta_s: float


ProgressFn = Callable[[RunProgress], None]
StopFn = Callable[[], bool]


class Task(Protocol):
    """What a kind of training brings to the loop.

    A task may also have ``after_step(progress: float)``, which follows each step of the optimiser with the share of the run
    that is done: methods with a teacher move it there. ``least`` is the fewest samples of a part of a batch, 1 if absent.
    ``trial()`` is a validation of a little, once before the first step; ``validate()`` takes its place if absent.
    With ``preview(run: RunFolder, step: int)`` it leaves a picture of what it can do so far, right after a validation.
    """

    module: nn.Module
    samples: int

    def loss(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> Losses:
        """Losses of the batch of one step, or of a part of it: means over its samples."""

    def validate(self) -> dict[str, float]:
        """Metrics on validation data; ``score`` is the one to be chosen by, higher is better."""

    def finish(self, run: RunFolder, metrics: dict[str, float]) -> None:
        """Write the finished model."""


def prepare_device(settings: RunSettings, place: Place | None = None) -> torch.device:
    """The device that the settings ask for, with torch's threads limited where they say so.

    Of several processes each has a GPU of its own, or its share of the threads.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = torch.device(pick_device(settings.device))
    if place is None:
        return device
    if device.type == "cuda":
        if place.local_world > torch.cuda.device_count():
            raise SettingsError(
                f"{place.local_world} GPUs are asked for, and this machine has {torch.cuda.device_count()}; set devices"
            )
        return torch.device("cuda", place.local_rank)
    if settings.threads is None:
        torch.set_num_threads(share_threads(place))
    return torch.device("cpu")


def step_seed(seed: int, step: int) -> int:
    """Seed of one step: distinct for any two pairs of small numbers."""
    return (seed * 1_000_003 + step * 7919 + 1) % (2**63 - 1)


def total_steps(settings: RunSettings, samples: int) -> int:
    """Steps of a run over ``samples`` crops or tiles."""
    per_epoch = max(1, samples // settings.batch_size)
    steps = settings.epochs * per_epoch
    return min(steps, settings.max_steps) if settings.max_steps else steps


def run_training(
    task: Task,
    settings: RunSettings,
    run: RunFolder,
    *,
    device: torch.device,
    layer_decay: float = 1.0,
    progress: ProgressFn | None = None,
    stop: StopFn | None = None,
    team: Team | None = None,
) -> dict[str, float]:
    """Train ``task`` to its end, alone or with the other processes of a ``team``.

    Returns
    -------
    dict
        Metrics of the best checkpoint on validation data.

    Raises
    ------
    Interrupted
        If a stop was asked for; the checkpoint ``last`` continues the run.
    DamaError
        If the loss is no longer a number; the last good checkpoint is kept.
    """
    module = task.module.to(device)
    held = run.load_checkpoint("last")
    if team is not None:
        team.connect()
    crew = _crew(task, settings, device, held, team)
    precision = crew.told(_precision(settings, device, held[1] if held else {}))
    choose_attention(module, device, precision)
    steps = total_steps(settings, task.samples)
    per_epoch = max(1, task.samples // settings.batch_size)
    if crew.leads:
        guards.require_room(run.path, module)
    optimiser = make_optimiser(module, settings, layer_decay=layer_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
    peak = settings.lr * settings.batch_size / 256
    first, best = take_up(run, held, module, optimiser)
    sums, summed = unlogged(held, device)
    after_step: Callable[[float], None] | None = getattr(task, "after_step", None)
    preview: Callable[[RunFolder, int], None] | None = getattr(task, "preview", None)

    def split(parts: int) -> None:
        text = f"memory ran out: batches of {settings.batch_size} are learned in {parts} parts from now on"
        run.event("memory", parts=parts, text=text)
        run.log(f"warning: {text}")

    batches = Accumulator(
        min(settings.batch_size, task.samples),
        least=getattr(task, "least", 1),
        parts=int(held[1].get("parts", 1)) if held else 1,
        note=split,
        world=crew.world,
    )
    first_bad = torch.tensor(
        steps, device=device
    )  # the first step whose loss is no number; read when it is logged
    if held is not None and held[1].get("scaler"):
        scaler.load_state_dict(held[1]["scaler"])
    loss = math.nan
    run.event("started", step=first, steps=steps, device=crew.title, precision=precision)
    if first == 0:  # what would fail at the first validation fails now
        module.eval()
        run.event("tried", step=0, **crew.measured("trial"))
        if preview is not None and settings.previews and crew.pictures:
            preview(run, 0)
    module.train()
    crew.rehearse(
        batches, lambda: _attempts(crew, settings, first, device, precision, optimiser, scaler, alone=True)
    )
    began = saved = time.monotonic()

    def checkpoint(done: int) -> None:
        sums.update(crew.means(sums))
        state = crew.whole(module.state_dict())
        moments = crew.whole(optimiser_tensors(optimiser))
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise fail(done, "weights are")
        if crew.leads:
            guards.require_room(run.path, module, checkpoints=1)
        tensors = {f"module.{k}": v for k, v in state.items()} | moments
        tensors |= {f"sums.{name}": value for name, value in sums.items()}
        run.save_checkpoint(
            "last",
            tensors,
            {
                "step": done,
                "best": best,
                "summed": summed,
                "device": device.type,
                "precision": precision,
                "scaler": scaler.state_dict(),
                "parts": batches.parts,
            },
        )

    def fail(done: int, what: str) -> DamaError:
        run.status(**facts(done, "failed"))
        run.event("failed", step=done, why=f"{what} no longer a number")
        epoch, batch = divmod(done - 1, per_epoch)
        return DamaError(
            f"the {what} no longer a number at step {done}; the last good checkpoint is kept in "
            f"{run.path}. Try a lower lr (now {settings.lr}) or precision=float32. "
            f"It was batch {batch + 1} of {per_epoch} in epoch {epoch + 1}."
        )

    def facts(done: int, state: str) -> dict[str, object]:
        seconds = max(time.monotonic() - began, 1e-6)
        rate = (done - first) * settings.batch_size / seconds
        eta = (steps - done) * settings.batch_size / rate if rate > 0 else None
        shown = loss if math.isfinite(loss) else None
        return {
            "state": state,
            "step": done,
            "steps": steps,
            "loss": shown,
            "images_per_s": rate,
            "eta_s": eta,
            "device": crew.title,
            "precision": precision,
            "best": best,
        }

    for step in range(first, steps):
        asked, due = crew.agreed(
            run.stop_asked() or (stop is not None and stop()),
            time.monotonic() - saved > settings.checkpoint_seconds,
        )
        if asked:
            checkpoint(step)
            run.status(**facts(step, "stopped"))
            run.event("stopped", step=step)
            raise Interrupted(f"stopped at step {step} of {steps}; --resume continues it")
        rate = rate_at(step, steps, peak=peak, floor=settings.min_lr, warmup=settings.warmup)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        module.train()
        losses = batches.step(*_attempts(crew, settings, step, device, precision, optimiser, scaler))
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(module.parameters(), settings.clip_gradient)
        scaler.step(optimiser)
        scaler.update()
        if after_step is not None:
            after_step((step + 1) / steps)
        first_bad = torch.where(losses.total.detach().isfinite(), first_bad, first_bad.clamp_max(step + 1))
        for name, value in {"loss": losses.total, **losses.parts}.items():
            # a copy: the loss of some methods is also their only part, and a checkpoint takes no tensor twice
            sums[name] = sums[name] + value.detach() if name in sums else value.detach().clone()
        summed, done = summed + 1, step + 1
        if done % settings.log_every == 0 or done == steps:
            means = {name: float(value) / summed for name, value in crew.means(sums).items()}
            sums, summed, loss = {}, 0, means["loss"]
            if not math.isfinite(loss):
                raise fail(min(int(crew.lowest(first_bad)), done), "loss is")
            run.metrics({"step": done, "epoch": done // per_epoch, **means, "lr": rate})
            run.status(**facts(done, "running"))
            if progress is not None:
                now = facts(done, "running")
                progress(
                    RunProgress(
                        done, steps, loss, float(str(now["images_per_s"])), float(str(now["eta_s"] or 0))
                    )
                )
        if done % settings.validate_every == 0 or done == steps:
            module.eval()
            found = crew.measured("validate")
            run.event("validated", step=done, **found)
            if preview is not None and settings.previews and crew.pictures:
                preview(run, done)
            if not best or found["score"] >= best["score"]:
                best = {**found, "step": float(done)}
                weights = {f"module.{k}": v for k, v in crew.whole(module.state_dict()).items()}
                run.save_checkpoint("best", weights, {"step": done, "metrics": found})
        if due or done == steps:
            checkpoint(done)
            saved = time.monotonic()
    crew.unite(module)
    if not crew.leads:
        return best
    kept = run.load_checkpoint("best")
    if kept is not None:
        module.load_state_dict(module_state(kept[0]))
    module.eval()
    task.finish(run, best)
    run.status(**facts(steps, "finished"))
    run.event("finished", step=steps, best=best)
    return best


def _crew(
    task: Task,
    settings: RunSettings,
    device: torch.device,
    held: tuple[dict[str, Tensor], dict[str, Any]] | None,
    team: Team | None,
) -> Crew:
    """Who computes; several processes must go on from the same step."""
    if team is None:
        return Crew(task, device)
    from napari_dama.training.devices import Devices

    step = int(held[1]["step"]) if held else 0
    if team.told(step) != step:
        raise JobError(
            f"process {team.place.rank} goes on from step {step} and the first one from another: the job's folder must lie "
            "on storage that all machines share"
        )
    least: int = getattr(task, "least", 1)
    batch = min(settings.batch_size, task.samples)
    if batch // team.world < least:
        raise SettingsError(
            f"a batch of {batch} leaves {batch // team.world} for some of {team.world} processes; at least {least} is needed"
        )
    return Devices(task, team, settings.strategy)


def _attempts(
    crew: Crew,
    settings: RunSettings,
    step: int,
    device: torch.device,
    precision: str,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    *,
    alone: bool = False,
) -> Attempt:
    """What an `Accumulator` does at a step, as often as memory makes it try: get ready, a part's losses, their gradients."""
    generator = crew.generator()
    passes = ExitStack()

    def prepare() -> None:
        optimiser.zero_grad(set_to_none=True)
        seed = step_seed(settings.seed, step)
        generator.manual_seed(seed)
        torch.manual_seed(seed % 2**31)  # drop path has no generator of its own

    def loss(part: Part) -> Losses:
        passes.enter_context(crew.exchange((0, 2) if alone else part))
        with torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32"):
            return crew.loss(step, generator, part, alone=alone)

    def backward(value: Tensor) -> None:
        with passes.pop_all():
            scaler.scale(value).backward()  # type: ignore[no-untyped-call]

    return prepare, loss, backward


def _precision(settings: RunSettings, device: torch.device, held: dict[str, Any]) -> str:
    """What the settings say; by itself, what the run began with, else what is quickest here."""
    if settings.precision != "auto":
        return settings.precision
    if held.get("device") == device.type:
        return str(held["precision"])
    return fastest_precision(device, training=True)
