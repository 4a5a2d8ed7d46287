"""Named settings of fine-tuning, from the paper: one YAML file each in ``recipes/finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from napari_dama.errors import SettingsError

FOLDER: Final = Path(__file__).parent / "recipes" / "finetune"


def finetune_recipe_names() -> list[str]:
    """Every recipe there is."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def finetune_recipe(name: str) -> dict[str, Any]:
    """Settings of a recipe, for `napari_dama.training.settings.FinetuneSettings`.

    Parameters
    ----------
    name
        One of `finetune_recipe_names`.

    Raises
    ------
    SettingsError
        If there is no such recipe; the message lists those there are.

    Examples
    --------
    >>> finetune_recipe("paper-types")["mixup"]
    0.8
    """
    if name not in finetune_recipe_names():
        raise SettingsError(f"no recipe {name!r}; there are: {', '.join(finetune_recipe_names())}")
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return found
