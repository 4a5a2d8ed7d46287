"""Instance segmentation as dense maps: foreground, and distance to the cell's edge.

Maps of neighbouring tiles can be compared and blended pixel by pixel, which boxes cannot; and unlike flow fields they do
not change sign under flips. Instances follow by a seeded watershed (`napari_dama.cells.instances`). Tokens of 16 px lose the
outline of a nucleus 20 px wide: a light convolutional path from the pixels runs beside them, as UNETR-like decoders
have it (Hatamizadeh et al. 2022). Measured in docs/decisions/0003-heads.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dama.nets.encoder import Encoder, EncoderSpec
from napari_dama.nets.layers import conv_block
from napari_dama.nets.share import summed


@dataclass(frozen=True, slots=True)
class DenseSpec:
    """Widths of the convolutional path at strides 1, 2, 4 and 8, and which of the two sources are used."""

    widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    use_pixels: bool = True
    use_tokens: bool = True

    def __post_init__(self) -> None:
        if not (self.use_pixels or self.use_tokens):
            raise ValueError("a segmenter needs pixels, tokens or both")


class DenseSegmenter(nn.Module):
    """Encoder tokens in windows + pixels through convolutions -> logits of two maps.

    Examples
    --------
    >>> net = DenseSegmenter(EncoderSpec("tiny"), DenseSpec())
    >>> net(torch.zeros(1, 7, 256, 128)).shape
    torch.Size([1, 2, 256, 128])
    """

    def __init__(self, encoder: EncoderSpec, spec: DenseSpec) -> None:
        super().__init__()
        self.spec = spec
        if encoder.patch_px not in (8, 16):
            raise ValueError(f"the dense head joins tokens of 8 or 16 px, got {encoder.patch_px}")
        self.encoder = Encoder(encoder) if spec.use_tokens else None
        w1, w2, w4, w8 = spec.widths
        inputs = encoder.channels
        if spec.use_pixels:
            self.down = nn.ModuleList(
                [
                    conv_block(inputs, w1),
                    conv_block(w1, w2, stride=2),
                    conv_block(w2, w4, stride=2),
                    conv_block(w4, w8, stride=2),
                ]
            )
        self.spread = encoder.patch_px // 8
        if spec.use_tokens:
            self.bridge = nn.Conv2d(encoder.width, w8 * self.spread**2, 1)
        both = spec.use_pixels and spec.use_tokens
        skip = 1 if spec.use_pixels else 0
        self.up8 = nn.Sequential(conv_block(w8 * 2 if both else w8, w8), conv_block(w8, w8))
        self.up4 = conv_block(w8 + skip * w4, w4)
        self.up2 = conv_block(w4 + skip * w2, w2)
        self.up1 = conv_block(w2 + skip * w1, w1)
        self.head = nn.Conv2d(w1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 2, H, W) of tiles (N, C, H, W), H and W multiples of the encoder's window."""
        levels: list[Tensor] = []
        sources: list[Tensor] = []
        if self.spec.use_pixels:
            y = x.contiguous(memory_format=torch.channels_last)
            for layer in self.down:
                y = layer(y)
                levels.append(y)
            sources.append(levels.pop())
        if self.encoder is not None:
            tokens = self.encoder.dense(x)  # (N, D, H / p, W / p)
            sources.append(F.pixel_shuffle(self.bridge(tokens), self.spread))
        y = torch.cat(sources, dim=1) if len(sources) > 1 else sources[0]
        y = self.up8(y.contiguous(memory_format=torch.channels_last))
        for layer in (self.up4, self.up2, self.up1):
            y = F.interpolate(y, scale_factor=2, mode="nearest")
            if levels:
                y = torch.cat([y, levels.pop()], dim=1)
            y = layer(y)
        logits: Tensor = self.head(y)
        return logits


def dense_loss(
    logits: Tensor, foreground: Tensor, distance: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of the two maps.

    Parameters
    ----------
    logits
        (N, 2, H, W).
    foreground
        (N, H, W) in 0..1; negative where the truth is unknown (not counted).
    distance
        (N, H, W) in 0..1, 0 outside cells.
    generator
        Says which share of a batch this is; the losses are those of the whole batch, of whose pixels all sums are.

    Returns
    -------
    total, parts
        Binary cross-entropy + soft Dice of the foreground, and 4 x smooth L1 of the distance.
    """
    known = (foreground >= 0).float()
    truth = foreground.clamp_min(0).float()
    raw = logits.float()
    entropy = (F.binary_cross_entropy_with_logits(raw[:, 0], truth, reduction="none") * known).sum()
    guess = raw[:, 0].sigmoid() * known
    off = F.smooth_l1_loss(raw[:, 1].sigmoid(), distance.float(), beta=0.1, reduction="none")
    off = (off * known * (1 + 2 * truth)).sum()
    sums = [known.sum(), entropy, (guess * truth).sum(), guess.sum(), (truth * known).sum(), off]
    area, entropy, both, guessed, true, off = summed(torch.stack(sums), generator).unbind()
    area = area.clamp_min(1)
    dice = 1 - (2 * both + 1) / (guessed + true + 1)
    parts = {"foreground": entropy / area, "dice": dice, "distance": off / area}
    return parts["foreground"] + dice + 4 * parts["distance"], parts
