"""A masked autoencoder: encoder over visible patches, light decoder over all of them (He et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from napari_dama.nets.encoder import Encoder, EncoderSpec, init_linear, sincos_positions
from napari_dama.nets.masking import visible_ids


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """Shape of a decoder; the paper's is 8 blocks of width 512 with 16 heads."""

    depth: int = 8
    width: int = 512
    heads: int = 16


def unpatchify(patches: Tensor, patch_px: int, channels: int) -> Tensor:
    """Put patches (N, L, p * p * C) of a square image together: (N, C, H, W)."""
    n, tokens, _ = patches.shape
    grid, p = round(tokens**0.5), patch_px
    x = patches.reshape(n, grid, grid, p, p, channels).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(n, channels, grid * p, grid * p)


def patch_moments(patches: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every patch, each (N, L, 1), of patches (N, L, P).

    With ``weight`` (N, C), over the channels whose weight is not 0: a marker that the slide lacks says nothing about how
    bright or how varied a patch is.
    """
    if weight is None:
        mean = patches.mean(dim=-1, keepdim=True)
        square, count = (patches - mean).square().sum(dim=-1, keepdim=True), patches.shape[-1]
        return mean, (square / max(count - 1, 1) + 1e-6).sqrt()
    counts = _per_value(weight > 0, patches)  # (N, 1, P)
    number = counts.sum(dim=-1, keepdim=True)  # (N, 1, 1)
    mean = (patches * counts).sum(dim=-1, keepdim=True) / number.clamp_min(1)
    square = ((patches - mean) * counts).square().sum(dim=-1, keepdim=True)
    return mean, (square / (number - 1).clamp_min(1) + 1e-6).sqrt()


def _per_value(weight: Tensor, patches: Tensor) -> Tensor:
    """Weight of every value of a patch, (N, 1, P), from that of every channel, (N, C): channels are the last axis."""
    return weight.to(patches.dtype).repeat(1, patches.shape[-1] // weight.shape[1])[:, None]


@dataclass(frozen=True, slots=True)
class View:
    """What one network makes of one masked view.

    ``prediction`` (N, L, P); ``features`` (N, 1 + keep, D), tokens in ascending place; ``targets`` the same shape or None.
    """

    prediction: Tensor
    features: Tensor
    targets: Tensor | None


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder; one of DAMA's two networks."""

    positions: Tensor

    def __init__(self, encoder: EncoderSpec, decoder: DecoderSpec) -> None:
        super().__init__()
        self.spec = decoder
        self.encoder = Encoder(encoder)
        self.encoder.apply(init_linear)
        self.bridge = nn.Linear(encoder.width, decoder.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder.width))
        positions = torch.cat([torch.zeros(1, decoder.width), sincos_positions(decoder.width, encoder.grid)])
        self.register_buffer("positions", positions[None], persistent=False)
        self.blocks = nn.ModuleList(
            Block(decoder.width, decoder.heads, qkv_bias=True) for _ in range(decoder.depth)
        )
        self.norm = nn.LayerNorm(decoder.width)
        self.head = nn.Linear(decoder.width, encoder.patch_px**2 * encoder.channels)
        for part in (self.bridge, self.blocks, self.head):
            part.apply(init_linear)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, x: Tensor, hidden: Tensor, *, last: int = 0) -> View:
        """Encode the visible patches of (N, C, H, W) under ``hidden`` (N, L) and predict every patch.

        ``last`` asks for the averaged MLP outputs of that many last blocks as well.
        """
        places = visible_ids(hidden)  # (N, keep)
        shown = self.encoder.embed_visible(x, places)  # (N, keep, D)
        features, targets = self.encoder.encode_with_targets(shown, last=last)
        return View(self._decode(features, places, hidden.shape[1]), features, targets)

    def _decode(self, features: Tensor, places: Tensor, tokens: int) -> Tensor:
        small = self.bridge(features)  # (N, 1 + keep, d)
        full = self.mask_token.to(small.dtype).expand(len(small), tokens, -1)
        full = full.scatter(1, places[..., None].expand(-1, -1, small.shape[-1]), small[:, 1:])
        y = torch.cat([small[:, :1], full], dim=1) + self.positions
        for block in self.blocks:
            y = block(y)
        prediction: Tensor = self.head(self.norm(y))[:, 1:]
        return prediction  # (N, L, P)


def patch_error(
    prediction: Tensor,
    patches: Tensor,
    *,
    normalise: bool,
    weight: Tensor | None = None,
    absolute: bool = False,
) -> Tensor:
    """Mean squared error of every patch, (N, L).

    Parameters
    ----------
    prediction, patches
        (N, L, P) each.
    normalise
        Compare with pixels normalised per patch (MAE's ``norm_pix_loss``).
    weight
        (N, C) weight of each channel, 0 for markers that the slide lacks, or None for all alike. Channels are the
        last axis within a patch. Channels of weight 0 enter neither the error nor the moments of ``normalise``.
    absolute
        Mean absolute error instead (SimMIM).
    """
    target = patches.float()
    if normalise:
        mean, std = patch_moments(target, weight)
        target = (target - mean) / std
    difference = prediction.float() - target
    error = difference.abs() if absolute else difference.square()
    if weight is None:
        return error.mean(dim=-1)
    shares = _per_value(weight, error)
    return (error @ shares.transpose(1, 2))[..., 0] / shares.sum(dim=-1).clamp_min(1e-6)


def hidden_mean(error: Tensor, hidden: Tensor) -> Tensor:
    """Mean of ``error`` (N, L) over hidden patches: the reconstruction loss, a scalar."""
    return (error * hidden).sum() / hidden.sum().clamp_min(1)
