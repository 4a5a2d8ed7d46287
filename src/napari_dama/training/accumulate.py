"""Backward passes that fit into memory: after an out-of-memory error the batch is halved and gradients are accumulated.

The global batch, the rate and the crops of a step stay what they were. What changes with the number of parts: masks and
augmentations are drawn part by part and so are others than for the whole batch; a batch norm sees a part; mixing and the
contrast of MoCo take place within a part. With the same number of parts a step repeats itself bit by bit, and the number is
kept in the checkpoint.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from napari_dama.errors import DamaError
from napari_dama.nets.dama import Losses

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Part = tuple[int, int]
"""Which part of a batch, of how many; ``WHOLE`` is all of it."""
WHOLE: Part = (0, 1)
LossOfPart = Callable[[Part], Losses]
Attempt = tuple[Callable[[], None], LossOfPart, Callable[["Tensor"], None]]
"""How a step is tried, as `Accumulator.step` takes it: get ready, a part's losses, their gradients."""


def part_of(rows: NDArray[np.int64], part: Part) -> NDArray[np.int64]:
    """Rows of one part of a batch; parts differ by at most one row."""
    index, parts = part
    return rows[len(rows) * index // parts : len(rows) * (index + 1) // parts]


def part_slice(batch: int, part: Part) -> slice:
    """The same of a batch that is counted only."""
    index, parts = part
    return slice(batch * index // parts, batch * (index + 1) // parts)


class MemoryRanOut(DamaError):
    """Memory ran out in one of several processes, which the others cannot wait for; ``parts`` would be enough."""

    def __init__(self, reason: str, parts: int) -> None:
        super().__init__(
            f"memory ran out ({reason}), although the first step fitted; the last checkpoint is kept. Resume the job: it "
            f"goes on in {parts} parts"
        )
        self.parts = parts


class Accumulator:
    """Losses and gradients of a step, in as many parts as memory asks for.

    Parameters
    ----------
    batch
        Samples of a step.
    least
        Fewest samples of a part that the method can learn from (two where it tells them apart).
    parts
        To begin with: a resumed run's.
    note
        Told the number of parts whenever it grows.
    world
        Processes that share each part.
    """

    def __init__(
        self, batch: int, *, least: int = 1, parts: int = 1, note: Callable[[int], None], world: int = 1
    ) -> None:
        self.batch = batch
        self.least = least
        self.world = world
        self.parts = parts
        self.note = note

    def step(
        self, prepare: Callable[[], None], loss: LossOfPart, backward: Callable[[Tensor], None]
    ) -> Losses:
        """Losses of the whole batch, their gradients accumulated.

        Parameters
        ----------
        prepare
            Sets gradients to zero and the randomness of the step; called again before each attempt.
        loss
            Losses of a part, means over its samples.
        backward
            Is given the loss of a part, weighted by its share of the batch.

        Raises
        ------
        DamaError
            If not even the smallest part fits.
        """
        while True:
            try:
                prepare()
                return self._attempt(loss, backward)
            except (RuntimeError, MemoryError) as error:
                if device_lost(error):
                    raise DamaError(
                        f"the device failed: {str(error).splitlines()[0]}; the last checkpoint is kept. Resume the job, on "
                        "another device if it fails again"
                    ) from error
                if not out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else "out of memory"
                if self.world > 1:  # the others are in the middle of this step
                    self._require(2 * self.parts, reason)
                    raise MemoryRanOut(reason, 2 * self.parts) from error
            self._halve(reason)

    def fit(
        self,
        prepare: Callable[[], None],
        loss: LossOfPart,
        backward: Callable[[Tensor], None],
        anyone: Callable[[bool], bool],
    ) -> None:
        """Find as many parts as the memory of every process asks for, before the first step.

        Parameters
        ----------
        prepare, loss, backward
            As for `step`, but nothing is exchanged with other processes.
        anyone
            Whether a flag is raised in any process.
        """
        while True:
            reason = ""
            try:
                prepare()
                self._attempt(loss, backward)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else "out of memory"
            if not anyone(bool(reason)):
                return
            self._halve(reason or "in another process")

    def _require(self, parts: int, reason: str) -> None:
        """Refuse more parts than there are samples for."""
        if self.batch // (parts * self.world) < self.least:
            raise DamaError(
                f"not even {max(1, self.batch // (self.parts * self.world))} of a batch of {self.batch} fit into memory "
                f"({reason}); take a smaller size, image_px or tile_px"
            )

    def _halve(self, reason: str) -> None:
        self._require(2 * self.parts, reason)
        self.parts *= 2
        gc.collect()  # the failed attempt's graph
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.note(self.parts)

    def _attempt(self, loss: LossOfPart, backward: Callable[[Tensor], None]) -> Losses:
        total: Losses | None = None
        for index in range(self.parts):
            part = (index, self.parts)
            cut = part_slice(self.batch, part)
            share = (cut.stop - cut.start) / self.batch
            losses = loss(part)
            weighted = losses.total if self.parts == 1 else losses.total * share
            backward(weighted)
            scaled = {name: value.detach() * share for name, value in losses.parts.items()}
            if self.parts == 1:
                return losses
            if total is None:
                total = Losses(weighted.detach(), scaled)
            else:
                sums = {name: total.parts[name] + value for name, value in scaled.items()}
                total = Losses(total.total + weighted.detach(), sums)
        assert total is not None
        return total


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a device or in the machine."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def device_lost(error: BaseException) -> bool:
    """Whether an error says that the device itself failed, so that nothing on it can be trusted any more."""
    if out_of_memory(error):
        return False
    kind = getattr(torch, "AcceleratorError", None)
    if kind is not None and isinstance(error, kind):
        return True
    return isinstance(error, RuntimeError) and ("CUDA error" in str(error) or "MPS backend" in str(error))
