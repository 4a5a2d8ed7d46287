"""The experiment file: what is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluate.compare.conftest import plain
from napari_dama.errors import SettingsError
from napari_dama.evaluate.compare import Experiment
from napari_dama.evaluate.compare.units import all_units


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fold": 3}, "fold: there is no such key; there are: store, pretrain_store, pretrain, methods"),
        (
            {"methods": [{"name": "a", "methd": "mae"}]},
            r"methods\.0\.methd: there is no such key; there are: name",
        ),
        ({"methods": []}, "methods: List should have at least 1 item"),
        ({"methods": [{"name": "a"}]}, r"methods\.0: a needs either `method` or `init`"),
        ({"methods": [{"name": "a", "init": "x", "set": {"lr": 1}}]}, "a is not pretrained here"),
        ({"methods": [{"name": "rule", "init": "random"}]}, "rule is the name of a baseline"),
        ({"methods": [{"name": "a", "init": "x"}] * 2}, "methods names a twice"),
        ({"methods": [{"name": "a", "method": "simclr9"}]}, "method a: method: .*, got 'simclr9'"),
        ({"methods": [{"name": "a", "method": "mae", "set": {"masking": 1}}]}, "method a: masking: Extra"),
        ({"finetune": {"lr": "quick"}}, "method dama, finetune: lr: .*got 'quick'"),
        ({"linear_probe": {"learning": 1}}, "method dama, linear-probe: learning: Extra"),
        ({"pretrain": {"seed": 3}}, "pretrain: seed is decided by the experiment"),
        ({"label_fractions": [0.1, 2]}, "above 0 and up to 1, got 2"),
        ({"seeds": [0, 0]}, "seeds names 0 twice"),
        ({"modes": ["probe"]}, r"modes\.0: Input should be 'finetune' or 'linear-probe', got 'probe'"),
        ({"folds": 1}, "folds is 1: give 2 or more, or a fixed `test`"),
        ({"test": 1.5}, "a share between 0 and 1, or a list of groups, got 1.5"),
        ({"references": ["mae"]}, "references names mae, which is no method"),
        ({"store": ["a", "b"]}, "store: one crop store is compared on"),
        ({"pretrain": {"size": "tiny"}, "finetune": {"size": "base"}}, "they must be one"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(yaml.safe_dump(plain(tmp_path) | changes))
    with pytest.raises(SettingsError, match=f"^{file}: .*{says}"):
        Experiment.from_file(file)


@pytest.mark.parametrize(("text", "says"), [("a: [", "no valid YAML"), ("3", "holds no experiment")])
def test_a_file_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(SettingsError, match=says):
        Experiment.from_file(tmp_path / "e.yaml")
    with pytest.raises(SettingsError, match="is no file"):
        Experiment.from_file(tmp_path / "missing.yaml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    raw = plain(Path("stores/a")) | {
        "methods": [{"name": "mine", "init": "model"}, {"name": "theirs", "init": "dama-brain7"}]
    }
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(raw))
    found = Experiment.from_file(tmp_path / "e.yaml")
    assert found.store == (tmp_path / "stores" / "a").resolve()
    assert [entry.init for entry in found.methods] == [
        str((tmp_path / "model").resolve()),
        "dama-brain7",
        "random",
    ]


def test_baselines_are_added_unless_they_are_not_wanted(tmp_path: Path) -> None:
    bare = {"methods": [{"name": "m", "method": "mae"}], "modes": ["finetune"]}
    with_them = Experiment.from_raw(plain(tmp_path, **bare))
    assert [e.name for e in with_them.methods] == ["m", "random"] and "linear-probe" in with_them.modes
    assert with_them.references_or_default() == ["random", "m", "boosting"]
    without = Experiment.from_raw(plain(tmp_path, **bare, baselines=False))
    assert [e.name for e in without.methods] == ["m"] and without.modes == ["finetune"]


def test_a_probe_is_a_frozen_encoder_and_a_method_may_have_its_own_recipe(tmp_path: Path) -> None:
    raw = plain(tmp_path, linear_probe={"lr": 0.5})
    raw["methods"][0] |= {"set": {"pairing": "pooled"}, "finetune": {"weight_decay": 0.1}}
    found = Experiment.from_raw(raw)
    dama, random = found.methods
    assert found.pretrain_settings(dama, out=tmp_path).pairing == "pooled"
    probe = found.finetune_settings(dama, "linear-probe", out=tmp_path, init="random")
    assert (probe.mode, probe.freeze_encoder, probe.pool) == ("linear-probe", True, "mean")
    assert probe.drop_path == 0.0
    assert (probe.lr, probe.weight_decay) == (0.5, 0.1)
    tuned = found.finetune_settings(random, "finetune", out=tmp_path, init="random")
    assert not tuned.freeze_encoder and (tuned.lr, tuned.weight_decay) == (0.05, 0.05)


def test_units_are_each_once_and_pretraining_is_shared(tmp_path: Path) -> None:
    raw = plain(tmp_path, seeds=[3, 4], folds=3)
    units = all_units(Experiment.from_raw(raw), 3, with_rule=True)
    assert len({unit.place for unit in units}) == len(units) == 3 * (1 + 2 * (2 + 1 + 2 * 2 * 2))
    first = {unit.describe(): place for place, unit in enumerate(units)}
    assert first["pretrain dama, fold 1, seed 3"] < first["dama, finetune, 20 % of labels, fold 1, seed 3"]
    elsewhere = all_units(Experiment.from_raw(raw | {"pretrain_store": "big"}), 3, with_rule=False)
    assert [unit.place for unit in elsewhere if unit.kind == "pretrain"] == [
        "units/pretrain/dama/all-seed3",
        "units/pretrain/dama/all-seed4",
    ]


def test_the_experiments_that_are_shipped_are_sound(repository: Path) -> None:
    from typing import get_args

    from napari_dama.training.settings import PretrainSettings

    known = get_args(PretrainSettings.model_fields["method"].annotation)
    for file in sorted((repository / "benchmarks" / "experiments").glob("*.yaml")):
        raw = yaml.safe_load(file.read_text())
        raw["methods"] = [m for m in raw["methods"] if m.get("method") in (None, *known)]
        assert Experiment.from_raw(raw, folder=file.parent).folds >= 2
