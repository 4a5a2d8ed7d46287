"""Boxes with masks become labels: as a loop over pixels would paint them, and so that cells come back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

from napari_dama.cells.instances import instances_from_maps
from napari_dama.cells.paint import instance_maps, paint_instances
from napari_dama.nets.boxes import box_target
from napari_dama.simulate import simulate_tissue

Drawn = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def slow_inside(box: NDArray[np.float32], mask: NDArray[np.float32], y: int, x: int) -> bool:
    """Whether the mask, read bilinearly where RoIAlign took the pixel from, is above a half."""
    cells, place = len(mask), []
    for at, low, high in ((y, box[1], box[3]), (x, box[0], box[2])):
        if not float(low) <= at + 0.5 < float(high):
            return False
        u = (at - float(low)) / (float(high) - float(low)) * cells - 0.5
        place.append(min(max(u, 0.0), cells - 1.0))
    value = 0.0
    for i in range(cells):
        for j in range(cells):
            value += max(0, 1 - abs(place[0] - i)) * max(0, 1 - abs(place[1] - j)) * float(mask[i, j])
    return value > 0.5


def pieces(places: set[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """Parts that hang together through sides, in the order of their first pixel."""
    left, found = set(places), []
    while left:
        queue, piece = [min(left)], set()
        while queue:
            y, x = queue.pop()
            if (y, x) in left:
                left.remove((y, x))
                piece.add((y, x))
                queue += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        found.append(piece)
    return found


def slow_paint(drawn: Drawn, shape: tuple[int, int]) -> tuple[NDArray[np.int32], list[int]]:
    boxes, masks, scores = drawn
    labels, kept = np.zeros(shape, np.int32), []
    for index in sorted(range(len(scores)), key=lambda i: -scores[i]):
        inside = {
            (y, x)
            for y in range(shape[0])
            for x in range(shape[1])
            if slow_inside(boxes[index], masks[index], y, x)
        }
        free = {place for place in inside if not labels[place]}
        if len(free) < len(inside):
            free = max(pieces(free), key=len, default=set())
        if inside and 2 * len(free) >= len(inside):
            kept.append(index)
            for place in free:
                labels[place] = len(kept)
    return labels, kept


def random_detections(seed: int, n: int, shape: tuple[int, int]) -> Drawn:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-3, 20, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.2, 14, (n, 2))], axis=1)
    boxes = np.clip(boxes, 0, [shape[1], shape[0], shape[1], shape[0]]).astype(np.float32)
    return boxes, rng.uniform(0.2, 1, (n, 5, 5)).astype(np.float32), rng.random(n).astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
def test_painting_equals_a_loop(seed: int) -> None:
    shape = (22, 26)
    drawn = random_detections(seed, 7, shape)
    labels, kept = paint_instances(*drawn, shape)
    wanted, order = slow_paint(drawn, shape)
    assert kept.tolist() == order
    assert np.array_equal(labels, wanted) and labels.dtype == np.int32


def test_the_best_score_is_painted_first_and_a_second_box_of_a_cell_dropped() -> None:
    boxes = np.array([[0, 0, 10, 10], [6, 0, 16, 10], [1, 0, 10, 10]], np.float32)
    full = np.ones((3, 28, 28), np.float32)
    labels, kept = paint_instances(boxes, full, np.array([0.6, 0.9, 0.8], np.float32), (10, 20))
    assert kept.tolist() == [1, 2]  # the third overlaps the second by less than half, the first by more
    assert (labels[:, 6:16] == 1).all() and (labels[:, 1:6] == 2).all() and not labels[:, 0].any()


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [3.6, 2, 4.2, 8], [30, 30, 40, 40], [-9, -9, -1, -1]])
def test_boxes_without_a_pixel_paint_nothing(box: list[float]) -> None:
    labels, kept = paint_instances(np.array([box], np.float32), np.ones((1, 28, 28)), np.ones(1), (20, 20))
    assert not labels.any() and len(kept) == 0


def test_no_detections_give_no_labels() -> None:
    labels, kept = paint_instances(np.zeros((0, 4)), np.zeros((0, 28, 28)), np.zeros(0), (8, 9))
    assert labels.shape == (8, 9) and not labels.any() and kept.shape == (0,)
    assert not instance_maps(labels, np.zeros(0)).any()


def iou(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    return float((one & two).sum() / (one | two).sum())


def test_a_mask_that_was_learned_perfectly_is_put_back_where_it_was() -> None:
    """And better than torchvision does it, which is off by half a pixel."""
    truth = simulate_tissue(192, seed=3).labels
    target = box_target(torch.from_numpy(truth.astype(np.int64)))
    index = torch.arange(len(target.boxes))
    learned = project_masks_on_boxes(target.masks, target.boxes, index, 28)
    pasted = paste_masks_in_image(learned[:, None], target.boxes, truth.shape)[:, 0] > 0.5
    ours, theirs = [], []
    for i, mask in enumerate(target.masks.numpy() > 0):
        labels, _ = paint_instances(
            target.boxes[i : i + 1].numpy(), learned[i : i + 1].numpy(), np.ones(1), truth.shape
        )
        ours.append(iou(labels > 0, mask))
        theirs.append(iou(pasted[i].numpy(), mask))
    assert len(ours) > 10 and np.mean(ours) > 0.97
    assert 1 - np.mean(ours) < 0.5 * (1 - np.mean(theirs))


@pytest.mark.parametrize(("seed", "difficulty"), [(1, "easy"), (2, "normal"), (3, "hard")])
def test_maps_of_painted_cells_give_them_back(seed: int, difficulty: str) -> None:
    pixel_um = 0.254
    truth = simulate_tissue(256, seed=seed, difficulty=difficulty, pixel_um=pixel_um).labels  # type: ignore[arg-type]
    scores = np.random.default_rng(seed).uniform(0.5, 1, int(truth.max()))
    maps = instance_maps(truth, scores)
    assert (
        maps.dtype == np.float32 and maps.shape == (2, *truth.shape) and maps.min() >= 0 and maps.max() <= 1
    )
    found, _ = instances_from_maps(maps[0], maps[1], pixel_um=pixel_um, min_area_um2=0.1)
    n, m = int(truth.max()), int(found.max())
    hits = 0
    for label in range(1, n + 1):
        inside = truth == label
        other = int(np.bincount(found[inside]).argmax())
        hits += other > 0 and iou(inside, found == other) > 0.5
    assert 2 * hits / (n + m) > 0.97


def test_touching_cells_stay_two_whatever_their_scores() -> None:
    y, x = np.mgrid[:60, :80]
    truth = np.zeros((60, 80), np.int32)
    truth[(y - 30) ** 2 + (x - 26) ** 2 < 14**2] = 1
    truth[(y - 30) ** 2 + (x - 53) ** 2 < 14**2] = 2
    for scores in ((0.5, 1.0), (1.0, 0.5), (0.7, 0.7)):
        maps = instance_maps(truth, np.array(scores))
        found, _ = instances_from_maps(maps[0], maps[1], pixel_um=0.254)
        assert found.max() == 2
        assert all(max(iou(truth == a, found == b) for b in (1, 2)) > 0.95 for a in (1, 2))
    assert math.isclose(float(maps[0].max()), 0.7, abs_tol=1e-6)
