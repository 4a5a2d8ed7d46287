"""Named settings of pretraining, from the tables of the paper's supplement.

A name is ``PANEL/METHOD-SIZE``, as in ``brain7/dama-base``, or ``PANEL/METHOD-SIZE-long`` for the longer of the two
published lengths. ``panels.yaml`` and ``methods.yaml`` beside this module hold the numbers. A recipe says nothing of data,
seed or device.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from napari_dama.errors import SettingsError

SIZES: Final = ("tiny", "small", "base")
LENGTHS: Final = ("", "-long")


def recipe_names() -> list[str]:
    """Every recipe there is."""
    return [
        f"{panel}/{method}-{size}{length}"
        for panel in _read("panels.yaml")
        for method in _read("methods.yaml")["methods"]
        for size in SIZES
        for length in LENGTHS
    ]


def recipe(name: str) -> dict[str, Any]:
    """Settings of a recipe, for `napari_dama.training.settings.PretrainSettings`.

    Parameters
    ----------
    name
        One of `recipe_names`.

    Returns
    -------
    dict
        Setting by name. ``warmup`` is the share of the run, so that it holds for another number of epochs as well.

    Raises
    ------
    SettingsError
        If there is no such recipe; the message lists panels, methods and sizes.

    Examples
    --------
    >>> recipe("brain7/moco-base")["weight_decay"]
    0.1
    """
    panels, methods = _read("panels.yaml"), _read("methods.yaml")
    if name not in recipe_names():
        raise SettingsError(
            f"no recipe {name!r}; a name is PANEL/METHOD-SIZE or PANEL/METHOD-SIZE-long, as in brain7/dama-base, of panel "
            f"{', '.join(panels)}; method {', '.join(methods['methods'])}; size {', '.join(SIZES)}"
        )
    panel, _, rest = name.partition("/")
    long = rest.endswith("-long")
    method, _, size = rest.removesuffix("-long").rpartition("-")
    special = dict(methods["methods"][method])
    epochs, longer, warm = (special.pop(key) for key in ("epochs", "long", "warm"))
    epochs = longer if long else epochs
    run = {"method": method, "size": size, "epochs": epochs, "warmup": warm / epochs}
    return {**methods["common"], **panels[panel], **special, **run}


@cache
def _read(file: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parent / file).read_text(encoding="utf-8"))
    return found
