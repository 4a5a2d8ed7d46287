"""Cell typing: an encoder and a linear head over pooled tokens."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from napari_dama.nets.encoder import Encoder, EncoderSpec

Pool = Literal["mean", "centre"]


class TypeClassifier(nn.Module):
    """Type of the cell in the middle of a crop.

    ``pool="mean"`` averages all patch tokens (the paper's fine-tuning); ``"centre"`` concatenates that average with the one
    over the central quarter of the patches, which tells the cell in the middle from its neighbours.
    """

    def __init__(self, encoder: EncoderSpec, classes: int, *, pool: Pool = "centre") -> None:
        super().__init__()
        self.pool = pool
        self.encoder = Encoder(encoder)
        width = encoder.width * (2 if pool == "centre" else 1)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)

    def features(self, x: Tensor) -> Tensor:
        """Pooled features of crops (N, C, H, W): (N, D) or (N, 2 D)."""
        tokens = self.encoder(x)[:, 1:]  # (N, L, D)
        mean = tokens.mean(dim=1)
        if self.pool == "centre":
            grid = self.encoder.spec.grid
            lo = grid // 2 - max(grid // 8, 1)
            hi = grid - lo
            middle = tokens.unflatten(1, (grid, grid))[:, lo:hi, lo:hi].mean(dim=(1, 2))
            mean = torch.cat([mean, middle], dim=1)
        pooled: Tensor = self.norm(mean)
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of crops (N, C, H, W)."""
        logits: Tensor = self.head(self.features(x))
        return logits
