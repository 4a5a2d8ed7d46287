"""Statistics and normalisation on every kind of pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from napari_dama.errors import SettingsError
from napari_dama.slides.intensity import CLIP, COFACTOR, IntensityStats, normalise, slide_stats, stats_of
from napari_dama.slides.slide import open_slide
from napari_dama.slides.tiles import is_empty


def _cells(
    shape: tuple[int, int] = (300, 400), *, seed: int = 0, n: int = 60, peak: float = 3000.0
) -> np.ndarray:
    """Blurred spots on noise: a plain picture of a marker."""
    random = np.random.default_rng(seed)
    spots = np.zeros(shape)
    spots[random.integers(0, shape[0], n), random.integers(0, shape[1], n)] = 1.0
    spots = ndimage.gaussian_filter(spots, 5)
    return spots / spots.max() * peak + random.normal(200, 15, shape)


def _stats(*channels: np.ndarray, dtype: str = "u2") -> tuple[np.ndarray, IntensityStats]:
    pixels = np.stack(channels).astype(dtype)
    return pixels, slide_stats(open_slide(pixels, axes="CYX"))


def _slow(pixels: np.ndarray, stats: IntensityStats) -> np.ndarray:
    out = np.zeros(pixels.shape)
    for c in range(len(pixels)):
        for y in range(pixels.shape[1]):
            for x in range(pixels.shape[2]):
                value = float(pixels[c, y, x])
                t = (value - float(stats.low[c])) / (float(stats.high[c]) - float(stats.low[c]))
                t = min(max(t, 0.0), CLIP) if np.isfinite(t) else 0.0
                out[c, y, x] = np.arcsinh(COFACTOR * t) / np.arcsinh(COFACTOR)
    return out


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f2", "f4", "f8", ">u2"])
@pytest.mark.parametrize("side", [20, 220])
def test_normalise_is_the_formula(dtype: str, side: int) -> None:
    random = np.random.default_rng(0)
    pixels = random.normal(60, 40, (2, side, side)).clip(-120, 127).astype("i1" if dtype == "i1" else "f8")
    pixels = pixels.clip(0 if "u" in dtype else -120).astype(dtype)
    stats = IntensityStats(np.array([10, -20]), np.array([70, 100]), ("a", "b"))
    part = (slice(None), slice(0, 20), slice(0, 20))
    got = normalise(pixels, stats)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[part], _slow(pixels[part], stats), rtol=1e-4, atol=1e-5)


def test_normalise_gives_numbers_for_nan_and_infinity() -> None:
    pixels = np.array([[[np.nan, np.inf, -np.inf, 0.5]]], np.float32)
    got = normalise(pixels, IntensityStats(np.zeros(1), np.ones(1), ("a",)))
    np.testing.assert_array_equal(got[0, 0, :3], [0, 0, 0])  # no measurement, as in the statistics
    huge = normalise(np.full((1, 1, 1), 3e38, np.float32), IntensityStats(np.zeros(1), np.ones(1), ("a",)))
    np.testing.assert_allclose(huge, np.arcsinh(COFACTOR * CLIP) / np.arcsinh(COFACTOR), rtol=1e-6)
    with pytest.raises(SettingsError, match="2 markers"):
        normalise(pixels, IntensityStats(np.zeros(2), np.ones(2), ("a", "b")))


@pytest.mark.parametrize("dtype", ["u2", "f4", "f8", "u4"])
def test_ordinary_markers_span_the_scale(dtype: str) -> None:
    pixels, stats = _stats(_cells(), dtype=dtype)
    assert stats.low[0] == pytest.approx(np.percentile(pixels, 1), rel=0.05)
    assert stats.high[0] == pytest.approx(np.percentile(pixels, 99.8), rel=0.05)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_any_range_of_floats_gives_the_same_picture(scale: float) -> None:
    plain, stats = _stats(_cells(), dtype="f8")
    scaled, scaled_stats = _stats(_cells() * scale - 5 * scale, dtype="f8")
    np.testing.assert_allclose(normalise(plain, stats), normalise(scaled, scaled_stats), atol=1e-3)


@pytest.mark.parametrize(("value", "share"), [(47649, 0.073), (65535, 0.02), (65535, 0.2)])
def test_a_saturation_spike_leaves_contrast_to_the_rest(value: int, share: float) -> None:
    clean = _cells()
    spoilt = clean.copy()
    spoilt[np.random.default_rng(1).random(clean.shape) < share] = value
    pixels, stats = _stats(clean, spoilt)
    assert stats.high[1] < 1.3 * stats.high[0]
    rest = pixels[1] != value
    y = normalise(pixels, stats)
    np.testing.assert_allclose(y[1][rest].std(), y[0][rest].std(), rtol=0.5)


def test_nan_and_infinity_do_not_count() -> None:
    clean = _cells()
    spoilt = clean.copy()
    spoilt[:40] = np.nan
    spoilt[:, :5] = np.inf
    spoilt[:, 5:9] = -np.inf
    _, stats = _stats(clean, spoilt, np.full(clean.shape, np.nan), dtype="f4")
    assert stats.low[1] == pytest.approx(stats.low[0], rel=0.05)
    assert stats.high[1] == pytest.approx(stats.high[0], rel=0.2)
    assert (stats.low[2], stats.high[2]) == (0, 1)


@pytest.mark.parametrize("value", [0, 7, 60000])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_constant_channel_becomes_zero(value: int, dtype: str) -> None:
    pixels, stats = _stats(np.full((50, 60), value), dtype=dtype)
    assert stats.low[0] == value
    assert stats.high[0] == value + 1
    assert not normalise(pixels, stats).any()


def test_noise_alone_stays_dark() -> None:
    noise = np.random.default_rng(0).normal(300, 25, (300, 400))
    pixels, stats = _stats(noise, _cells())
    y = normalise(pixels, stats)
    assert np.percentile(y[0], 99.8) < 0.65
    assert np.median(y[0]) < 0.3
    assert np.percentile(y[1], 99.8) > 0.95


def test_sparse_ion_counts() -> None:
    counts = np.random.default_rng(0).poisson(np.clip(_cells(peak=30) - 200, 0, None) * 0.5)
    pixels, stats = _stats(counts, np.zeros(counts.shape), dtype="u1")
    assert stats.low[0] == 0
    assert stats.high[0] >= 4
    assert normalise(pixels, stats)[0].max() > 0.9


def test_padding_is_not_the_dark_end() -> None:
    padded = _cells() + 1000
    padded[:, :100] = 0
    _, stats = _stats(padded)
    assert stats.low[0] > 1100


def test_large_slides_are_sampled_and_glass_left_out() -> None:
    tissue = np.random.default_rng(0).normal(200, 15, (2000, 2000))
    tissue[:600, :600] = _cells((600, 600), n=300)
    pixels = np.stack([tissue]).astype("u2")
    slide = open_slide(pixels, axes="CYX")
    sampled = slide_stats(slide, max_pixels=1_500_000)
    assert sampled == slide_stats(slide, max_pixels=1_500_000)
    whole = stats_of(pixels[:, :600, :600])
    assert sampled.high[0] == pytest.approx(whole.high[0], rel=0.35)


def test_select_and_json() -> None:
    stats = IntensityStats(np.array([1.1, 2, 3]), np.array([10.3, 20, 30]), ("a", "b", "c"))
    assert IntensityStats.from_json(json.loads(json.dumps(stats.to_json()))) == stats
    chosen = stats.select([2, None, 0])
    assert chosen.markers == ("c", "", "a")
    np.testing.assert_array_equal(chosen.low, np.array([3, 0, 1.1], np.float32))
    np.testing.assert_array_equal(chosen.high, np.array([30, 1, 10.3], np.float32))
    for bad in ({}, {"low": [1], "high": [0], "markers": ["a"]}, {"low": [0], "high": [1], "markers": []}):
        with pytest.raises(SettingsError, match=r"[Ii]ntensity statistics"):
            IntensityStats.from_json(bad)


def test_glass_is_empty_and_one_dim_cell_is_not() -> None:
    pixels, stats = _stats(_cells((400, 400)), _cells((400, 400), seed=3, peak=800))
    glass = np.random.default_rng(5).normal(200, 15, pixels.shape).astype("u2")
    assert is_empty(glass, stats)
    assert is_empty(np.zeros_like(glass), stats)
    assert not is_empty(pixels, stats)
    y, x = np.mgrid[:400, :400]
    dim = glass.copy()
    dim[1][(y - 200) ** 2 + (x - 100) ** 2 < 64] += 120  # a fifth of what bright cells have there
    assert not is_empty(dim, stats)
    full = np.full_like(glass, 1500)
    assert not is_empty(full, stats)
    assert not is_empty(pixels[:, :3, :3], stats)
