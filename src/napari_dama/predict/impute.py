"""What if a marker were missing? Its channel is hidden from the network, which predicts it from the other markers.

The published method hides patches over all channels at once, and the networks are trained for that. So a marker is hidden by
feeding its channel as absent, as for a slide that lacks it, and patches are hidden on top, in complementary sets: of every
set only a fifth of the patches is visible (the share of training), each patch is predicted by the sets that hide it, and the
predictions are averaged. A prediction is brought back to intensity with the mean and the spread of its patch over the
markers that stay. It is a guess, and `napari_dama.predict.impute_quality` says how good a one where the marker is there to
compare with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from napari_dama.errors import Interrupted, ModelError, SettingsError
from napari_dama.predict.explanation import CropPlace
from napari_dama.predict.impute_quality import Quality, measure, patch_means
from napari_dama.slides.picture import linear
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_dama.models.card import Card
    from napari_dama.models.model import Model
    from napari_dama.predict.explain import Explainer
    from napari_dama.predict.progress import StopFn

SETS: Final = 5
"""Complementary sets of visible patches: each shows a fifth, near the mask ratio of 0.8 in training."""
BATCH: Final = 4
"""Crops predicted at once, each under all sets."""
LIMIT_WINDOWS: Final = 400
"""Crops of one region in the window: more would take minutes."""


@dataclass(frozen=True, slots=True)
class Imputed:
    """A marker as the network predicts it from the others.

    ``image`` and ``true`` (H, W) float32 at the model's pixel size, on the slide's linear scale (0 a marker's dark, 1 its
    bright end); ``true`` is None where the slide lacks the marker, and so is ``quality``.
    """

    marker: str
    image: NDArray[np.float32]
    true: NDArray[np.float32] | None
    place: CropPlace
    quality: Quality | None
    pixel_um: float

    def sentence(self) -> str:
        """Say in plain words what this is and how good it is."""
        if self.quality is None:
            return f"Nothing here says how good this is: the slide has no {self.marker}, or it does not vary."
        return self.quality.sentence(self.marker)


def impute_crops(
    model: Model, crops: NDArray[np.float32], marker: int, *, seed: int = 0, sets: int = SETS
) -> NDArray[np.float32]:
    """Predict one marker of crops (N, C, H, W) from the others: (N, H, W), normalised intensity.

    Parameters
    ----------
    model
        One that reconstructs.
    crops
        Normalised intensities; absent markers are zero. The marker's own channel is not looked at.
    marker
        Its place in the panel.
    seed
        Of the sets of patches.
    sets
        Number of complementary sets, at least 2.

    Raises
    ------
    ModelError
        The model cannot reconstruct.
    """
    import torch

    from napari_dama.nets.autoencoder import MaskedAutoencoder, patch_moments, unpatchify
    from napari_dama.nets.encoder import patchify

    part = model.parts.get("reconstruct")
    if not isinstance(part, MaskedAutoencoder):
        raise ModelError(f"model {model.card.name!r} cannot fill in what is hidden: it has no decoder")
    if not 2 <= sets <= part.encoder.spec.tokens:
        raise SettingsError(f"sets must lie in 2..{part.encoder.spec.tokens}, got {sets}")
    spec = part.encoder.spec
    x = torch.from_numpy(crops).to(model.device, torch.float32).clone()
    x[:, marker] = 0
    present = (x.flatten(2).amax(dim=2) > 0).float()  # (N, C), without the marker
    patches = patchify(x, spec.patch_px)
    mean, spread = patch_moments(patches, present if model.card.moments == "present" else None)
    hidden = complementary(len(crops), spec.tokens, sets, seed=seed).to(model.device)  # (N, sets, L)
    flat = hidden.flatten(0, 1)
    with torch.inference_mode(), model._autocast():
        made = part(x.repeat_interleave(sets, dim=0), flat).prediction.float()
    made = made.unflatten(0, (len(crops), sets))  # (N, sets, L, P)
    weight = hidden[..., None].float()
    joined = (made * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
    image = unpatchify(joined * spread + mean, spec.patch_px, spec.channels)
    out: NDArray[np.float32] = image[:, marker].cpu().numpy()
    return out


def complementary(n: int, tokens: int, sets: int, *, seed: int) -> Tensor:
    """Masks (n, sets, tokens) bool, True hidden: every patch is visible in exactly one set, and sets are of equal size.

    Where ``tokens`` cannot be shared out evenly the last few patches are hidden in every set.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    size = tokens // sets
    order = torch.rand(n, tokens, generator=generator).argsort(dim=1)[:, : size * sets]
    hidden = torch.ones(n, sets, tokens, dtype=torch.bool)
    return hidden.scatter(2, order.reshape(n, sets, size), value=False)


def impute_region(
    explainer: Explainer, region: Region, marker: str, *, seed: int = 0, stop: StopFn | None = None
) -> Imputed:
    """Predict a marker of the model's panel over a part of the slide.

    Parameters
    ----------
    explainer
        The model on its slide.
    region
        In level-0 pixels; crops overlap by half, and are averaged.
    marker
        Name in the model's panel; the slide may have it (then the prediction is measured) or not.
    seed, stop
        Of the sets of patches; asked between batches of crops.

    Raises
    ------
    SettingsError
        The model's panel has no such marker, or the region is empty or too large.
    ModelError
        The model cannot reconstruct.
    Interrupted
        ``stop`` returned True.
    """
    place = place_in_panel(explainer.card, explainer.present, marker)
    grid = explainer.plan.grid
    part = region.clip(grid.shape_yx)
    if part.is_empty:
        raise SettingsError(f"the region {region} lies outside the slide")
    model_region = snapped(part, grid.scale, explainer.card.image_px // 2)
    count = (model_region.height * 2 // explainer.card.image_px) * (
        model_region.width * 2 // explainer.card.image_px
    )
    if count > LIMIT_WINDOWS:
        um = round(LIMIT_WINDOWS**0.5 * explainer.card.image_px / 2 * explainer.card.pixel_um, -1)
        raise SettingsError(
            f"that part is too large to fill in at once ({count} crops): zoom in to about {um:.0f} um"
        )
    pixels = explainer.pipeline.sample(model_region)
    made = impute_pixels(explainer.model, pixels, place, seed=seed, stop=stop)
    scale = grid.scale
    here = explainer.present[place]
    quality = None
    if here:
        means = patch_means(
            pixels, made, place, explainer.card.patch_px, explainer.card.panel, explainer.present
        )
        quality = measure(means)
    return Imputed(
        marker,
        linear(np.clip(made, 0, None)),
        linear(pixels[place]) if here else None,
        CropPlace((model_region.y0 + 0.5) / scale - 0.5, (model_region.x0 + 0.5) / scale - 0.5, 1 / scale),
        quality,
        explainer.card.pixel_um,
    )


def impute_pixels(
    model: Model, pixels: NDArray[np.float32], marker: int, *, seed: int = 0, stop: StopFn | None = None
) -> NDArray[np.float32]:
    """Predict a marker (H, W) of pixels (C, H, W), sides multiples of half a crop, at least one; crops overlap by half."""
    side = model.card.image_px
    height, width = pixels.shape[1:]
    places = [(y, x) for y in _starts(height, side) for x in _starts(width, side)]
    total, count = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for start in range(0, len(places), BATCH):
        if stop is not None and stop():
            raise Interrupted("stopped")
        part = places[start : start + BATCH]
        crops = np.stack([pixels[:, y : y + side, x : x + side] for y, x in part])
        for (y, x), image in zip(part, impute_crops(model, crops, marker, seed=seed + start), strict=True):
            total[y : y + side, x : x + side] += image
            count[y : y + side, x : x + side] += 1
    return total / count


def _starts(length: int, side: int) -> Iterator[int]:
    yield from range(0, length - side + 1, side // 2)


def snapped(region: Region, scale: float, step: int) -> Region:
    """The region of model pixels that covers a region of the slide, on multiples of ``step``, at least two steps wide."""
    y0, x0 = (int(np.floor(edge * scale / step)) * step for edge in (region.y0, region.x0))
    y1, x1 = (int(np.ceil(edge * scale / step)) * step for edge in (region.y1, region.x1))
    return Region(y0, max(y1, y0 + 2 * step), x0, max(x1, x0 + 2 * step))


def place_in_panel(card: Card, present: tuple[bool, ...], marker: str) -> int:
    """Place of a marker in a model's panel; refuses one that is alone on the slide.

    Raises
    ------
    SettingsError
        The panel has no such marker, or the slide has none but this one.
    """
    if marker not in card.panel:
        raise SettingsError(f"the model knows no marker {marker!r}: it has {', '.join(card.panel)}")
    place = card.panel.index(marker)
    if not any(here for index, here in enumerate(present) if index != place):
        raise SettingsError(f"the slide has no other marker of the model to predict {marker} from")
    return place
