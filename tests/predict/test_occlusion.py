from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_dama.errors import Interrupted, SettingsError
from napari_dama.predict.explain import Explainer
from napari_dama.predict.occlusion import MarkerEffects, marker_effects, occlusion_map
from napari_dama.slides.slide import open_slide
from stand_in import MARKERS, NucleusModel


class Middle(NucleusModel):
    """Types by the brightest of five markers in the middle 20 px: what decides is known."""

    def type_probabilities(self, crops):  # type: ignore[no-untyped-def]
        middle = crops[:, 2:, 54:74, 54:74].mean(dim=(2, 3))
        return (middle * 10).softmax(dim=1)


@pytest.fixture
def explainer(cells_tiff: Path) -> Any:
    with open_slide(cells_tiff) as slide:
        yield Explainer(slide, model=Middle())  # type: ignore[arg-type]


def test_the_marker_that_decides_is_found(explainer: Explainer) -> None:
    for row in range(3):  # cells of the drawn grid, each with one bright type marker
        at = (15.0 + 30 * (5 + row), 15.0 + 30 * 7)
        crop, _ = explainer.crop(at)
        brightest = 2 + int(crop[2:, 54:74, 54:74].mean(axis=(1, 2)).argmax())

        effects = marker_effects(explainer, at)

        assert effects.type == effects.classes[brightest - 2]
        assert list(effects.without) == list(MARKERS)
        assert next(iter(effects.drops)) == MARKERS[brightest]
        assert effects.instead(MARKERS[brightest]) != effects.type
        assert effects.instead("DAPI") == effects.type and effects.drops["DAPI"] == pytest.approx(0, abs=1e-5)
        assert f"rests on {MARKERS[brightest]} (without it" in effects.sentence()


def test_only_what_the_network_looks_at_matters(explainer: Explainer) -> None:
    at = (165.0, 225.0)
    crop, _ = explainer.crop(at)
    brightest = 2 + int(crop[2:, 54:74, 54:74].mean(axis=(1, 2)).argmax())
    made = occlusion_map(explainer, at)

    assert made.values.shape == (8, 8)
    assert made.values[3:5, 3:5].min() > 0.01  # its middle
    assert np.abs(made.values[0]).max() == 0 and np.abs(made.values[:, -1]).max() == 0
    alone = occlusion_map(explainer, at, marker=MARKERS[brightest])
    assert alone.values[3:5, 3:5].min() > 0.01
    assert np.abs(occlusion_map(explainer, at, marker="DAPI").values).max() == 0
    middle = made.place.y0 + 3.5 * made.place.step_px, made.place.x0 + 3.5 * made.place.step_px
    assert middle == pytest.approx(at, abs=1)


def test_it_stops_and_says_why_it_cannot(explainer: Explainer, cells_tiff: Path) -> None:
    with pytest.raises(Interrupted):
        occlusion_map(explainer, (165.0, 225.0), stop=lambda: True)
    with open_slide(cells_tiff) as slide:
        without = Explainer(
            slide,
            model=Middle(),  # type: ignore[arg-type]
            chosen={"NeuN": "", "S100": ""},
        )
        with pytest.raises(SettingsError, match="types need at least 4"):
            marker_effects(without, (165.0, 225.0))
        assert not without.present[2]


def test_plain_words() -> None:
    def words(best: list[float], **without: list[float]) -> str:
        return MarkerEffects(
            ("neuron", "astrocyte"),
            np.array(best, np.float32),
            {marker: np.array(chances, np.float32) for marker, chances in without.items()},
        ).sentence()

    assert words([0.9, 0.1], NeuN=[0.2, 0.8], S100=[0.95, 0.05]) == (
        "The model says neuron (90%). That rests on NeuN (without it: astrocyte, 80%)."
    )
    assert "NeuN counts most (-30 points)" in words([0.9, 0.1], NeuN=[0.6, 0.4])
    assert "No single marker decides" in words([0.9, 0.1], NeuN=[0.88, 0.12])
