"""What every pretraining method has in common: its losses, what is kept of it, and a teacher that follows the student.

A method is a module with ``method(*views, present=None, generator=None) -> Losses``. ``views`` augmentations (N, C, H, W) of
the same crops go in; ``present`` (N, C) bool says which markers each sample of the first view has; all masks are drawn
from ``generator``, on the device of the views.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from napari_dama.nets.autoencoder import MaskedAutoencoder
    from napari_dama.nets.encoder import Encoder

N = TypeVar("N", bound=nn.Module)
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True, slots=True)
class Losses:
    """Total loss and its parts, scalars by name."""

    total: Tensor
    parts: dict[str, Tensor]


class Method(nn.Module):
    """Base of the pretraining methods.

    Attributes
    ----------
    views : int
        Augmentations of the same crops that a step needs, 1 or 2.
    comparable : bool
        Whether losses of different steps measure the same thing. Where the target is a teacher that moves, they do not, so
        that the last weights are kept and not those of the lowest loss.
    """

    views: ClassVar[int] = 1
    comparable: ClassVar[bool] = True

    @property
    def encoder(self) -> Encoder:
        """The encoder that is kept."""
        raise NotImplementedError(f"{type(self).__name__} must say which encoder is kept")

    @property
    def autoencoder(self) -> MaskedAutoencoder | None:
        """The encoder with its decoder, where the method has one."""
        return None

    def after_step(self, progress: float) -> None:
        """Follow a step of the optimiser; ``progress`` in 0..1 is the share of the run that is done."""

    def restart(self) -> None:
        """Follow weights that were put into the student from outside."""


@dataclass(frozen=True, slots=True)
class Momentum:
    """Share of its own weights that a teacher keeps at each step: ``start`` all along, or rising from it to 1."""

    start: float
    schedule: Schedule = "constant"

    def __post_init__(self) -> None:
        if not 0.0 <= self.start <= 1.0:
            raise ValueError(f"momentum must lie in 0..1, got {self.start}")

    def at(self, progress: float) -> float:
        """Momentum after ``progress`` (0..1) of the run; the rise is half a cosine, as in MoCo-v3 and BYOL."""
        if self.schedule == "constant":
            return self.start
        return 1 - (1 - self.start) * (1 + math.cos(math.pi * progress)) / 2


def teacher_of(student: N) -> N:
    """A copy of the student that no gradient reaches."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move a teacher's parameters towards the student's: ``t = momentum * t + (1 - momentum) * s``.

    Buffers, the running statistics of batch norms, stay the teacher's own.
    """
    for own, other in zip(teacher.parameters(), student.parameters(), strict=True):
        own.lerp_(other.to(own.dtype), 1 - momentum)
