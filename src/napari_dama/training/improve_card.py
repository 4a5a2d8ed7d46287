"""The improved model with its card: what it learned from, how it was compared, and what can be said. No files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from napari_dama.models.model import Model
from napari_dama.training.held_out import LEARN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from napari_dama.evaluate.before_after import BeforeAfter
    from napari_dama.evaluate.outline_change import OutlineChange, OutlineSide
    from napari_dama.models.card import Card
    from napari_dama.training.improve_settings import ImproveSettings
    from napari_dama.training.improve_types import TypesLesson

_TASKS = {"types": "types", "outlines": "segments"}
_LIMIT = "Worse than its parent"


def types_improved(found: BeforeAfter) -> bool:
    """Whether the mean of the classes rose on the held-out cells, as measured."""
    return found.verdict != "worse" and found.after.balanced_accuracy > found.before.balanced_accuracy


def types_scores(found: BeforeAfter) -> tuple[dict[str, float], dict[str, float]]:
    """Numbers of the improved model and of its parent, for the card."""

    def numbers(balanced: float, accuracy: float) -> dict[str, float]:
        return {"balanced_accuracy": balanced, "accuracy": accuracy, "score": balanced}

    after = {"n": found.n, **numbers(found.after.balanced_accuracy, found.after.accuracy)}
    return after, numbers(found.before.balanced_accuracy, found.before.accuracy)


def outlines_scores(found: OutlineChange) -> tuple[dict[str, float], dict[str, float]]:
    """Numbers of the improved model and of its parent, for the card."""

    def numbers(side: OutlineSide) -> dict[str, float]:
        means = {"iou": side.iou, "overlap_corrected": side.overlap}
        iou = {key: value for key, value in means.items() if value == value}  # NaN where there was none
        shares = {"f1_50": side.f1, "precision_50": side.precision, "recall_50": side.recall}
        return {**shares, **iou, "score": side.f1}

    return {"n": found.n, **numbers(found.after)}, numbers(found.before)


def outlines_sampling(facts: Mapping[str, Any], settings: ImproveSettings) -> str:
    """How the held-out outlines were come by, to be read beside every number on them."""
    own = facts.get("outlines", {})
    held, learned = int(own.get("held", 0)), int(own.get("learned", 0))
    return (
        f"{learned} corrected outlines were learned from and {held} held out, in whole areas apart from each other. "
        f"Outlines within {settings.near_um:g} µm of a corrected one were taken as right. You corrected where the model was "
        "wrong, so 'before' looks worse here than on the whole slide; and what you left beside it is the model's own "
        "drawing, which speaks for 'before'."
    )


def assembled(
    settings: ImproveSettings,
    parent: Model,
    parts: Mapping[str, nn.Module],
    types: BeforeAfter | None,
    outlines: OutlineChange | None,
    lesson: TypesLesson | None,
    facts: Mapping[str, Any],
) -> Model:
    """Put learned networks in the place of the parent's, with a card that says so.

    Parameters
    ----------
    settings, parent
        Of the job, and the model that is improved; it stays as it is.
    parts
        Networks by what they learned: ``types``, ``outlines`` or both.
    types, outlines
        What was found out, where it was learned.
    lesson
        How types were learned.
    facts
        Of the job's ``split.json``.
    """
    card = parent.card.model_copy(deep=True)
    card.name = settings.name or settings.out.name
    card.parent = parent.card.name
    card.limits = [limit for limit in card.limits if not limit.startswith(_LIMIT)]
    improved: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "corrections": [
            {"file": each.journal.name, "sha256": each.journal_hash, "slide": each.slide.name}
            for each in settings.slides
        ],
        "encoder": settings.encoder,
        "seed": settings.seed,
    }
    if "types" in parts and types is not None and lesson is not None:
        improved |= _of_types(card, parent.card.name, settings, types, lesson)
    if "outlines" in parts and outlines is not None:
        improved["outlines"] = _of_outlines(card, parent.card.name, settings, outlines, facts)
    card.training = {**card.training, "improved": improved}
    networks = {**parent.parts, **{_TASKS[name]: part for name, part in parts.items()}}
    return Model(card, networks, device=str(parent.device), precision=parent.precision)


def _note(
    card: Card,
    task: str,
    parent: str,
    found: BeforeAfter | OutlineChange,
    scores: tuple[Mapping[str, float], Mapping[str, float]],
    sampling: str,
) -> None:
    """Write into the card how a task compares with its parent on what was held out; scores of the model, of the parent."""
    own, before = scores
    card.metrics = {
        **card.metrics,
        task: {
            "validation": own,
            "parent": {"name": parent, "validation": before},
            "better": found.better,
            "worse": found.worse,
            "p": found.p,
            "words": found.sentence,
            "sampling": sampling,
        },
    }


def _of_types(
    card: Card, parent: str, settings: ImproveSettings, found: BeforeAfter, lesson: TypesLesson
) -> dict[str, Any]:
    card.classes, card.class_colours = list(settings.classes), list(settings.class_colours)
    _note(card, "types", parent, found, types_scores(found), lesson.sampling)
    if found.verdict == "worse" or found.after.balanced_accuracy < found.before.balanced_accuracy:
        card.limits.append(f"{_LIMIT} {parent}? {found.sentence}")
    counts = lesson.reviewed.loc[lesson.reviewed["part"] == LEARN, "type"].value_counts()
    return {
        "cells_per_class": {str(name): int(count) for name, count in counts.items()},
        "held_out": found.n,
        "hold": settings.hold,
        "rehearsed": lesson.learned.get("unreviewed", 0),
        "pseudo_labels": settings.pseudo_labels,
    }


def _of_outlines(
    card: Card, parent: str, settings: ImproveSettings, found: OutlineChange, facts: Mapping[str, Any]
) -> dict[str, Any]:
    _note(card, "segments", parent, found, outlines_scores(found), outlines_sampling(facts, settings))
    if found.verdict == "worse" or found.after.f1 < found.before.f1:
        card.limits.append(f"{_LIMIT} {parent} in outlines? {found.sentence}")
    counts = facts.get("outlines", {})
    return {
        "corrected": int(counts.get("learned", 0)),
        "held_out_areas": found.areas,
        "held_out_cells": found.n,
        "near_um": settings.near_um,
        "steps": settings.outline_steps,
        "batch": settings.outline_batch,
        "lr": settings.outline_lr,
        "rehearse_outlines": settings.rehearse_outlines,
    }
