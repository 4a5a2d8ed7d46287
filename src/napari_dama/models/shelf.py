"""The shelf: bundled models, and the user's own in a folder. Reading cards needs no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dama.errors import ModelError
from napari_dama.models.card import CARD, Card

if TYPE_CHECKING:
    from napari_dama.models.model import Model

DEFAULT_MODEL = "dama-brain7"
BUNDLED = Path(__file__).parent / "bundled"


def user_folder() -> Path:
    """Where the user's models lie: ``NAPARI_DAMA_MODELS``, or ``~/.napari-dama/models``."""
    given = os.environ.get("NAPARI_DAMA_MODELS")
    return Path(given) if given else Path.home() / ".napari-dama" / "models"


def list_models() -> list[Card]:
    """Cards of all models on the shelf, bundled ones first; a user's model of the same name hides a bundled one.

    Folders with an unreadable card are left out; `broken_models` names them.
    """
    cards: dict[str, Card] = {}
    for folder in _folders():
        try:
            card = Card.read(folder)
        except ModelError:
            continue
        cards[card.name] = card
    return list(cards.values())


def broken_models() -> dict[Path, str]:
    """Folders on the shelf whose card cannot be read, with the reason."""
    broken = {}
    for folder in _folders():
        try:
            Card.read(folder)
        except ModelError as error:
            broken[folder] = str(error)
    return broken


def load_card(name: str | Path = DEFAULT_MODEL) -> Card:
    """Card of a model, by its name on the shelf or by its folder.

    Raises
    ------
    ModelError
        If there is no such model; the message lists those there are.
    """
    folder = Path(name)
    if (folder / CARD).is_file():
        return Card.read(folder)
    if isinstance(name, Path) or folder.is_dir():
        return Card.read(folder)
    cards = list_models()
    for card in cards:
        if card.name == name:
            return card
    known = ", ".join(card.name for card in cards) or "none"
    raise ModelError(f"no model named {name!r} on the shelf, and no such folder; there are: {known}")


def load_model(name: str | Path = DEFAULT_MODEL, device: str = "cpu") -> Model:
    """Load a model's networks onto a device.

    Parameters
    ----------
    name
        Name on the shelf, or a folder with ``card.json`` and ``weights.safetensors``.
    device
        A torch device: ``cpu``, ``cuda``, ``mps``.
    """
    from napari_dama.models.model import Model

    return Model.load(load_card(name), device=device)


def _folders() -> list[Path]:
    folders: list[Path] = []
    for root in (BUNDLED, user_folder()):
        if root.is_dir():
            folders += sorted(folder for folder in root.iterdir() if (folder / CARD).is_file())
    return folders
