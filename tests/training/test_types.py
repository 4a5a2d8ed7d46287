"""Typing as in the paper: probes, frozen encoders, balance, classes of a parent, and bad stores."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from napari_dama.cells.store import CropStore
from napari_dama.errors import Interrupted, ModelError, SettingsError, StoreError
from napari_dama.models.card import Card
from napari_dama.models.shelf import load_card, load_model
from napari_dama.nets.classifier import TypeClassifier
from napari_dama.nets.encoder import EncoderSpec
from napari_dama.simulate import MARKERS, TYPES
from napari_dama.training.classes import choose_classes, draw_weights
from napari_dama.training.finetune import finetune
from napari_dama.training.pretrain import pretrain
from napari_dama.training.settings import FinetuneSettings, PretrainSettings
from napari_dama.training.types import TypeTask
from training.conftest import write_store

SHORT = {"max_steps": 3, "batch_size": 6, "log_every": 1, "validate_every": 2, "device": "cpu"}
TRICKS = {"mixup": 0.8, "cutmix": 1.0, "erasing": 0.5, "drop_path": 0.2}


def typing(store: Path, out: Path, **changes: object) -> FinetuneSettings:
    return FinetuneSettings(task="types", data=[store], out=out, **(SHORT | changes))  # type: ignore[arg-type]


def losses(out: Path) -> list[str]:
    with (out / "metrics.csv").open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learned three types, from three steps; do not write into it."""
    patch = pytest.MonkeyPatch()
    patch.setitem(__import__("napari_dama.nets.encoder", fromlist=["SIZES"]).SIZES, "tiny", (48, 2, 3))
    folder = tmp_path_factory.mktemp("teacher")
    store = write_store(folder / "store", types=TYPES[:3])
    finetune(typing(store, folder / "teacher"))
    patch.undo()
    return folder / "teacher" / "model"


@pytest.mark.parametrize("mode", ["frozen", "linear-probe"])
@pytest.mark.parametrize("old_name", [False, True])
def test_a_frozen_encoder_does_not_change(
    store_path: Path, teacher: Path, tmp_path: Path, mode: str, old_name: bool
) -> None:
    how = {"freeze_encoder": True} if old_name and mode == "frozen" else {"mode": mode}
    finetune(typing(store_path, tmp_path / "job", init=str(teacher), lr=0.5, **how))
    before, after = load_model(teacher).state(), load_model(tmp_path / "job" / "model").state()
    encoder = [name for name in after if name.startswith("types.encoder.")]
    assert encoder and all(torch.equal(before[name], after[name]) for name in encoder)


def test_a_frozen_encoder_stays_in_evaluation_and_has_no_gradient() -> None:
    part = TypeClassifier(EncoderSpec("tiny", 7, drop_path=0.9), 3)
    part.freeze_encoder()
    part.train()
    assert part.training and not part.encoder.training
    assert not any(module.training for module in part.encoder.modules())
    x = torch.rand(2, 7, 128, 128)
    assert not part.pooled(x).requires_grad and part(x).requires_grad
    assert torch.equal(part.pooled(x), part.pooled(x))  # no drop path


def test_the_linear_probe_is_maes(store_path: Path, teacher: Path, tmp_path: Path) -> None:
    finetune(typing(store_path, tmp_path / "job", init=str(teacher), mode="linear-probe", zoom=2))
    model = load_model(tmp_path / "job" / "model")
    shape = model.card.architecture
    assert (shape.pool, shape.type_zoom, shape.type_pixels, shape.type_norm) == ("mean", 1.0, False, "batch")
    part = model.parts["types"]
    assert isinstance(part, TypeClassifier) and part.path is None
    assert isinstance(part.norm, torch.nn.BatchNorm1d) and not part.norm.affine
    x = torch.rand(3, 7, 128, 128)
    tokens = part.encoder(x)[:, 1:].mean(1)
    scaled = (tokens - part.norm.running_mean) / (part.norm.running_var + 1e-6).sqrt()
    expected = (scaled @ part.head.weight.T + part.head.bias).softmax(1)
    assert torch.allclose(model.type_probabilities(x), expected, atol=1e-5)


def test_a_probe_may_look_at_the_middle_as_well(store_path: Path, tmp_path: Path) -> None:
    asked = typing(store_path, tmp_path / "job", mode="linear-probe", pool="centre", max_steps=1)
    finetune(asked)
    assert load_card(tmp_path / "job" / "model").architecture.pool == "centre"
    again = type(asked).from_file(tmp_path / "job" / "job.yaml")
    assert (again.pool, asked.pool) == ("centre", "centre")
    assert typing(store_path, tmp_path / "x", mode="linear-probe").pool == "mean"


def test_cached_features_are_those_of_the_network(store_path: Path, tmp_path: Path) -> None:
    task = TypeTask(typing(store_path, tmp_path / "job", mode="linear-probe"), torch.device("cpu"))
    assert task.cached
    task.module.eval()
    rows = np.array([int(task.split.train[3]), int(task.split.validation[0])])
    assert torch.allclose(
        task._cache()[torch.from_numpy(rows)], task.part.pooled(task.batches.batch(rows)[0]), atol=1e-5
    )
    for changes in ({"augment": True}, {"mixup": 0.8}, {"erasing": 0.1}):
        varied = typing(store_path, tmp_path / "job", mode="linear-probe", **changes)
        assert not TypeTask(varied, torch.device("cpu")).cached
    assert not TypeTask(typing(store_path, tmp_path / "job", mode="frozen"), torch.device("cpu")).cached


@pytest.mark.parametrize(
    "changes",
    [
        TRICKS,
        {**TRICKS, "mode": "frozen", "balance": "none"},
        {"mode": "linear-probe"},
        {"mode": "linear-probe", "augment": True, "balance": "uniform"},
    ],
)
@pytest.mark.parametrize("checkpoint_seconds", [1e-9, 1e9])
def test_stopped_and_resumed_equals_never_stopped(
    store_path: Path, tmp_path: Path, changes: dict[str, object], checkpoint_seconds: float
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    common = {**changes, "name": "same", "max_steps": 4, "checkpoint_seconds": checkpoint_seconds}
    finetune(typing(store_path, whole, **common))
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        np.random.seed(asked)
        return asked == 3

    with pytest.raises(Interrupted):
        finetune(typing(store_path, cut, **common), stop=stop)
    finetune(typing(store_path, cut, **common), resume=True)
    assert losses(whole) == losses(cut)
    one, other = (path / "model" / "weights.safetensors" for path in (whole, cut))
    assert one.read_bytes() == other.read_bytes()


def test_a_linear_probe_learns(store_path: Path, tmp_path: Path) -> None:
    chosen = typing(
        store_path,
        tmp_path / "job",
        mode="linear-probe",
        max_steps=60,
        batch_size=16,
        lr=0.3,
        validate_every=60,
        label_smoothing=0,
    )
    finetune(chosen)
    rows = [float(loss) for loss in losses(tmp_path / "job")]
    assert np.mean(rows[-5:]) < 0.6 * rows[0]


@pytest.mark.parametrize(
    ("balance", "expected"),
    [("sqrt", [9 / 12, 3 / 12]), ("uniform", [0.5, 0.5])],
)
def test_balance_sets_the_share_of_a_class(balance: str, expected: list[float]) -> None:
    targets = np.array([0] * 81 + [1] * 9)
    weights = draw_weights(targets, balance, 3)
    assert weights is not None
    shares = [float(weights[targets == k].sum()) for k in range(2)]
    assert shares == pytest.approx(expected)
    assert draw_weights(targets, "none", 2) is None


def test_no_balance_shows_every_cell_once_per_epoch(store_path: Path, tmp_path: Path) -> None:
    task = TypeTask(typing(store_path, tmp_path / "job", balance="none", batch_size=8), torch.device("cpu"))
    seen: Counter[int] = Counter()
    task.batches.batch = lambda rows, **_: (
        seen.update(rows.tolist())
        or (  # type: ignore[assignment, method-assign]
            torch.rand(len(rows), 7, 128, 128),
            torch.ones(len(rows), 7, dtype=torch.bool),
        )
    )
    for step in range(task.samples // 8):
        task.loss(step, torch.Generator().manual_seed(0))
    assert set(seen.values()) == {1} and len(seen) == task.samples // 8 * 8


def card_of(classes: list[str], *, tasks: tuple[str, ...] = ("types",)) -> Card:
    return Card.model_validate(
        {"name": "parent", "tasks": list(tasks), "panel": ["DAPI"], "nuclear": ["DAPI"], "classes": classes}
    )


@pytest.mark.parametrize(
    ("found", "asked", "parent", "expected"),
    [
        ("ab", None, None, "ab"),
        ("ab", None, card_of(["c", "b", "a"]), "cba"),
        ("ab", "found", card_of(["c", "b", "a"]), "ab"),
        ("ab", "parent", card_of(["c", "b", "a"]), "cba"),
        ("abd", None, card_of(["c", "b", "a"]), "abd"),
        ("ab", None, card_of(["c", "b", "a"], tasks=("reconstruct",)), "ab"),
        ("ab", ["b", "a", "z"], None, "baz"),
    ],
)
def test_which_classes_a_model_gets(
    found: str, asked: object, parent: Card | None, expected: str, tmp_path: Path
) -> None:
    chosen = typing(tmp_path, tmp_path / "job", classes=asked)
    assert choose_classes(tuple(found), chosen, parent, tmp_path) == list(expected)


def test_classes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    def choose(found: str, asked: object, parent: Card | None = None) -> None:
        choose_classes(tuple(found), typing(tmp_path, tmp_path, classes=asked), parent, tmp_path)

    with pytest.raises(StoreError, match="only 'a' of at least two"):
        choose("a", None)
    with pytest.raises(StoreError, match="holds c, which is not among the classes a, b"):
        choose("abc", ["a", "b"])
    with pytest.raises(StoreError, match="holds d, which is not"):
        choose("ad", "parent", card_of(["a", "b"]))
    with pytest.raises(SettingsError, match="classes=parent needs a parent that tells types"):
        choose("ab", "parent", card_of(["a", "b"], tasks=("reconstruct",)))
    with pytest.raises(SettingsError, match="two different names, got a, a"):
        choose("ab", ["a", "a"])


def test_fewer_classes_than_the_parent_keep_its_head_and_say_so(
    store_path: Path, teacher: Path, tmp_path: Path
) -> None:
    finetune(typing(store_path, tmp_path / "job", init=str(teacher), max_steps=1, lr=1e-9))
    old, child = load_model(teacher), load_model(tmp_path / "job" / "model")
    assert child.card.classes == old.card.classes == sorted(TYPES[:3])
    assert torch.allclose(
        child.state()["types.head.weight"], old.state()["types.head.weight"], atol=1e-4, rtol=1e-3
    )
    missing = (set(TYPES[:3]) - set(TYPES[:2])).pop()
    assert child.card.limits == [
        f"Class {missing}: no cell in this training; what the model knows of it is teacher's."
    ]
    assert child.card.training["types"]["cells_per_class"][missing] == 0


def test_other_classes_take_their_rows_of_the_head_by_name(
    store_path: Path, teacher: Path, tmp_path: Path
) -> None:
    finetune(typing(store_path, tmp_path / "job", init=str(teacher), classes="found", max_steps=1, lr=1e-9))
    old, child = load_model(teacher), load_model(tmp_path / "job" / "model")
    assert child.card.classes == sorted(TYPES[:2]) and not child.card.limits
    rows = [old.card.classes.index(name) for name in child.card.classes]
    assert torch.allclose(
        child.state()["types.head.weight"], old.state()["types.head.weight"][rows], atol=1e-4, rtol=1e-3
    )


def test_a_model_without_types_lists_no_classes(store_path: Path, tmp_path: Path) -> None:
    pretrain(
        PretrainSettings(crops=store_path, out=tmp_path / "job", method="mae", **(SHORT | {"max_steps": 1}))  # type: ignore[arg-type]
    )
    assert load_card(tmp_path / "job" / "model").classes == []


def test_a_class_with_one_cell_stays_in_training(tmp_path: Path) -> None:
    path = write_store(tmp_path / "store", types=TYPES[:2])
    table = pd.read_csv(path / "cells.csv")
    for row in range(
        0, len(table), 16
    ):  # one cell in turn of every field, so that some split would hold it out
        changed = table.copy()
        changed.loc[row, "type"] = "rare"
        changed.to_csv(path / "cells.csv", index=False)
        task = TypeTask(typing(path, tmp_path / "job"), torch.device("cpu"))
        assert row in task.split.train and row not in task.split.validation
        assert task.notes == [
            "Class rare has one cell only: it is in training, and nothing says how well it is told."
        ]
    finetune(typing(path, tmp_path / "job"))
    events = [json.loads(line) for line in (tmp_path / "job" / "events.jsonl").read_text().splitlines()]
    assert next(e for e in events if e["kind"] == "data")["notes"] == task.notes
    assert task.notes[0] in load_card(tmp_path / "job" / "model").limits


def test_a_class_of_held_out_fields_only_is_named(tmp_path: Path) -> None:
    path = write_store(tmp_path / "store")
    held = TypeTask(typing(path, tmp_path / "job"), torch.device("cpu")).split.validation
    table = pd.read_csv(path / "cells.csv")
    table.loc[held[:4], "type"] = "late"
    table.to_csv(path / "cells.csv", index=False)
    task = TypeTask(typing(path, tmp_path / "job"), torch.device("cpu"))
    assert task.notes == ["Class late: no cell of it was in training, so the model cannot tell it."]


def test_a_store_of_another_panel_than_the_parents_is_refused(teacher: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", markers=("DAPI", "CD3", "CD8", "CD20"))
    with pytest.raises(ModelError, match="holds DAPI, CD3, CD8, CD20; the model takes DAPI, Histones"):
        finetune(typing(store, tmp_path / "job", init=str(teacher)))


def test_a_new_model_takes_the_panel_of_its_store(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", markers=("CD3", "Hoechst", "CD8", "CD20"))
    finetune(typing(store, tmp_path / "job", max_steps=1))
    card = load_card(tmp_path / "job" / "model")
    assert card.panel == ["CD3", "Hoechst", "CD8", "CD20"] and card.nuclear == ["Hoechst"]


def test_pixels_that_are_no_numbers_train_as_dark(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with CropStore.create(tmp_path / "store", markers=MARKERS, dtype=np.float32, crop_px=32) as writer:
        for name in "ab":
            writer.add_slide(name, low=np.zeros(7), high=np.ones(7))
            crops = rng.random((8, 7, 32, 32), np.float32)
            crops[0, 1, :5], crops[1, 2, 3, 3] = np.nan, np.inf
            table = pd.DataFrame(
                {"slide": name, "label": range(8), "y": 0.0, "x": 0.0, "type": ["a", "b"] * 4}
            )
            writer.append(crops, table)
    for mode in ("finetune", "linear-probe"):
        finetune(
            typing(tmp_path / "store", tmp_path / mode, mode=mode, **(TRICKS if mode == "finetune" else {}))
        )
        assert all(np.isfinite(float(loss)) for loss in losses(tmp_path / mode))


def test_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    segments = FinetuneSettings(task="segments", data=[tmp_path], out=tmp_path)
    with pytest.raises(SettingsError, match="linear-probe is for task types"):
        segments.with_overrides(["mode=linear-probe"])
    with pytest.raises(SettingsError, match="batch_size of at least 2"):
        typing(tmp_path, tmp_path, batch_size=1).with_overrides(["mode=linear-probe"])
    with pytest.raises(SettingsError, match="balance"):
        segments.with_overrides(["balance=equal"])
    with pytest.raises(SettingsError, match="mixup"):
        segments.with_overrides(["mixup=-1"])
    assert typing(tmp_path, tmp_path).with_overrides(["classes=[a, b]"]).classes == ["a", "b"]
    assert typing(tmp_path, tmp_path).with_overrides(["classes=found"]).classes == "found"
