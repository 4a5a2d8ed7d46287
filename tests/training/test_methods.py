"""Every pretraining method as a real run in miniature: repeated, killed and resumed, kept, and asked for wrongly."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from typer.testing import CliRunner

from napari_dama.cells.store import CropStore
from napari_dama.cli import app
from napari_dama.errors import DamaError, Interrupted, ModelError, SettingsError, StoreError
from napari_dama.models.build import nuclear_of
from napari_dama.models.card import Card
from napari_dama.models.shelf import load_model
from napari_dama.nets.dama import Dama
from napari_dama.nets.encoder import EncoderSpec
from napari_dama.training.finetune import finetune
from napari_dama.training.folder import RunFolder
from napari_dama.training.methods import method_module
from napari_dama.training.pretrain import PretrainTask, pretrain
from napari_dama.training.recipes import recipe, recipe_names
from napari_dama.training.settings import METHOD_DEFAULTS, FinetuneSettings, PretrainSettings, checked
from training.conftest import write_store

SMALL: dict[str, Any] = {
    "max_steps": 3,
    "batch_size": 4,
    "log_every": 1,
    "validate_every": 2,
    "device": "cpu",
    "decoder_depth": 1,
    "decoder_width": 32,
    "decoder_heads": 2,
    "last_blocks": 2,
    "projector_hidden": 16,
    "projector_out": 8,
    "image_px": 64,
}
METHODS = tuple(METHOD_DEFAULTS)
WITHOUT_DECODER = ("data2vec", "moco", "simmim")
BASE: dict[str, Any] = {"crops": Path("store"), "out": Path("job")}


def settings(store: Path, out: Path, **changes: object) -> PretrainSettings:
    return PretrainSettings(**(SMALL | {"crops": store, "out": out} | changes))


def losses(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(out: Path, name: str = "last") -> dict[str, torch.Tensor]:
    found = RunFolder(out).load_checkpoint(name)
    assert found is not None
    return found[0]


def test_every_method_has_its_defaults() -> None:
    assert get_args(PretrainSettings.model_fields["method"].annotation) == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_a_command_leaves_a_model_that_a_fine_tuning_starts_from(
    store_path: Path, tmp_path: Path, method: str
) -> None:
    job = tmp_path / method
    words = [f"{key}={value}" for key, value in (SMALL | {"max_steps": 2}).items()]
    result = CliRunner().invoke(
        app, ["pretrain", "--crops", str(store_path), "-o", str(job), "--method", method, "--set", *words]
    )
    assert result.exit_code == 0, result.output
    assert len(losses(job)) == 2
    model = load_model(job / "model")
    task = "features" if method in WITHOUT_DECODER else "reconstruct"
    assert model.card.tasks == [task] and model.card.image_px == 64
    assert model.embed(torch.rand(2, 7, 64, 64)).shape == (2, 48)
    if task == "features":
        with pytest.raises(ModelError, match="cannot do reconstruct: it was made for features"):
            model.reconstruct(torch.rand(1, 7, 64, 64))
    finetune(
        FinetuneSettings(
            task="types",
            data=[store_path],
            out=tmp_path / "types",
            init=str(job / "model"),
            freeze_encoder=True,
            max_steps=1,
            batch_size=4,
            device="cpu",
        )
    )
    state = load_model(tmp_path / "types" / "model").state()
    encoder = {name: value for name, value in state.items() if name.startswith("types.encoder.")}
    assert encoder
    for name, value in encoder.items():
        assert torch.equal(value, state[name.replace("types.", f"{task}.")]), name


VARIANTS = [
    {"method": "data2vec", "ema_momentum": 0.5},
    {"method": "moco"},
    {"method": "simmim"},
    {"method": "dama", "second_network": "ema", "pairing": "pooled"},
    {"method": "dama", "second_network": "shared", "alpha": "published"},
    {"method": "dama", "mask": "published", "pairing": "published"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(str(value) for value in v.values()))
def test_runs_repeat_themselves_and_go_on_bit_for_bit(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: dict[str, object]
) -> None:
    """Whole, stopped and resumed, killed and resumed: the same losses, student and teacher."""
    whole, stopped, killed = (tmp_path / name for name in ("whole", "stopped", "killed"))
    pretrain(settings(store_path, whole, name="x", **variant))
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    torch.manual_seed(77)
    with pytest.raises(Interrupted):
        pretrain(settings(store_path, stopped, name="x", **variant), stop=stop)
    pretrain(settings(store_path, stopped, name="x", **variant), resume=True)

    with monkeypatch.context() as patch:
        loss = PretrainTask.loss

        def dies(self: PretrainTask, step: int, generator: torch.Generator) -> Any:
            if step == 2:
                raise KeyboardInterrupt
            return loss(self, step, generator)

        patch.setattr(PretrainTask, "loss", dies)
        with pytest.raises(KeyboardInterrupt):
            pretrain(settings(store_path, killed, name="x", checkpoint_seconds=1e-9, **variant))
    pretrain(settings(store_path, killed, name="x", checkpoint_seconds=1e-9, **variant), resume=True)

    one = weights(whole)
    for other in (stopped, killed):
        assert losses(other) == losses(whole)
        found = weights(other)
        assert found.keys() == one.keys() and all(torch.equal(found[key], one[key]) for key in one)


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_can_fall_on_any_step(store_path: Path, tmp_path: Path, method: str) -> None:
    """Also on the first after a row of metrics, where the sum of a loss is that of its only part."""
    job = settings(
        store_path, tmp_path, method=method, log_every=3, max_steps=5, checkpoint_seconds=1e-9, previews=False
    )
    pretrain(job)
    assert [row["step"] for row in losses(tmp_path)] == ["3", "5"]


@pytest.mark.parametrize("method", METHODS)
def test_methods_run_in_bfloat16(store_path: Path, tmp_path: Path, method: str) -> None:
    metrics = pretrain(settings(store_path, tmp_path, method=method, precision="bfloat16", max_steps=1))
    assert 0 < metrics["validation_loss"] < 20


@pytest.mark.parametrize(("method", "changes"), [
    ("data2vec", {}), ("moco", {}), ("dama", {"second_network": "ema"}),
])  # fmt: skip
def test_teachers_follow_in_a_run(
    store_path: Path, tmp_path: Path, method: str, changes: dict[str, object]
) -> None:
    pretrain(settings(store_path, tmp_path / "job", method=method, ema_momentum=0.5, **changes))
    state = weights(tmp_path / "job")
    teacher, student = ("network_2", "network_1") if method == "dama" else ("teacher", "student")
    pairs = [
        (value, state[name.replace(f".{teacher}.", f".{student}.")])
        for name, value in state.items()
        if name.startswith(f"module.{teacher}.") and name.endswith("mlp.fc1.weight")
    ]
    assert pairs and all(not torch.equal(a, b) and torch.allclose(a, b, atol=0.05) for a, b in pairs)


@pytest.mark.parametrize("method", ["data2vec", "moco"])
def test_the_last_weights_are_kept_where_losses_do_not_compare(
    store_path: Path, tmp_path: Path, method: str
) -> None:
    metrics = pretrain(settings(store_path, tmp_path / "job", method=method))
    assert metrics["score"] == 0.0 and metrics["step"] == 3.0
    last, best = (weights(tmp_path / "job", name) for name in ("last", "best"))
    assert all(torch.equal(value, last[name]) for name, value in best.items())


@pytest.mark.parametrize("parent", ["mae", "moco"])
@pytest.mark.parametrize("child", ["dama", "data2vec"])
def test_a_method_starts_from_the_model_of_another(
    store_path: Path, tmp_path: Path, parent: str, child: str
) -> None:
    pretrain(settings(store_path, tmp_path / "parent", method=parent, max_steps=1))
    init = tmp_path / "parent" / "model"
    start = settings(store_path, tmp_path / "job", method=child, init=str(init), second_network="ema")
    task = PretrainTask(start, CropStore.open(store_path), torch.device("cpu"))
    source = load_model(init).state()
    state = task.method.state_dict()
    names = ("network_1.encoder", "network_2.encoder") if child == "dama" else ("student", "teacher")
    part = "reconstruct" if parent == "mae" else "features"
    for name in names:
        wanted = source[f"{part}.encoder.blocks.0.mlp.fc1.weight"]
        assert torch.equal(state[f"{name}.blocks.0.mlp.fc1.weight"], wanted)
    assert task.card.parent == str(init)


# panels


def test_any_panel_can_be_learned_and_fine_tuning_refuses_another(store_path: Path, tmp_path: Path) -> None:
    markers = ("CD3", "Hoechst 33342", "CD8", "CD20")
    store = write_store(tmp_path / "store", markers=markers)
    pretrain(settings(store, tmp_path / "job", max_steps=1))
    card = Card.read(tmp_path / "job" / "model")
    assert card.panel == list(markers) and card.nuclear == ["Hoechst 33342"] and card.classes == []
    init = str(tmp_path / "job" / "model")
    finetune(
        FinetuneSettings(
            task="types", data=[store], out=tmp_path / "types", init=init, max_steps=1, device="cpu"
        )
    )
    assert load_model(tmp_path / "types" / "model").card.panel == list(markers)
    with pytest.raises(
        ModelError, match=r"holds DAPI, Histones.*the model takes CD3, Hoechst 33342, CD8, CD20"
    ):
        finetune(FinetuneSettings(task="types", data=[store_path], out=tmp_path / "no", init=init))


def test_nuclear_markers_are_found_by_their_names_or_said(tmp_path: Path) -> None:
    assert nuclear_of(["CD3", "DAPI_1", "HH3", "Iba1", "dsDNA"]) == ["DAPI_1", "HH3", "dsDNA"]
    store = write_store(tmp_path / "store", markers=("red", "green", "blue"), types=("a",))
    pretrain(settings(store, tmp_path / "none", max_steps=1, channels=3))
    assert Card.read(tmp_path / "none" / "model").nuclear == []
    pretrain(settings(store, tmp_path / "said", max_steps=1, nuclear=["blue"]))
    assert Card.read(tmp_path / "said" / "model").nuclear == ["blue"]
    with pytest.raises(ModelError, match="nuclear names DAPI, which the panel lacks"):
        pretrain(settings(store, tmp_path / "wrong", nuclear=["DAPI"]))
    assert json.loads((tmp_path / "wrong" / "status.json").read_text())["state"] == "failed"
    with pytest.raises(StoreError, match=r"holds 3 markers \(red, green, blue\), .*channels=7"):
        pretrain(settings(store, tmp_path / "seven", channels=7))
    with pytest.raises(ModelError, match="knows no nuclear marker among red, green, blue"):
        finetune(
            FinetuneSettings(
                task="segments", data=[tmp_path], out=tmp_path / "s", init=str(tmp_path / "none" / "model")
            ),
        )


# settings


def test_what_is_not_given_follows_the_method() -> None:
    assert PretrainSettings(**BASE).mask_ratio == 0.8
    simmim = PretrainSettings(**BASE, method="simmim")
    assert simmim.mask_ratio == 0.6 and not simmim.normalise_patches
    data2vec = simmim.with_overrides(["method=data2vec"])
    assert data2vec.ema_momentum == 0.9998 and data2vec.ema_schedule == "constant"
    assert data2vec.normalise_patches and data2vec.with_overrides(["method=mae"]).mask_ratio == 0.8
    assert PretrainSettings(**BASE, method="simmim", mask_ratio=0.7).mask_ratio == 0.7
    assert PretrainSettings(**BASE).with_overrides(["mask_ratio=0.7", "method=simmim"]).mask_ratio == 0.7


def test_a_file_holds_what_followed_from_the_method(tmp_path: Path) -> None:
    PretrainSettings(**BASE, method="data2vec").to_file(tmp_path / "job.yaml")
    assert "mask_ratio: 0.6\n" in (tmp_path / "job.yaml").read_text()
    assert PretrainSettings.from_file(tmp_path / "job.yaml").ema_momentum == 0.9998


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mask_ratio": 0.99}, r"mask_ratio 0\.99 leaves no visible patch of 64; choose at most 0\.984"),
        ({"mask_ratio": 0.9, "image_px": 32, "method": "mae"}, "leaves no visible patch of 4"),
        ({"mask_ratio": 0.3, "overlap_ratio": 0}, r"64 - 2\*44 \+ 0 = -24 patches hidden in both"),
        ({"image_px": 100}, "image_px 100 is not a multiple of patch_px 16"),
        ({"method": "moco", "batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"mask": "published"}, "choose pairing=published or pooled"),
        ({"mask": "published", "method": "mae"}, "method mae has no such mask"),
        ({"alpha": -1}, "alpha: .*number of at least 0, or published, got -1"),
        ({"alpha": "much"}, "alpha: .*number of at least 0, or published, got 'much'"),
        ({"second_network": "two"}, "second_network: .*own.*shared.*ema"),
        ({"temperature": 0}, "temperature: .*greater than 0, got 0"),
        ({"ema_momentum": 1.1}, "ema_momentum: .*1, got 1.1"),
    ],
)
def test_settings_that_leave_nothing_are_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=f"^here: .*{says}"):
        checked(PretrainSettings, BASE | given, where="here")


def test_switches_reach_the_method() -> None:
    chosen = PretrainSettings(
        **BASE,
        alpha="published",
        second_network="ema",
        ema_momentum=0.9,
        batch_size=512,
        normalise_patches=False,
    )
    method = method_module(chosen, EncoderSpec())
    assert isinstance(method, Dama)
    assert method.spec.alpha == 512 * 13 and method.spec.second_network == "ema"
    assert method.spec.momentum.at(0.0) == pytest.approx(0.9) and method.spec.momentum.at(1.0) == 1.0
    assert not method.spec.normalise_patches


def test_a_loss_that_is_no_number_names_its_batch(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = PretrainTask.loss

    def spoiled(self: PretrainTask, step: int, generator: torch.Generator) -> Any:
        found = loss(self, step, generator)
        return type(found)(found.total * float("nan") if step >= 11 else found.total, found.parts)

    monkeypatch.setattr(PretrainTask, "loss", spoiled)
    with pytest.raises(
        DamaError, match=r"no longer a number at step 12; .*last good.*batch 4 of 8 in epoch 2"
    ):
        pretrain(settings(store_path, tmp_path / "job", method="mae", max_steps=20, log_every=20))


# recipes


def test_every_recipe_is_valid_and_says_what_it_is() -> None:
    names = recipe_names()
    assert len(names) == len(set(names)) == 2 * 6 * 3 * 2
    for name in names:
        found = PretrainSettings(**BASE, **recipe(name))
        assert name.startswith(f"brain7/{found.method}-{found.size}" if found.channels == 7 else "imagenet/")
        assert found.epochs in ((1000, 1600) if name.endswith("-long") else (500, 800))


def test_recipes_hold_the_published_numbers() -> None:
    def numbers(name: str, *keys: str) -> list[Any]:
        found = PretrainSettings(**BASE, **recipe(name))
        return [getattr(found, key) for key in keys]

    common = ("lr", "batch_size", "epochs", "weight_decay", "mask_ratio", "image_px")
    assert numbers("brain7/dama-base", *common) == [1.5e-4, 512, 500, 0.05, 0.8, 128]
    assert numbers("brain7/mae-base-long", *common) == [1.5e-4, 512, 1600, 0.05, 0.8, 128]
    assert numbers("brain7/data2vec-small", *common) == [1.5e-4, 512, 800, 0.05, 0.6, 128]
    assert numbers("imagenet/dama-base", *common) == [1.5e-4, 4096, 500, 0.05, 0.8, 224]
    moco = ("weight_decay", "warmup", "temperature", "ema_schedule", "freeze_patches")
    assert numbers("brain7/moco-base", *moco) == [0.1, 0.1, 0.2, "cosine", True]
    dama = ("overlap_ratio", "last_blocks", "beta", "betas", "warmup")
    assert numbers("brain7/dama-tiny", *dama) == [0.5, 6, 2.0, (0.9, 0.95), 0.08]


def test_recipes_on_the_command_line(tmp_path: Path) -> None:
    def run(*words: object) -> Any:
        return CliRunner().invoke(app, [str(word) for word in words])

    listed = run("pretrain", "--list-recipes")
    assert listed.exit_code == 0 and listed.stdout.split() == recipe_names()
    store = write_store(tmp_path / "store", markers=("DAPI", "green", "blue"), types=("a",))
    job = tmp_path / "job"
    rgb = ["pretrain", "--crops", store, "-o", job, "--recipe", "imagenet/mae-tiny"]
    small = [f"{key}={value}" for key, value in SMALL.items() if key != "image_px"]
    done = run(*rgb, "--set", *small, "max_steps=1")
    assert done.exit_code == 0, done.output
    held = PretrainSettings.from_file(job / "job.yaml")
    assert (held.image_px, held.epochs, held.batch_size, held.lr) == (224, 800, 4, 1.5e-4)
    assert load_model(job / "model").card.image_px == 224
    for words, says in (
        ([*rgb[:-1], "brain7/dama-huge"], "no recipe 'brain7/dama-huge'; .*size tiny, small, base"),
        ([*rgb, "--settings", job / "job.yaml"], "give one of them"),
        ([*rgb, "--resume"], "leave --recipe out"),
    ):
        failed = run(*words)
        assert failed.exit_code == 2, failed.output
        assert re.search(says, " ".join(failed.output.split())), failed.output
