"""Annotations in layers, without a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.gui.conftest import small_slide

from napari_dama.errors import SettingsError
from napari_dama.gui.annotations import annotated_cells, find_annotations

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


def test_points_in_micrometres_become_pixels(layers: list[Any]) -> None:
    points = napari.layers.Points(
        np.array([[10.0, 20.0], [50.0, 60.0], [5.0, 5.0], [900.0, 0.0]]),
        features={"Class": ["neuron", "glia", "", "glia"]},
        name="mine",
        units=("um", "um"),
    )
    (found,) = find_annotations([*layers, points], slide_of(layers))
    assert (found.kind, found.column, found.counts) == ("points", "Class", {"glia": 2, "neuron": 1})
    assert found.problem == ""
    cells = annotated_cells(points, "Class", layers, slide_of(layers))
    assert cells["type"].tolist() == ["neuron", "glia"]  # one has no class, one lies beside the slide
    assert cells[["y", "x"]].to_numpy() == pytest.approx(np.array([[20, 40], [100, 120]]))


def test_labels_count_by_their_index(layers: list[Any]) -> None:
    image = np.zeros((192, 224), np.int32)
    image[10:21, 30:41], image[100:111, 50:61], image[150:161, 50:61] = 7, 9, 11
    features = pd.DataFrame({"index": [0, 9, 7], "type": [None, "glia", "neuron"]})
    labels = napari.layers.Labels(
        image, features=features, name="cells", scale=(0.5, 0.5), units=("um", "um")
    )
    (found,) = find_annotations([*layers, labels], slide_of(layers))
    assert found.counts == {"glia": 1, "neuron": 1}
    cells = annotated_cells(labels, "type", layers, slide_of(layers)).set_index("label")
    assert cells["type"].to_dict() == {7: "neuron", 9: "glia"}
    assert tuple(cells.loc[7, ["y", "x"]]) == pytest.approx((15, 35))


def test_shapes_count_by_their_middle(layers: list[Any]) -> None:
    square = np.array([[10.0, 10.0], [10.0, 20.0], [20.0, 20.0], [20.0, 10.0]])
    shapes = napari.layers.Shapes(
        [square, square + 30], features={"phenotype": ["a", "b"]}, name="boxes", units=("um", "um")
    )
    cells = annotated_cells(shapes, "phenotype", layers, slide_of(layers))
    assert cells[["y", "x"]].to_numpy() == pytest.approx(np.array([[30, 30], [90, 90]]))


def test_what_cannot_be_learned_from_says_so(layers: list[Any]) -> None:
    one = napari.layers.Points(np.zeros((2, 2)), features={"class": ["a", "a"]}, name="one")
    plain = napari.layers.Points(np.zeros((2, 2)), name="plain")
    (found,) = find_annotations([one, plain], slide_of(layers))
    assert "two classes" in found.problem
    assert "Open the slide" in find_annotations([one], "")[0].problem
    image = np.ones((192, 224), np.int32)
    labels = napari.layers.Labels(image, features={"class": ["a", "b"]}, name="no index")
    with pytest.raises(SettingsError, match="index"):
        annotated_cells(labels, "class", layers, slide_of(layers))
    far = napari.layers.Points(np.full((2, 2), 1e5), features={"class": ["a", "b"]}, name="far")
    with pytest.raises(SettingsError, match="lies on the slide"):
        annotated_cells(far, "class", layers, slide_of(layers))
