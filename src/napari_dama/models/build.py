"""Making a model: a new one with random weights, or a folder from trained parts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from napari_dama.errors import ModelError, OutputError
from napari_dama.models.card import CARD, WEIGHTS, Architecture, Card
from napari_dama.models.model import Model, build_part
from napari_dama.simulate import TYPE_COLOURS, TYPES
from napari_dama.slides.names import canonical, spellings
from napari_dama.slides.panel import BRAIN7

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_dama.models.card import Task


def brain_card(
    name: str,
    *,
    tasks: tuple[Task, ...] = ("segments", "types", "reconstruct"),
    size: str = "tiny",
    summary: str = "",
) -> Card:
    """Card for the seven-marker brain panel and the five types of the simulation, without training facts."""
    return Card(
        name=name,
        summary=summary,
        tasks=list(tasks),
        panel=[marker.name for marker in BRAIN7.markers],
        nuclear=[marker.name for marker in BRAIN7.markers if marker.nuclear],
        classes=list(TYPES),
        class_colours=[TYPE_COLOURS[kind] for kind in TYPES],
        type_markers=["NeuN", "S100", "Olig2", "Iba1", "RECA1"],
        type_markers_min=4,
        architecture=Architecture.model_validate({"size": size}),
    )


def panel_card(name: str, markers: Sequence[str], *, nuclear: Sequence[str] | None = None) -> Card:
    """Card of a pretrained encoder for any panel, without training facts.

    Parameters
    ----------
    name
        Name of the model.
    markers
        The panel, in the order of the input channels. The brain panel gets the card that `brain_card` makes.
    nuclear
        Markers that show nuclei; by default those whose name is another name for one of the brain panel's nuclear markers,
        and there may be none.

    Raises
    ------
    ModelError
        If ``nuclear`` names a marker that the panel lacks, or the panel names one twice.
    """
    if tuple(markers) == BRAIN7.names and nuclear is None:
        return brain_card(name, tasks=("reconstruct",))
    shown = nuclear_of(markers) if nuclear is None else list(nuclear)
    try:
        return Card(name=name, tasks=["reconstruct"], panel=list(markers), nuclear=shown)
    except ValidationError as error:
        raise ModelError(f"the model's card: {error.errors()[0]['msg']}") from error


def nuclear_of(markers: Sequence[str]) -> list[str]:
    """Those of some markers that go by a name of one of the brain panel's nuclear markers."""
    known = {
        canonical(name)
        for marker in BRAIN7.markers
        if marker.nuclear
        for name in (marker.name, *marker.aliases)
    }
    return [name for name in markers if known & set(spellings(name))]


def new_model(card: Card, *, seed: int = 0, device: str = "cpu") -> Model:
    """A model with random weights that follow from ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: dict[str, nn.Module] = {task: build_part(card, task) for task in card.tasks}
    return Model(card, parts, device=device)


def save_model(model: Model, folder: Path, *, overwrite: bool = False) -> Path:
    """Write ``card.json`` and ``weights.safetensors`` (float16) into ``folder``, whole or not at all.

    Raises
    ------
    OutputError
        If the folder exists and ``overwrite`` is not set, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise OutputError(f"{folder} exists; choose another folder, or overwrite")
    state = {
        name: value.half() if value.is_floating_point() else value for name, value in model.state().items()
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / (WEIGHTS + ".part")
        save_file(state, partial)
        model.card.save(folder)
        # safetensors makes files that only their owner reads; the card's rights are those that the user's umask gives
        partial.chmod((folder / CARD).stat().st_mode & 0o777)
        os.replace(partial, folder / WEIGHTS)
    except OSError as error:
        raise OutputError(f"cannot write the model to {folder}: {error.strerror or error}") from error
    return folder / CARD
