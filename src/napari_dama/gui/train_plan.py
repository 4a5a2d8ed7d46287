"""From the user's wishes to the settings of a run, and its start; a finished model to the shelf. No Qt, no torch."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_dama.errors import OutputError, SettingsError
from napari_dama.gui.layers import has_file
from napari_dama.gui.resolve import unused
from napari_dama.gui.session import NO_FILE
from napari_dama.training.files import ANNOTATIONS
from napari_dama.training.settings import FinetuneSettings, PretrainSettings, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from napari_dama.gui.annotations import Annotation
    from napari_dama.gui.outline_areas import OutlinedArea, Outlines
    from napari_dama.gui.state import TrainState
    from napari_dama.jobs.folder import JobView
    from napari_dama.training.settings import RunSettings

SLIDE_ENDINGS: Final = (".tif", ".tiff", ".qptiff", ".zarr")
VALIDATE_EVERY: Final = 100
LEAST_VALIDATIONS: Final = 5
ANNOTATED_SHARE: Final = 0.25
"""Held out of cells that were annotated by hand: they are few, and a score on two of them says nothing."""


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """The settings of a run, and the layer whose cells or outlines are written into its folder before it begins.

    ``area``, ``pixel_um`` and ``chosen`` are of a run that learns outlines: the Shapes layer around what was outlined
    completely, and the choices in *Channels*.
    """

    settings: RunSettings
    annotation: Annotation | None = None
    outlines: Outlines | None = None
    area: str = ""
    pixel_um: float | None = None
    chosen: Mapping[str, str] = field(default_factory=dict)


def resolve_train(
    state: TrainState,
    slides: Sequence[str],
    chosen: Mapping[str, str],
    pixel_um: float | None,
    base: Path,
    annotations: Sequence[Annotation] = (),
    outlines: Sequence[Outlines] = (),
) -> TrainPlan:
    """Return the settings for a run.

    Parameters
    ----------
    state : TrainState
        The user's wishes.
    slides : sequence of str
        Paths of the open slides; the job cuts crops of them when no data are given.
    chosen, pixel_um : dict, float
        The choices in *Channels*, for the open slides.
    base : Path
        Folder that jobs are put in.
    annotations : sequence of Annotation
        Layers whose objects have classes.
    outlines : sequence of Outlines
        Labels layers.

    Raises
    ------
    SettingsError
        When the run lacks data that cannot be made from the open slides.
    """
    job = unused(base / f"dama_{'pretrain' if state.kind == 'pretrain' else 'finetune_' + state.kind}")
    raw: dict[str, Any] = {
        "out": job,
        "init": state.init,
        "epochs": state.epochs,
        "batch_size": state.batch_size,
        "seed": state.seed,
        "log_every": 5,
        "validate_every": VALIDATE_EVERY,
    }
    if state.max_steps:
        raw["max_steps"] = state.max_steps
        raw["validate_every"] = max(1, min(VALIDATE_EVERY, state.max_steps // LEAST_VALIDATIONS))
    wishes = {"chosen": dict(chosen), "model": None if state.init == "random" else state.init}
    data = [Path(part.strip()) for part in state.data.split(";") if part.strip()]
    if state.kind == "pretrain":
        raw |= _pretrain_data(data, slides, wishes, pixel_um)
        return TrainPlan(checked(PretrainSettings, raw, where="Train"))
    raw["task"] = state.kind
    if state.kind == "types" and state.annotation:
        annotation = _annotation(state.annotation, annotations)
        if not has_file(annotation.slide):
            raise SettingsError(NO_FILE)
        cells = job / ANNOTATIONS / "cells.csv"
        slide = {"path": annotation.slide, "cells": cells, "pixel_um": pixel_um}
        raw["sources"] = {**wishes, "slides": [slide]}
        raw["validation_share"] = ANNOTATED_SHARE
        return TrainPlan(checked(FinetuneSettings, raw, where="Train"), annotation)
    if state.kind == "segments" and state.annotation:
        chosen_layer = _outlines(state.annotation, outlines)
        raw |= {"data": [job / ANNOTATIONS], "validation_share": ANNOTATED_SHARE}
        settings = checked(FinetuneSettings, raw, where="Train")
        return TrainPlan(
            settings, outlines=chosen_layer, area=state.area, pixel_um=pixel_um, chosen=dict(chosen)
        )
    if not data:
        what = (
            "a layer with classes, or a crop store whose cells have types"
            if state.kind == "types"
            else "a Labels layer with outlines, or a folder of slides with outlined cells"
        )
        raise SettingsError(f"Choose the data first: fine-tuning needs {what}.")
    raw["data"] = data
    return TrainPlan(checked(FinetuneSettings, raw, where="Train"))


def _pretrain_data(
    data: Sequence[Path], slides: Sequence[str], wishes: Mapping[str, Any], pixel_um: float | None
) -> dict[str, Any]:
    """A store as it is; slides, named or open, to be cropped by the job."""
    if not data and not slides:
        raise SettingsError(
            "Open a slide first, or choose slides or a crop store: there are no cells to look at."
        )
    if not data:
        if not all(has_file(path) for path in slides):
            raise SettingsError(NO_FILE)
        opened = [{"path": path, "pixel_um": pixel_um} for path in slides]
        return {"sources": {**wishes, "slides": opened}}
    if len(data) == 1 and not slide_files(data[0]):
        return {"crops": data[0]}  # whatever is wrong with it is said when it is opened
    files = [file for path in data for file in slide_files(path)]
    lost = [path for path in data if not slide_files(path)]
    if lost:
        raise SettingsError(f"{lost[0]} is no slide and holds none; take it out of Data, or choose another.")
    return {"sources": {**wishes, "slides": [{"path": file} for file in files]}}


def slide_files(path: Path) -> list[Path]:
    """Return a slide itself, or the slides right in a folder (label images beside them left out); none for a crop store."""
    if path.name.lower().endswith(SLIDE_ENDINGS):
        return [path]
    if not path.is_dir() or (path / "store.json").is_file():
        return []
    found = sorted(entry for entry in path.iterdir() if entry.name.lower().endswith(SLIDE_ENDINGS))
    return [file for file in found if not file.name.split(".")[0].endswith(("_cells", "_labels"))]


def _annotation(name: str, annotations: Sequence[Annotation]) -> Annotation:
    found = next((each for each in annotations if each.layer == name), None)
    if found is None:
        raise SettingsError(f"The layer {name!r} with its classes is not there any more: choose another.")
    if found.problem:
        raise SettingsError(found.problem)
    return found


def _outlines(name: str, outlines: Sequence[Outlines]) -> Outlines:
    found = next((each for each in outlines if each.layer == name), None)
    if found is None:
        raise SettingsError(f"The layer {name!r} with its outlines is not there any more: choose another.")
    if found.problem:
        raise SettingsError(found.problem)
    return found


def begin(
    plan: TrainPlan,
    cells: pd.DataFrame | None,
    launch: Callable[[RunSettings], JobView] | None = None,
    areas: Sequence[OutlinedArea] = (),
) -> JobView:
    """Write the cells or outlines that were given into the job's folder, and start its process, or do what ``launch`` does.

    Raises
    ------
    DamaError
        As `napari_dama.jobs.process.start`; a folder made for nothing is removed.
    """
    from napari_dama.gui.outline_areas import write_areas
    from napari_dama.jobs.process import start

    settings, job = plan.settings, plan.settings.out
    if cells is not None:
        folder = job / ANNOTATIONS
        try:
            folder.mkdir(parents=True)
            cells.to_csv(folder / "cells.csv", index=False)
        except OSError as error:
            raise OutputError(f"The annotations cannot be written to {folder}: {error}") from error
    try:
        if plan.outlines is not None and areas:
            made = write_areas(areas, job, plan.outlines.slide, plan.pixel_um, plan.chosen)
            settings = settings.model_copy(update={"areas": made})
        return (launch or start)(settings)
    except Exception:
        if (cells is not None or areas) and not (job / "job.yaml").exists():
            shutil.rmtree(job, ignore_errors=True)
        raise


def put_on_shelf(model: Path, shelf: Path) -> str:
    """Copy a finished model to the user's shelf and return its name.

    Raises
    ------
    OutputError
        When a model of that name is there already, or it cannot be written.
    """
    from napari_dama.models.card import Card

    card = Card.read(model)
    target = shelf / card.name
    if target.exists():
        raise OutputError(
            f"The shelf has a model {card.name} already ({target}): remove or rename that one first."
        )
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        shutil.copytree(model, target)
    except OSError as error:
        raise OutputError(
            f"The model cannot be put on the shelf {shelf}: {error.strerror or error}"
        ) from error
    return card.name
