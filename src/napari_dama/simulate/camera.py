"""The microscope of simulated tissue: blur, haze, bleed-through, shading, misregistration, noise, gain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_dama.simulate.grid import enlarge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.simulate.knobs import Knobs

    F4 = NDArray[np.float32]
    F8 = NDArray[np.float64]

CAMERA_TILE_UM = 210.0
SHRINK = 4  # out-of-focus light is computed on a grid this much coarser


def strengths(rng: np.random.Generator, markers: int, knobs: Knobs) -> F8:
    """Strength of staining per marker: about 1, dim, or 0 where it failed (never the first marker)."""
    strength = rng.uniform(0.75, 1.25, markers)
    draw = rng.random(markers)
    dim = strength * rng.uniform(0.2, 0.45, markers)
    strength = np.where(draw < knobs.missing + knobs.weak, dim, strength)
    strength[1:] = np.where(draw[1:] < knobs.missing, 0.0, strength[1:])
    return strength


def photograph(
    rng: np.random.Generator,
    canvas: F4,
    strength: F8,
    size: tuple[int, int],
    margin_px: int,
    pixel_um: float,
    bits: int,
    knobs: Knobs,
) -> NDArray[Any]:
    """Turn a sharp canvas (C, H, W) with a margin into a camera image (C, Y, X) of 8 or 16 bits."""
    markers = len(canvas)
    px = 1 / pixel_um
    shifts = rng.uniform(-1, 1, (markers, 2)) * knobs.misregistration_um * px
    shifts[0] = 0.0  # the first marker defines the outlines
    limit = margin_px - 2
    shifts = np.clip(shifts, -limit, limit)
    sigma = knobs.blur_um * px * rng.uniform(0.85, 1.2, markers)
    haze_px = rng.uniform(2.0, 4.0, markers) * px
    light = np.empty((markers, *size), dtype=np.float32)
    for c in range(markers):
        sharp = gaussian_filter(canvas[c], sigma[c], truncate=3.0)
        wide = _haze(canvas[c], float(haze_px[c]))
        sharp *= np.float32(1 - 0.5 * knobs.haze)
        sharp += np.float32(knobs.haze) * wide
        light[c] = np.float32(strength[c]) * _shifted(sharp, shifts[c], margin_px, size)
    light = _bleed(rng, light, knobs)
    glow = rng.uniform(0.5, 1.5, markers) * knobs.autofluorescence
    illumination = _illumination(rng, size, pixel_um, knobs)
    dtype = np.uint8 if bits == 8 else np.uint16
    top = float(np.iinfo(dtype).max)
    image = np.empty((markers, *size), dtype=dtype)
    offset = rng.uniform(0.004, 0.02, markers) * top
    gain = rng.uniform(0.25, 0.6, markers) * top if bits == 16 else rng.uniform(0.45, 0.65, markers) * top
    for c in range(markers):
        signal = light[c]
        signal += np.float32(glow[c])
        signal *= illumination
        signal *= np.float32(knobs.photons)
        np.maximum(signal, 0, out=signal)
        noise = rng.standard_normal(size, dtype=np.float32)
        noise *= np.sqrt(signal + np.float32(knobs.read_noise**2))
        signal += noise
        signal *= np.float32(gain[c] / knobs.photons)
        signal += np.float32(offset[c] + 0.5)
        image[c] = np.clip(signal, 0, top, out=signal).astype(dtype)
    return image


def _haze(sharp: F4, sigma_px: float) -> F4:
    """Light from out of focus: a wide blur, computed on a coarse grid and interpolated back."""
    height, width = sharp.shape
    rows, columns = -(-height // SHRINK), -(-width // SHRINK)
    padded = np.pad(sharp, ((0, rows * SHRINK - height), (0, columns * SHRINK - width)), mode="edge")
    small = padded.reshape(rows, SHRINK, columns, SHRINK).mean(axis=(1, 3), dtype=np.float32)
    small = gaussian_filter(small, sigma_px / SHRINK, truncate=3.0)
    return enlarge(small, (height, width), SHRINK)


def _shifted(image: F4, shift: F8, margin: int, size: tuple[int, int]) -> F4:
    """The part of an image inside its margin, moved by a fraction of pixels (bilinear)."""
    base = np.floor(shift).astype(int)
    fy, fx = (shift - base).astype(np.float32)
    y, x = margin + int(base[0]), margin + int(base[1])
    height, width = size
    moved = np.zeros(size, dtype=np.float32)
    for dy, dx, share in (
        (0, 0, (1 - fy) * (1 - fx)),
        (0, 1, (1 - fy) * fx),
        (1, 0, fy * (1 - fx)),
        (1, 1, fy * fx),
    ):
        if share > 0:
            moved += share * image[y + dy : y + dy + height, x + dx : x + dx + width]
    return moved


def _bleed(rng: np.random.Generator, light: F4, knobs: Knobs) -> F4:
    """Each channel sees some of the light of its spectral neighbours."""
    share = rng.uniform(0.1, 1.0, (len(light), 2)).astype(np.float32) * np.float32(knobs.bleed)
    mixed = light.copy()
    mixed[1:] += share[1:, 0, None, None] * light[:-1]
    mixed[:-1] += share[:-1, 1, None, None] * light[1:]
    return mixed


def _illumination(rng: np.random.Generator, size: tuple[int, int], pixel_um: float, knobs: Knobs) -> F4:
    """Light per pixel: a slow gradient, and camera tiles with dark corners that differ a little."""
    tile = CAMERA_TILE_UM / pixel_um
    start = rng.uniform(0, tile, 2)
    position = [(np.arange(n) + offset) / tile for n, offset in zip(size, start, strict=True)]
    index = [p.astype(np.int64) for p in position]
    local = [2 * (p - i) - 1 for p, i in zip(position, index, strict=True)]  # -1..1 within a tile
    vignette = [1 - 0.5 * knobs.vignette * (v - rng.uniform(-0.2, 0.2)) ** 2 for v in local]
    levels = rng.normal(1, knobs.shading / 2, (int(index[0].max()) + 1, int(index[1].max()) + 1))
    slope = rng.uniform(-1, 1, 2) * knobs.vignette * 0.5
    gradient = [1 + s * (np.linspace(-0.5, 0.5, n)) for s, n in zip(slope, size, strict=True)]
    rows, columns = vignette[0] * gradient[0], vignette[1] * gradient[1]
    light: F8 = levels[index[0][:, None], index[1][None, :]] * rows[:, None] * columns[None, :]
    return light.astype(np.float32)
