"""MAE: masked autoencoder (He et al. 2022), one network under a random mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dama.nets.autoencoder import DecoderSpec, MaskedAutoencoder, hidden_mean, patch_error
from napari_dama.nets.encoder import Encoder, EncoderSpec, patchify
from napari_dama.nets.masking import random_mask
from napari_dama.nets.method import Losses, Method

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Mae(Method):
    """One masked autoencoder and its reconstruction loss."""

    def __init__(
        self,
        encoder: EncoderSpec,
        decoder: DecoderSpec,
        *,
        mask_ratio: float = 0.8,
        normalise_patches: bool = True,
    ) -> None:
        super().__init__()
        self.mask_ratio = mask_ratio
        self.normalise_patches = normalise_patches
        self.network = MaskedAutoencoder(encoder, decoder)

    @property
    def autoencoder(self) -> MaskedAutoencoder:
        """The network that is kept."""
        return self.network

    @property
    def encoder(self) -> Encoder:
        """The encoder of the network."""
        return self.network.encoder

    def forward(
        self, x: Tensor, *, present: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Losses:
        """Loss of crops (N, C, H, W); ``present`` (N, C) bool or None."""
        encoder = self.network.encoder.spec
        hidden = random_mask(
            len(x), encoder.tokens, mask_ratio=self.mask_ratio, generator=generator, device=x.device
        )
        view = self.network(x, hidden)
        weight = None if present is None else present.float()
        error = patch_error(
            view.prediction, patchify(x, encoder.patch_px), normalise=self.normalise_patches, weight=weight
        )
        loss = hidden_mean(error, hidden)
        return Losses(loss, {"reconstruction": loss})
