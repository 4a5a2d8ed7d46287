"""Real runs in miniature: pretraining, types and segments, and the models that they leave."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_dama.errors import Interrupted, ModelError, SettingsError, StoreError
from napari_dama.models.card import Card
from napari_dama.models.shelf import load_model
from napari_dama.simulate import TYPES
from napari_dama.training.finetune import finetune
from napari_dama.training.pretrain import pretrain
from napari_dama.training.settings import FinetuneSettings, PretrainSettings
from training.conftest import write_store

SHORT = {"max_steps": 3, "batch_size": 4, "log_every": 1, "validate_every": 2, "device": "cpu"}


def pretraining(store: Path, out: Path, **changes: object) -> PretrainSettings:
    small = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2, "last_blocks": 2}
    return PretrainSettings(crops=store, out=out, **(SHORT | small | changes))  # type: ignore[arg-type]


def typing(store: Path, out: Path, **changes: object) -> FinetuneSettings:
    return FinetuneSettings(task="types", data=[store], out=out, **(SHORT | changes))  # type: ignore[arg-type]


def losses(out: Path) -> list[str]:
    with (out / "metrics.csv").open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from napari_dama.simulate import write_simulated

    folder = tmp_path_factory.mktemp("tissue")
    write_simulated(folder, n=2, size=256, seed=1)
    return folder


@pytest.mark.parametrize("method", ["dama", "dama-random", "mae"])
def test_pretraining_leaves_a_model_that_loads(store_path: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / method
    metrics = pretrain(pretraining(store_path, out, method=method))
    assert np.isfinite(metrics["score"]) and metrics["validation_loss"] > 0
    model = load_model(out / "model")
    assert model.card.name == method and model.card.tasks == ["reconstruct"]
    assert model.card.statistics["DAPI"] == {"low": 0.0, "high": 1001.0}
    assert model.card.training["crops"] == 48
    found = model.reconstruct(torch.rand(2, 7, 128, 128))
    assert found.image_adaptive.shape == (2, 7, 128, 128)
    assert found.hidden_adaptive.sum(1).tolist() == [52, 52]
    assert len(losses(out)) == 3


def test_pretraining_repeats_itself_and_resumes_bit_for_bit(store_path: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    pretrain(pretraining(store_path, whole, name="same"))
    cut = tmp_path / "cut"
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with pytest.raises(Interrupted):
        pretrain(pretraining(store_path, cut, name="same"), stop=stop)
    pretrain(pretraining(store_path, cut, name="same"), resume=True)
    assert losses(whole) == losses(cut)
    one, other = (path / "model" / "weights.safetensors" for path in (whole, cut))
    assert one.read_bytes() == other.read_bytes()


def test_pretraining_starts_from_another_model(store_path: Path, tmp_path: Path) -> None:
    pretrain(pretraining(store_path, tmp_path / "first", method="mae"))
    model = tmp_path / "first" / "model"
    pretrain(
        pretraining(store_path, tmp_path / "second", init=str(model), max_steps=1, lr=1e-9, weight_decay=0)
    )
    old, fresh = (load_model(tmp_path / name / "model").state() for name in ("first", "second"))
    assert all(torch.allclose(fresh[name], value, atol=1e-3) for name, value in old.items())


def test_pretraining_refuses_a_start_of_another_panel_and_says_so_in_its_status(
    store_path: Path, tmp_path: Path
) -> None:
    pretrain(pretraining(store_path, tmp_path / "parent", max_steps=1))
    parent = str(tmp_path / "parent" / "model")
    store = write_store(tmp_path / "store", markers=("DAPI", "CD3", "CD8", "CD20"))
    with pytest.raises(ModelError, match=r"holds DAPI, CD3, CD8, CD20; .*model takes DAPI, Histones"):
        pretrain(pretraining(store, tmp_path / "job", init=parent))
    assert json.loads((tmp_path / "job" / "status.json").read_text())["state"] == "failed"


def test_types_from_a_parent_keep_what_the_parent_did(store_path: Path, tmp_path: Path) -> None:
    pretrain(pretraining(store_path, tmp_path / "parent"))
    parent = load_model(tmp_path / "parent" / "model")
    metrics = finetune(typing(store_path, tmp_path / "child", init=str(tmp_path / "parent" / "model")))
    assert set(metrics) >= {"accuracy", "balanced_accuracy", "macro_f1", "score"}
    child = load_model(tmp_path / "child" / "model")
    assert child.card.tasks == ["reconstruct", "types"]
    assert child.card.parent == "parent" and child.card.name == "child"
    assert child.card.classes == list(TYPES)
    assert child.card.architecture.type_zoom == 1.5625 and child.card.architecture.type_pixels
    old, kept = parent.state(), child.state()
    assert all(torch.equal(kept[name], value) for name, value in old.items())
    probabilities = child.type_probabilities(torch.rand(3, 7, 128, 128))
    assert probabilities.shape == (3, 5)
    assert torch.allclose(probabilities.sum(1), torch.ones(3), atol=1e-5)
    assert child.embed(torch.rand(3, 7, 128, 128)).shape == (
        3,
        2 * (48 + 128),
    )  # tokens and pixels, whole crop and middle
    assert child.card.metrics["types"]["validation"]["score"] == metrics["score"]


def test_types_start_from_the_parents_encoder(store_path: Path, tmp_path: Path) -> None:
    pretrain(pretraining(store_path, tmp_path / "parent"))
    init = str(tmp_path / "parent" / "model")
    finetune(typing(store_path, tmp_path / "child", init=init, freeze_encoder=True))
    state = load_model(tmp_path / "child" / "model").state()
    for name, value in state.items():
        if name.startswith("types.encoder."):
            assert torch.equal(value, state[name.replace("types.", "reconstruct.")]), name


def test_types_learn_what_a_mean_would_show(store_path: Path, tmp_path: Path) -> None:
    chosen = typing(store_path, tmp_path / "job", max_steps=30, batch_size=16, lr=0.05, validate_every=10)
    assert finetune(chosen)["balanced_accuracy"] > 0.8


def test_types_without_types_are_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", typed=False)
    with pytest.raises(StoreError, match="holds none of at least two types"):
        finetune(typing(store, tmp_path / "job"))
    assert json.loads((tmp_path / "job" / "status.json").read_text())["state"] == "failed"


def test_types_take_one_store(store_path: Path, tmp_path: Path) -> None:
    chosen = typing(store_path, tmp_path / "job").model_copy(update={"data": [store_path, store_path]})
    with pytest.raises(SettingsError, match="one crop store, got 2"):
        finetune(chosen)


def test_types_refuse_crops_of_another_width_than_the_parents(store_path: Path, tmp_path: Path) -> None:
    pretrain(pretraining(store_path, tmp_path / "parent", max_steps=1))
    store = write_store(tmp_path / "wide", crop_um=65.0)
    with pytest.raises(StoreError, match=r"crops of 65 um, .* takes 32\.5 um; .*--crop-um 32\.5"):
        finetune(typing(store, tmp_path / "job", init=str(tmp_path / "parent" / "model")))


def test_a_fresh_model_takes_the_crop_width_of_its_store(tmp_path: Path) -> None:
    store = write_store(tmp_path / "wide", crop_um=65.0)
    finetune(typing(store, tmp_path / "job", max_steps=1))
    card = Card.read(tmp_path / "job" / "model")
    assert card.crop_um == 65.0 and card.pixel_um == pytest.approx(65.0 / 128)


def test_segments_from_a_parent(tissue: Path, store_path: Path, tmp_path: Path) -> None:
    pretrain(pretraining(store_path, tmp_path / "parent", max_steps=1))
    settings = FinetuneSettings(
        task="segments",
        data=[tissue],
        out=tmp_path / "job",
        init=str(tmp_path / "parent" / "model"),
        tile_px=128,
        **SHORT,  # type: ignore[arg-type]
    )
    metrics = finetune(settings)
    assert 0 <= metrics["f1_50"] <= 1
    model = load_model(tmp_path / "job" / "model")
    assert model.card.tasks == ["reconstruct", "segments"]
    maps = model.segment_maps(torch.rand(1, 7, 128, 256))
    assert maps.shape == (1, 2, 128, 256) and float(maps.min()) >= 0 and float(maps.max()) <= 1


def test_segments_repeat_themselves(tissue: Path, tmp_path: Path) -> None:
    few = SHORT | {"max_steps": 2, "batch_size": 2}
    for name in ("one", "two"):
        finetune(
            FinetuneSettings(task="segments", data=[tissue], out=tmp_path / name, tile_px=128, **few)  # type: ignore[arg-type]
        )
    assert losses(tmp_path / "one") == losses(tmp_path / "two")


def test_segments_say_what_is_missing(tissue: Path, tmp_path: Path) -> None:
    def start(*data: Path) -> None:
        finetune(FinetuneSettings(task="segments", data=list(data), out=tmp_path / "job"), overwrite=True)

    with pytest.raises(StoreError, match="nowhere does not exist"):
        start(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"no slide with labels .*NAME_cells\.tif"):
        start(tmp_path / "empty")
    with pytest.raises(StoreError, match="at least two labelled slides"):
        start(next(tissue.glob("*.ome.tif")))
