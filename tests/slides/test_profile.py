"""What markers look like whatever their exposure, and whether that finds swapped and failed ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from napari_dama.models.shelf import load_card
from napari_dama.simulate import simulate_tissue
from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.panel import BRAIN7
from napari_dama.slides.profile import Profile, slide_profiles, typical_profiles, unlike
from napari_dama.slides.slide import open_slide

AREA_UM2 = (640 * 0.325) ** 2
SEEDS = (5000, 5001, 5003)  # the bundled model learned from seeds 1000 to 1031


@pytest.fixture(scope="module", params=SEEDS)
def tissue(request: pytest.FixtureRequest) -> Any:
    return simulate_tissue(640, seed=request.param)


def profiles(image: Any, pixel_um: float) -> dict[str, Profile]:
    slide = open_slide(image, markers=list(BRAIN7.names), pixel_um=pixel_um)
    found = slide_profiles(slide, slide_stats(slide), list(range(7)), [0], pixel_um=pixel_um)
    return {name: p for name, p in zip(BRAIN7.names, found, strict=True) if p is not None}


def test_unseen_slides_of_the_same_kind_are_not_warned_of(tissue: Any) -> None:
    assert unlike(profiles(tissue.image, tissue.pixel_um), load_card().statistics, area_um2=AREA_UM2) == []


@pytest.mark.parametrize("pair", [("NeuN", "Iba1"), ("Histones", "S100"), ("Olig2", "Iba1")])
def test_swapped_channels_are_named(tissue: Any, pair: tuple[str, str]) -> None:
    order = list(range(7))
    a, b = (BRAIN7.names.index(name) for name in pair)
    order[a], order[b] = b, a
    found = unlike(profiles(tissue.image[order], tissue.pixel_um), load_card().statistics, area_um2=AREA_UM2)
    assert [set(finding.markers) for finding in found] == [set(pair)]
    assert "look swapped" in found[0].sentence


def test_exposure_offset_and_bit_depth_do_not_matter(tissue: Any) -> None:
    gains = np.array([0.2, 3, 1, 0.5, 2, 0.1, 1])[:, None, None]
    other = (tissue.image * gains * 0.3 + 500).astype(np.uint16)
    before, after = profiles(tissue.image, tissue.pixel_um), profiles(other, tissue.pixel_um)
    for name in BRAIN7.names:
        assert after[name].filled == pytest.approx(before[name].filled, abs=0.02)
        assert after[name].fine == pytest.approx(before[name].fine, abs=0.02)


def test_a_failed_stain_is_said_in_plain_words(tissue: Any) -> None:
    image = tissue.image.copy()
    image[2] = np.random.default_rng(0).normal(400, 30, image[2].shape).clip(0).astype(image.dtype)
    (finding,) = unlike(
        profiles(image, tissue.pixel_um),
        load_card().statistics,
        area_um2=AREA_UM2,
        names={"NeuN": "NeuN (CH_3)"},
    )
    assert finding.markers == ("NeuN (CH_3)",)
    assert "grainy" in finding.sentence


def test_typical_numbers_are_medians_with_a_least_spread() -> None:
    slides = [{"A": {"filled": value, "fine": 0.2}} for value in (0.1, 0.2, 0.9)] + [{"B": {"fine": 0.5}}]
    found = typical_profiles(slides)
    assert found["A"]["filled"] == 0.2
    assert found["A"]["filled_spread"] == pytest.approx(1.4826 * 0.1, abs=1e-3)
    assert found["A"]["fine_spread"] == 0.035
    assert "nuclear" not in found["A"]
    assert set(found) == {"A", "B"}


def test_absent_markers_and_slides_without_a_nucleus_are_passed_over() -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (2, 40, 40), dtype=np.uint8)
    slide = open_slide(pixels, markers=["A", "B"], pixel_um=0.5)
    none, found = slide_profiles(slide, slide_stats(slide), [None, 1], [0], pixel_um=0.5)
    assert none is None
    assert found is not None
    assert math.isnan(found.nuclear)
    assert "nuclear" not in found.to_json()
    assert unlike({"A": found}, {}) == []
