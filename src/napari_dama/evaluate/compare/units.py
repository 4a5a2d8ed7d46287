"""The units of work of an experiment: which there are, where each lies, and what it left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from napari_dama.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dama.evaluate.compare.experiment import Experiment, MethodEntry

Kind = Literal["pretrain", "types", "baseline"]
RESULT, PREDICTIONS, JOB, TRACE = "result.json", "predictions.parquet", "job", "error.txt"
UNITS: Final = "units"
RULE, BOOSTING = "rule", "boosting"


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work with a folder of its own.

    ``mode`` is "" for pretraining and "baseline" for baselines; ``label_share`` 0 where no label is used; ``fold`` is -1
    where a unit serves all folds.
    """

    kind: Kind
    method: str
    mode: str
    label_share: float
    fold: int
    seed: int

    @property
    def place(self) -> str:
        """Folder within the experiment's, unique."""
        fold = "all" if self.fold < 0 else f"fold{self.fold + 1}"
        parts = [UNITS, self.kind, self.method]
        if self.kind == "types":
            parts.append(self.mode)
        if self.kind != "pretrain" and self.label_share > 0:
            parts.append(f"labels{self.label_share:g}")
        return "/".join([*parts, f"{fold}-seed{self.seed}"])

    def describe(self) -> str:
        """In words."""
        fold = "" if self.fold < 0 else f", fold {self.fold + 1}"
        share = f", {100 * self.label_share:g} % of labels" if self.label_share > 0 else ""
        mode = f", {self.mode}" if self.kind == "types" else ""
        what = "pretrain " if self.kind == "pretrain" else ""
        return f"{what}{self.method}{mode}{share}{fold}, seed {self.seed}"


def all_units(experiment: Experiment, folds: int, *, with_rule: bool) -> list[Unit]:
    """Every unit in the order of work: whole folds come first, so that what is done can be compared early."""
    units: list[Unit] = []
    for seed in experiment.seeds:
        for fold in range(folds):
            if experiment.baselines:
                if with_rule and seed == experiment.seeds[0]:  # nothing in it is random
                    units.append(Unit("baseline", RULE, "baseline", 0.0, fold, seed))
                units += [
                    Unit("baseline", BOOSTING, "baseline", share, fold, seed)
                    for share in experiment.label_fractions
                ]
            for entry in experiment.methods:
                pretrained = pretraining_of(experiment, entry, fold, seed)
                if pretrained is not None and pretrained not in units:
                    units.append(pretrained)
                units += [
                    Unit("types", entry.name, mode, share, fold, seed)
                    for mode in experiment.modes
                    for share in experiment.label_fractions
                ]
    return units


def pretraining_of(experiment: Experiment, entry: MethodEntry, fold: int, seed: int) -> Unit | None:
    """The pretraining that a method's fine-tuning of this fold and seed starts from, if any."""
    if entry.method is None:
        return None
    return Unit("pretrain", entry.name, "", 0.0, -1 if experiment.pretrain_store else fold, seed)


def read_result(folder: Path) -> dict[str, Any] | None:
    """What a unit left, or None where it is not finished.

    Raises
    ------
    OutputError
        The file is damaged.
    """
    file = folder / RESULT
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{file} cannot be read ({error}); remove its folder to have the unit done again"
        ) from error
    if not isinstance(found, dict) or "state" not in found:
        raise OutputError(f"{file} is no result of a unit; remove its folder to have the unit done again")
    return found
