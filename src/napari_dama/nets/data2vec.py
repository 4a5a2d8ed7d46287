"""Data2vec: predict a teacher's inner features of the whole crop from a masked one (Baevski et al. 2022, section 3).

The teacher is an exponential moving average of the student and sees every patch. The student sees mask tokens in place of
hidden patches and regresses, at the hidden places, the average of the teacher's last K MLP outputs, each layer-normalised
without parameters. The loss is smooth L1.

Departures from the paper: patches are hidden at random, not in blocks, as for the other methods here; positions are
the encoder's absolute ones, not relative; the loss is a mean over features (the paper's code scales a sum over them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dama.nets.autoencoder import hidden_mean
from napari_dama.nets.encoder import Encoder, EncoderSpec, init_linear
from napari_dama.nets.masking import random_mask
from napari_dama.nets.method import Losses, Method, Momentum, follow, teacher_of

SLOW: Final = Momentum(0.9998)


@dataclass(frozen=True, slots=True)
class Data2VecSpec:
    """Settings of the method, with the published values.

    A teacher of momentum ``m`` remembers about ``1 / (1 - m)`` steps, 5000 at 0.9998: take a lower one for shorter runs.
    """

    mask_ratio: float = 0.6
    last_blocks: int = 6  # K
    beta: float = 2.0
    momentum: Momentum = SLOW


class Data2Vec(Method):
    """Student, teacher, and the linear head between them.

    Parts of the loss are ``regression`` and, to tell a collapse, ``target_spread``: the standard deviation of the targets
    over places and samples, which falls to 0 when all places get the same target. It is not added to the total.

    Examples
    --------
    >>> method = Data2Vec(EncoderSpec("tiny"), Data2VecSpec())
    >>> sorted(method(torch.rand(4, 7, 128, 128)).parts)
    ['regression', 'target_spread']
    """

    comparable: ClassVar[bool] = False

    def __init__(self, encoder: EncoderSpec, spec: Data2VecSpec) -> None:
        super().__init__()
        self.spec = spec
        self.student = Encoder(encoder)
        self.student.apply(init_linear)
        self.teacher = teacher_of(self.student)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, encoder.width))
        self.head = nn.Linear(encoder.width, encoder.width)
        self.head.apply(init_linear)
        nn.init.normal_(self.mask_token, std=0.02)

    @property
    def encoder(self) -> Encoder:
        """The student."""
        return self.student

    def after_step(self, progress: float) -> None:
        """Move the teacher towards the student."""
        follow(self.teacher, self.student, self.spec.momentum.at(progress))

    def restart(self) -> None:
        """Make the teacher a copy of the student."""
        follow(self.teacher, self.student, 0.0)

    def forward(
        self, x: Tensor, *, present: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Losses:
        """Losses of crops (N, C, H, W); no pixel is compared, so ``present`` is not needed."""
        tokens = self.student.spec.tokens
        hidden = random_mask(
            len(x), tokens, mask_ratio=self.spec.mask_ratio, generator=generator, device=x.device
        )
        target = self.target(x)[:, 1:]  # (N, L, D)
        masked = self.student.embed_masked(x, hidden, self.mask_token)
        prediction = self.head(self.student.encode(masked))[:, 1:]
        error = F.smooth_l1_loss(prediction.float(), target, beta=self.spec.beta, reduction="none")
        loss = hidden_mean(error.mean(dim=-1), hidden)
        spread = target.flatten(0, 1).std(dim=0).mean()
        return Losses(loss, {"regression": loss, "target_spread": spread})

    @torch.no_grad()
    def target(self, x: Tensor) -> Tensor:
        """What the teacher makes of whole crops: (N, 1 + L, D) float32, class token first."""
        found = self.teacher.encode_with_targets(self.teacher.embed(x), last=self.spec.last_blocks)[1]
        if found is None:
            raise ValueError("last_blocks must be at least 1: the regression has no target otherwise")
        return found.float()
