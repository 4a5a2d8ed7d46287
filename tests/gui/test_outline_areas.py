"""Outlines in layers of the viewer, as areas of their slide; without a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tests.gui.conftest import small_slide

from napari_dama.errors import SettingsError
from napari_dama.gui.outline_areas import find_areas, find_outlines, outlined_areas, write_areas
from napari_dama.gui.state import TrainState
from napari_dama.gui.train_plan import resolve_train
from napari_dama.slides.region import Region

napari = pytest.importorskip("napari")


@pytest.fixture
def layers(tmp_path: Path) -> list[Any]:
    """The marker layers of a slide of 192 x 224 px, 0.5 um each."""
    from napari.layers import Layer

    from napari_dama.gui.reader import get_reader

    path = str(small_slide(tmp_path))
    reader = get_reader(path)
    assert reader is not None
    return [Layer.create(*data) for data in reader(path)]


def slide_of(layers: list[Any]) -> str:
    return str(layers[0].metadata["napari_dama"]["slide"])


def drawn() -> np.ndarray[Any, Any]:
    """Twelve squares of 9 x 9 px between row 20 and 108, column 30 and 168."""
    image = np.zeros((192, 224), np.int32)
    for number in range(12):
        y, x = 20 + 40 * (number // 4), 30 + 43 * (number % 4)
        image[y : y + 9, x : x + 9] = number + 5
    return image


def labels_layer(image: Any, **options: Any) -> Any:
    usual = {"name": "mine", "scale": (0.5, 0.5), "units": ("um", "um")}
    return napari.layers.Labels(image, **(usual | options))


def test_the_box_around_all_outlines(layers: list[Any]) -> None:
    layer = labels_layer(drawn())
    (found,) = find_outlines([*layers, layer], slide_of(layers))
    assert (found.layer, found.slide, found.problem) == ("mine", slide_of(layers), "")
    assert "Open the slide" in find_outlines([layer], "")[0].problem
    (area,) = outlined_areas([*layers, layer], "mine", "", slide_of(layers))
    assert area.region == Region(20, 109, 30, 168) and area.mask is None
    assert (area.labels == drawn()[area.region.slices]).all()


def test_coarser_and_shifted_layers_land_on_the_slides_pixels(layers: list[Any]) -> None:
    coarse = drawn()[::2, ::2]
    layer = labels_layer(coarse, scale=(1.0, 1.0), translate=(0.25, 0.25))  # centres of 2 x 2 pixels
    (area,) = outlined_areas([*layers, layer], "mine", "", slide_of(layers))
    expected = np.kron(coarse, np.ones((2, 2), np.int32))
    assert (area.labels == expected[area.region.slices]).all()
    assert set(np.unique(area.labels)) == set(np.unique(drawn()))

    stack = labels_layer(drawn()[None], scale=(1.0, 0.5, 0.5), units=("um", "um", "um"), translate=(0, 10, 5))
    (area,) = outlined_areas([*layers, stack], "mine", "", slide_of(layers))
    assert area.region == Region(40, 129, 40, 178)
    levels = labels_layer([drawn(), drawn()[::2, ::2]], multiscale=True)
    (area,) = outlined_areas([*layers, levels], "mine", "", slide_of(layers))
    assert area.region == Region(20, 109, 30, 168)


def test_shapes_say_what_is_complete(layers: list[Any]) -> None:
    layer = labels_layer(drawn())
    shapes = napari.layers.Shapes(name="areas", units=("um", "um"))
    shapes.add_rectangles(np.array([[5.0, 5.0], [60.0, 45.0]]))
    shapes.add_ellipses(np.array([[5.0, 50.0], [60.0, 50.0], [60.0, 110.0], [5.0, 110.0]]))
    shapes.add_paths(np.array([[0.0, 0.0], [60.0, 110.0]]))
    every = [*layers, layer, shapes]
    assert find_areas(every) == ["areas"]
    box, ellipse = outlined_areas(every, "mine", "areas", slide_of(layers))
    assert box.mask is None and box.region == Region(10, 121, 10, 91)
    assert (box.labels == drawn()[box.region.slices]).all()
    assert ellipse.mask is not None and ellipse.mask.shape == ellipse.region.shape
    share = ellipse.mask.mean()
    assert share == pytest.approx(np.pi / 4, abs=0.02)
    assert not ellipse.mask[0, 0] and ellipse.mask[ellipse.mask.shape[0] // 2, ellipse.mask.shape[1] // 2]

    shapes.add_rectangles(np.array([[50.0, 40.0], [70.0, 60.0]]))
    with pytest.raises(SettingsError, match="overlap"):
        outlined_areas(every, "mine", "areas", slide_of(layers))


def test_what_cannot_be_learned_from_says_so(layers: list[Any]) -> None:
    slide = slide_of(layers)
    few = drawn()
    few[few > 8] = 0
    for layer, words in (
        (labels_layer(few), "Only 4 outlined cells"),
        (labels_layer(few * 0), "no outline in 'mine'"),
        (labels_layer(drawn(), rotate=30), "turned or mirrored"),
        (labels_layer(drawn(), translate=(900, 0)), "lies outside the slide"),
    ):
        with pytest.raises(SettingsError, match=words):
            outlined_areas([*layers, layer], "mine", "", slide)
    with pytest.raises(SettingsError, match="not there any more"):
        outlined_areas(layers, "mine", "", slide)
    empty = napari.layers.Shapes(name="areas")
    with pytest.raises(SettingsError, match="no area in 'areas'"):
        outlined_areas([*layers, labels_layer(drawn()), empty], "mine", "areas", slide)


def test_areas_are_written_into_the_job_and_planned(layers: list[Any], tmp_path: Path) -> None:
    layer = labels_layer(drawn())
    every, slide = [*layers, layer], slide_of(layers)
    state = TrainState(kind="segments", annotation="mine", init="dama-brain7")
    outlines = find_outlines(every, slide)
    plan = resolve_train(state, [slide], {"DAPI": "DAPI"}, 0.5, tmp_path, outlines=outlines)
    assert plan.outlines == outlines[0] and plan.pixel_um == 0.5
    areas = write_areas(outlined_areas(every, "mine", "", slide), tmp_path / "job", slide, 0.5, plan.chosen)
    (area,) = areas.areas
    assert areas.chosen == {"DAPI": "DAPI"} and area.region == "20:109,30:168"
    assert (tifffile.imread(tmp_path / "job" / area.labels) == drawn()[20:109, 30:168]).all()
    with pytest.raises(SettingsError, match="not there any more"):
        resolve_train(state, [slide], {}, None, tmp_path)
