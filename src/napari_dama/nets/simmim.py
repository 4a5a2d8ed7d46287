"""SimMIM: predict raw pixels of hidden patches with one linear layer (Xie et al. 2022, section 3).

The encoder itself sees mask tokens in place of hidden patches; there is no decoder. The loss is L1 over hidden pixels.

Departures from the paper: what is hidden are the encoder's own patches of 16 px (the paper hides squares of 32 px);
markers that a slide lacks do not enter the loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_dama.nets.autoencoder import hidden_mean, patch_error
from napari_dama.nets.encoder import Encoder, EncoderSpec, init_linear, patchify
from napari_dama.nets.masking import random_mask
from napari_dama.nets.method import Losses, Method


class SimMim(Method):
    """Encoder, mask token and linear head.

    Parameters
    ----------
    encoder
        Shape of the encoder.
    mask_ratio
        Share of patches to hide; the paper's 0.6.
    normalise_patches
        Predict pixels normalised per patch, as MAE does; the paper predicts raw ones.

    Examples
    --------
    >>> method = SimMim(EncoderSpec("tiny"))
    >>> list(method(torch.rand(4, 7, 128, 128)).parts)
    ['reconstruction']
    """

    def __init__(
        self, encoder: EncoderSpec, *, mask_ratio: float = 0.6, normalise_patches: bool = False
    ) -> None:
        super().__init__()
        self.mask_ratio = mask_ratio
        self.normalise_patches = normalise_patches
        self.student = Encoder(encoder)
        self.student.apply(init_linear)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, encoder.width))
        self.head = nn.Linear(encoder.width, encoder.patch_px**2 * encoder.channels)
        self.head.apply(init_linear)
        nn.init.normal_(self.mask_token, std=0.02)

    @property
    def encoder(self) -> Encoder:
        """The encoder that is kept."""
        return self.student

    def forward(
        self, x: Tensor, *, present: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Losses:
        """Loss of crops (N, C, H, W); ``present`` (N, C) bool or None."""
        shape = self.student.spec
        hidden = random_mask(
            len(x), shape.tokens, mask_ratio=self.mask_ratio, generator=generator, device=x.device
        )
        tokens = self.student.encode(self.student.embed_masked(x, hidden, self.mask_token))
        error = patch_error(
            self.head(tokens)[:, 1:],  # (N, L, p * p * C)
            patchify(x, shape.patch_px),
            normalise=self.normalise_patches,
            weight=None if present is None else present.float(),
            absolute=True,
        )
        loss = hidden_mean(error, hidden)
        return Losses(loss, {"reconstruction": loss})
