"""What the loop asks of those who compute: here one process alone; `napari_dama.training.devices` has several."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from napari_dama.nets.method import Losses
    from napari_dama.training.accumulate import Accumulator, Attempt, Part
    from napari_dama.training.loop import Task

T = TypeVar("T")


class Crew:
    """One process that computes alone.

    Attributes
    ----------
    leads : bool
        Whether this process writes and measures.
    pictures : bool
        Whether it can leave previews.
    world : int
        How many processes share a batch.
    title : str
        The devices in words, for a status.
    """

    leads = True
    pictures = True
    world = 1

    def __init__(self, task: Task, device: torch.device) -> None:
        self.task = task
        self.device = device
        self.title = str(device)

    def generator(self) -> torch.Generator:
        """Randomness for the masks and augmentations of a step."""
        return torch.Generator(device=self.device)

    def loss(self, step: int, generator: torch.Generator, part: Part, *, alone: bool = False) -> Losses:
        """Losses of a part of a step's batch, or of this process's share of it.

        Their mean over processes is that of the batch. ``alone`` exchanges nothing with other processes.
        """
        return self.task.loss(step, generator) if part == (0, 1) else self.task.loss(step, generator, part)

    def exchange(self, part: Part) -> AbstractContextManager[None]:
        """Around the passes of a part of a step: gradients are exchanged after the last."""
        return nullcontext()

    def told(self, value: T) -> T:
        """What the first process has as ``value``."""
        return value

    def agreed(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag as any process raises it."""
        return flags

    def means(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars averaged over processes."""
        return values

    def lowest(self, value: Tensor) -> Tensor:
        """A whole number, the lowest of all processes."""
        return value

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors, gathered where they lie in shards; called by all processes together."""
        return dict(tensors)

    def measured(self, kind: str) -> dict[str, float]:
        """``validate`` or ``trial`` of the task; the same for all processes."""
        measure: Callable[[], dict[str, float]] = getattr(self.task, kind, self.task.validate)
        return measure()

    def rehearse(self, batches: Accumulator, attempt: Callable[[], Attempt]) -> None:
        """Find out together how much of a batch fits into memory; one process sees it as it goes."""

    def unite(self, module: nn.Module) -> None:
        """Let the module be whole again, at the end; called by all processes together."""
