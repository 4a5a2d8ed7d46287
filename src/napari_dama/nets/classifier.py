"""Cell typing: a linear head over pooled tokens of an encoder, and over a light convolutional path beside them."""

from __future__ import annotations

from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dama.nets.encoder import Encoder, EncoderSpec
from napari_dama.nets.layers import conv_block

Pool = Literal["mean", "centre"]
Norm = Literal["layer", "batch"]
PATH_WIDTHS = (24, 48, 96, 128)


class TypeClassifier(nn.Module):
    """Type of the cell in the middle of a crop.

    ``pool="mean"`` averages all patch tokens (the paper's fine-tuning); ``"centre"`` concatenates that average with the one
    over the central patches, which tells the cell in the middle from its neighbours.

    ``zoom`` enlarges the middle of the crop before it is encoded, in training and use alike: at 1.5625 the network sees the
    central 64 of 100 px (20.8 um), about the field that the authors train and validate on. ``use_pixels`` adds a light
    convolutional path beside the tokens, for what a patch of 16 px blurs: whether a marker lies in, around or across the
    nucleus. Measured in docs/decisions/0003-heads.md.

    ``norm="batch"`` puts a batch norm without affine parameters before the linear layer instead of a layer norm: the linear
    probe of MAE (He et al. 2022, appendix A.1). After `freeze_encoder` the encoder stays in evaluation mode whatever
    ``train()`` says, and is run without gradient.
    """

    def __init__(
        self,
        encoder: EncoderSpec,
        classes: int,
        *,
        pool: Pool = "centre",
        zoom: float = 1.0,
        use_pixels: bool = False,
        norm: Norm = "layer",
    ) -> None:
        super().__init__()
        self.frozen = False
        self.pool = pool
        self.zoom = zoom
        self.encoder = Encoder(encoder)
        width = encoder.width
        self.path: nn.Sequential | None = None
        if use_pixels:
            steps = zip((encoder.channels, *PATH_WIDTHS), PATH_WIDTHS, strict=False)
            self.path = nn.Sequential(*(conv_block(a, b, stride=2) for a, b in steps))
            width += PATH_WIDTHS[-1]
        width *= 2 if pool == "centre" else 1
        self.norm: nn.Module = (
            nn.LayerNorm(width) if norm == "layer" else nn.BatchNorm1d(width, eps=1e-6, affine=False)
        )
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)

    def freeze_encoder(self) -> None:
        """Keep the encoder as it is: no gradient, no drop path, no training mode."""
        self.frozen = True
        self.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; a frozen encoder stays in evaluation."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def features(self, x: Tensor) -> Tensor:
        """Pooled and normalised features of crops (N, C, H, W): (N, D)."""
        normed: Tensor = self.norm(self.pooled(x))
        return normed

    def pooled(self, x: Tensor) -> Tensor:
        """Pooled features of crops (N, C, H, W) before they are normalised: (N, D)."""
        x = enlarge_middle(x, self.zoom)
        grid = self.encoder.spec.grid
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens = self.encoder(x)[:, 1:]
        maps = [tokens.transpose(1, 2).unflatten(2, (grid, grid))]  # (N, D, grid, grid)
        if self.path is not None:
            maps.append(self.path(x.contiguous(memory_format=torch.channels_last)))
        return torch.cat([self._pooled(each) for each in maps], dim=1)

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits (N, K) of what `pooled` gave (N, D)."""
        logits: Tensor = self.head(self.norm(pooled))
        return logits

    def _pooled(self, maps: Tensor) -> Tensor:
        """Average (N, D, h, w) over the crop, and beside it over the middle."""
        mean = maps.mean(dim=(2, 3))
        if self.pool == "mean":
            return mean
        side = maps.shape[-1]
        lo = side // 2 - max(side // 8, 1)
        return torch.cat([mean, maps[..., lo : side - lo, lo : side - lo].mean(dim=(2, 3))], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of crops (N, C, H, W)."""
        return self.classify(self.pooled(x))


def enlarge_middle(x: Tensor, zoom: float) -> Tensor:
    """The central ``1 / zoom`` of images (N, C, H, W), enlarged to (N, C, H, W)."""
    if zoom == 1.0:
        return x
    theta = torch.tensor([[1 / zoom, 0.0, 0.0], [0.0, 1 / zoom, 0.0]], device=x.device, dtype=torch.float32)
    grid = F.affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
