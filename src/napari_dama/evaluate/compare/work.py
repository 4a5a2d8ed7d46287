"""Doing one unit: pretraining, or training types and predicting the test cells once, or a baseline."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from napari_dama.errors import SettingsError
from napari_dama.evaluate.compare.record import MEASURES
from napari_dama.evaluate.compare.splits import plan_folds
from napari_dama.evaluate.compare.units import BOOSTING, JOB, PREDICTIONS, pretraining_of
from napari_dama.evaluate.crop_baselines import boosted_types, measure_crops, rule_for, rule_types
from napari_dama.evaluate.types import type_scores
from napari_dama.export.atomic import replacing
from napari_dama.models.shelf import load_card, load_model
from napari_dama.training.crops import CropBatches, split_rows, with_label_share
from napari_dama.training.finetune import finetune
from napari_dama.training.loop import prepare_device
from napari_dama.training.pretrain import pretrain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from napari_dama.cells.store import CropStore
    from napari_dama.evaluate.compare.experiment import Experiment, MethodEntry, Mode
    from napari_dama.evaluate.compare.units import Unit
    from napari_dama.training.loop import ProgressFn, StopFn
    from napari_dama.training.settings import FinetuneSettings, RunSettings

_BATCH: Final = 256


class Bench:
    """Does units of one experiment in its folder, and keeps what several of them need."""

    def __init__(self, experiment: Experiment, store: CropStore, out: Path) -> None:
        self.experiment = experiment
        self.store = store
        self.out = out
        self.plans = plan_folds(store, experiment)
        self.types: NDArray[Any] = store.table["type"].to_numpy(object)
        self.number = {name: index for index, name in enumerate(store.types)}
        self.targets = np.array([self.number.get(name, -1) for name in self.types])
        self._batches: tuple[tuple[Any, ...], CropBatches] | None = None
        self._measures: pd.DataFrame | None = None

    def do(
        self, unit: Unit, *, anew: bool, progress: ProgressFn | None = None, stop: StopFn | None = None
    ) -> dict[str, Any]:
        """Do a unit, going on where it stood unless ``anew``, and return its facts; files are in its folder."""
        if unit.kind == "pretrain":
            return self._pretrain(unit, anew=anew, progress=progress, stop=stop)
        if unit.kind == "types":
            return self._types(unit, anew=anew, progress=progress, stop=stop)
        return self._baseline(unit, stop=stop)

    def test_rows(self, fold: int) -> NDArray[np.int64]:
        """Typed cells of a fold's test part."""
        inside = np.isin(self.store.groups.astype(str), self.plans[fold].test)
        return np.flatnonzero(inside & (self.targets >= 0))

    def training_rows(self, fold: int, *, share: float, seed: int) -> NDArray[np.int64]:
        """Cells whose labels a method learns from: the same for all methods and baselines."""
        plan = self.plans[fold]
        split = split_rows(
            self.store,
            share=self.experiment.validation,
            seed=seed,
            rows=np.flatnonzero(self.targets >= 0),
            validation_groups=plan.validation,
            test_groups=plan.test,
        )
        return with_label_share(split, self.targets, share=share, seed=seed).train

    def _entry(self, unit: Unit) -> MethodEntry:
        return next(entry for entry in self.experiment.methods if entry.name == unit.method)

    def _pretrain(self, unit: Unit, *, anew: bool, **hooks: Any) -> dict[str, Any]:
        if self.experiment.pretrain_store is not None:
            decided: dict[str, Any] = {"test_groups": self.seen_elsewhere()}
        else:
            plan = self.plans[unit.fold]
            decided = {"test_groups": list(plan.test)}
            if self.experiment.pretrain_on == "train":
                decided["validation_groups"] = list(plan.validation)
        job = self.out / unit.place / JOB
        settings = self.experiment.pretrain_settings(self._entry(unit), out=job, seed=unit.seed, **decided)
        metrics = _run(pretrain, settings, anew=anew, **hooks)
        return {
            "validation": metrics,
            "model": f"{unit.place}/{JOB}/model",
            **job_pace(job, settings.batch_size),
        }

    def _types(self, unit: Unit, *, anew: bool, **hooks: Any) -> dict[str, Any]:
        entry, plan, job = self._entry(unit), self.plans[unit.fold], self.out / unit.place / JOB
        parent = pretraining_of(self.experiment, entry, unit.fold, unit.seed)
        init = str(entry.init) if parent is None else str((self.out / parent.place / JOB / "model").resolve())
        mode: Mode = "linear-probe" if unit.mode == "linear-probe" else "finetune"
        settings = self.experiment.finetune_settings(
            entry,
            mode,
            out=job,
            init=init,
            seed=unit.seed,
            classes=list(self.store.types),
            validation_groups=list(plan.validation),
            test_groups=list(plan.test),
            label_share=unit.label_share,
            label_seed=unit.seed,
        )
        metrics = _run(finetune, settings, anew=anew, **hooks)
        scores = self._predict(unit, settings, job / "model")
        rows = self.training_rows(unit.fold, share=unit.label_share, seed=unit.seed)
        return {
            "chosen_by": metrics,
            "test": scores,
            **self._counts(unit, rows),
            **job_pace(job, settings.batch_size),
        }

    def _predict(self, unit: Unit, settings: FinetuneSettings, folder: Path) -> dict[str, float]:
        """Types of the fold's test cells by the model that was chosen on validation, once."""
        device = prepare_device(settings)
        model = load_model(folder, device=str(device))
        batches = self._batches_for(tuple(model.card.nuclear), model.card.image_px, device)
        rows = self.test_rows(unit.fold)
        found = []
        for start in range(0, len(rows), _BATCH):
            x, _ = batches.batch(rows[start : start + _BATCH])
            found.append(model.type_probabilities(x).cpu().numpy())
        p = np.concatenate(found)
        names = np.array(model.card.classes, dtype=object)
        return self._save(
            unit, rows, names[p.argmax(axis=1)], {f"p_{n}": p[:, i] for i, n in enumerate(names)}
        )

    def _batches_for(self, nuclear: tuple[str, ...], image_px: int, device: torch.device) -> CropBatches:
        key = (nuclear, image_px, device)
        if self._batches is None or self._batches[0] != key:
            self._batches = key, CropBatches(self.store, nuclear=nuclear, image_px=image_px, device=device)
        return self._batches[1]

    def _baseline(self, unit: Unit, *, stop: StopFn | None) -> dict[str, Any]:
        measures, test = self.measures(stop=stop), self.test_rows(unit.fold)
        if unit.method == BOOSTING:
            train = self.training_rows(unit.fold, share=unit.label_share, seed=unit.seed)
            found = boosted_types(measures, self.types, train, test, seed=unit.seed)
        else:
            train = np.zeros(0, np.int64)
            rule = rule_for(self.store.markers, self.store.types, self.experiment.rule)
            found = rule_types(measures.iloc[test], rule)
        return {"test": self._save(unit, test, found, {}), **self._counts(unit, train)}

    def measures(self, *, stop: Callable[[], bool] | None = None) -> pd.DataFrame:
        """What is measured of every crop, measured once and kept in the experiment's folder."""
        file = self.out / MEASURES
        if self._measures is None and file.is_file():
            self._measures = pd.read_parquet(file)
        if self._measures is None:
            self._measures = measure_crops(
                self.store, nuclear=self.experiment.pretrain.get("nuclear"), stop=stop
            )
            with replacing(file, overwrite=True) as part:
                self._measures.to_parquet(part, index=False)
        return self._measures

    def _save(
        self, unit: Unit, rows: NDArray[np.int64], found: NDArray[Any], more: dict[str, NDArray[Any]]
    ) -> dict[str, float]:
        """Write predictions, one row per test cell, and score them."""
        table = self.store.table.iloc[rows]
        out = pd.DataFrame(
            {
                "row": rows,
                "group": table["group"].astype(str).to_numpy(),
                "slide": table["slide"].astype(str).to_numpy(),
                "label": table["label"].to_numpy(),
                "type": self.types[rows].astype(str),
                "predicted": found.astype(str),
                **more,
            }
        )
        with replacing(self.out / unit.place / PREDICTIONS, overwrite=True) as part:
            out.to_parquet(part, index=False)
        scores = type_scores(list(out["type"]), list(out["predicted"]))
        return {
            "balanced_accuracy": scores.balanced_accuracy,
            "accuracy": scores.accuracy,
            "macro_f1": scores.macro_f1,
        }

    def _counts(self, unit: Unit, train: NDArray[np.int64]) -> dict[str, Any]:
        plan = self.plans[unit.fold]
        missing = [
            name for name, i in self.number.items() if len(train) and not (self.targets[train] == i).any()
        ]
        return {
            "n_labels": len(train),
            "n_train": plan.n_train,
            "n_validation": plan.n_validation,
            "n_test": plan.n_test,
            "classes_without_label": missing,
        }

    def seen_elsewhere(self) -> list[str]:
        """Groups of the pretraining store that hold slides of the labelled one, by name or by file."""
        from napari_dama.cells.store import CropStore

        assert self.experiment.pretrain_store is not None
        other = CropStore.open(self.experiment.pretrain_store)
        names = {slide.name for slide in self.store.slides}
        paths = {slide.path for slide in self.store.slides if slide.path}
        return sorted(
            {s.group for s in other.slides if s.name in names or s.path in paths} & set(other.groups)
        )

    def tidy(self, unit: Unit) -> None:
        """Remove what only an unfinished unit needs, unless models are to be kept."""
        if not self.experiment.keep_models:
            for name in ("last", "best", *(["model"] if unit.kind == "types" else [])):
                shutil.rmtree(self.out / unit.place / JOB / name, ignore_errors=True)


def _run(train: Callable[..., dict[str, float]], settings: RunSettings, *, anew: bool, **hooks: Any) -> Any:
    """Begin a run, or go on with the one that stands; one of other settings (its folder was moved) begins anew."""
    begun = (settings.out / "job.yaml").is_file()
    if begun and not anew:
        try:
            return train(settings, resume=True, **hooks)
        except SettingsError:  # its folder was moved, or its settings were cut short by a kill: begin it anew
            pass
    return train(settings, overwrite=begun, **hooks)


def job_pace(job: Path, batch_size: int) -> dict[str, float]:
    """Seconds that a job trained, over all its sessions, its steps, and images per second with validation."""
    seconds, began, last, steps = 0.0, 0.0, 0.0, 0
    for line in (job / "events.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["kind"] == "data":  # before a session begins
            continue
        if event["kind"] == "started":
            seconds += max(0.0, last - began) if began else 0.0
            began = event["time"]
        steps = int(event.get("step") or steps)
        last = event["time"]
    seconds += max(0.0, last - began)
    return {"seconds": seconds, "steps": steps, "images_per_s": steps * batch_size / max(seconds, 1e-6)}


def slides_seen(experiment: Experiment, store: CropStore) -> dict[str, list[str]]:
    """Of methods that start from a model: slides of the store that its card names, so that it saw test cells."""
    found = {}
    for entry in experiment.methods:
        if entry.init in (None, "random"):
            continue
        card = load_card(str(entry.init))
        known = {str(name) for name in _strings(card.training)}
        seen = sorted(slide.name for slide in store.slides if slide.name in known)
        if seen:
            found[entry.name] = seen
    return found


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []
