"""A vision transformer for any number of marker channels, from timm's blocks.

The encoder can be given all patches of a crop, only the visible ones (masked pretraining), or a large tile that it cuts
into windows of the size it was pretrained on (dense prediction), so that cost grows linearly with area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

SIZES: Final[dict[str, tuple[int, int, int]]] = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
}
"""Width, depth and attention heads of each size (Touvron et al. 2021, Dosovitskiy et al. 2021)."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """Shape of an encoder. ``image_px`` and ``patch_px`` are pixels of the network's input."""

    size: str = "tiny"
    channels: int = 7
    image_px: int = 128
    patch_px: int = 16
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {self.size!r}")
        if self.image_px % self.patch_px:
            raise ValueError(f"image_px {self.image_px} is not a multiple of patch_px {self.patch_px}")
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1, got {self.channels}")

    @property
    def width(self) -> int:
        """Length of a token."""
        return SIZES[self.size][0]

    @property
    def grid(self) -> int:
        """Patches along one side of the input."""
        return self.image_px // self.patch_px

    @property
    def tokens(self) -> int:
        """Patches of one input, L."""
        return self.grid**2


def sincos_positions(width: int, grid: int) -> Tensor:
    """Fixed two-dimensional sine-cosine positions, (grid * grid, width), as in MAE (He et al. 2022)."""
    quarter = width // 4
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    place = torch.arange(grid, dtype=torch.float64)[:, None] * omega  # (grid, quarter)
    wave = torch.cat([place.sin(), place.cos()], dim=1)  # (grid, width / 2)
    rows = wave[:, None].expand(grid, grid, -1)
    columns = wave[None].expand(grid, grid, -1)
    return torch.cat([columns, rows], dim=2).reshape(grid * grid, width).float()


def patchify(x: Tensor, patch_px: int) -> Tensor:
    """Cut (N, C, H, W) into patches: (N, L, p * p * C), channel last within a patch, as in MAE."""
    n, c, h, w = x.shape
    p = patch_px
    x = x.reshape(n, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1)  # (N, h, w, p, p, C)
    return x.reshape(n, (h // p) * (w // p), p * p * c)


class Encoder(VisionTransformer):
    """ViT over (N, C, image_px, image_px) crops; parameter names are timm's, so that checkpoints travel.

    Examples
    --------
    >>> encoder = Encoder(EncoderSpec("tiny", channels=7))
    >>> encoder(torch.zeros(2, 7, 128, 128)).shape
    torch.Size([2, 65, 192])
    """

    pos_embed: nn.Parameter
    cls_token: nn.Parameter

    def __init__(self, spec: EncoderSpec) -> None:
        width, depth, heads = SIZES[spec.size]
        super().__init__(
            img_size=spec.image_px,
            patch_size=spec.patch_px,
            in_chans=spec.channels,
            num_classes=0,
            global_pool="",
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            drop_path_rate=spec.drop_path,
        )
        self.spec = spec
        with torch.no_grad():
            self.pos_embed[:, 1:] = sincos_positions(width, spec.grid)
            self.pos_embed[:, :1] = 0

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # no attention masks here
        """All tokens of crops (N, C, H, W): (N, 1 + L, D), class token first."""
        return self.encode(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        """Patch tokens with their positions, (N, L, D), before the first block."""
        tokens: Tensor = self.patch_embed(x) + self.pos_embed[:, 1:]
        return tokens

    def embed_visible(self, x: Tensor, places: Tensor) -> Tensor:
        """Tokens of some patches only, (N, T, D), at ``places`` (N, T): the others are not even projected."""
        patches = patchify(x, self.spec.patch_px)  # (N, L, p * p * C)
        shown = patches.gather(1, places[..., None].expand(-1, -1, patches.shape[-1]))
        projection = self.patch_embed.proj
        weight = projection.weight.permute(0, 2, 3, 1).flatten(1)  # (D, p * p * C)
        positions = self.pos_embed[:, 1:].expand(len(x), -1, -1)
        where = places[..., None].expand(-1, -1, positions.shape[-1])
        return F.linear(shown, weight, projection.bias) + positions.gather(1, where)

    def embed_masked(self, x: Tensor, hidden: Tensor, mask_token: Tensor) -> Tensor:
        """Patch tokens (N, L, D) with ``mask_token`` (1, 1, D) in place of those ``hidden`` (N, L), all with positions."""
        patches: Tensor = self.patch_embed(x)
        shown = torch.where(hidden[..., None], mask_token.to(patches.dtype), patches)
        return shown + self.pos_embed[:, 1:]

    def encode(self, tokens: Tensor) -> Tensor:
        """Run the blocks over patch tokens (N, T, D) with the class token in front: (N, 1 + T, D)."""
        return self.encode_with_targets(tokens, last=0)[0]

    def encode_with_targets(self, tokens: Tensor, *, last: int) -> tuple[Tensor, Tensor | None]:
        """Encode and also average the MLP outputs of the ``last`` blocks, each layer-normalised without parameters.

        The average is the regression target of data2vec (Baevski et al. 2022) and of DAMA.

        Returns
        -------
        features, targets
            (N, 1 + T, D) normalised output; (N, 1 + T, D) average, or None where ``last`` is 0.

        Raises
        ------
        ValueError
            If ``last`` exceeds the number of blocks.
        """
        if not 0 <= last <= len(self.blocks):
            raise ValueError(f"last must lie in 0..{len(self.blocks)}, the number of blocks, got {last}")
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        x = torch.cat([first, tokens], dim=1)  # (N, 1 + T, D)
        total: Tensor | None = None
        for index, block in enumerate(cast("list[Block]", list(self.blocks))):
            x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))
            change = block.ls2(block.mlp(block.norm2(x)))
            x = x + block.drop_path2(change)
            if index >= len(self.blocks) - last:
                part = F.layer_norm(change.float(), change.shape[-1:])
                total = part if total is None else total + part
        return self.norm(x), (None if total is None else total / last)

    def dense(self, x: Tensor) -> Tensor:
        """Token map of tiles (N, C, H, W), each window of ``image_px`` encoded by itself: (N, D, H / p, W / p).

        H and W are multiples of ``image_px``; attention stays within a window, at the context of pretraining.
        """
        side, grid = self.spec.image_px, self.spec.grid
        n, c, h, w = x.shape
        if h % side or w % side:
            raise ValueError(f"a tile of {h} x {w} px is not a multiple of the window of {side} px")
        rows, columns = h // side, w // side
        windows = x.reshape(n, c, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
        tokens: Tensor = self(windows.reshape(-1, c, side, side))[:, 1:]  # (N * rows * columns, L, D)
        maps = tokens.reshape(n, rows, columns, grid, grid, -1).permute(0, 5, 1, 3, 2, 4)
        return maps.reshape(n, -1, rows * grid, columns * grid)


class FeatureEncoder(nn.Module):
    """An encoder by itself: what is kept of a method without a decoder, and the start of a fine-tuning."""

    def __init__(self, encoder: EncoderSpec | Encoder) -> None:
        super().__init__()
        self.encoder = encoder if isinstance(encoder, Encoder) else Encoder(encoder)

    def forward(self, x: Tensor) -> Tensor:
        """Mean of the patch tokens of crops (N, C, H, W): (N, D)."""
        tokens: Tensor = self.encoder(x)
        return tokens[:, 1:].mean(dim=1)


def init_linear(module: nn.Module) -> None:
    """Xavier-uniform linear layers and zero biases, as in MAE; for ``module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
