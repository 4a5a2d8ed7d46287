"""Batched augmentation says what the array functions say, and varies no more than it is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_dama.cells.augment import (
    NO_VARIATION,
    Variation,
    drop_markers,
    normalise_batch,
    prepare,
    resize,
    vary_geometry,
    vary_intensity_,
)
from napari_dama.slides.intensity import IntensityStats, normalise


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 7, 16])
def test_normalise_batch_equals_the_array_function(dtype: type, size: int) -> None:
    rng = np.random.default_rng(size)
    pixels = rng.integers(0, 250, (3, 4, size, size)).astype(dtype)
    low = rng.uniform(0, 100, (3, 4)).astype(np.float32)
    high = low + rng.uniform(0.1, 200, (3, 4)).astype(np.float32)
    got = normalise_batch(torch.from_numpy(pixels), torch.from_numpy(low), torch.from_numpy(high))
    for n in range(3):
        wanted = normalise(pixels[n], IntensityStats(low[n], high[n], tuple("abcd")))
        assert np.allclose(got[n].numpy(), wanted, atol=1e-5)


def test_normalise_batch_takes_a_large_crop_through_the_lookup_table_of_the_other() -> None:
    pixels = np.random.default_rng(0).integers(0, 65535, (1, 2, 200, 200)).astype(np.uint16)
    low, high = np.array([100, 5000], np.float32), np.array([3000, 60000], np.float32)
    got = normalise_batch(torch.from_numpy(pixels), torch.from_numpy(low)[None], torch.from_numpy(high)[None])
    assert np.allclose(got[0].numpy(), normalise(pixels[0], IntensityStats(low, high, ("a", "b"))), atol=1e-5)


def test_values_that_are_no_numbers() -> None:
    pixels = np.array([np.nan, np.inf, -np.inf, 5.0, -3.0], np.float32).reshape(1, 1, 1, 5)
    low, high = np.array([0], np.float32), np.array([10], np.float32)
    got = normalise_batch(torch.from_numpy(pixels), torch.from_numpy(low)[None], torch.from_numpy(high)[None])
    wanted = normalise(pixels[0], IntensityStats(low, high, ("a",)))
    assert np.allclose(got[0].numpy(), wanted, atol=1e-6)
    assert float(got[0, 0, 0, 0]) == 0 and float(got[0, 0, 0, 2]) == 0


@pytest.mark.parametrize("crop_px", [50, 64, 100, 128])
def test_geometry_without_variation_is_the_resize_of_validation(crop_px: int) -> None:
    x = torch.rand(2, 3, crop_px, crop_px)
    same = vary_geometry(x, 64, NO_VARIATION, generator(0))
    assert torch.allclose(same, resize(x, 64), atol=1e-4)


def width_of_bar(x: Tensor) -> Tensor:
    """Bright share of the middle row, for each sample."""
    return (x[:, 0, x.shape[2] // 2] > 0.5).float().mean(1)


def test_zoom_keeps_its_bounds_and_its_middle_is_one() -> None:
    x = torch.zeros(400, 1, 64, 64)
    x[..., 24:40] = 1
    varied = vary_geometry(x, 64, replace(NO_VARIATION, zoom=(0.8, 1.25)), generator(0))
    share = width_of_bar(varied) / 0.25
    assert share.min() >= 0.8 - 0.07 and share.max() <= 1.25 + 0.07
    assert float(share.log().mean().exp()) == pytest.approx(1.0, abs=0.03)
    assert float(share.std()) > 0.05


def test_shift_keeps_its_bounds() -> None:
    x = torch.zeros(300, 1, 64, 64)
    x[:, :, 32, 32] = 1
    varied = vary_geometry(x, 64, replace(NO_VARIATION, shift=0.1), generator(0))
    peak = varied.flatten(1).argmax(1)
    y, x_at = peak // 64, peak % 64
    for axis in (y, x_at):
        assert (axis - 32).abs().max() <= 7.4 and (axis - 32).abs().max() >= 5


def test_flips_are_plain_mirrors() -> None:
    x = torch.rand(64, 2, 16, 16)
    flipped = vary_geometry(x, 16, replace(NO_VARIATION, flip=True), generator(0))
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(flipped, x, strict=True)]
    mirrored = [torch.allclose(a, b.flip(2), atol=1e-4) for a, b in zip(flipped, x, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True)) and 10 < sum(mirrored) < 54


def test_intensity_varies_each_marker_of_each_sample_and_stays_positive() -> None:
    x = torch.full((50, 3, 4, 4), 0.5)
    varied = vary_intensity_(x.clone(), replace(NO_VARIATION, gain=0.25), generator(0))
    ratio = varied / x
    assert (ratio >= np.exp(-0.25) - 1e-5).all() and (ratio <= np.exp(0.25) + 1e-5).all()
    assert (ratio.flatten(2).std(2) < 1e-6).all()  # one gain for all pixels of a marker
    assert len(ratio[:, :, 0, 0].unique()) == 150
    noisy = vary_intensity_(torch.zeros(8, 2, 8, 8), replace(NO_VARIATION, noise=0.1), generator(0))
    assert float(noisy.min()) == 0 and float(noisy.max()) > 0
    assert torch.equal(vary_intensity_(x.clone(), NO_VARIATION, generator(0)), x)


def test_nuclear_markers_are_never_dropped_and_absent_ones_never_come_back() -> None:
    present = torch.ones(2000, 4, dtype=torch.bool)
    present[::2, 3] = False
    nuclear = torch.tensor([True, False, False, False])
    kept = drop_markers(present, nuclear, replace(NO_VARIATION, drop_marker=0.3), generator(0))
    assert kept[:, 0].all() and not kept[::2, 3].any()
    assert float(kept[:, 1].float().mean()) == pytest.approx(0.7, abs=0.04)
    alone = drop_markers(present, nuclear, replace(NO_VARIATION, only_nuclear=0.25), generator(0))
    assert float((alone.sum(1) == 1).float().mean()) == pytest.approx(0.25, abs=0.04)
    everything = drop_markers(present, nuclear, NO_VARIATION, generator(0))
    assert torch.equal(everything, present)


def test_prepare_zeroes_absent_markers_and_repeats_itself() -> None:
    pixels = torch.randint(0, 1000, (4, 3, 20, 20)).to(torch.uint16)
    low, high = torch.zeros(4, 3), torch.full((4, 3), 500.0)
    present = torch.ones(4, 3, dtype=torch.bool)
    present[1, 2] = False
    nuclear = torch.tensor([True, False, False])

    def once(how: Variation, seed: int) -> tuple[Tensor, Tensor]:
        return prepare(pixels, low, high, present, nuclear, image_px=32, how=how, generator=generator(seed))

    for how in (NO_VARIATION, Variation(drop_marker=0.5)):
        x, kept = once(how, 0)
        assert x.shape == (4, 3, 32, 32) and x.dtype == torch.float32 and bool(x.isfinite().all())
        assert (x[~kept] == 0).all() and not kept[1, 2] and kept[:, 0].all()
        assert torch.equal(x, once(how, 0)[0])
    assert not torch.equal(x, once(how, 1)[0])


def test_neighbours_in_a_batch_do_not_matter() -> None:
    x = torch.rand(8, 2, 32, 32)
    other = x.clone()
    other[1:] = torch.rand(7, 2, 32, 32)
    one, two = (vary_geometry(y, 32, Variation(), generator(3)) for y in (x, other))
    assert torch.equal(one[0], two[0]) and not torch.equal(one[1], two[1])
