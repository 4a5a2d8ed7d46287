"""A process's share of a batch that several processes learn together, such that it learns what one process would.

Whatever is drawn for samples is drawn for the whole batch, by every process alike, and each keeps its own rows. What
depends on the whole batch (batch norms, contrasts, sums over all pixels) is exchanged. A plain `torch.Generator` means that
this process has the whole batch: then nothing here does anything but call torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from timm.layers.drop import DropPath
from torch import Tensor, distributed, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Share:
    """Rows ``first`` to ``first + count`` of a batch of ``whole`` samples."""

    first: int
    count: int
    whole: int

    def rows(self, length: int) -> tuple[slice, int]:
        """Own rows, and the length of the whole, of something that has ``length`` rows here, equally many per sample.

        Raises
        ------
        ValueError
            If the length is no multiple of this share's samples.
        """
        each, rest = divmod(length, self.count)
        if rest:
            raise ValueError(f"{length} rows are not equally many for each of {self.count} samples")
        return slice(self.first * each, (self.first + self.count) * each), self.whole * each


class SharedGenerator(torch.Generator):
    """The randomness of a step in one of several processes, which all seed it alike.

    Attributes
    ----------
    rank, world : int
        This process, and how many there are.
    alone : bool
        Whether to do without the others for now: own rows only, own draws, nothing exchanged.
    share : Share or None
        The share that `rows_here` gave last; None while the whole batch is worked on.
    """

    rank: int = 0
    world: int = 1
    alone: bool = False
    share: Share | None = None


def share_bounds(whole: int, rank: int, world: int) -> slice:
    """Rows of one process; shares differ by at most one row."""
    return slice(whole * rank // world, whole * (rank + 1) // world)


def rows_here(whole: int, generator: torch.Generator | None) -> slice:
    """Rows of a batch of ``whole`` samples that are this process's; from now on draws are for these."""
    if not isinstance(generator, SharedGenerator):
        return slice(0, whole)
    here = share_bounds(whole, generator.rank, generator.world)
    generator.share = None if generator.alone else Share(here.start, here.stop - here.start, whole)
    return here


def share_of(generator: torch.Generator | None) -> Share | None:
    """The share that is worked on, or None where it is all there is."""
    return generator.share if isinstance(generator, SharedGenerator) else None


def rand(
    size: Sequence[int],
    *,
    generator: torch.Generator | None,
    device: torch.device | str | None = None,
    normal: bool = False,
) -> Tensor:
    """As `torch.rand` (or ``randn``) of ``size``, whose first axis is samples: own rows of the draw for the whole batch."""
    draw = torch.randn if normal else torch.rand
    share = share_of(generator)
    if share is None:
        return draw(tuple(size), generator=generator, device=device)
    rows, whole = share.rows(size[0])
    return draw((whole, *size[1:]), generator=generator, device=device)[rows]


class _Summed(torch.autograd.Function):
    """Sum over processes. Each of them has a loss of its own that depends on the sum: their gradients add up, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total


def summed(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Sum of ``x`` over all processes, with gradients; ``x`` itself where this one has the whole batch."""
    if share_of(generator) is None:
        return x
    total: Tensor = _Summed.apply(x)
    return total


@torch.no_grad()
def gathered(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Rows (n, D) of all processes in the order of the batch, (N, D), without gradients."""
    share = share_of(generator)
    if share is None or not isinstance(generator, SharedGenerator):
        return x.detach()
    bounds = [share_bounds(share.whole, rank, generator.world) for rank in range(generator.world)]
    counts = [bound.stop - bound.start for bound in bounds]
    padded = x.new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x
    found = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(found, padded)
    return torch.cat([rows[:count] for rows, count in zip(found, counts, strict=True)])


class SharedDropPath(DropPath):
    """timm's drop path, drawn for the whole batch from torch's global generator, which all processes seed alike."""

    of: SharedGenerator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop some rows of (N, ...), or (N * k, ...) where samples are cut into k windows."""
        share = share_of(self.of)
        if share is None or not self.training or self.drop_prob == 0:
            kept: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return kept
        rows, whole = share.rows(len(x))
        keep = 1 - self.drop_prob
        drawn = x.new_empty((whole, *(1 for _ in x.shape[1:]))).bernoulli_(keep)
        if keep > 0 and self.scale_by_keep:
            drawn.div_(keep)
        return x * drawn[rows]


class _SharedNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm whose moments are those of the whole batch. torch's own such norm is for GPUs only."""

    of: SharedGenerator | None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, C, ...)."""
        share = share_of(self.of)
        if share is None or not self.training:
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]
        column = (1, -1, *(1 for _ in x.shape[2:]))
        total = share.whole * (x.numel() // x.shape[1]) // share.count
        raw = x.float()
        mean = summed(raw.sum(dim=axes), self.of) / total
        centred = raw - mean.view(column)
        variance = summed(centred.square().sum(dim=axes), self.of) / total
        self._remember(mean.detach(), variance.detach() * (total / max(total - 1, 1)))
        out = centred * (variance + self.eps).rsqrt().view(column)
        if self.affine:
            out = out * self.weight.view(column) + self.bias.view(column)
        return out.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        step = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
        self.running_var.lerp_(variance.to(self.running_var.dtype), step)


class SharedBatchNorm1d(_SharedNorm, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` over the batch of all processes."""


class SharedBatchNorm2d(_SharedNorm, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` over the batch of all processes."""


def share_layers(module: nn.Module, generator: SharedGenerator) -> None:
    """Let every layer of ``module`` that looks at, or draws for, the batch do so for the batch of all processes.

    Layers change their class in place, so that names, weights and whoever holds them stay the same.
    """
    swaps: dict[type[nn.Module], type[nn.Module]] = {
        nn.BatchNorm1d: SharedBatchNorm1d,
        nn.BatchNorm2d: SharedBatchNorm2d,
        DropPath: SharedDropPath,
    }
    for layer in module.modules():
        kind = swaps.get(type(layer))
        if kind is not None:
            layer.__class__ = kind
            layer.of = generator  # type: ignore[assignment]  # no tensor and no module
