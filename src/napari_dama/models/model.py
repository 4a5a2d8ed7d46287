"""A loaded model: the networks behind one card, on one device, and what can be asked of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_dama.errors import ModelError
from napari_dama.models.card import WEIGHTS, Architecture, Card
from napari_dama.models.detect import Detections, detect, maps
from napari_dama.models.precision import choose_attention, fastest_precision
from napari_dama.nets.autoencoder import (
    DecoderSpec,
    MaskedAutoencoder,
    patch_moments,
    target_error,
    unpatchify,
)
from napari_dama.nets.classifier import TypeClassifier
from napari_dama.nets.encoder import EncoderSpec, FeatureEncoder, patchify
from napari_dama.nets.mask_rcnn import MaskRcnn, MaskRcnnSpec
from napari_dama.nets.masking import adaptive_mask, random_mask
from napari_dama.nets.segmenter import DenseSegmenter, DenseSpec

if TYPE_CHECKING:
    from napari_dama.models.card import Task


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What the autoencoder makes of crops under both masks, on the CPU.

    Masks are (N, L) bool, True = hidden; errors (N, L), of every patch; images (N, C, H, W) in normalised intensity, with
    predicted patches everywhere (visible ones as well).
    """

    hidden_random: Tensor
    hidden_adaptive: Tensor
    error_random: Tensor
    error_adaptive: Tensor
    image_random: Tensor
    image_adaptive: Tensor


def encoder_spec(card: Card, *, drop_path: float = 0.0) -> EncoderSpec:
    """Shape of the encoder that a card describes."""
    return EncoderSpec(card.architecture.size, len(card.panel), card.image_px, card.patch_px, drop_path)


def build_part(card: Card, task: Task, *, drop_path: float = 0.0) -> nn.Module:
    """A freshly initialised network for one of the card's tasks."""
    shape: Architecture = card.architecture
    encoder = encoder_spec(card, drop_path=drop_path)
    if task == "segments" and shape.head == "mask-rcnn":
        return MaskRcnn(
            encoder, MaskRcnnSpec(shape.box_width, shape.anchors_px, shape.detections, shape.use_pixels)
        )
    if task == "segments":
        return DenseSegmenter(encoder, DenseSpec(shape.dense_widths, shape.use_pixels, shape.use_tokens))
    if task == "types":
        return TypeClassifier(
            encoder,
            len(card.classes),
            pool=shape.pool,
            zoom=shape.type_zoom,
            use_pixels=shape.type_pixels,
            norm=shape.type_norm,
        )
    if task == "features":
        return FeatureEncoder(encoder)
    return MaskedAutoencoder(
        encoder, DecoderSpec(shape.decoder_depth, shape.decoder_width, shape.decoder_heads)
    )


class Model:
    """Networks of one card. Inputs are normalised intensities in the card's panel order; absent markers are zero."""

    def __init__(
        self, card: Card, parts: dict[str, nn.Module], *, device: str = "cpu", precision: str = "auto"
    ) -> None:
        self.card = card
        self.device = torch.device(device)
        self.parts = {name: part.eval().requires_grad_(False).to(self.device) for name, part in parts.items()}
        for part in self.parts.values():
            part.to(memory_format=torch.channels_last)
        self.precision = fastest_precision(self.device) if precision == "auto" else precision
        for part in self.parts.values():
            choose_attention(part, self.device, self.precision)

    @classmethod
    def load(cls, card: Card, *, device: str = "cpu", precision: str = "auto") -> Model:
        """Read the weights beside the card.

        Raises
        ------
        ModelError
            If weights are missing, damaged, or do not fit the card; the message names the first that does not.
        """
        if card.path is None:
            raise ModelError(f"model {card.name!r} was made in memory and has no weights to load")
        file = card.path / WEIGHTS
        try:
            state = load_file(file)
        except FileNotFoundError as error:
            raise ModelError(f"{card.path} has a card but no {WEIGHTS}") from error
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} is damaged or no safetensors file: {error}") from error
        parts: dict[str, nn.Module] = {}
        for task in card.tasks:
            part = build_part(card, task)
            load_part(part, state, task, where=str(file))
            parts[task] = part
        return cls(card, parts, device=device, precision=precision)

    def state(self) -> dict[str, Tensor]:
        """All weights on the CPU, named ``<task>.<parameter>``."""
        return {
            f"{task}.{name}": value.detach().cpu().contiguous()
            for task, part in self.parts.items()
            for name, value in part.state_dict().items()
        }

    def segment_maps(self, x: Tensor) -> Tensor:
        """Foreground probability and normalised distance to the cell's edge, whatever the segmentation head.

        Parameters
        ----------
        x
            (N, C, H, W) float32 at ``card.pixel_um``, H and W multiples of ``card.image_px``.

        Returns
        -------
        Tensor
            (N, 2, H, W) float32 in 0..1, on the model's device.
        """
        part = self._part("segments")
        with torch.inference_mode(), self._autocast():
            return maps(part, x.to(self.device, non_blocking=True))

    def detect(self, x: Tensor) -> list[Detections]:
        """Cells of each of the tiles (N, C, H, W), with scores and boxes, best first.

        For evaluation by scores; `analyse` goes through `segment_maps`, which join at the seams of tiles.
        """
        part = self._part("segments")
        with torch.inference_mode(), self._autocast():
            return detect(part, x.to(self.device, non_blocking=True), pixel_um=self.card.pixel_um)

    def type_probabilities(self, crops: Tensor) -> Tensor:
        """Probability of each of ``card.classes``, (N, K) float32, for crops (N, C, image_px, image_px)."""
        return self._run("types", crops).float().softmax(dim=1)

    def embed(self, crops: Tensor) -> Tensor:
        """Features of crops (N, C, image_px, image_px): (N, D) float32, from the typing network where there is one.

        Without one they are the mean of the pretrained encoder's patch tokens.
        """
        if "types" in self.parts:
            part = self._part("types")
            assert isinstance(part, TypeClassifier)
            with torch.inference_mode(), self._autocast():
                return part.features(crops.to(self.device)).float()
        part = self._part("features" if "features" in self.parts else "reconstruct")
        assert isinstance(part, FeatureEncoder | MaskedAutoencoder)
        with torch.inference_mode(), self._autocast():
            tokens: Tensor = part.encoder(crops.to(self.device))
            return tokens[:, 1:].mean(dim=1).float()

    def reconstruct(
        self, crops: Tensor, *, mask_ratio: float = 0.8, overlap_ratio: float = 0.5, seed: int = 0
    ) -> Reconstruction:
        """Reconstruct crops (N, C, image_px, image_px) under a random mask and under the adaptive mask it leads to.

        Network 1 serves both views. Predicted patches are brought back to intensity with each patch's own mean and
        spread, as published figures of masked autoencoders are made; the error is the one that training uses.
        """
        part = self._part("reconstruct")
        assert isinstance(part, MaskedAutoencoder)
        x = crops.to(self.device, torch.float32)
        encoder = part.encoder.spec
        generator = torch.Generator().manual_seed(seed)
        present = x.flatten(2).amax(dim=2) > 0  # (N, C)
        patches = patchify(x, encoder.patch_px)
        weight = present.float()
        mean, spread = patch_moments(patches, weight if self.card.moments == "present" else None)
        target = (patches - mean) / spread

        def view(hidden: Tensor) -> tuple[Tensor, Tensor]:
            with torch.inference_mode(), self._autocast():
                prediction = part(x, hidden.to(self.device)).prediction.float()
            error = target_error(prediction, target, weight=weight)
            image = unpatchify(prediction * spread + mean, encoder.patch_px, encoder.channels)
            return error.cpu(), (image * present[..., None, None]).cpu()

        hidden_1 = random_mask(len(x), encoder.tokens, mask_ratio=mask_ratio, generator=generator)
        error_1, image_1 = view(hidden_1)
        hidden_2 = adaptive_mask(
            hidden_1, error_1, mask_ratio=mask_ratio, overlap_ratio=overlap_ratio, generator=generator
        )
        error_2, image_2 = view(hidden_2)
        return Reconstruction(hidden_1, hidden_2, error_1, error_2, image_1, image_2)

    def _part(self, task: Task) -> nn.Module:
        if task not in self.parts:
            has = ", ".join(self.parts)
            raise ModelError(f"model {self.card.name!r} cannot do {task}: it was made for {has}")
        return self.parts[task]

    def _run(self, task: Task, x: Tensor) -> Tensor:
        part = self._part(task)
        with torch.inference_mode(), self._autocast():
            out: Tensor = part(x.to(self.device, non_blocking=True))
            return out

    def _autocast(self) -> AbstractContextManager[None]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.precision))


def load_part(part: nn.Module, state: dict[str, Tensor], task: str, *, where: str) -> None:
    """Fill ``part`` from the tensors of ``state`` named ``<task>.*``.

    Raises
    ------
    ModelError
        Naming the first tensor that is missing, unknown or of another shape.
    """
    prefix = f"{task}."
    own = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
    wanted = part.state_dict()
    missing = sorted(set(wanted) - set(own))
    unknown = sorted(set(own) - set(wanted))
    if missing or unknown:
        what = f"lacks {prefix}{missing[0]}" if missing else f"has {prefix}{unknown[0]}, which no layer takes"
        raise ModelError(f"{where} does not fit its card: it {what}")
    for name, value in wanted.items():
        if own[name].shape != value.shape:
            raise ModelError(
                f"{where} does not fit its card: {prefix}{name} is {tuple(own[name].shape)}, "
                f"the card asks for {tuple(value.shape)}"
            )
    part.load_state_dict({name: value.to(wanted[name].dtype) for name, value in own.items()})
