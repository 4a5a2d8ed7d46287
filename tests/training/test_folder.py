"""The folder of a run: nothing is overwritten unasked, and a kill at any moment leaves a whole checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from napari_dama.errors import OutputError, SettingsError, StoreError
from napari_dama.training.checkpoint import optimiser_tensors, restore_optimiser
from napari_dama.training.folder import RunFolder
from napari_dama.training.settings import FinetuneSettings, PretrainSettings


def settings(out: Path, **changes: object) -> PretrainSettings:
    return PretrainSettings(out=out, crops=Path("store"), **changes)  # type: ignore[arg-type]


def begin(out: Path, *, resume: bool = False, overwrite: bool = False, **changes: object) -> RunFolder:
    return RunFolder.begin(settings(out, **changes), resume=resume, overwrite=overwrite)


def test_a_run_is_never_overwritten_unasked(tmp_path: Path) -> None:
    begin(tmp_path / "job")
    with pytest.raises(OutputError, match="holds a run already; continue it with --resume, or --overwrite"):
        begin(tmp_path / "job")


def test_overwrite_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    run = begin(tmp_path / "job")
    run.metrics({"step": 1, "loss": 2.0})
    run.save_checkpoint("last", {"a": torch.ones(1)}, {"step": 1})
    (run.path / "notes.txt").write_text("mine")
    run.close()
    begin(tmp_path / "job", overwrite=True)
    assert sorted(path.name for path in run.path.iterdir()) == [
        ".lock",
        "job.yaml",
        "notes.txt",
        "status.json",
    ]


@pytest.mark.parametrize("asked", [{}, {"resume": True}, {"overwrite": True}])
def test_a_foreign_folder_is_refused_whatever_is_asked(tmp_path: Path, asked: dict[str, bool]) -> None:
    (tmp_path / "photos.txt").write_text("mine")
    with pytest.raises(OutputError, match="other things than a training run"):
        begin(tmp_path, **asked)
    assert [path.name for path in tmp_path.iterdir()] == ["photos.txt"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("mine")
    with pytest.raises(OutputError, match="job is a file"):
        begin(tmp_path / "job")


def test_resume_takes_the_same_settings_only(tmp_path: Path) -> None:
    begin(tmp_path / "job", lr=1e-3)
    with pytest.raises(SettingsError, match=r"started with lr=0\.001, not 0\.002"):
        begin(tmp_path / "job", resume=True, lr=2e-3)
    begin(tmp_path / "job", resume=True, lr=1e-3, log_every=3, checkpoint_seconds=5, device="cpu", threads=1)
    other = FinetuneSettings(out=tmp_path / "job", task="types", data=[Path("store")])
    with pytest.raises(SettingsError):
        RunFolder.begin(other, resume=True, overwrite=False)


def test_resume_in_an_empty_place_begins(tmp_path: Path) -> None:
    assert (begin(tmp_path / "deep" / "job", resume=True).path / "job.yaml").is_file()


def test_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    run = begin(tmp_path / "job")
    assert run.load_checkpoint("last") is None
    tensors = {"a": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last), "n": torch.tensor(3)}
    run.save_checkpoint("last", tensors, {"step": 1})
    run.save_checkpoint("last", tensors, {"step": 2, "best": {"score": 0.5}})
    found = run.load_checkpoint("last")
    assert found is not None
    assert all(torch.equal(found[0][name], value) for name, value in tensors.items())
    assert found[1] == {"step": 2, "best": {"score": 0.5}}
    names = sorted(path.name for path in run.path.iterdir())
    assert names == [".lock", "job.yaml", "last", "status.json"]


class Killed(BaseException):
    """What a kill looks like from within."""


@pytest.mark.parametrize("moment", range(6))
def test_a_kill_at_any_rename_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Killed at a rename, then at every rename of the next attempt too; each time something whole is there."""
    run = begin(tmp_path / "job")
    run.save_checkpoint("last", {"a": torch.ones(1)}, {"step": 1})
    rename = os.replace
    for second in range(4):
        calls = 0

        def dying(a: object, b: object, limit: int = (moment, second)[second > 0]) -> None:
            nonlocal calls
            if calls == limit:
                raise Killed
            calls += 1
            rename(a, b)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "replace", dying)
        try:
            run.save_checkpoint("last", {"a": torch.ones(1)}, {"step": 2})
        except Killed:
            pass
        monkeypatch.setattr(os, "replace", rename)
        found = run.load_checkpoint("last")
        assert found is not None and found[1]["step"] in (1, 2)
    run.save_checkpoint("last", {"a": torch.ones(1)}, {"step": 3})
    found = run.load_checkpoint("last")
    assert found is not None and found[1]["step"] == 3


def test_a_half_written_checkpoint_is_ignored(tmp_path: Path) -> None:
    run = begin(tmp_path / "job")
    partial = run.path / "last.part"
    partial.mkdir()
    (partial / "state.safetensors").write_bytes(b"half")
    (partial / "state.json").write_text('{"step": 9}')
    assert run.load_checkpoint("last") is None
    run.save_checkpoint("last", {"a": torch.ones(1)}, {"step": 1})
    assert not partial.exists()


@pytest.mark.parametrize("file", ["state.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_an_error_that_names_it(tmp_path: Path, file: str) -> None:
    run = begin(tmp_path / "job")
    run.save_checkpoint("last", {"a": torch.ones(100)}, {"step": 1})
    whole = (run.path / "last" / file).read_bytes()
    (run.path / "last" / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match=r"checkpoint .*last is damaged"):
        run.load_checkpoint("last")


def test_metrics_keep_their_columns_and_forget_what_is_written_again(tmp_path: Path) -> None:
    run = begin(tmp_path / "job")
    for step in (10, 20, 30):
        run.metrics({"step": step, "loss": step / 10, "lr": 1e-3})
    run.close()
    resumed = begin(tmp_path / "job", resume=True)
    resumed.forget_after(20)
    resumed.metrics({"step": 30, "loss": 9.0, "lr": 1e-3, "unknown": 1})
    lines = (run.path / "metrics.csv").read_text().splitlines()
    assert lines == ["step,loss,lr", "10,1.0,0.001", "20,2.0,0.001", "30,9.0,0.001"]


def test_a_row_that_a_kill_cut_short_is_forgotten(tmp_path: Path) -> None:
    run = begin(tmp_path / "job")
    run.metrics({"step": 10, "loss": 1.0})
    with (run.path / "metrics.csv").open("a") as file:
        file.write("2")
    run.forget_after(10)
    assert (run.path / "metrics.csv").read_text().splitlines() == ["step,loss", "10,1.0"]


def test_events_and_status_are_plain_json(tmp_path: Path) -> None:
    run = begin(tmp_path / "job")
    run.event("started", step=0)
    run.event("note", text="µm")
    run.status(state="running", step=1)
    kinds = [json.loads(line)["kind"] for line in (run.path / "events.jsonl").read_text().splitlines()]
    assert kinds == ["started", "note"]
    status = json.loads((run.path / "status.json").read_text())
    assert status["state"] == "running" and status["pid"] == os.getpid() and status["heartbeat"] > 0


def test_a_stop_file_is_seen_and_cleared_by_the_next_start(tmp_path: Path) -> None:
    run = begin(tmp_path / "job")
    assert not run.stop_asked()
    (run.path / "stop").touch()
    assert run.stop_asked()
    run.close()
    assert not begin(tmp_path / "job", resume=True).stop_asked()


def test_an_optimiser_goes_on_as_if_never_stopped() -> None:
    def make() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 2)
        return net, torch.optim.AdamW(net.parameters(), lr=0.1)

    def step(net: torch.nn.Linear, optimiser: torch.optim.AdamW) -> None:
        optimiser.zero_grad()
        net(torch.ones(1, 3)).square().sum().backward()
        optimiser.step()

    net, optimiser = make()
    for _ in range(3):
        step(net, optimiser)
    other, again = make()
    other.load_state_dict(net.state_dict())
    # a file is a copy
    restore_optimiser(again, {name: value.clone() for name, value in optimiser_tensors(optimiser).items()})
    step(net, optimiser)
    step(other, again)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
