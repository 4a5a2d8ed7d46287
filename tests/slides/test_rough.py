"""A guess of a slide's contrast, from a few blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_dama.errors import SlideError
from napari_dama.slides.intensity import slide_stats, stats_of
from napari_dama.slides.rough import rough_stats
from napari_dama.slides.slide import open_slide


@pytest.mark.parametrize("shape", [(3, 1, 1), (2, 5, 700), (1, 100, 3), (3, 400, 500)])
def test_any_size_has_a_guess(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)
    with open_slide(image, pixel_um=0.5) as slide:
        found = rough_stats(slide)
        assert found.markers == slide.markers
        assert (found.high > found.low).all()


def test_an_even_slide_is_guessed_as_it_is_measured(tmp_path: Path) -> None:
    image = (
        np.random.default_rng(0)
        .normal([[[500]], [[9000]]], [[[50]], [[900]]], (2, 900, 1100))
        .astype(np.uint16)
    )
    with open_slide(image, pixel_um=0.5) as slide:
        guess, measured = rough_stats(slide, budget_s=60), slide_stats(slide)
    span = measured.high - measured.low
    assert (np.abs(guess.low - measured.low) < 0.05 * span).all()
    assert (np.abs(guess.high - measured.high) < 0.1 * span).all()


def test_only_the_first_block_is_read_when_time_is_short() -> None:
    image = np.zeros((1, 900, 900), np.uint16)
    image[:, 402:498, 402:498] = np.arange(96 * 96).reshape(96, 96)  # the middle block, and nothing but it
    with open_slide(image, pixel_um=0.5) as slide:
        found = rough_stats(slide, budget_s=0)
    slow = stats_of(np.arange(96 * 96, dtype=np.uint16).reshape(1, 1, -1))
    assert np.array_equal(found.high, slow.high) and np.array_equal(found.low, slow.low)


def test_no_pixels_no_guess() -> None:
    class Empty:
        name, levels, markers = "empty", ((0, 40),), ("a",)

    with pytest.raises(SlideError, match="no pixels"):
        rough_stats(Empty())  # type: ignore[arg-type]
