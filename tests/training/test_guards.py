"""What is found before the first step, and what a run does when memory or the disk run out."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from napari_dama.cells.store import CropStore
from napari_dama.errors import DamaError, Interrupted, ModelError, OutputError, StoreError
from napari_dama.training import guards
from napari_dama.training.accumulate import Accumulator, device_lost, out_of_memory, part_of
from napari_dama.training.crops import Split
from napari_dama.training.finetune import finetune
from napari_dama.training.folder import RunFolder
from napari_dama.training.pretrain import PretrainTask, pretrain
from training.test_runs import SHORT, losses, pretraining, tissue, typing  # noqa: F401

Usage = namedtuple("Usage", "total used free")


def store_of(
    tmp_path: Path, crops: np.ndarray, groups: list[str], paths: list[str] | None = None
) -> CropStore:
    markers = ("DAPI", "NeuN")
    with CropStore.create(
        tmp_path / "store", markers=markers, dtype=np.uint16, crop_um=32.5, crop_px=16
    ) as store:
        for index, group in enumerate(dict.fromkeys(groups)):
            path = paths[index] if paths else ""
            present = np.array([True, False])
            store.add_slide(group, low=[0, 0], high=[1, 1], present=present, group=group, path=path)
        store.add_slide("nobody", low=[0, 0], high=[1, 1], present=np.array([True, False]))
        table = pd.DataFrame(
            {"slide": groups, "label": range(1, len(groups) + 1), "y": 0.0, "x": 0.0, "type": ""}
        )
        store.append(crops.astype(np.uint16), table)
    return CropStore.open(tmp_path / "store")


def found_in(store: CropStore, train: list[int], held: list[int], **changes: int) -> dict[str, list[str]]:
    split = Split(np.array(train), np.array(held), "")
    sizes = {"batch_size": 2, "image_px": 32, **changes}
    texts: dict[str, list[str]] = {"error": [], "warning": [], "note": []}
    for finding in guards.store_findings(store, split, np.asarray(store.crops), **sizes):
        texts[finding.level].append(finding.text)
    return texts


def test_a_store_is_described_and_its_gaps_are_named(tmp_path: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 99, (6, 2, 16, 16))
    store = store_of(tmp_path, crops, ["a", "a", "a", "b", "b", "b"])
    found = found_in(store, [0, 1, 2], [3, 4, 5], batch_size=8, image_px=64)
    assert found["error"] == []
    assert "3 cells for training, 3 for validation, 2 markers, crops of 32.5 um and 16 px" in found["note"][0]
    text = "; ".join(found["warning"])
    for part in (
        "no slide has NeuN",
        "enlarged to 64",
        "no cell is from nobody",
        "more than the 3 cells",
        "3 cells are held",
    ):
        assert part in text
    assert "leak" not in text


@pytest.mark.parametrize(
    ("copies", "level"), [(0, ""), (1, "warning"), (3, "warning"), (4, "error"), (6, "error")]
)
def test_the_same_cells_on_both_sides(tmp_path: Path, copies: int, level: str) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(1, 99, (12, 2, 16, 16))
    crops[6 : 6 + copies] = crops[:copies]
    crops[11, :, :4] = 7  # same middle, other rim: not the same cell
    crops[5] = crops[11]
    crops[5, :, :4] = 8
    if copies == 6:
        crops[11] = crops[5]
    store = store_of(tmp_path, crops, ["a"] * 6 + ["b"] * 6)
    found = found_in(store, list(range(6)), list(range(6, 12)))
    slow = sum(any((crops[i] == crops[j]).all() for j in range(6)) for i in range(6, 12))
    assert slow == copies
    for name in ("warning", "error"):
        leaks = [text for text in found[name] if "leak" in text]
        assert bool(leaks) == (name == level)
        assert all(f"{copies} of the 6" in text for text in leaks)


def test_blank_crops_are_no_leak(tmp_path: Path) -> None:
    store = store_of(tmp_path, np.zeros((8, 2, 16, 16)), ["a"] * 4 + ["b"] * 4)
    assert not any("leak" in text for text in found_in(store, [0, 1, 2, 3], [4, 5, 6, 7])["error"])


@pytest.mark.parametrize(
    ("paths", "leak"), [(["x/s.ome.tif"] * 2, True), (["s.tif", "t.tif"], False), (["x"] * 2, False)]
)
def test_one_slide_file_in_two_groups(tmp_path: Path, paths: list[str], leak: bool) -> None:
    crops = np.random.default_rng(0).integers(0, 99, (4, 2, 16, 16))
    store = store_of(tmp_path, crops, ["a", "a", "b", "b"], paths)
    assert any("leak: fields of s" in text for text in found_in(store, [0, 1], [2, 3])["warning"]) == leak


def test_classes_are_counted() -> None:
    train, held = np.array([0] * 12 + [1] * 3 + [2] * 11), np.array([0, 0, 1])
    found = guards.class_findings(["A", "B", "C"], train, held)
    assert found[0].level == "note" and "A 12 + 2, B 3 + 1, C 11 + 0" in found[0].text
    assert [f.text for f in found[1:]] == [
        "few cells for training of B (3)",
        "no cell is held out of C: it is not measured",
    ]


def test_an_error_ends_the_run_before_its_first_step_and_is_recorded(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [guards.Finding("error", "this leaks"), guards.Finding("warning", "odd")]
    monkeypatch.setattr(PretrainTask, "findings", lambda self: bad)
    with pytest.raises(StoreError, match="this leaks"):
        pretrain(pretraining(store_path, tmp_path / "job"))
    status = json.loads((tmp_path / "job" / "status.json").read_text())
    assert status["state"] == "failed" and status["why"] == "this leaks"
    assert "warning: odd" in (tmp_path / "job" / "log.txt").read_text()
    assert not (tmp_path / "job" / "metrics.csv").exists()


def test_a_real_run_records_what_was_checked(store_path: Path, tmp_path: Path) -> None:
    finetune(typing(store_path, tmp_path / "job", max_steps=1))
    events = [json.loads(line) for line in (tmp_path / "job" / "events.jsonl").read_text().splitlines()]
    assert [event["kind"] for event in events][:4] == ["data", "checked", "started", "tried"]
    texts = [found["text"] for found in events[1]["findings"]]
    assert any("cells per class, training + validation" in text for text in texts)
    assert any("weights, gradients and moments take" in text for text in texts)
    assert events[3]["step"] == 0 and "balanced_accuracy" in events[3]


def test_the_same_picture_for_training_and_validation_is_refused(tissue: Path, tmp_path: Path) -> None:  # noqa: F811
    from napari_dama.training.settings import FinetuneSettings

    image = min(tissue.glob("*.ome.tif"))
    for name in ("one", "two"):
        shutil.copy(image, tmp_path / f"{name}.ome.tif")
        shutil.copy(str(image).replace(".ome.tif", "_cells.tif"), tmp_path / f"{name}_cells.tif")
    chosen = FinetuneSettings(task="segments", data=[tmp_path], out=tmp_path / "job", tile_px=128, **SHORT)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="are the same picture; leave one out"):
        finetune(chosen)


def test_size_of_a_checkpoint_is_what_is_written(tmp_path: Path, store_path: Path) -> None:
    pretrain(pretraining(store_path, tmp_path / "job", max_steps=1))
    task = PretrainTask(
        pretraining(store_path, tmp_path / "job"), CropStore.open(store_path), torch.device("cpu")
    )
    written = (tmp_path / "job" / "last" / "state.safetensors").stat().st_size
    assert guards.state_bytes(task.module) == pytest.approx(written, rel=0.05)


def test_a_full_disk_is_said_before_the_first_step(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards.shutil, "disk_usage", lambda path: Usage(10, 9, 1000))
    with pytest.raises(
        OutputError, match=r"disk of .*job is full: checkpoints need .* MB, and 0 MB are free"
    ):
        pretrain(pretraining(store_path, tmp_path / "job"))
    assert json.loads((tmp_path / "job" / "status.json").read_text())["state"] == "failed"


def test_a_disk_that_fills_up_costs_the_work_since_the_last_checkpoint(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    pretrain(pretraining(store_path, whole, name="same", checkpoint_seconds=1e-9))
    out = tmp_path / "job"
    chosen = pretraining(store_path, out, name="same", checkpoint_seconds=1e-9)
    room = iter([10**12, 10**12] + [1000] * 9)
    monkeypatch.setattr(guards.shutil, "disk_usage", lambda path: Usage(10, 9, next(room)))
    with pytest.raises(OutputError, match="is full: a checkpoint needs"):
        pretrain(chosen)
    kept = RunFolder(out).load_checkpoint("last")
    assert kept is not None and kept[1]["step"] == 1
    monkeypatch.undo()
    monkeypatch.setattr("napari_dama.training.loop.fastest_precision", lambda device, **_: "float32")
    monkeypatch.setitem(__import__("napari_dama.nets.encoder", fromlist=["SIZES"]).SIZES, "tiny", (48, 2, 3))
    pretrain(chosen, resume=True)
    assert losses(out) == losses(whole)


def test_a_parent_that_is_deleted_while_it_is_used_is_named_on_resume(
    store_path: Path, tmp_path: Path
) -> None:
    parent = tmp_path / "parent" / "model"
    pretrain(pretraining(store_path, tmp_path / "parent", max_steps=1))
    chosen = typing(store_path, tmp_path / "job", init=str(parent), max_steps=4)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            shutil.rmtree(parent)  # the run itself needs it no more
        return asked == 4

    with pytest.raises(Interrupted, match="stopped at step 3"):
        finetune(chosen, stop=stop)
    with pytest.raises(ModelError, match=r"parent.*model"):
        finetune(chosen, resume=True)
    status = json.loads((tmp_path / "job" / "status.json").read_text())
    assert status["state"] == "failed" and str(parent) in status["why"] and status["step"] == 3


# -- memory --------------------------------------------------------------------------------------------------------------


def starve(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let batches of more than ``most`` crops fail as they do on a GPU."""
    seen: list[int] = []
    whole = PretrainTask._losses

    def losses_of(self: PretrainTask, rows: Any, how: Any, generator: Any) -> Any:
        if torch.is_grad_enabled():
            seen.append(len(rows))
            if len(rows) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(self, rows, how, generator)

    monkeypatch.setattr(PretrainTask, "_losses", losses_of)
    return seen


def test_out_of_memory_halves_the_batch_and_goes_on(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = starve(monkeypatch, 3)
    whole = tmp_path / "whole"
    pretrain(pretraining(store_path, whole, batch_size=10, name="same"))
    assert seen == [10, 5, 2, 3, 2, 3] + [2, 3, 2, 3] * 2
    events = [json.loads(line) for line in (whole / "events.jsonl").read_text().splitlines()]
    assert [event["parts"] for event in events if event["kind"] == "memory"] == [2, 4]
    assert "batches of 10 are learned in 4 parts" in (whole / "log.txt").read_text()

    cut = tmp_path / "cut"  # and a resumed run keeps to it
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with pytest.raises(Interrupted):
        pretrain(pretraining(store_path, cut, batch_size=10, name="same"), stop=stop)
    del seen[:]
    pretrain(pretraining(store_path, cut, batch_size=10, name="same"), resume=True)
    assert seen == [2, 3, 2, 3]
    assert losses(whole) == losses(cut)


def test_memory_that_is_not_enough_for_one_crop_is_said(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starve(monkeypatch, 0)
    with pytest.raises(DamaError, match=r"not even 1 of a batch of 4 fit into memory \(CUDA out of memory"):
        pretrain(pretraining(store_path, tmp_path / "job"))
    assert json.loads((tmp_path / "job" / "status.json").read_text())["state"] == "failed"


def test_a_lost_device_is_said_and_the_checkpoint_is_kept(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PretrainTask.loss

    def lost(self: PretrainTask, step: int, *rest: Any) -> Any:
        if step == 2:
            raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be ...")
        return whole(self, step, *rest)

    monkeypatch.setattr(PretrainTask, "loss", lost)
    with pytest.raises(
        DamaError, match="the device failed: CUDA error: unspecified launch failure; the last"
    ):
        pretrain(pretraining(store_path, tmp_path / "job", checkpoint_seconds=1e-9))
    kept = RunFolder(tmp_path / "job").load_checkpoint("last")
    assert kept is not None and kept[1]["step"] == 2


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_gradients_of_parts_add_up_to_those_of_the_batch(batch: int, parts: int) -> None:
    if parts > batch:
        return
    torch.manual_seed(0)
    x, net = torch.rand(batch, 3), nn.Linear(3, 2)

    def gradient(pieces: int) -> tuple[torch.Tensor, float, float]:
        def loss(part: tuple[int, int]) -> Any:
            rows = part_of(np.arange(batch), part)
            error = net(x[torch.from_numpy(rows)]).square().mean()
            return SimpleNamespace(total=error, parts={"half": error / 2})

        told: list[int] = []
        steps = Accumulator(batch, parts=pieces, note=told.append)
        found = steps.step(net.zero_grad, loss, lambda value: value.backward())
        assert told == []
        total, half = found.total.detach(), found.parts["half"].detach()
        return net.weight.grad.clone(), float(total), float(half)  # type: ignore[union-attr]

    whole, pieces = gradient(1), gradient(parts)
    assert torch.allclose(whole[0], pieces[0], atol=1e-6)
    assert pieces[1:] == pytest.approx(whole[1:], rel=1e-5)


def test_parts_hold_every_row_once() -> None:
    for n in range(1, 20):
        for parts in (1, 2, 4, 8):
            rows = [part_of(np.arange(n), (k, parts)) for k in range(parts)]
            assert np.concatenate(rows).tolist() == list(range(n))
            assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_which_errors_are_which() -> None:
    assert out_of_memory(MemoryError()) and out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    cpu = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    assert out_of_memory(cpu) and not out_of_memory(RuntimeError("shapes differ"))
    assert device_lost(RuntimeError("CUDA error: an illegal memory access")) and not device_lost(cpu)
    assert not device_lost(torch.OutOfMemoryError("CUDA error: out of memory"))
