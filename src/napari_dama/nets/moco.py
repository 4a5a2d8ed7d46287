"""MoCo-v3: two views of a crop agree, against all other crops of the batch (Chen, Xie and He 2021, algorithm 1).

The student's class token goes through a projector and a predictor, the momentum encoder's through a projector of its own.
The loss is the symmetric InfoNCE over the batch. The projection of patches is frozen at its random start (section 4.1).

Where several processes share a batch, keys are gathered from all of them, as in the authors' code, and batch norms see
the whole batch.

Departures from the paper: the views are this project's augmentations of cells (no colour jitter or blur); the momentum
encoder moves after the optimiser's step, which is the same sequence of weights as before the next forward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dama.nets.encoder import Encoder, EncoderSpec, init_linear
from napari_dama.nets.method import Losses, Method, Momentum, follow, teacher_of
from napari_dama.nets.share import gathered, share_of

RISING: Final = Momentum(0.99, "cosine")


@dataclass(frozen=True, slots=True)
class MocoSpec:
    """Settings of the method, with the published values."""

    temperature: float = 0.2
    hidden: int = 4096
    out: int = 256
    momentum: Momentum = RISING
    freeze_patches: bool = True


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers without bias, each followed by batch norm, and by ReLU except the last, whose norm is not affine."""
    layers: list[nn.Module] = []
    steps = list(pairwise(widths))
    for index, (inputs, outputs) in enumerate(steps):
        last = index == len(steps) - 1
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs, affine=not last)]
        if not last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def info_nce(queries: Tensor, keys: Tensor, *, temperature: float, first: int = 0) -> Tensor:
    """Cross-entropy of finding each query's own key among all keys, times ``2 * temperature``. A scalar.

    Parameters
    ----------
    queries, keys
        (n, D) and (N, D); row i of the queries and row ``first + i`` of the keys come from the same crop. They are brought
        to length 1 here.
    temperature
        Divides the cosine similarities.
    first
        Place of the queries among the keys, where those are of more crops.
    """
    with torch.autocast(queries.device.type, enabled=False):
        logits = F.normalize(queries.float()) @ F.normalize(keys.float()).T / temperature  # (n, N)
        own = torch.arange(first, first + len(logits), device=logits.device)
        return F.cross_entropy(logits, own) * (2 * temperature)


class Projected(nn.Module):
    """An encoder and the projector over its class token: (N, C, H, W) to (N, out)."""

    def __init__(self, encoder: EncoderSpec, spec: MocoSpec) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        self.encoder.apply(init_linear)
        bound = math.sqrt(6 / (encoder.channels * encoder.patch_px**2 + encoder.width))
        nn.init.uniform_(self.encoder.patch_embed.proj.weight, -bound, bound)
        self.projector = mlp(encoder.width, spec.hidden, spec.hidden, spec.out)

    def forward(self, x: Tensor) -> Tensor:
        """Projected class token."""
        out: Tensor = self.projector(self.encoder(x)[:, 0])
        return out


class Moco(Method):
    """Student, momentum encoder and predictor.

    Parts of the loss are ``contrast`` and ``found``, the share of queries whose own key is the nearest. Batch norms make a
    crop's loss depend on the others in its batch, as in the paper, but on nothing else: no randomness is drawn here.

    Examples
    --------
    >>> method = Moco(EncoderSpec("tiny"), MocoSpec(hidden=64, out=16))
    >>> sorted(method(torch.rand(4, 7, 128, 128), torch.rand(4, 7, 128, 128)).parts)
    ['contrast', 'found']
    """

    views: ClassVar[int] = 2
    comparable: ClassVar[bool] = False

    def __init__(self, encoder: EncoderSpec, spec: MocoSpec) -> None:
        super().__init__()
        self.spec = spec
        self.student = Projected(encoder, spec)
        self.teacher = teacher_of(self.student)
        self.predictor = mlp(spec.out, spec.hidden, spec.out)
        if spec.freeze_patches:
            self.student.encoder.patch_embed.proj.requires_grad_(False)

    @property
    def encoder(self) -> Encoder:
        """The student's encoder."""
        return self.student.encoder

    def after_step(self, progress: float) -> None:
        """Move the momentum encoder and its projector towards the student's."""
        follow(self.teacher, self.student, self.spec.momentum.at(progress))

    def restart(self) -> None:
        """Make the momentum encoder a copy of the student."""
        follow(self.teacher, self.student, 0.0)

    def forward(
        self,
        view_a: Tensor,
        view_b: Tensor,
        *,
        present: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Losses:
        """Losses of two views (N, C, H, W) each of the same crops; nothing is masked.

        ``generator`` only says which share of a batch this is; ``present`` is not needed.

        Raises
        ------
        ValueError
            If there are fewer than two crops: a crop is told from others, and batch norms need a batch.
        """
        share = share_of(generator)
        first, whole = (0, len(view_a)) if share is None else (share.first, share.whole)
        if whole < 2:
            raise ValueError(f"moco tells crops of a batch apart and needs at least 2, got {whole}")
        queries = [self.predictor(self.student(view)) for view in (view_a, view_b)]
        with torch.no_grad():
            keys = [gathered(self.teacher(view), generator) for view in (view_a, view_b)]
        temperature = self.spec.temperature
        loss = info_nce(queries[0], keys[1], temperature=temperature, first=first) + info_nce(
            queries[1], keys[0], temperature=temperature, first=first
        )
        return Losses(loss, {"contrast": loss, "found": _found(queries[0].detach(), keys[1], first)})


def _found(queries: Tensor, keys: Tensor, first: int) -> Tensor:
    """Share of queries (n, D) whose own key, of (N, D), is the nearest."""
    nearest = (F.normalize(queries.float()) @ F.normalize(keys.float()).T).argmax(dim=1)
    return (nearest == torch.arange(first, first + len(nearest), device=nearest.device)).float().mean()
