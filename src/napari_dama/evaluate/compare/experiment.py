"""The experiment file: one YAML file says what is compared, on what, and how it is parted. Reading it needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from napari_dama.errors import SettingsError
from napari_dama.training.settings import FinetuneSettings, PretrainSettings, checked

Mode = Literal["finetune", "linear-probe"]
DECIDED_HERE: Final = frozenset(
    "out crops data task method init seed classes validation_groups test_groups label_share label_seed name".split()
)
"""Settings of a run that follow from the experiment, so that no method can have its own."""
RESERVED: Final = frozenset({"rule", "boosting"})


class MethodEntry(BaseModel):
    """One of the things compared: a pretraining ``method``, or a start (``init``) that needs no pretraining.

    Attributes
    ----------
    name
        Its name in tables and folders.
    method
        A method of `napari-dama pretrain`.
    init
        ``random``, or a model (a name on the shelf, or a folder relative to the experiment file).
    set
        Pretraining settings in which this method differs from ``pretrain``.
    finetune
        Fine-tuning settings in which it differs from ``finetune``, for a method with a recipe of its own.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^\w[\w.\-]*$", max_length=60)
    method: str | None = None
    init: str | None = None
    set: dict[str, Any] = {}
    finetune: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.method is None) == (self.init is None):
            raise ValueError(f"{self.name} needs either `method` or `init`, and not both")
        if self.set and self.method is None:
            raise ValueError(f"{self.name} is not pretrained here, so `set` means nothing; use `finetune`")
        if self.name in RESERVED:
            raise ValueError(f"{self.name} is the name of a baseline; choose another")
        return self


class Experiment(BaseModel):
    """Methods x folds x label fractions x seeds on one crop store with types.

    Attributes
    ----------
    store
        Crop store with types.
    pretrain_store
        A store of its own for pretraining, once per seed. Its slides that are also in ``store`` are left out.
    pretrain, finetune
        Settings common to all methods.
    linear_probe
        Settings in which a linear probe differs from ``finetune``, for example its rate.
    methods, modes, label_fractions, seeds
        What is crossed with the folds. ``finetune`` trains the whole network; ``linear-probe`` a linear head on the
        frozen encoder's averaged tokens.
    folds, test
        With ``test: folds`` the groups take turns: fold k is the test part of run k. With a share or a list of groups the
        test part is fixed, and fold k of the others is what run k chooses by.
    validation
        Share of the groups outside the test part that is held out to choose among checkpoints.
    group_by
        ``slide`` keeps all fields of a slide on one side; ``group`` only each field of view.
    split_seed
        Of folds and validation groups; the same for all seeds.
    pretrain_on
        ``train``: a fold's training groups (validation groups choose its checkpoint); ``all_but_test``: those of
        validation too, without their labels.
    baselines
        Adds the mean-intensity rule, boosting, random initialisation and the linear probe where they are not named.
    rule
        Type per marker for the mean-intensity rule; the brain panel's by default.
    references
        Names that every method is tested against; by default random initialisation, mae and boosting where they are.
    keep_models
        Keep the fine-tuned models and all checkpoints; otherwise only pretrained models and predictions.
    simulated
        Whether the pixels are simulated; by default what the names of the slides say.
    """

    model_config = ConfigDict(extra="forbid")

    store: Path
    pretrain_store: Path | None = None
    pretrain: dict[str, Any] = {}
    methods: list[MethodEntry] = Field(min_length=1)
    finetune: dict[str, Any] = {}
    linear_probe: dict[str, Any] = {}
    modes: list[Mode] = Field(default=["finetune", "linear-probe"], min_length=1)
    folds: int = Field(5, ge=1, le=100)
    test: Literal["folds"] | float | list[str] = "folds"
    validation: float = Field(0.2, gt=0, le=0.5)
    label_fractions: list[float] = Field(default=[0.01, 0.1, 1.0], min_length=1)
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    split_seed: int = Field(0, ge=0)
    group_by: Literal["slide", "group"] = "slide"
    pretrain_on: Literal["train", "all_but_test"] = "train"
    baselines: bool = True
    rule: dict[str, str] | None = None
    references: list[str] | None = None
    keep_models: bool = False
    simulated: bool | None = None

    @field_validator("store", mode="before")
    @classmethod
    def _one_store(cls, value: Any) -> Any:
        if isinstance(value, list):
            if len(value) == 1:
                return value[0]
            raise ValueError(
                "one crop store is compared on; put all slides into one with `napari-dama crops`"
            )
        return value

    @field_validator("pretrain", "finetune", "linear_probe")
    @classmethod
    def _not_decided_here(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _without_own(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, values in (
            ("methods", [entry.name for entry in self.methods]),
            ("modes", self.modes),
            ("label_fractions", self.label_fractions),
            ("seeds", self.seeds),
        ):
            twice = [value for value in values if list(values).count(value) > 1]
            if twice:
                raise ValueError(f"{what} names {twice[0]} twice")
        wrong = [share for share in self.label_fractions if not 0 < share <= 1]
        if wrong:
            raise ValueError(f"label_fractions are above 0 and up to 1, got {wrong[0]}")
        if any(seed < 0 for seed in self.seeds):
            raise ValueError(f"seeds must not be negative, got {min(self.seeds)}")
        if isinstance(self.test, float) and not 0 < self.test < 1:
            raise ValueError(
                f"test is `folds`, a share between 0 and 1, or a list of groups, got {self.test}"
            )
        if self.test == "folds" and self.folds < 2:
            raise ValueError("folds is 1: give 2 or more, or a fixed `test` part")
        for entry in self.methods:
            _without_own(entry.set)
            _without_own(entry.finetune)
        self._with_baselines()
        strange = set(self.references or ()) - {entry.name for entry in self.methods} - RESERVED
        if strange:
            raise ValueError(f"references names {sorted(strange)[0]}, which is no method of the experiment")
        return self

    def _with_baselines(self) -> None:
        if not self.baselines:
            return
        if not any(entry.init == "random" for entry in self.methods):
            self.methods.append(MethodEntry(name="random", init="random"))
        if "linear-probe" not in self.modes:
            self.modes.append("linear-probe")

    @classmethod
    def from_file(cls, file: str | Path) -> Experiment:
        """Read and check an experiment file; paths in it are relative to its folder.

        Raises
        ------
        SettingsError
            The file is missing or no YAML, or a key is unknown or out of bounds; the message names it.
        """
        path = Path(file)
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise SettingsError(f"{path} is no file: give an experiment file (YAML)") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is no valid YAML: {error}") from error
        if not isinstance(raw, dict):
            raise SettingsError(f"{path} holds no experiment: it needs at least `store` and `methods`")
        return cls.from_raw(raw, where=str(path), folder=path.parent)

    @classmethod
    def from_raw(
        cls, raw: dict[str, Any], *, where: str = "experiment", folder: Path | None = None
    ) -> Experiment:
        """Check plain values; paths are made absolute from ``folder``, where it is given. Raises as `from_file`."""
        try:
            found = cls.model_validate(raw)
        except ValidationError as error:
            raise SettingsError(f"{where}: {_first(error)}") from error
        if folder is not None:
            found.store = (folder / found.store).resolve()
            if found.pretrain_store is not None:
                found.pretrain_store = (folder / found.pretrain_store).resolve()
            for entry in found.methods:
                if entry.init not in (None, "random") and (folder / str(entry.init)).is_dir():
                    entry.init = str((folder / str(entry.init)).resolve())
        found.check_runs(where)
        return found

    def check_runs(self, where: str = "experiment") -> None:
        """Check every method's settings before anything is run.

        Raises
        ------
        SettingsError
            Naming the method and the setting.
        """
        given, own = self.pretrain.get("size"), self.finetune.get("size")
        if given is not None and own is not None and given != own:
            raise SettingsError(
                f"{where}: pretrain.size is {given} and finetune.size {own}; they must be one"
            )
        for entry in self.methods:
            place = f"{where}: method {entry.name}"
            if entry.method is not None:
                self.pretrain_settings(entry, out=Path("job"), where=place)
            for mode in self.modes:
                self.finetune_settings(entry, mode, out=Path("job"), init="random", where=f"{place}, {mode}")

    def pretrain_settings(
        self, entry: MethodEntry, *, out: Path, where: str = "experiment", **decided: Any
    ) -> PretrainSettings:
        """Settings of a method's pretraining: the common ones, its own, and what the experiment decides."""
        raw = {**self.pretrain, **entry.set, "method": entry.method, "out": out}
        raw = {"crops": self.pretrain_store or self.store, "name": entry.name, **raw, **decided}
        return checked(PretrainSettings, raw, where=where)

    def finetune_settings(
        self,
        entry: MethodEntry,
        mode: Mode,
        *,
        out: Path,
        init: str,
        where: str = "experiment",
        **decided: Any,
    ) -> FinetuneSettings:
        """Settings of a fine-tuning or a probe."""
        size = {"size": self.pretrain["size"]} if "size" in self.pretrain else {}
        raw = {**size, **self.finetune, **entry.finetune}
        if mode == "linear-probe":
            raw |= self.linear_probe
        raw |= {**mode_settings(mode), "task": "types", "data": [self.store], "out": out, "init": init}
        return checked(FinetuneSettings, {**raw, **decided}, where=where)

    def references_or_default(self) -> list[str]:
        """Names of what every method is tested against."""
        if self.references is not None:
            return self.references
        names = [entry.name for entry in self.methods if entry.init == "random"]
        names += [entry.name for entry in self.methods if entry.method == "mae"]
        return names + (["boosting"] if self.baselines else [])


def mode_settings(mode: Mode) -> dict[str, Any]:
    """What a mode means in settings of fine-tuning: its own name, and the encoder as pretraining left it for a probe."""
    return {"mode": mode, "drop_path": 0.0} if mode == "linear-probe" else {"mode": mode}


def _without_own(value: dict[str, Any]) -> dict[str, Any]:
    own = sorted(DECIDED_HERE & set(value))
    if own:
        raise ValueError(f"{own[0]} is decided by the experiment for all methods alike; leave it out here")
    return value


def _first(error: ValidationError) -> str:
    """The first mistake, with its place in the file and the keys there are."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if str(part) not in ("literal['folds']",)) or "file"
    if first["type"] == "extra_forbidden":
        kind = MethodEntry if place.startswith("methods.") else Experiment
        return f"{place}: there is no such key; there are: {', '.join(kind.model_fields)}"
    if first["type"] == "missing":
        return f"{place} is missing"
    message = str(first["msg"]).removeprefix("Value error, ")
    got = f", got {first['input']!r}" if first["type"] != "value_error" else ""
    return f"{place}: {message}{got}"
