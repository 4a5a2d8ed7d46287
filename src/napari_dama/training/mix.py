"""Mixup, CutMix and random erasing of a batch, with every draw from an explicit generator.

timm's `Mixup` and `RandomErasing` draw from the global state of numpy and Python, which a killed and resumed run could not
repeat. Here the draws come from a generator that is made for each step; targets are mixed by timm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from timm.data.mixup import mixup_target

if TYPE_CHECKING:
    from torch import Tensor

SWITCH: Final = 0.5
"""Share of batches that CutMix takes where mixup is on as well, as in timm and MAE."""
AREA: Final = (0.02, 1 / 3)
ASPECT: Final = (0.3, 1 / 0.3)
ATTEMPTS: Final = 10


def mix_generator(seed: int, step: int) -> np.random.Generator:
    """Generator of one step's mixing and erasing; it follows from ``seed`` and ``step`` alone."""
    return np.random.default_rng((seed, step, 1))


def mix_batch(
    x: Tensor,
    truth: Tensor,
    classes: int,
    rng: np.random.Generator,
    *,
    mixup: float,
    cutmix: float,
    smoothing: float,
) -> tuple[Tensor, Tensor]:
    """Mix a batch with itself in reverse order (Zhang et al. 2018; Yun et al. 2019).

    Parameters
    ----------
    x
        (N, C, H, W).
    truth
        (N,) class numbers.
    classes
        K.
    rng
        For the kind of mixing, its share and the box.
    mixup, cutmix
        Alphas of the beta distributions that the share is drawn from; 0 is off. Where both are on, each batch is mixed in
        one of the two ways, with equal chance.
    smoothing
        Label smoothing.

    Returns
    -------
    x, target
        (N, C, H, W), a new tensor; (N, K) probabilities, each row of sum 1.
    """
    share = 1.0
    cut = cutmix > 0 and (mixup <= 0 or rng.random() < SWITCH)
    if cut:
        y0, y1, x0, x1 = box_of_share(rng.beta(cutmix, cutmix), x.shape[2], x.shape[3], rng)
        other = x.flip(0)[:, :, y0:y1, x0:x1]
        x = x.clone()
        x[:, :, y0:y1, x0:x1] = other
        share = 1 - (y1 - y0) * (x1 - x0) / (x.shape[2] * x.shape[3])
    elif mixup > 0:
        share = rng.beta(mixup, mixup)
        x = x * share + x.flip(0) * (1 - share)
    target: Tensor = mixup_target(  # type: ignore[no-untyped-call]
        truth, classes, lam=float(share), smoothing=smoothing
    )
    return x, target


def box_of_share(
    share: float, height: int, width: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Box ``y0, y1, x0, x1`` over ``1 - share`` of an image, of its shape, around a random place, cut at the edges."""
    side = math.sqrt(1 - share)
    tall, wide = int(height * side), int(width * side)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    return (
        max(y - tall // 2, 0),
        min(y + (tall + 1) // 2, height),
        max(x - wide // 2, 0),
        min(x + (wide + 1) // 2, width),
    )


def erase(
    x: Tensor,
    present: Tensor,
    rng: np.random.Generator,
    generator: torch.Generator | None,
    *,
    probability: float,
) -> Tensor:
    """Fill a rectangle of some crops with noise (Zhong et al. 2020; timm's mode ``pixel``).

    A rectangle covers 2 to 33 % of a crop, with an aspect of 0.3 to 3.3. Departure: timm fills standardised images with
    standard normal noise; intensities here are not standardised, so the noise has the mean and the spread of each marker in
    the batch, and is not below 0. Markers that a crop lacks stay 0.

    Parameters
    ----------
    x
        (N, C, H, W) normalised intensities.
    present
        (N, C) bool.
    rng
        For which crops, and where.
    generator
        For the noise.
    probability
        Share of crops.
    """
    boxes = [
        _rectangle(x.shape[2], x.shape[3], rng) if rng.random() < probability else None for _ in range(len(x))
    ]
    spread, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)  # (C,)
    x = x.clone()
    for crop, has, box in zip(x, present, boxes, strict=True):
        if box is None:
            continue
        y0, y1, x0, x1 = box
        shape = (x.shape[1], y1 - y0, x1 - x0)
        noise = torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        noise = (noise * spread[:, None, None] + mean[:, None, None]).clamp_min(0)
        crop[:, y0:y1, x0:x1] = noise * has[:, None, None]
    return x


def _rectangle(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
    """A random rectangle ``y0, y1, x0, x1`` that fits, or None where none of ten did."""
    for _ in range(ATTEMPTS):
        area = rng.uniform(*AREA) * height * width
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < tall < height and 0 < wide < width:
            y0, x0 = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
            return y0, y0 + tall, x0, x0 + wide
    return None
