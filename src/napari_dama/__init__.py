"""napari-dama: see every marker, find every cell and its type, and see why.

Importing this package imports no torch and no Qt: the names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "open_slide": "napari_dama.slides.slide",
    "analyse": "napari_dama.predict.analyse",
    "segment": "napari_dama.predict.analyse",
    "classify": "napari_dama.predict.analyse",
    "reconstruct": "napari_dama.predict.explain",
    "pretrain": "napari_dama.training.pretrain",
    "finetune": "napari_dama.training.finetune",
    "compare": "napari_dama.evaluate.compare",
    "load_model": "napari_dama.models.shelf",
}

__all__ = ["__version__", *sorted(_LAZY)]


def __getattr__(name: str) -> Any:
    """Load a public function when it is first asked for (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
