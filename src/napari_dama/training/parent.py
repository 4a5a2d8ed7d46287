"""A run's parent on the same validation data: measured once before the first step, and told with the finished model."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final, Protocol

from napari_dama.training.files import write_json

if TYPE_CHECKING:
    from torch import nn

    from napari_dama.models.card import Card
    from napari_dama.training.folder import RunFolder

FILE: Final = "parent.json"


class HasParent(Protocol):
    """A task that can measure its parent."""

    module: nn.Module

    def parent_metrics(self) -> tuple[str, dict[str, float]] | None:
        """Name of the parent and its metrics as `validate` gives them; None where it cannot do the task."""


def measure_parent(task: HasParent, run: RunFolder, device: Any) -> None:
    """Measure the parent, once in a run's life, and leave ``parent.json`` and an event; nothing where there is none."""
    if (run.path / FILE).is_file() or (run.path / "last").is_dir():
        return
    task.module.to(device).eval()
    found = task.parent_metrics()
    if found is None:
        return
    name, metrics = found
    write_json(run.path / FILE, {"name": name, "metrics": metrics})
    run.event("parent", name=name, **metrics)


def read_parent(run: RunFolder) -> tuple[str, dict[str, float]] | None:
    """What `measure_parent` wrote."""
    try:
        found = json.loads((run.path / FILE).read_text(encoding="utf-8"))
        return str(found["name"]), dict(found["metrics"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tell_of_parent(card: Card, run: RunFolder, beside: dict[str, Any]) -> None:
    """Put the parent's metrics ``beside`` the model's own (a dict with ``validation``).

    A model that is worse than its parent says so in its limits.
    """
    card.limits = [limit for limit in card.limits if not limit.startswith("Worse than its parent")]
    found = read_parent(run)
    if found is None:
        return
    name, parent = found
    beside["parent"] = {"name": name, "validation": parent}
    sentence = worse_than_parent(name, parent, beside["validation"])
    if sentence:
        card.limits = [*card.limits, sentence]


def worse_than_parent(name: str, parent: dict[str, float], own: dict[str, float]) -> str:
    """A sentence where the score on the same validation data is below the parent's, else nothing."""
    before, after = parent.get("score", math.nan), own.get("score", math.nan)
    if not after < before:
        return ""
    return (
        f"Worse than its parent {name} on the same validation data: a score of {after:.4g}, the parent's is "
        f"{before:.4g} (higher is better)."
    )
