"""From settings to a pretraining method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dama.nets.autoencoder import DecoderSpec
from napari_dama.nets.counts import visible_count
from napari_dama.nets.dama import Dama, DamaSpec, published_alpha
from napari_dama.nets.data2vec import Data2Vec, Data2VecSpec
from napari_dama.nets.mae import Mae
from napari_dama.nets.method import Momentum
from napari_dama.nets.moco import Moco, MocoSpec
from napari_dama.nets.simmim import SimMim

if TYPE_CHECKING:
    from napari_dama.nets.encoder import EncoderSpec
    from napari_dama.nets.method import Method
    from napari_dama.training.settings import PretrainSettings


def method_module(settings: PretrainSettings, encoder: EncoderSpec) -> Method:
    """The pretraining method that the settings name, freshly initialised from torch's global generator."""
    momentum = Momentum(settings.ema_momentum, settings.ema_schedule)
    if settings.method == "mae":
        return Mae(
            encoder,
            DecoderSpec(*settings.decoder()),
            mask_ratio=settings.mask_ratio,
            normalise_patches=settings.normalise_patches,
        )
    if settings.method == "simmim":
        return SimMim(encoder, mask_ratio=settings.mask_ratio, normalise_patches=settings.normalise_patches)
    if settings.method == "data2vec":
        return Data2Vec(
            encoder, Data2VecSpec(settings.mask_ratio, settings.last_blocks, settings.beta, momentum)
        )
    if settings.method == "moco":
        return Moco(
            encoder,
            MocoSpec(
                temperature=settings.temperature,
                hidden=settings.projector_hidden,
                out=settings.projector_out,
                momentum=momentum,
                freeze_patches=settings.freeze_patches,
            ),
        )
    return Dama(encoder, DecoderSpec(*settings.decoder()), dama_spec(settings, encoder, momentum))


def dama_spec(settings: PretrainSettings, encoder: EncoderSpec, momentum: Momentum) -> DamaSpec:
    """Settings of `Dama`; ``alpha=published`` becomes the weight for this batch and number of visible tokens."""
    alpha = settings.alpha
    if alpha == "published":
        alpha = published_alpha(settings.batch_size, 1 + visible_count(encoder.tokens, settings.mask_ratio))
    return DamaSpec(
        mask_ratio=settings.mask_ratio,
        overlap_ratio=settings.overlap_ratio,
        last_blocks=settings.last_blocks,
        beta=settings.beta,
        alpha=alpha,
        normalise_patches=settings.normalise_patches,
        pairing=settings.pairing,
        mask_error=settings.mask_error,
        second_mask="random" if settings.method == "dama-random" else settings.mask,
        second_network=settings.second_network,
        momentum=momentum,
    )
