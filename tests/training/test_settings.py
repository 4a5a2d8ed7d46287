"""Settings are checked when they are made, and a message names setting, value and bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_dama.errors import SettingsError
from napari_dama.training.settings import FinetuneSettings, PretrainSettings, checked

BASE: dict[str, Any] = {"crops": Path("store"), "out": Path("job")}
FINE: dict[str, Any] = {"task": "types", "data": [Path("store")], "out": Path("job")}


@pytest.mark.parametrize(
    "settings", [PretrainSettings(**BASE, lr=3e-4, size="small"), FinetuneSettings(**FINE)]
)
def test_a_file_holds_the_whole_run(tmp_path: Path, settings: PretrainSettings | FinetuneSettings) -> None:
    settings.to_file(tmp_path / "job.yaml")
    assert type(settings).from_file(tmp_path / "job.yaml") == settings
    kind = "pretrain" if isinstance(settings, PretrainSettings) else "finetune"
    assert (tmp_path / "job.yaml").read_text().startswith(f"kind: {kind}\n")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("lr", 0, "greater than 0"),
        ("lr", "fast", "number"),
        ("batch_size", 0, "1"),
        ("mask_ratio", 1.0, "less than 1"),
        ("overlap_ratio", 1.5, "1"),
        ("size", "huge", "tiny"),
        ("method", "simclr", "dama"),
        ("seed", -1, "0"),
        ("warmup", 1.0, "1"),
        ("last_blocks", 13, "12"),
        ("learning_rate", 1, "[Ee]xtra"),
        ("precision", "int8", "float32"),
    ],
)
def test_a_wrong_setting_is_named_with_value_and_bound(name: str, value: object, says: str) -> None:
    with pytest.raises(SettingsError, match=rf"job\.yaml: {name}: .*{says}.*, got {value!r}$"):
        checked(PretrainSettings, BASE | {name: value}, where="job.yaml")


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^here: crops: Field required$"):
        checked(PretrainSettings, {"out": "job"}, where="here")


def test_a_tile_is_whole_windows() -> None:
    with pytest.raises(SettingsError, match=r"^here: settings: .*multiple of 128, got 200$"):
        checked(FinetuneSettings, FINE | {"tile_px": 200}, where="here")


def test_overrides_are_read_as_yaml() -> None:
    settings = PretrainSettings(**BASE).with_overrides(
        [
            "lr=1e-3",
            "size=base",
            "max_steps=null",
            "betas=[0.8, 0.9]",
            "batch_size = 32",
            "normalise_patches=false",
        ]
    )
    assert settings.lr == 1e-3 and settings.size == "base" and settings.max_steps is None
    assert settings.betas == (0.8, 0.9) and settings.batch_size == 32 and not settings.normalise_patches


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("lr", "key=value, got 'lr'"),
        ("learning=1", "no setting 'learning'; there are: out, device"),
        ("lr=-1", "lr: .*greater than 0.*got -1"),
        ("betas=[", "no valid YAML"),
    ],
)
def test_a_wrong_override_is_named(pair: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        PretrainSettings(**BASE).with_overrides([pair])


@pytest.mark.parametrize(
    ("text", "says"), [(None, "does not exist"), ("a: [", "no valid YAML"), ("- 1", "holds no settings")]
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "job.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=says):
        PretrainSettings.from_file(file)


def test_decoder_follows_size_and_what_is_set() -> None:
    assert PretrainSettings(**BASE, size="base").decoder() == (8, 512, 16)
    assert PretrainSettings(**BASE, decoder_depth=2).decoder() == (2, 128, 4)


def test_splits_and_shares_of_labels_are_refused_where_they_mean_nothing() -> None:
    for wrong in ({"test_groups": ["a"]}, {"validation_groups": ["a"]}, {"label_share": 0.5}):
        with pytest.raises(SettingsError, match="are for crop stores"):
            checked(FinetuneSettings, FINE | {"task": "segments"} | wrong, where="here")
