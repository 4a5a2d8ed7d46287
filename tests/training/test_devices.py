"""Two processes on the CPU over gloo give the losses of one with the same global batch."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_dama.errors import Interrupted
from napari_dama.models.shelf import load_model
from napari_dama.simulate.write import write_simulated
from napari_dama.training.finetune import finetune
from napari_dama.training.pretrain import PretrainTask, pretrain
from napari_dama.training.settings import FinetuneSettings, PretrainSettings
from training.pair import WHOLE_LOSS, spoil, stopper

STEPS = 5
COMMON = {
    **{"size": "tiny", "epochs": 1000, "max_steps": STEPS, "batch_size": 8, "lr": 0.003, "log_every": 1},
    **{
        "validate_every": 3,
        "device": "cpu",
        "precision": "float32",
        "threads": 1,
        "clip_gradient": 1.0,
        "name": "model",
    },
}
PRETRAIN = {
    **{"image_px": 32, "patch_px": 8, "decoder_depth": 1, "decoder_width": 16, "decoder_heads": 1},
    **{"projector_hidden": 32, "projector_out": 16, "last_blocks": 2},
}
RUNS: dict[str, dict[str, Any]] = {
    "dama": {},
    "dama in shares of 3 and 4": {"batch_size": 7},
    "dama with a teacher, published pairs": {"second_network": "ema", "pairing": "published"},
    "dama, one network for both views": {"second_network": "shared"},
    "dama-random": {"method": "dama-random", "mask_error": "intensity"},
    "dama in shards": {"strategy": "fsdp", "second_network": "ema"},
    "mae": {"method": "mae"},
    "simmim": {"method": "simmim"},
    "data2vec": {"method": "data2vec"},
    "moco": {"method": "moco", "batch_size": 9},
    "types": {"task": "types"},
    "types with the paper's tricks": {
        **{"task": "types", "mixup": 0.8, "cutmix": 1.0, "erasing": 0.5, "batch_size": 7}
    },
    "types in shards": {"task": "types", "strategy": "fsdp", "use_pixels": False},
    "linear probe": {"task": "types", "mode": "linear-probe"},
    "segments": {"task": "segments", "tile_px": 128, "batch_size": 3, "max_steps": 3},
}
BOXES: dict[str, Any] = {
    **{
        "task": "segments",
        "head": "mask-rcnn",
        "tile_px": 128,
        "batch_size": 2,
        "max_steps": 3,
        "image_px": 64,
    },
    **{"detections": 50},
}
"""Its losses are means within a process: near those of one, not equal."""


def metrics(out: Path) -> list[dict[str, float]]:
    with (out / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def same_losses(one: Path, two: Path, *, rel: float = 2e-4) -> None:
    """Losses of every step within float tolerance; the spread of data2vec's targets is each process's own."""
    a, b = metrics(one), metrics(two)
    assert [row["step"] for row in a] == [row["step"] for row in b]
    for wanted, found in zip(a, b, strict=True):
        for key in wanted.keys() - {"target_spread"}:
            assert found[key] == pytest.approx(wanted[key], rel=rel, abs=1e-6), (key, wanted["step"])


class Pairs:
    """Jobs of two processes, and the same jobs in this one, in folders beside each other."""

    def __init__(self, folder: Path, store: Path, slides: Path) -> None:
        self.folder, self.store, self.slides = folder, store, slides
        self.jobs: list[dict[str, Any]] = []

    def settings(self, name: str, changes: dict[str, Any], where: str) -> dict[str, Any]:
        raw: dict[str, Any] = COMMON | {"out": str(self.folder / f"{name} {where}")}
        if "task" not in changes:
            return raw | PRETRAIN | {"crops": str(self.store)} | changes
        data = self.slides if changes["task"] == "segments" else self.store
        return raw | {"image_px": 32, "data": [str(data)]} | changes

    def alone(self, name: str, changes: dict[str, Any], where: str = "one", **options: Any) -> Path:
        raw = self.settings(name, {**changes, "strategy": "auto"}, where)
        if "task" in changes:
            finetune(FinetuneSettings(**raw), **options)
        else:
            pretrain(PretrainSettings(**raw), **options)
        return Path(raw["out"])

    def add(self, name: str, changes: dict[str, Any], where: str = "two", **how: Any) -> None:
        kind = "finetune" if "task" in changes else "pretrain"
        self.jobs.append({"kind": kind, "settings": self.settings(name, changes, where), **how})

    def out(self, name: str, where: str = "two") -> Path:
        return self.folder / f"{name} {where}"

    def run(self) -> None:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in self.jobs]
        for job, held in zip(self.jobs, sockets, strict=True):
            job["port"] = held.getsockname()[1]
            held.close()
        file = self.folder / "jobs.json"
        file.write_text(json.dumps(self.jobs), encoding="utf-8")
        given = {**os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        command = [sys.executable, str(Path(__file__).with_name("pair.py")), str(file)]
        processes = [
            subprocess.Popen(command, env={**given, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE)
            for rank in ("0", "1")
        ]
        try:
            said = [process.communicate(timeout=300)[1].decode()[-3000:] for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert [process.returncode for process in processes] == [0, 0], said


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, store_path: Path) -> Pairs:
    """All jobs of two processes, run by one pair of them, one after the other."""
    folder = tmp_path_factory.mktemp("pairs")
    write_simulated(folder / "slides", n=3, size=256, seed=1, difficulty="normal", bits=16, overwrite=False)
    made = Pairs(folder, store_path, folder / "slides")
    for name, changes in RUNS.items():
        made.add(name, changes)
    made.add("boxes", BOXES)
    made.add("stopped by two", {}, stop_at=2)
    made.add("stopped by two again", {}, stop_at=3)
    made.add("stopped by two again", {}, resume=True)
    made.add("stopped in shards", {"strategy": "fsdp"}, stop_at=2)
    made.add("stopped in shards", {"strategy": "fsdp"}, resume=True)
    made.add("little memory", {}, most=2)
    made.add("memory gone later", {"checkpoint_seconds": 1e-9}, most=2, late=3)
    made.add("memory gone later", {"checkpoint_seconds": 1e-9}, resume=True)
    made.add("spoilt", {}, spoil_at=2)
    made.add("too small", {"method": "moco", "batch_size": 3})
    return made


@pytest.fixture(scope="module")
def trained(pairs: Pairs, one_thread: None) -> Pairs:
    from napari_dama.nets.encoder import SIZES

    before, SIZES["tiny"] = SIZES["tiny"], (48, 2, 3)
    try:  # a run that one process began and was stopped in, for two to go on with
        with pytest.raises(Interrupted):
            pairs.alone("stopped by one", {}, "two", stop=stopper(2))
    finally:
        SIZES["tiny"] = before
    pairs.add("stopped by one", {}, resume=True)
    pairs.run()
    return pairs


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_give_the_losses_of_one(trained: Pairs, name: str) -> None:
    one = trained.alone(name, RUNS[name])
    said = [Path(f"{trained.out(name)}.{rank}").read_text() for rank in (0, 1)]
    assert said == ["done", "done"]
    same_losses(one, trained.out(name))
    wanted, found = (load_model(str(out / "model")) for out in (one, trained.out(name)))
    for task, part in wanted.parts.items():
        state = found.parts[task].state_dict()
        for key, value in part.state_dict().items():
            torch.testing.assert_close(state[key], value, rtol=2e-3, atol=3e-4)


def test_boxes_are_learned_by_two(trained: Pairs) -> None:
    one = metrics(trained.alone("boxes", BOXES))
    two = metrics(trained.out("boxes"))
    assert len(one) == len(two) == 3
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=0.3)


def test_a_run_goes_on_with_as_many_processes_as_there_are(trained: Pairs) -> None:
    """Stopped by two and resumed by two, by one; stopped by one and resumed by two; the same with shards."""
    whole = trained.alone("never stopped", {})
    said = Path(f"{trained.out('stopped by two')}.0").read_text()
    assert said == "Interrupted: stopped at step 2 of 5; --resume continues it"
    assert len(metrics(trained.out("stopped by two"))) == 2
    trained.alone("stopped by two", {}, "two", resume=True)
    for name in ("stopped by two", "stopped by two again", "stopped in shards", "stopped by one"):
        same_losses(whole, trained.out(name))


def test_memory_is_shared_out_together(trained: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 1 alone has too little for its 4 of 8 crops: both halve, and learn as one process does in two parts."""
    out = trained.out("little memory")
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [event["parts"] for event in events if event["kind"] == "memory"] == [2]
    monkeypatch.setattr(PretrainTask, "_losses", WHOLE_LOSS)
    spoil({"most": 4}, 1)
    same_losses(trained.alone("little memory", {}), out)


def test_memory_that_is_gone_later_ends_both_and_a_resumed_run_takes_smaller_parts(trained: Pairs) -> None:
    out = trained.out("memory gone later")
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    (failed,) = (event["why"] for event in events if event["kind"] == "failed")
    assert failed.startswith(
        "process 1 of 2 (counted from 0) ended: memory ran out (out of memory: this test"
    )
    assert failed.endswith("Resume the job: it goes on in 2 parts")
    assert json.loads((out / "last" / "state.json").read_text())["parts"] == 2
    assert [row["step"] for row in metrics(out)] == [1, 2, 3, 4, 5]
    assert Path(f"{out}.0").read_text() == Path(f"{out}.1").read_text() == "done"


def test_a_loss_that_is_no_number_in_one_process_ends_both(trained: Pairs) -> None:
    for rank in (0, 1):
        said = Path(f"{trained.out('spoilt')}.{rank}").read_text()
        assert said.startswith("DamaError: the loss is no longer a number at step 3;")
    assert json.loads((trained.out("spoilt") / "status.json").read_text())["state"] == "failed"


def test_shares_that_are_too_small_are_refused(trained: Pairs) -> None:
    for rank in (0, 1):
        said = Path(f"{trained.out('too small')}.{rank}").read_text()
        assert said == "SettingsError: a batch of 3 leaves 1 for some of 2 processes; at least 2 is needed"


def test_only_one_process_writes(trained: Pairs) -> None:
    events = [json.loads(line) for line in (trained.out("mae") / "events.jsonl").read_text().splitlines()]
    kinds = [event["kind"] for event in events]
    assert kinds == ["data", "checked", "started", "tried", "validated", "validated", "finished"]
    status = json.loads((trained.out("mae") / "status.json").read_text())
    assert status["state"] == "finished" and status["device"] == "2 x cpu"
    there = {entry.name for entry in trained.out("mae").iterdir()} - {".lock"}
    assert there == {
        *("job.yaml", "metrics.csv", "events.jsonl", "status.json", "last", "best", "model", "previews")
    }
