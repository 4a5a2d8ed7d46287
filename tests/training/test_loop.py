"""The loop on a small task: the same seed gives the same run, whole, or stopped, killed and resumed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_dama.errors import DamaError, Interrupted
from napari_dama.nets.dama import Losses
from napari_dama.training.folder import RunFolder
from napari_dama.training.loop import RunProgress, run_training, step_seed, total_steps
from napari_dama.training.settings import PretrainSettings

STEPS = 12


class Killed(BaseException):
    """What a kill looks like from within."""


class Curve:
    """A net with dropout and a batch norm learns a curve from noisy points."""

    def __init__(self, *, spoil_at: int = -1, kill_at: int = -1) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1)
        )
        self.samples = 16
        self.spoil_at, self.kill_at = spoil_at, kill_at
        self.finished: dict[str, float] | None = None

    def loss(self, step: int, generator: torch.Generator) -> Losses:
        if step == self.kill_at:
            raise Killed
        x = torch.rand(8, 2, generator=generator)
        error = (self.module(x)[:, 0] - x.sum(1).sin()).square().mean()
        if step == self.spoil_at:
            error = error * float("nan")
        return Losses(error, {"half": error / 2})

    def validate(self) -> dict[str, float]:
        x = torch.linspace(0, 1, 10)[:, None].expand(-1, 2)
        with torch.no_grad():
            return {"score": -float((self.module(x)[:, 0] - x.sum(1).sin()).square().mean())}

    def finish(self, run: RunFolder, metrics: dict[str, float]) -> None:
        self.finished = metrics
        torch.save(
            {name: value.clone() for name, value in self.module.state_dict().items()}, run.path / "end.pt"
        )


def settings(out: Path, **changes: object) -> PretrainSettings:
    base = {
        "epochs": 100,
        "max_steps": STEPS,
        "batch_size": 8,
        "lr": 0.3,
        "log_every": 5,
        "validate_every": 4,
    }
    return PretrainSettings(out=out, crops=Path("none"), device="cpu", **(base | changes))  # type: ignore[arg-type]


def run(
    out: Path, task: Curve | None = None, *, resume: bool = False, stop_at: int = -1, **changes: object
) -> Curve:
    task = task or Curve()
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == stop_at

    chosen = settings(out, **changes)
    with RunFolder.begin(chosen, resume=resume, overwrite=False) as folder:
        run_training(task, chosen, folder, device=torch.device("cpu"), stop=stop)
    return task


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def status(out: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((out / "status.json").read_text())
    return found


def weights(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(out / "end.pt", weights_only=True)
    return found


def same_run(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    a, b = weights(one), weights(other)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    run(tmp_path / "whole")
    return tmp_path / "whole"


def test_a_run_leaves_what_it_promises(whole: Path) -> None:
    assert [row["step"] for row in rows(whole)] == ["5", "10", "12"]
    assert list(rows(whole)[0]) == ["step", "epoch", "loss", "half", "lr"]
    assert [row["epoch"] for row in rows(whole)] == ["2", "5", "6"]
    for row in rows(whole):
        assert float(row["loss"]) == pytest.approx(2 * float(row["half"]), rel=1e-6)
    end = status(whole)
    assert end["state"] == "finished" and end["step"] == end["steps"] == STEPS and end["eta_s"] == 0
    assert (whole / "last" / "state.json").is_file() and (whole / "best" / "state.json").is_file()
    kinds = [json.loads(line)["kind"] for line in (whole / "events.jsonl").read_text().splitlines()]
    assert kinds == ["started", "tried", *["validated"] * 3, "finished"]


def test_same_seed_same_losses_whatever_global_randomness_says(tmp_path: Path, whole: Path) -> None:
    torch.manual_seed(1234)
    run(tmp_path / "again")
    same_run(whole, tmp_path / "again")
    run(tmp_path / "other", seed=1)
    assert rows(whole)[0]["loss"] != rows(tmp_path / "other")[0]["loss"]


@pytest.mark.parametrize("stop_at", [1, 3, 6, 11, 12])
def test_stopped_and_resumed_equals_never_stopped(tmp_path: Path, whole: Path, stop_at: int) -> None:
    out = tmp_path / "stopped"
    with pytest.raises(Interrupted, match=f"stopped at step {stop_at - 1} of {STEPS}; --resume"):
        run(out, stop_at=stop_at)
    assert status(out)["state"] == "stopped" and not (out / "end.pt").exists()
    run(out, resume=True)
    same_run(whole, out)


@pytest.mark.parametrize("kill_at", [0, 2, 5, 7, 11])
@pytest.mark.parametrize("checkpoint_seconds", [1e-9, 1e9])
def test_killed_and_resumed_equals_never_stopped(
    tmp_path: Path, whole: Path, kill_at: int, checkpoint_seconds: float
) -> None:
    """With a checkpoint at every step, and with none at all."""
    out = tmp_path / "killed"
    with pytest.raises(Killed):
        run(out, Curve(kill_at=kill_at), checkpoint_seconds=checkpoint_seconds)
    run(out, resume=True, checkpoint_seconds=checkpoint_seconds)
    same_run(whole, out)


def test_a_stop_file_stops(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "job"
    chosen = settings(out)
    folder = RunFolder.begin(chosen, resume=False, overwrite=False)
    seen: list[RunProgress] = []

    def progress(now: RunProgress) -> None:
        seen.append(now)
        (out / "stop").touch()

    with folder, pytest.raises(Interrupted):
        run_training(Curve(), chosen, folder, device=torch.device("cpu"), progress=progress)
    assert [(now.step, now.steps) for now in seen] == [(5, STEPS)]
    assert seen[0].images_per_s > 0 and seen[0].eta_s > 0
    run(out, resume=True)
    same_run(whole, out)


def test_a_finished_run_resumed_only_writes_its_end_again(tmp_path: Path, whole: Path) -> None:
    before, end = rows(whole), weights(whole)
    run(whole, resume=True)
    assert rows(whole) == before
    assert all(torch.equal(value, weights(whole)[name]) for name, value in end.items())


@pytest.mark.parametrize("checkpoint_seconds", [1e-9, 1e9])
def test_a_loss_that_is_no_number_stops_with_a_good_checkpoint_kept(
    tmp_path: Path, checkpoint_seconds: float
) -> None:
    out = tmp_path / "job"
    with pytest.raises(Interrupted):
        run(out, stop_at=3)
    with pytest.raises(DamaError, match=r"no longer a number at step \d+; the last good .*now 0\.3"):
        run(out, Curve(spoil_at=6), resume=True, checkpoint_seconds=checkpoint_seconds)
    assert status(out)["state"] == "failed"
    kept = RunFolder(out).load_checkpoint("last")
    assert kept is not None and kept[1]["step"] <= 6
    assert all(bool(value.isfinite().all()) for value in kept[0].values())


def test_the_best_weights_are_the_ones_that_are_finished(tmp_path: Path) -> None:
    task = Curve()
    scores = iter([0.0, 0.1, 0.9, 0.3])
    seen: list[dict[str, torch.Tensor]] = []

    def validate() -> dict[str, float]:
        seen.append({name: value.clone() for name, value in task.module.state_dict().items()})
        return {"score": next(scores)}

    task.validate = validate  # type: ignore[method-assign]
    run(tmp_path / "job", task)
    assert task.finished == {"score": 0.9, "step": 8.0}
    end = weights(tmp_path / "job")
    assert all(torch.equal(value, end[name]) for name, value in seen[2].items())


def test_precision_is_kept_over_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "job"
    with pytest.raises(Interrupted):
        run(out, stop_at=3)
    monkeypatch.setattr("napari_dama.training.loop.fastest_precision", lambda device, **_: "bfloat16")
    run(out, resume=True)
    assert status(out)["precision"] == "float32"


def test_number_of_steps() -> None:
    chosen = settings(Path("job"), epochs=3, max_steps=None)
    assert total_steps(chosen, 16) == 6 and total_steps(chosen, 17) == 6 and total_steps(chosen, 3) == 3
    assert total_steps(settings(Path("job"), epochs=3, max_steps=4), 16) == 4


def test_seeds_of_steps_differ() -> None:
    seeds = {step_seed(seed, step) for seed in range(100) for step in range(1000)}
    assert len(seeds) == 100 * 1000
