"""Crops become network input: normalised, resampled and varied in batches, on the device that trains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dama.nets.share import rand
from napari_dama.slides.intensity import CLIP, COFACTOR


@dataclass(frozen=True, slots=True)
class Variation:
    """How much a batch is varied. Lengths are shares of the crop; ``zoom`` is linear and applies to both axes.

    Training and validation see the same scale in micrometres: ``zoom`` varies around 1, and `NO_VARIATION` is 1.
    """

    zoom: tuple[float, float] = (0.85, 1.2)
    rotate_degrees: float = 180.0
    shift: float = 0.03
    flip: bool = True
    gain: float = 0.25
    gamma: float = 0.2
    noise: float = 0.03
    drop_marker: float = 0.15
    only_nuclear: float = 0.05


NO_VARIATION = Variation(
    zoom=(1.0, 1.0),
    rotate_degrees=0.0,
    shift=0.0,
    flip=False,
    gain=0.0,
    gamma=0.0,
    noise=0.0,
    drop_marker=0.0,
    only_nuclear=0.0,
)


def normalise_batch(pixels: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Normalised intensities of raw pixels, as `napari_dama.slides.intensity.normalise` does for arrays.

    Parameters
    ----------
    pixels
        (N, C, H, W) of any number type.
    low, high
        (N, C) background and bright level of each marker in each sample's slide.

    Returns
    -------
    Tensor
        (N, C, H, W) float32; 0 is background, 1 bright; NaN and infinity become 0.
    """
    span = (high - low).clamp_min(torch.finfo(torch.float32).tiny)
    x = pixels.to(
        torch.float32, copy=True
    )  # worked on in place: on a CPU new memory costs more than the sums
    finite = x.isfinite() if pixels.is_floating_point() else None
    x.sub_(low[..., None, None]).div_(span[..., None, None]).clamp_(0.0, CLIP)
    if finite is not None:
        x.masked_fill_(finite.logical_not_(), 0.0)
    x.mul_(COFACTOR)
    # torch's own asinh is half as fast: it is not vectorised, and below 0 there is nothing here
    return (x * x).add_(1).sqrt_().add_(x).log_().div_(math.asinh(COFACTOR))


def resize(x: Tensor, image_px: int) -> Tensor:
    """Crops (N, C, P, P) at the size of the network's input, (N, C, image_px, image_px)."""
    if x.shape[-1] == image_px:
        return x
    return F.interpolate(x, size=(image_px, image_px), mode="bilinear", align_corners=False, antialias=False)


def vary_geometry(x: Tensor, image_px: int, how: Variation, generator: torch.Generator | None) -> Tensor:
    """Zoom, turn, shift and flip (N, C, P, P) in one resampling: (N, C, image_px, image_px), mirrored beyond edges."""
    n = len(x)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * rand((n,), generator=generator, device=x.device)

    turn = uniform(-1, 1) * math.radians(how.rotate_degrees)
    zoom = (uniform(math.log(how.zoom[0]), math.log(how.zoom[1]))).exp()
    mirror = torch.where(uniform(0, 1) < (0.5 if how.flip else 0.0), -1.0, 1.0)
    cos, sin = turn.cos() / zoom, turn.sin() / zoom
    theta = torch.stack(
        [
            torch.stack([cos * mirror, -sin, uniform(-2, 2) * how.shift], dim=1),
            torch.stack([sin * mirror, cos, uniform(-2, 2) * how.shift], dim=1),
        ],
        dim=1,
    )  # (N, 2, 3)
    grid = F.affine_grid(theta, [n, x.shape[1], image_px, image_px], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def vary_intensity_(x: Tensor, how: Variation, generator: torch.Generator | None) -> Tensor:
    """Gain, gamma and noise of (N, C, H, W) normalised intensities, in place, drawn for each marker of each sample."""

    def around(width: float) -> Tensor:
        draw = rand((x.shape[0], x.shape[1], 1, 1), generator=generator, device=x.device)
        return (width * (2 * draw - 1)).exp()

    if how.gamma > 0:
        x.add_(1e-4).pow_(around(how.gamma))
    if how.gain > 0:
        x.mul_(around(how.gain))
    if how.noise > 0:
        level = how.noise * rand((x.shape[0], x.shape[1], 1, 1), generator=generator, device=x.device)
        x.addcmul_(level, rand(x.shape, generator=generator, device=x.device, normal=True)).clamp_min_(0)
    return x


def drop_markers(
    present: Tensor, nuclear: Tensor, how: Variation, generator: torch.Generator | None
) -> Tensor:
    """Markers that each sample keeps, (N, C) bool, of those ``present``; nuclear markers (C,) bool always stay."""
    draw = rand(present.shape, generator=generator, device=present.device)
    alone = rand((len(present), 1), generator=generator, device=present.device) < how.only_nuclear
    dropped = (draw < how.drop_marker) | alone
    return present & (~dropped | nuclear)


def prepare(
    pixels: Tensor,
    low: Tensor,
    high: Tensor,
    present: Tensor,
    nuclear: Tensor,
    *,
    image_px: int,
    how: Variation = NO_VARIATION,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Raw crops to network input.

    Returns
    -------
    x, present
        (N, C, image_px, image_px) float32, zero where a marker is absent or dropped; (N, C) bool.
    """
    x = normalise_batch(pixels, low, high)
    if how is NO_VARIATION:
        x = resize(x, image_px)
    else:
        x = vary_intensity_(vary_geometry(x, image_px, how, generator), how, generator)
        present = drop_markers(present, nuclear, how, generator)
    return x.mul_(present[..., None, None]), present
