"""Nuclei and somata of simulated cells as small patches, drawn for many cells at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_dama.simulate.layout import NEURON, RIM_UM, SOMA_SCALE, Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F4 = NDArray[np.float32]
    I8 = NDArray[np.int64]

BANK = 256  # side of a noise image that repeats seamlessly
CHUNK = 256  # cells drawn at once: keeps memory flat on large images


@dataclass(frozen=True, slots=True)
class Patches:
    """Cells of one type as patches (n, P, P); ``top`` and ``left`` place them on the canvas (px)."""

    cells: I8
    top: I8
    left: I8
    nucleus: F4  # coverage 0..1
    dome: F4  # thickness of the nucleus 0..1
    body: F4  # coverage of nucleus and soma 0..1
    inside: NDArray[np.bool_]  # the label: the body's pixels
    chromatin: F4  # zero-mean, unit variance
    grain: F4  # a second, coarser texture


def noise_bank(rng: np.random.Generator, sigma_px: float) -> F4:
    """A seamless noise image (256, 256), mean 0 and variance 1."""
    white = rng.standard_normal((BANK, BANK), dtype=np.float32)
    bank: F4 = gaussian_filter(white, sigma_px, mode="wrap")
    bank -= bank.mean()
    bank /= bank.std()
    return bank


def _ripple(rng: np.random.Generator, n: int, cos: F4, sin: F4, amount: float) -> F4:
    """Outline of a cell against a smooth ellipse: harmonics 2 to 4 of the angle, (n, P, P)."""
    cos2, sin2 = 2 * cos * cos - 1, 2 * sin * cos
    cos3, sin3 = cos2 * cos - sin2 * sin, sin2 * cos + cos2 * sin
    cos4, sin4 = 2 * cos2 * cos2 - 1, 2 * sin2 * cos2
    coefficient = rng.normal(0, amount, (6, n, 1, 1)).astype(np.float32)
    total: F4 = coefficient[0] * cos2 + coefficient[1] * sin2
    total += coefficient[2] * cos3 + coefficient[3] * sin3
    total += 0.6 * (coefficient[4] * cos4 + coefficient[5] * sin4)
    return 1 + total


def _coverage(rho: F4, radius_px: F4) -> F4:
    """Antialiased coverage of the region rho < 1 whose outline lies at radius_px."""
    covered: F4 = np.clip((1 - rho) * radius_px + 0.5, 0, 1)
    return covered


def draw_patches(
    rng: np.random.Generator, layout: Layout, cells: I8, kind: int, pixel_um: float, fine: F4, coarse: F4
) -> Patches:
    """Draw the cells (indices into the layout, all of one kind) as patches."""
    n = len(cells)
    long: F4 = (layout.long[cells] / pixel_um).astype(np.float32)[:, None, None]
    short: F4 = (layout.short[cells] / pixel_um).astype(np.float32)[:, None, None]
    rim = RIM_UM[kind] / pixel_um
    half = int(np.ceil((float(long.max()) * (SOMA_SCALE[0] if kind == NEURON else 1) + rim) * 1.2)) + 2
    cy, cx = layout.y[cells] / pixel_um - 0.5, layout.x[cells] / pixel_um - 0.5
    top, left = np.floor(cy).astype(np.int64) - half, np.floor(cx).astype(np.int64) - half
    side = np.arange(2 * half + 1, dtype=np.float32)
    dy = side[None, :, None] - (cy - top).astype(np.float32)[:, None, None]
    dx = side[None, None, :] - (cx - left).astype(np.float32)[:, None, None]
    turn = layout.angle[cells][:, None, None]
    c, s = np.cos(turn).astype(np.float32), np.sin(turn).astype(np.float32)
    u: F4 = dx * c + dy * s  # along the long axis
    v: F4 = dy * c - dx * s  # across it
    un: F4 = u / long
    vn: F4 = v / short
    rho: F4 = np.sqrt(un * un + vn * vn) + np.float32(1e-6)
    ripple = _ripple(rng, n, un / rho, vn / rho, 0.035)
    mean_radius: F4 = np.sqrt(long * short)
    rho /= ripple
    nucleus = _coverage(rho, mean_radius)
    if kind == NEURON:  # the soma reaches further on the apical side and narrows there
        shift = rng.uniform(0.02, 0.16, (n, 1, 1)).astype(np.float32)
        us = un / np.float32(SOMA_SCALE[0]) - shift
        vs = vn / np.float32(SOMA_SCALE[1]) / np.clip(1 - 0.35 * us, 0.5, 1.5)
        rho_body = np.sqrt(us * us + vs * vs) / ripple
        body_radius = mean_radius * np.float32(1.26)
    else:
        us, vs = u / (long + np.float32(rim)), v / (short + np.float32(rim))
        rho_body = np.sqrt(us * us + vs * vs) / ripple
        body_radius = mean_radius + np.float32(rim)
    body = np.maximum(_coverage(rho_body, body_radius), nucleus)
    grid = np.arange(2 * half + 1)
    at = rng.integers(0, BANK, (4, n))

    def texture(bank: F4, oy: I8, ox: I8) -> F4:
        rows, columns = (oy[:, None] + grid) % BANK, (ox[:, None] + grid) % BANK
        taken: F4 = bank[rows[:, :, None], columns[:, None, :]]
        return taken

    return Patches(
        cells=cells,
        top=top,
        left=left,
        nucleus=nucleus,
        dome=nucleus * (0.55 + 0.45 * np.sqrt(np.clip(1 - rho * rho, 0, 1))),
        body=body,
        inside=body >= 0.5,
        chromatin=texture(fine, at[0], at[1]),
        grain=texture(coarse, at[2], at[3]),
    )


def window(
    top: int, left: int, side: int, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of a canvas and of a patch where the two meet (possibly empty)."""
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = max(y0, min(top + side, shape[-2])), max(x0, min(left + side, shape[-1]))
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
