"""Recipes of fine-tuning hold the supplement's numbers, and each makes settings and a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_dama.cli import app
from napari_dama.errors import SettingsError
from napari_dama.models.shelf import load_card
from napari_dama.training.finetune_recipes import finetune_recipe, finetune_recipe_names
from napari_dama.training.settings import FinetuneSettings
from training.conftest import write_store


@pytest.mark.parametrize("name", finetune_recipe_names())
def test_every_recipe_makes_settings(name: str) -> None:
    made = FinetuneSettings.model_validate(
        {"task": "types", "data": ["store"], "out": "job", **finetune_recipe(name)}
    )
    assert {key: getattr(made, key) for key in ("epochs", "lr")} == {
        key: finetune_recipe(name)[key] for key in ("epochs", "lr")
    }


def test_the_papers_recipe_is_the_papers() -> None:
    made = FinetuneSettings(task="types", data=[Path("s")], out=Path("j"), **finetune_recipe("paper-types"))
    assert (made.epochs, made.batch_size, made.lr, made.min_lr, made.weight_decay) == (
        150,
        512,
        1e-2,
        1e-5,
        0.05,
    )
    assert (made.layer_decay, made.drop_path, made.erasing) == (0.75, 0.1, 0.25)
    assert (made.mixup, made.cutmix, made.label_smoothing, made.pool) == (0.8, 1.0, 0.1, "mean")
    assert round(made.warmup * made.epochs) == 5 and made.zoom == 1 and not made.use_pixels


def test_today_s_defaults_are_gentle() -> None:
    plain = FinetuneSettings(task="types", data=[Path("s")], out=Path("j"))
    assert (plain.mixup, plain.cutmix, plain.erasing, plain.balance) == (0, 0, 0, "sqrt")
    assert plain.mode == "finetune" and plain.augmented and not plain.freeze_encoder


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(SettingsError, match="no recipe 'best'; there are: linear-probe, paper-types"):
        finetune_recipe("best")


def test_a_recipe_on_the_command_line(tmp_path: Path) -> None:
    store, job = write_store(tmp_path / "store", per_group=8), tmp_path / "job"
    words = ["finetune", "--task", "types", "--data", store, "-o", job, "--recipe", "paper-types"]
    words += [
        "--set",
        "size=tiny",
        "max_steps=1",
        "batch_size=4",
        "device=cpu",
        "classes=[astrocyte, neuron, late]",
    ]
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)["notes"]  # beside what the guards say of so small a store
    assert "Class late: no cell of it was in training, so the model cannot tell it." in said
    settings = load_card(job / "model").training["types"]["settings"]
    assert settings["mixup"] == 0.8 and settings["size"] == "tiny" and settings["epochs"] == 150
    again = CliRunner().invoke(app, [*map(str, words), "--resume"])
    assert again.exit_code == 2 and "leave --recipe out" in again.stderr
