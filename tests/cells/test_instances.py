"""Instances from maps: perfect maps give the cells back, and odd maps give no odd cells."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_dama.cells.instances import distance_target, inner_edges, instances_from_maps
from napari_dama.simulate import simulate_tissue

PIXEL_UM = 0.325


def slow_distance(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Each cell by itself: distance to the nearest pixel of its edge, plus one, over the largest."""
    out = np.zeros(labels.shape)
    height, width = labels.shape
    for label in np.unique(labels[labels > 0]):
        edge, inside = [], []
        for y, x in zip(*np.nonzero(labels == label), strict=True):
            sides = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            near = [labels[a, b] for a, b in sides if 0 <= a < height and 0 <= b < width]
            (edge if any(value != label for value in near) else inside).append((y, x))
        # the nearest pixel that is no inside pixel of any cell
        outside = [(y, x) for y, x in np.ndindex(*labels.shape) if labels[y, x] == 0]
        edges = edge + outside
        edges += [(y, x) for y, x in np.ndindex(*labels.shape) if _is_edge(labels, y, x)]
        depth = dict.fromkeys(edge, 1.0)
        for y, x in inside:
            depth[y, x] = 1 + min(np.hypot(y - a, x - b) for a, b in edges)
        top = max(depth.values())
        for place, value in depth.items():
            out[place] = value / top
    return out


def _is_edge(labels: NDArray[np.int32], y: int, x: int) -> bool:
    if labels[y, x] == 0:
        return False
    sides = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
    inside = [(a, b) for a, b in sides if 0 <= a < labels.shape[0] and 0 <= b < labels.shape[1]]
    return any(labels[a, b] != labels[y, x] for a, b in inside)


def f1_at_half(truth: NDArray[np.int32], guess: NDArray[np.int32]) -> float:
    """F1 at IoU 0.5, where a pair is unique by itself."""
    n, m = int(truth.max()), int(guess.max())
    pairs = np.bincount(truth.ravel() * (m + 1) + guess.ravel(), minlength=(n + 1) * (m + 1)).reshape(
        n + 1, m + 1
    )
    union = pairs.sum(1, keepdims=True) + pairs.sum(0, keepdims=True) - pairs
    hits = int(((pairs / np.maximum(union, 1))[1:, 1:] > 0.5).sum())
    return 2 * hits / (n + m)


def ellipse(
    shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float]
) -> NDArray[np.bool_]:
    y, x = np.indices(shape)
    inside: NDArray[np.bool_] = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1
    return inside


def maps_of(labels: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return (labels > 0).astype(np.float32), distance_target(labels)


@pytest.mark.parametrize("seed", range(4))
def test_distance_target_equals_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((14, 17), np.int32)
    for label in range(1, 5):
        y, x = rng.integers(0, 10), rng.integers(0, 12)
        labels[y : y + rng.integers(1, 8), x : x + rng.integers(1, 8)] = label
    got = distance_target(labels)
    assert np.allclose(got, slow_distance(labels), atol=1e-6)
    for y, x in np.ndindex(*labels.shape):
        assert inner_edges(labels)[y, x] == _is_edge(labels, y, x)


def test_distance_target_of_nothing() -> None:
    assert not distance_target(np.zeros((5, 6), np.int32)).any()


@pytest.mark.parametrize(("seed", "difficulty"), [(1, "easy"), (2, "normal"), (3, "hard")])
def test_perfect_maps_give_simulated_cells_back(seed: int, difficulty: str) -> None:
    truth = simulate_tissue(384, seed=seed, difficulty=difficulty).labels  # type: ignore[arg-type]
    labels, scores = instances_from_maps(*maps_of(truth), pixel_um=PIXEL_UM)
    assert f1_at_half(truth, labels) > 0.97
    assert labels.dtype == np.int32 and len(scores) == labels.max()
    assert sorted(set(labels.ravel()) - {0}) == list(range(1, len(scores) + 1))
    assert scores.min() > 0 and scores.max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_empty_maps_give_no_cells(value: float) -> None:
    labels, scores = instances_from_maps(
        np.full((40, 30), value, np.float32), np.zeros((40, 30), np.float32), pixel_um=PIXEL_UM
    )
    assert labels.shape == (40, 30) and labels.dtype == np.int32 and not labels.any() and scores.shape == (0,)


def test_foreground_without_a_peak_gives_no_cells() -> None:
    labels, scores = instances_from_maps(
        np.ones((40, 30), np.float32), np.zeros((40, 30), np.float32), pixel_um=PIXEL_UM
    )
    assert not labels.any() and len(scores) == 0


def test_a_plateau_is_one_cell() -> None:
    ones = np.zeros((60, 50), np.float32)
    ones[10:50, 10:40] = 1
    labels, scores = instances_from_maps(ones, ones, pixel_um=PIXEL_UM)
    assert labels.max() == 1 and np.array_equal(labels == 1, ones > 0) and scores[0] == pytest.approx(1.0)


def test_tiny_cells_are_dropped_and_numbers_close_up() -> None:
    truth = np.zeros((80, 120), np.int32)
    truth[ellipse(truth.shape, (40, 20), (9, 9))] = 1
    truth[ellipse(truth.shape, (40, 60), (2, 2))] = 2  # 13 px, 1.4 um2
    truth[ellipse(truth.shape, (40, 100), (9, 9))] = 3
    labels, scores = instances_from_maps(*maps_of(truth), pixel_um=PIXEL_UM)
    assert len(scores) == 2 and sorted(np.unique(labels)) == [0, 1, 2] and not labels[truth == 2].any()
    everything, _ = instances_from_maps(*maps_of(truth), pixel_um=PIXEL_UM, min_area_um2=0.5)
    assert everything.max() == 3


@pytest.mark.parametrize("turn", [0, 30, 45, 90])
@pytest.mark.parametrize("radii", [(5.0, 22.0), (6.0, 30.0)])
def test_an_elongated_cell_stays_one(radii: tuple[float, float], turn: float) -> None:
    straight = ellipse((101, 101), (50, 50), radii).astype(np.int32)
    truth = ndimage.rotate(straight, turn, order=0, reshape=False)
    foreground, distance = maps_of(truth)
    labels, _ = instances_from_maps(foreground, distance, pixel_um=PIXEL_UM)
    assert labels.max() == 1
    # two shallow peaks, as a network may give them
    dent = 1 - 0.08 * np.exp(-(((np.arange(101) - 50) / 6.0) ** 2))
    labels, _ = instances_from_maps(foreground, distance * dent[None].astype(np.float32), pixel_um=PIXEL_UM)
    assert labels.max() == 1


def test_touching_cells_stay_two() -> None:
    truth = np.zeros((60, 80), np.int32)
    truth[ellipse(truth.shape, (30, 26), (12, 13))] = 1
    truth[ellipse(truth.shape, (30, 52), (12, 13))] = 2
    labels, _ = instances_from_maps(*maps_of(truth), pixel_um=PIXEL_UM)
    assert labels.max() == 2 and f1_at_half(truth, labels) == 1


def test_score_is_foreground_times_height_of_the_peak() -> None:
    truth = ellipse((60, 60), (30, 30), (14, 14)).astype(np.int32)
    foreground, distance = maps_of(truth)
    _, sure = instances_from_maps(foreground, distance, pixel_um=PIXEL_UM)
    _, unsure = instances_from_maps(foreground * 0.6, distance * 0.7, pixel_um=PIXEL_UM)
    assert unsure[0] == pytest.approx(sure[0] * 0.6 * 0.7, rel=1e-3)


@pytest.mark.parametrize("pixel_um", [0.2, 0.325, 0.65])
def test_cells_do_not_depend_on_the_pixel_size(pixel_um: float) -> None:
    side = round(40 / pixel_um)
    truth = np.zeros((side, side), np.int32)
    for label, (y, x) in enumerate([(10, 10), (10, 28), (28, 10), (28, 28)], start=1):
        truth[ellipse(truth.shape, (y / pixel_um, x / pixel_um), (4 / pixel_um, 5 / pixel_um))] = label
    labels, _ = instances_from_maps(*maps_of(truth), pixel_um=pixel_um)
    assert labels.max() == 4 and f1_at_half(truth, labels) == 1
