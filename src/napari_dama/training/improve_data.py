"""From corrections of slides to a job that improves a model: what there is, what is missing, what is held out. No torch."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from napari_dama.cells.corrections import Corrections, read_corrections
from napari_dama.errors import DamaError, OutputError, SettingsError, StoreError
from napari_dama.models.shelf import load_card
from napari_dama.predict.embeddings import slide_of
from napari_dama.predict.result import ResultFolder
from napari_dama.slides.panel import DEFAULT_COLOURS
from napari_dama.training.files import ANNOTATIONS, read_json, write_json
from napari_dama.training.held_out import BETWEEN, HELD, LEARN, LEAST_OF_CLASS, hold_out
from napari_dama.training.improve_areas import part_outlines
from napari_dama.training.improve_settings import ImproveSettings, Lesson
from napari_dama.training.settings import checked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dama.models.card import Card
    from napari_dama.training.improve_areas import OutlineParts

LESSONS: Final[tuple[Lesson, ...]] = ("types", "outlines")
LEAST: Final = 20
"""Fewer corrected cells are too few to learn from and to test with."""
CELLS, SPLIT = "cells.csv", "split.json"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether there are enough corrections, in words.

    Attributes
    ----------
    total : int
        Corrected cells that have a type.
    counts : dict of str to int
        Of each class.
    blocker : str
        What is missing before anything can be learned; empty where it is enough.
    hints : tuple of str
        What would help: classes that cannot be tested yet.
    """

    total: int
    counts: dict[str, int]
    blocker: str
    hints: tuple[str, ...]


def readiness(counts: Mapping[str, int], known: Sequence[str] = ()) -> Readiness:
    """Say what corrected cells of each class allow; ``known`` are the classes of the model to be improved."""
    there = {name: int(count) for name, count in counts.items() if count}
    total = sum(there.values())
    missing = []
    if total < LEAST:
        missing.append(f"{LEAST - total} more corrected or confirmed cells ({total} of at least {LEAST})")
    if len(there) < 2:
        missing.append("cells of a second class")
    few = {name: LEAST_OF_CLASS - count for name, count in there.items() if count < LEAST_OF_CLASS}
    missing += [
        f"{more} more of the new class {name}" for name, more in few.items() if known and name not in known
    ]
    hints = [
        f"{name} has {there[name]}: with {more} more it could be tested, too."
        for name, more in few.items()
        if not known or name in known
    ]
    hints += [
        f"{name} has none: it stays as the model knows it, and is not tested."
        for name in known
        if name not in there
    ]
    return Readiness(total, there, f"Still needed: {'; '.join(missing)}." if missing else "", tuple(hints))


@dataclass(frozen=True, slots=True)
class Corrected:
    """The corrections of one slide, with the result that they are of and the slide itself."""

    corrections: Corrections
    result: ResultFolder
    slide: Path

    @property
    def cells(self) -> pd.DataFrame:
        """``label, y, x, type, who`` of the reviewed cells that have a type."""
        typed = self.corrections.typed
        return typed.merge(self.corrections.cells[["label", "who"]], on="label")


def find_corrected(source: str | Path, result: str | Path | None = None) -> Corrected:
    """Find the corrections of a slide (given by itself or by its journal), their result and the slide.

    Raises
    ------
    SlideError
        There are no corrections, or their slide is gone.
    OutputError
        Their result is gone.
    SettingsError
        It was made anew since, so that its labels mean other cells.
    """
    found = read_corrections(source, result=result)
    folder = Path(found.result)
    folder = folder if folder.is_absolute() else found.path.absolute().parent / folder
    if not folder.is_dir():
        raise OutputError(
            f"The corrections in {found.path} are of the result {folder}, which is not there (any more)."
        )
    opened = ResultFolder.open(folder)
    made = str(opened.run.get("created") or "")
    before, found = found, read_corrections(found.path, result=folder, made=made)
    if (found.cells.empty and not before.cells.empty) or (before.outlines and not found.outlines):
        raise SettingsError(
            f"{folder} was made anew since its cells were corrected: open it in the window once, which takes over the "
            "corrections that fit its cells"
        )
    beside = found.path.absolute().parent / found.slide
    given = Path(source)
    candidates = [given] if given.suffix != ".jsonl" else []
    slide = next((path for path in [*candidates, beside] if found.slide and path.exists()), None)
    return Corrected(found, opened, (slide or slide_of(opened)).absolute())


@dataclass(frozen=True, slots=True)
class _Classes:
    names: list[str]
    colours: list[str]
    parents: list[str | None]


def classes_of(card: Card, corrected: Sequence[Corrected]) -> _Classes:
    """Classes of the improved model: the parent's under the names that the user gave them, then new ones, with colours."""
    renamed: dict[str, str] = {}
    colours = dict(zip(card.classes, card.class_colours, strict=False))
    reviewed: dict[str, None] = {}
    deleted = set(corrected[0].corrections.deleted) if corrected else set()
    for each in corrected:
        renamed |= each.corrections.renamed
        deleted &= set(each.corrections.deleted)
        reviewed |= dict.fromkeys(each.cells["type"].tolist())
    colours |= {renamed[old]: colour for old, colour in colours.items() if old in renamed}
    for each in corrected:
        colours |= {name: colour for name, colour in each.corrections.classes.items() if colour}
    parents: dict[str, str | None] = {}
    for old in card.classes:
        name = renamed.get(old, old)
        if name not in deleted or name in reviewed:
            parents.setdefault(name, old)
    for name in reviewed:
        parents.setdefault(name, None)
    names = list(parents)
    own = [colours.get(name, DEFAULT_COLOURS[i % len(DEFAULT_COLOURS)]) for i, name in enumerate(names)]
    return _Classes(names, own, list(parents.values()))


def prepare(
    corrected: Sequence[Corrected],
    out: str | Path,
    *,
    model: str | Path | None = None,
    learn: Sequence[Lesson] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> ImproveSettings:
    """Write what was corrected into a job's folder, parted into two sides, and return the job's settings.

    Parameters
    ----------
    corrected
        One or several slides.
    out
        Folder of the job: new, empty, or with ``overwrite`` that of an older job.
    model
        The model to improve: a name on the shelf or a folder; by default the one that made the (first) result.
    learn
        ``types``, ``outlines`` or both, all of which must be possible; by default what there are enough corrections of.
    options
        Further settings of `ImproveSettings`: ``seed``, ``encoder``, ``device``, ...

    Raises
    ------
    SettingsError
        There are too few corrections, in words; or the model can neither, or a setting does not fit.
    OutputError
        The folder holds something else, or cannot be written.
    StoreError
        No cell and no outline can be held out by place.
    """
    if not corrected:
        raise SettingsError("Give at least one slide with corrections.")
    parent = _parent(corrected[0]) if model is None else str(model)
    card = load_card(parent)
    job = Path(out).absolute()
    slides = [
        {
            "slide": each.slide,
            "result": each.result.path.absolute(),
            "journal": each.corrections.path.absolute(),
            "journal_hash": hashlib.sha256(each.corrections.path.read_bytes()).hexdigest(),
        }
        for each in corrected
    ]
    raw: dict[str, Any] = {"out": job, "init": parent, "slides": slides, **_classes_of_none(card), **options}
    given = {**raw, "classes": ["", ""], "class_colours": ["", ""], "parent_classes": ["", ""]}
    settings = checked(ImproveSettings, given, where="improve")  # all but what is still to be found out
    wanted = list(learn) if learn is not None else list(LESSONS)
    facts: dict[str, Any] = {"hints": []}
    troubles: dict[str, DamaError] = {}
    table: pd.DataFrame | None = None
    outlines: OutlineParts | None = None
    if "types" in wanted:
        try:
            table, classes, own = _types(corrected, card, settings)
            facts |= {**own, "hints": [*facts["hints"], *own["hints"]]}
            raw |= {
                "classes": classes.names,
                "class_colours": classes.colours,
                "parent_classes": classes.parents,
            }
        except (SettingsError, StoreError) as error:
            troubles["types"] = error
    if "outlines" in wanted:
        try:
            outlines, facts["outlines"] = _outlines(corrected, card, settings)
            raw["areas"] = outlines.areas
        except (SettingsError, StoreError) as error:
            troubles["outlines"] = error
    ready = [lesson for lesson in wanted if lesson not in troubles]
    if not ready or (learn is not None and troubles):
        raise _refusal(troubles, corrected)
    begun = {
        "types": any(not each.cells.empty for each in corrected),
        "outlines": any(each.corrections.outlines or each.corrections.removed for each in corrected),
    }
    facts["hints"] += [
        f"{name.capitalize()} were not learned. {error}" for name, error in troubles.items() if begun[name]
    ]
    settings = checked(ImproveSettings, raw | {"learn": ready}, where="improve")
    _write(job, table, outlines, facts, overwrite=overwrite)
    return settings


def _types(
    corrected: Sequence[Corrected], card: Card, settings: ImproveSettings
) -> tuple[pd.DataFrame, _Classes, dict[str, Any]]:
    """Corrected cells with their sides, the classes of the improved model, and what ``split.json`` says of them."""
    if "types" not in card.tasks:
        raise SettingsError(f"Model {card.name} tells no types, so there is nothing to improve with types.")
    classes = classes_of(card, corrected)
    table = pd.concat(
        [each.cells.assign(slide=number, **_places(each)) for number, each in enumerate(corrected)],
        ignore_index=True,
    )
    known = [name for name, old in zip(classes.names, classes.parents, strict=True) if old is not None]
    ready = readiness({str(kind): int(n) for kind, n in table["type"].value_counts().items()}, known)
    if ready.blocker:
        raise SettingsError(f"These are too few corrections to improve {card.name}. {ready.blocker}")
    held = hold_out(
        table[["y_um", "x_um"]].to_numpy(float),
        table["type"],
        table["slide"],
        field_um=card.crop_um / card.architecture.type_zoom,
        share=settings.validation_share,
        seed=settings.seed,
    )
    table["part"] = held.part
    facts = {
        "how": held.how,
        "untested": list(held.untested),
        "doubtful": int((table["who"] == "next").sum()),
        "cells": len(table),
        "hints": list(ready.hints),
    }
    return table, classes, facts


def _outlines(
    corrected: Sequence[Corrected], card: Card, settings: ImproveSettings
) -> tuple[OutlineParts, dict[str, Any]]:
    """Corrected outlines with their sides, and what ``split.json`` says of them."""
    if "segments" not in card.tasks:
        raise SettingsError(
            f"Model {card.name} finds no outlines, so there is nothing to improve with outlines."
        )
    parts = part_outlines(
        corrected, card, near_um=settings.near_um, share=settings.validation_share, seed=settings.seed
    )
    sides = parts.table["part"].value_counts()
    areas = [str(area.part) for area in parts.areas]
    return parts, {
        "how": parts.how,
        "learned": int(sides.get(LEARN, 0)),
        "held": int(sides.get(HELD, 0)),
        "between": int(sides.get(BETWEEN, 0)),
        "areas_learned": areas.count(LEARN),
        "areas_held": areas.count(HELD),
    }


def _classes_of_none(card: Card) -> dict[str, Any]:
    """Classes of a model whose types stay as they are."""
    return {
        "classes": list(card.classes),
        "class_colours": [DEFAULT_COLOURS[i % len(DEFAULT_COLOURS)] for i in range(len(card.classes))]
        if len(card.class_colours) != len(card.classes)
        else list(card.class_colours),
        "parent_classes": list(card.classes),
    }


def _refusal(troubles: Mapping[str, DamaError], corrected: Sequence[Corrected]) -> DamaError:
    """One error for all that cannot be learned: that of the types, and of outlines where some were corrected."""
    first = troubles.get("types") or troubles["outlines"]
    other = troubles.get("outlines")
    begun = any(each.corrections.outlines or each.corrections.removed for each in corrected)
    if other is None or other is first or not begun:
        return first
    return type(first)(f"{first} {other}")


def _parent(corrected: Corrected) -> str:
    from napari_dama.predict.embeddings import model_of

    return str(model_of(corrected.result))


def _places(corrected: Corrected) -> dict[str, Any]:
    um = corrected.result.pixel_um
    cells = corrected.cells
    return {"y_um": cells["y"] * um, "x_um": cells["x"] * um}


def _write(
    job: Path,
    table: pd.DataFrame | None,
    outlines: OutlineParts | None,
    facts: dict[str, Any],
    *,
    overwrite: bool,
) -> None:
    if job.is_file():
        raise OutputError(f"{job} is a file; choose a folder for the job")
    if job.is_dir() and any(job.iterdir()) and not (overwrite and (job / "job.yaml").is_file()):
        raise OutputError(f"{job} holds something already; choose a new folder (or --overwrite an older job)")
    folder = job / ANNOTATIONS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*"):  # of a job that is overwritten
            if old.name.startswith("outlines") or old.name == CELLS:
                old.unlink()
        if table is not None:
            table.to_csv(folder / CELLS, index=False)
        write_json(folder / SPLIT, facts)
    except OSError as error:
        raise OutputError(f"The corrected cells cannot be written to {folder}: {error}") from error
    if outlines is not None:
        outlines.write(job)


def discard_prepared(job: Path) -> None:
    """Remove what `prepare` wrote where the job could not be begun."""
    if not (job / "job.yaml").exists():
        shutil.rmtree(job, ignore_errors=True)


def read_prepared(job: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Cells with their sides, and how they were parted, as `prepare` left them.

    Raises
    ------
    SettingsError
        They are missing or damaged.
    """
    folder = job / ANNOTATIONS
    try:
        table = pd.read_csv(folder / CELLS, keep_default_na=False, dtype={"type": str, "part": str})
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"The corrected cells of the job are gone or damaged: {folder / CELLS}"
        ) from error
    needed = {"slide", "label", "y", "x", "type", "part"}
    if not needed <= set(table) or not {LEARN, HELD} <= set(table["part"]):
        raise SettingsError(f"{folder / CELLS} is no table of corrected cells with both of their sides")
    return table, read_json(folder / SPLIT)


def sampling_words(facts: Mapping[str, Any]) -> str:
    """How the held-out cells were come by, to be read beside every number on them."""
    doubtful, cells = int(facts.get("doubtful", 0)), max(int(facts.get("cells", 0)), 1)
    words = f"{facts.get('how', 'Cells held out by place')}; no field of view is on both sides."
    if doubtful:
        words += (
            f" {doubtful} of {cells} corrected cells were proposed by 'Next cell' because the model doubted them. They are "
            "harder than the slide, so the numbers say less well how good a model is on all cells than which one is better."
        )
    else:
        words += " The cells were chosen by hand, and are no random sample of the slide."
    return words


def gone(settings: ImproveSettings) -> str:
    """Which slide or result of a job is not there any more, in a sentence; empty where all are."""
    for each in settings.slides:
        for path in (each.slide, each.result):
            if not path.exists():
                return f"{path} is not there (any more): the cells cannot be looked at again."
    return ""


__all__ = [
    "LEAST",
    "Corrected",
    "Readiness",
    "classes_of",
    "discard_prepared",
    "find_corrected",
    "gone",
    "prepare",
    "read_prepared",
    "readiness",
    "sampling_words",
]
