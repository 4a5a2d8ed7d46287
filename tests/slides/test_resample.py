"""Resampling against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dama.errors import SettingsError
from napari_dama.slides.resample import AREA_FROM, resample_to, scaled_shape, to_pixel_um


def _slow_line(values: np.ndarray, count: int, start: float, step: float) -> np.ndarray:
    out = np.zeros(count)
    last = len(values) - 1
    for i in range(count):
        left = start + i * step
        if step > AREA_FROM:
            total = weight = 0.0
            for j in range(int(np.floor(left)), int(np.ceil(left + step)) + 1):
                part = max(0.0, min(j + 1, left + step) - max(j, left))
                total += part * values[min(max(j, 0), last)]
                weight += part
            out[i] = total / weight
        else:
            centre = left + step / 2 - 0.5
            j = int(np.floor(centre))
            a, b = (values[min(max(k, 0), last)] for k in (j, j + 1))
            out[i] = a + (b - a) * (centre - j)
    return out


@pytest.mark.parametrize("out_shape", [(20, 30), (40, 61), (10, 15), (7, 9), (1, 1), (20, 8)])
@pytest.mark.parametrize("window", [None, ((-3.5, 2.25), (0.8, 1.9))])
def test_equals_the_slow_reference(
    out_shape: tuple[int, int], window: tuple[tuple[float, float], tuple[float, float]] | None
) -> None:
    pixels = np.random.default_rng(0).normal(0, 100, (2, 20, 30)).astype("f4")
    start, step = window or ((0.0, 0.0), (20 / out_shape[0], 30 / out_shape[1]))
    got = resample_to(pixels, out_shape, start=start, step=step if window else None)
    assert got.dtype == np.float32
    for c in range(2):
        rows = np.stack([_slow_line(pixels[c, :, x], out_shape[0], start[0], step[0]) for x in range(30)], 1)
        want = np.stack([_slow_line(row, out_shape[1], start[1], step[1]) for row in rows])
        np.testing.assert_allclose(got[c], want, atol=1e-3)


def test_constant_stays_constant_and_nothing_happens_at_the_same_size() -> None:
    pixels = np.full((3, 31, 17), 40000, np.uint16)
    for shape in ((62, 34), (10, 5), (31, 17)):
        np.testing.assert_allclose(resample_to(pixels, shape), 40000, rtol=1e-6)
    random = np.random.default_rng(0).random((2, 9, 9), np.float32)
    np.testing.assert_array_equal(resample_to(random, (9, 9)), random)
    np.testing.assert_array_equal(resample_to(random[0], (9, 9)), random[0])


@pytest.mark.parametrize("step", [0.78125, 1.2, 2.3])
def test_tiles_of_an_image_agree(step: float) -> None:
    pixels = np.random.default_rng(0).random((1, 200, 200), np.float32)
    whole = resample_to(pixels, (60, 60), start=(10.0, 10.0), step=(step, step))
    part = resample_to(pixels[:, 5:, 7:], (60, 60), start=(5.0, 3.0), step=(step, step))
    np.testing.assert_allclose(whole, part, atol=1e-5)


def test_pixel_sizes() -> None:
    assert scaled_shape((1000, 500), 0.5, 0.25) == (2000, 1000)
    assert to_pixel_um(np.zeros((2, 10, 20)), 0.25, 0.5).shape == (2, 5, 10)
    with pytest.raises(SettingsError, match="above 0"):
        scaled_shape((1, 1), 0.0, 1.0)
    with pytest.raises(SettingsError, match="nothing"):
        resample_to(np.zeros((2, 0, 3)), (4, 4))
    with pytest.raises(SettingsError, match="step"):
        resample_to(np.zeros((2, 3, 3)), (4, 4), step=(0.0, 1.0))
