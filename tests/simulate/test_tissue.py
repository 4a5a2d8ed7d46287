from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_dama.errors import SettingsError
from napari_dama.simulate import MARKERS, TYPE_COLOURS, TYPES, SimulatedTissue, simulate_tissue
from napari_dama.simulate.knobs import KNOBS

DECIDING = {"neuron": 2, "astrocyte": 3, "oligodendrocyte": 4, "microglia": 5, "endothelial": 6}


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate_tissue((320, 448), seed=11)


def rule_balanced_accuracy(tissue: SimulatedTissue) -> float:
    area = np.bincount(tissue.labels.ravel())[1:]
    means = []
    for kind in TYPES:
        plane = tissue.image[DECIDING[kind]].astype(np.float32)
        low, high = np.percentile(plane, (1, 99.8))
        scaled = np.arcsinh(5 * np.clip((plane - low) / max(high - low, 1), 0, 2))
        means.append(np.bincount(tissue.labels.ravel(), weights=scaled.ravel())[1:] / area)
    guess = np.array(TYPES)[np.argmax(means, axis=0)]
    truth = tissue.cells["type"].to_numpy()
    return float(np.mean([np.mean(guess[truth == kind] == kind) for kind in TYPES if (truth == kind).any()]))


def test_shapes_and_names(tissue: SimulatedTissue) -> None:
    assert tissue.image.shape == (7, 320, 448)
    assert tissue.image.dtype == np.uint16
    assert tissue.labels.shape == (320, 448)
    assert tissue.labels.dtype == np.int32
    assert tissue.markers == MARKERS == ("DAPI", "Histones", "NeuN", "S100", "Olig2", "Iba1", "RECA1")
    assert set(TYPE_COLOURS) == set(TYPES)
    assert set(tissue.strength) == set(MARKERS)


def test_the_table_matches_the_labels(tissue: SimulatedTissue) -> None:
    n = int(tissue.labels.max())
    assert n > 40
    assert list(tissue.cells.columns) == ["label", "y", "x", "type"]
    assert tissue.cells["label"].tolist() == list(range(1, n + 1))
    assert np.array_equal(np.unique(tissue.labels), np.arange(n + 1))
    centres = np.array(ndimage.center_of_mass(tissue.labels > 0, tissue.labels, np.arange(1, n + 1)))
    np.testing.assert_allclose(tissue.cells[["y", "x"]].to_numpy(), centres, atol=1e-6)
    assert set(tissue.cells["type"]) <= set(TYPES)


def test_every_label_is_one_piece_of_the_size_of_a_cell(tissue: SimulatedTissue) -> None:
    inner = set(np.unique(tissue.labels)) - {0}
    for edge in (tissue.labels[0], tissue.labels[-1], tissue.labels[:, 0], tissue.labels[:, -1]):
        inner -= set(np.unique(edge))
    for label, box in enumerate(ndimage.find_objects(tissue.labels), start=1):
        mask = tissue.labels[box] == label
        assert ndimage.label(mask)[1] == 1
        diameter_um = 2 * np.sqrt(mask.sum() / np.pi) * tissue.pixel_um
        assert diameter_um > 3
        if label in inner:
            assert 4 < diameter_um < 19


@pytest.mark.parametrize("difficulty", list(KNOBS))
def test_the_same_seed_gives_the_same_tissue(difficulty: Any) -> None:
    first = simulate_tissue(160, seed=3, difficulty=difficulty)
    again = simulate_tissue(160, seed=3, difficulty=difficulty)
    other = simulate_tissue(160, seed=4, difficulty=difficulty)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.labels, again.labels)
    assert first.cells.equals(again.cells)
    assert not np.array_equal(first.image, other.image)


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    simulate_tissue(64, seed=1)
    assert np.array_equal(before, np.random.get_state()[1])


def test_bits_change_the_image_only() -> None:
    deep, shallow = simulate_tissue(200, seed=5, bits=16), simulate_tissue(200, seed=5, bits=8)
    assert shallow.image.dtype == np.uint8
    assert np.array_equal(deep.labels, shallow.labels)
    assert shallow.image[0].max() > 100
    for plane, other in zip(deep.image, shallow.image, strict=True):
        assert np.corrcoef(plane.ravel(), other.ravel())[0, 1] > 0.8


def test_nuclei_are_bright_where_the_labels_are(tissue: SimulatedTissue) -> None:
    dapi = tissue.image[0].astype(float)
    assert np.median(dapi[tissue.labels > 0]) > 2 * np.median(dapi[tissue.labels == 0])


def test_easy_markers_tell_the_type_and_hard_ones_lie() -> None:
    scores = {
        name: np.mean(
            [rule_balanced_accuracy(simulate_tissue(448, seed=s, difficulty=name)) for s in (0, 1, 2)]
        )
        for name in KNOBS
    }
    assert scores["easy"] > 0.95
    assert scores["easy"] > scores["normal"] + 0.08
    assert scores["normal"] > scores["hard"] + 0.03


def test_harder_tissue_is_more_crowded_and_noisier() -> None:
    easy, hard = (simulate_tissue(384, seed=8, difficulty=name) for name in ("easy", "hard"))
    assert len(hard.cells) > len(easy.cells)

    def relative_noise(tissue: SimulatedTissue) -> float:
        dapi = tissue.image[0].astype(float)
        return float(np.std(np.diff(dapi)[tissue.labels[:, 1:] == 0]) / np.percentile(dapi, 99))

    assert relative_noise(hard) > relative_noise(easy)


def test_all_types_occur_and_none_rules() -> None:
    share = simulate_tissue(768, seed=2).cells["type"].value_counts(normalize=True)
    assert set(share.index) == set(TYPES)
    assert share.min() > 0.03
    assert share.max() < 0.6


def test_staining_fails_in_some_slides() -> None:
    strengths = [simulate_tissue(32, seed=s, difficulty="hard").strength for s in range(20)]
    assert any(value == 0 for strength in strengths for value in strength.values())
    assert all(strength["DAPI"] > 0 for strength in strengths)


@pytest.mark.parametrize("size", [32, 128, (40, 333), (333, 40)])
def test_small_and_oblong_sizes(size: Any) -> None:
    shape = size if isinstance(size, tuple) else (size, size)
    tissue = simulate_tissue(size, seed=1, difficulty="hard")
    assert tissue.image.shape == (7, *shape)
    assert len(tissue.cells) == tissue.labels.max()


@pytest.mark.parametrize("pixel_um", [0.15, 0.5, 1.0, 2.0])
def test_other_pixel_sizes(pixel_um: float) -> None:
    side = round(120 / pixel_um)
    tissue = simulate_tissue(side, seed=1, pixel_um=pixel_um)
    area_um2 = (tissue.labels > 0).sum() / len(tissue.cells) * pixel_um**2
    assert 25 < area_um2 < 140


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 8}, "size"),
        ({"size": 0}, "size"),
        ({"size": 64.5}, "size"),
        ({"size": (64, 64, 64)}, "size"),
        ({"size": "64"}, "size"),
        ({"size": 10**6}, "size"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": None}, "seed"),
        ({"difficulty": "brutal"}, "brutal"),
        ({"bits": 12}, "bits"),
        ({"pixel_um": 0}, "pixel_um"),
        ({"pixel_um": float("nan")}, "pixel_um"),
        ({"pixel_um": 50.0}, "pixel_um"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        simulate_tissue(**{"size": 64, "seed": 1, **arguments})
