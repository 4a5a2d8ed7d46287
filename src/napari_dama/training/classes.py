"""Which classes a model of types gets, what of its parent's head it keeps, and what its card says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dama.errors import SettingsError, StoreError
from napari_dama.simulate import TYPE_COLOURS
from napari_dama.slides.panel import DEFAULT_COLOURS
from napari_dama.training.crops import Split

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_dama.models.card import Card
    from napari_dama.nets.classifier import TypeClassifier
    from napari_dama.training.settings import FinetuneSettings


def choose_classes(
    found: tuple[str, ...], settings: FinetuneSettings, parent: Card | None, where: Path
) -> list[str]:
    """Classes of the head, in order.

    As ``settings.classes`` says: a list; ``found``, those of the data; ``parent``, those of the parent. By itself the
    parent's list where the parent has a head for types that knows all that were found: what is missing here is inherited
    with its row of the head. Else those found: a parent that never learned types lends no names.

    Raises
    ------
    StoreError
        If the data hold fewer than two types, or one that the list lacks.
    SettingsError
        If ``parent`` is asked for and there is none that tells types, or the list names a class twice.
    """
    if len(found) < 2:
        have = f"only {found[0]!r}" if found else "none"
        raise StoreError(
            f"{where} holds {have} of at least two types; give a table with a type column to "
            "`napari-dama crops --labels`"
        )
    known = list(parent.classes) if parent is not None and "types" in parent.tasks else []
    asked = settings.classes
    if asked is None:
        asked = "parent" if set(found) <= set(known) else "found"
    if asked == "found":
        return list(found)
    if asked == "parent":
        if not known:
            raise SettingsError(
                f"classes=parent needs a parent that tells types, and {settings.init} does not; leave it out"
            )
        asked = known
    if len(set(asked)) != len(asked) or len(asked) < 2:
        raise SettingsError(f"classes must be at least two different names, got {', '.join(asked)}")
    strange = set(found) - set(asked)
    if strange:
        raise StoreError(
            f"{where} holds {', '.join(sorted(strange))}, which is not among the classes {', '.join(asked)}"
        )
    return list(asked)


def class_colours(classes: list[str], parent: Card | None) -> list[str]:
    """A colour for each class: the parent's, else the one it has in simulated tissue, else one by its place."""
    own = dict(zip(parent.classes, parent.class_colours, strict=False)) if parent is not None else {}
    own = {**TYPE_COLOURS, **own}
    return [own.get(name, DEFAULT_COLOURS[i % len(DEFAULT_COLOURS)]) for i, name in enumerate(classes)]


def head_of_parent(
    part: TypeClassifier, own: TypeClassifier, classes: list[str], old: list[str]
) -> dict[str, Tensor]:
    """State of a parent's typing network with the rows of its head at the places that their classes have here.

    Classes that the parent does not know keep their fresh rows. Where the features are of another length or are
    normalised in another way the head's rows mean nothing, and none is taken.
    """
    state = own.state_dict()
    rows, bias = part.head.weight.detach().clone(), part.head.bias.detach().clone()
    if own.head.in_features == part.head.in_features and type(own.norm) is type(part.norm):
        for place, name in enumerate(classes):
            if name in old:
                rows[place] = own.head.weight.detach()[old.index(name)]
                bias[place] = own.head.bias.detach()[old.index(name)]
    return {**state, "head.weight": rows, "head.bias": bias}


def keep_lone(split: Split, targets: NDArray[np.int64]) -> tuple[Split, list[int]]:
    """Move cells that are alone in their class from validation to training, where they can at least be learned from.

    Parameters
    ----------
    split
        Rows on both sides; rows on neither stay there.
    targets
        Class (N,) of every row of the store.

    Returns
    -------
    split, classes
        The split, and the classes that have one cell only.

    Raises
    ------
    StoreError
        If no cell remains for validation.
    """
    rows = np.concatenate([split.train, split.validation])
    lone = rows[np.bincount(targets[rows])[targets[rows]] == 1]
    moved = np.isin(split.validation, lone)
    if moved.all():
        raise StoreError(
            "every class has a single cell: there is nothing to validate with; add cells or slides"
        )
    train = np.concatenate([split.train, split.validation[moved]])
    return Split(train, split.validation[~moved], split.note), sorted(targets[lone].tolist())


def draw_weights(targets: NDArray[np.int64], balance: str, classes: int) -> NDArray[np.float64] | None:
    """Chance (N,) of each training cell to be drawn; None draws every cell once per epoch."""
    if balance == "none":
        return None
    counts = np.maximum(np.bincount(targets, minlength=classes), 1)[targets]
    weight = 1 / np.sqrt(counts) if balance == "sqrt" else 1 / counts
    return np.asarray(weight / weight.sum(), np.float64)


def class_notes(
    classes: list[str],
    trained: NDArray[np.int64],
    lone: list[str],
    parent: Card | None,
) -> list[str]:
    """What must be said of classes with few cells; ``trained`` (K,) counts training cells."""
    known = parent.classes if parent is not None and "types" in parent.tasks else []
    notes = [
        f"Class {name} has one cell only: it is in training, and nothing says how well it is told."
        for name in lone
    ]
    for name, count in zip(classes, trained.tolist(), strict=True):
        if count == 0 and parent is not None and name in known:
            notes.append(
                f"Class {name}: no cell in this training; what the model knows of it is {parent.name}'s."
            )
        elif count == 0:
            notes.append(f"Class {name}: no cell of it was in training, so the model cannot tell it.")
    return notes
