"""Cell typing: an encoder and a linear head over pooled tokens."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dama.nets.encoder import Encoder, EncoderSpec

Pool = Literal["mean", "centre"]


class TypeClassifier(nn.Module):
    """Type of the cell in the middle of a crop.

    ``pool="mean"`` averages all patch tokens (the paper's fine-tuning); ``"centre"`` concatenates that average with the one
    over the central patches, which tells the cell in the middle from its neighbours.

    ``zoom`` enlarges the middle of the crop before it is encoded, in training and use alike: at 1.5625 the network sees the
    central 64 of 100 px (20.8 um), about the field that the authors train and validate on.
    """

    def __init__(
        self, encoder: EncoderSpec, classes: int, *, pool: Pool = "centre", zoom: float = 1.0
    ) -> None:
        super().__init__()
        self.pool = pool
        self.zoom = zoom
        self.encoder = Encoder(encoder)
        width = encoder.width * (2 if pool == "centre" else 1)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)

    def features(self, x: Tensor) -> Tensor:
        """Pooled features of crops (N, C, H, W): (N, D) or (N, 2 D)."""
        tokens = self.encoder(enlarge_middle(x, self.zoom))[:, 1:]  # (N, L, D)
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


def enlarge_middle(x: Tensor, zoom: float) -> Tensor:
    """The central ``1 / zoom`` of images (N, C, H, W), enlarged to (N, C, H, W)."""
    if zoom == 1.0:
        return x
    theta = torch.tensor([[1 / zoom, 0.0, 0.0], [0.0, 1 / zoom, 0.0]], device=x.device, dtype=torch.float32)
    grid = F.affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
