"""The Mask R-CNN head: pyramid, anchors, targets, losses and what it finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dama.nets.boxes import MIN_AREA_PX, MIN_SIDE_PX, box_target
from napari_dama.nets.encoder import EncoderSpec
from napari_dama.nets.mask_rcnn import LOWEST_SCORE, STRIDES, MaskRcnn, MaskRcnnSpec, SimpleFeaturePyramid

SPEC = EncoderSpec("tiny", channels=2, image_px=64)
SMALL = MaskRcnnSpec(width=8, detections=7)


pytestmark = pytest.mark.usefixtures("one_thread")


def discs(*places: tuple[int, int, int, int], side: int = 64) -> torch.Tensor:
    """Labels (side, side) of ellipses ``y, x, radius y, radius x``."""
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int64)
    for label, (cy, cx, ry, rx) in enumerate(places, start=1):
        labels[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = label
    return torch.from_numpy(labels)


@pytest.mark.parametrize("patch_px", [8, 16])
@pytest.mark.parametrize("shape", [(64, 64), (128, 64)])
def test_the_pyramid_has_a_map_at_each_stride(patch_px: int, shape: tuple[int, int]) -> None:
    height, width = shape
    pyramid = SimpleFeaturePyramid(48, patch_px, 12)
    maps = pyramid(torch.rand(2, 48, height // patch_px, width // patch_px))
    assert [tuple(y.shape) for y in maps] == [(2, 12, height // s, width // s) for s in STRIDES]
    added = {4: torch.rand(2, 12, height // 4, width // 4)}
    assert torch.equal(
        pyramid(torch.ones(2, 48, height // patch_px, width // patch_px), added)[1],
        pyramid(torch.ones(2, 48, height // patch_px, width // patch_px))[1],
    )


def test_the_pyramid_refuses_other_patches() -> None:
    with pytest.raises(ValueError, match="8 or 16 px, got 4"):
        SimpleFeaturePyramid(48, 4, 12)


@pytest.mark.parametrize("use_pixels", [True, False])
def test_features_and_anchors_of_a_tile(use_pixels: bool) -> None:
    spec = MaskRcnnSpec(width=8, anchors_px=((8,), (16,), (32,), (64,)), use_pixels=use_pixels)
    net = MaskRcnn(SPEC, spec).eval()
    x = torch.rand(1, 2, 128, 64)
    with torch.no_grad():
        features = net.features(x)
    assert list(features) == ["4", "8", "16", "32"] and all(
        y.dtype == torch.float32 for y in features.values()
    )
    from torchvision.models.detection.image_list import ImageList

    (anchors,) = net.rpn.anchor_generator(ImageList(x, [(128, 64)]), list(features.values()))
    assert len(anchors) == sum(3 * (128 // s) * (64 // s) for s in STRIDES)
    sides = (anchors[:, 2:] - anchors[:, :2]).prod(1).sqrt()
    assert float(sides.min()) == pytest.approx(8, abs=1) and float(sides.max()) == pytest.approx(64, abs=2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"anchors_px": ((8,), (16,), (32,))}, "as many sizes at each of the strides"),
        ({"anchors_px": ((8, 9), (16,), (32,), (64,))}, "as many sizes"),
        ({"anchors_px": ((), (), (), ())}, "as many sizes"),
        ({"width": 4}, "width 4 and detections 1000"),
        ({"detections": 0}, "detections 0"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MaskRcnnSpec(**changes)  # type: ignore[arg-type]


def test_the_limit_grows_with_the_area() -> None:
    spec = MaskRcnnSpec(detections=100)
    assert spec.limit(128, 128) == spec.limit(640, 640) == 100
    assert spec.limit(1280, 640) == 200 and spec.limit(1152, 1152) == 324


def test_no_more_cells_than_the_limit() -> None:
    torch.manual_seed(0)
    net = MaskRcnn(SPEC, SMALL).eval()
    with torch.no_grad():
        (found,) = net(torch.rand(1, 2, 64, 64))
    assert len(found.boxes) == len(found.scores) == len(found.masks) == 7
    assert (found.scores > LOWEST_SCORE).all() and (found.scores.diff() <= 0).all()
    assert found.masks.shape[1:] == (28, 28)
    assert found.boxes.min() >= 0 and found.boxes.max() <= 64


def slow_targets(labels: torch.Tensor) -> list[tuple[int, int, int, int, int]]:
    """Box and area of each cell that counts, by a loop over pixels."""
    found = []
    for label in range(1, int(labels.max()) + 1):
        places = [(y, x) for y in range(len(labels)) for x in range(len(labels[0])) if labels[y, x] == label]
        if len(places) < MIN_AREA_PX:
            continue
        rows, columns = [y for y, _ in places], [x for _, x in places]
        box = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
        if min(box[2] - box[0], box[3] - box[1]) >= MIN_SIDE_PX:
            found.append((*box, len(places)))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_targets_equal_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = torch.zeros(30, 34, dtype=torch.int64)
    for label in rng.permutation(9) + 1:
        y, x = int(rng.integers(0, 28)), int(rng.integers(0, 30))
        labels[y : y + int(rng.integers(1, 12)), x : x + int(rng.integers(1, 12))] = int(label)
    target = box_target(labels)
    wanted = slow_targets(labels)
    got = [(*map(int, box), int(mask.sum())) for box, mask in zip(target.boxes, target.masks, strict=True)]
    assert got == wanted
    assert target.boxes.dtype == torch.float32 and target.masks.dtype == torch.uint8


def test_slivers_and_empty_tiles_have_no_boxes() -> None:
    labels = torch.zeros(40, 40, dtype=torch.int64)
    assert box_target(labels).boxes.shape == (0, 4) and box_target(labels).masks.shape == (0, 40, 40)
    labels[:, 0] = 1  # 40 px, but one wide
    labels[3:7, 10:14] = 2  # 16 px
    labels[20:30, 20:30] = 3
    assert box_target(labels).boxes.tolist() == [[20, 20, 30, 30]]


@pytest.mark.parametrize("cells", [(2, 2), (2, 0), (0, 0)])
def test_losses_are_finite_with_and_without_cells(cells: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = MaskRcnn(SPEC, SMALL)
    places = [(20, 20, 12, 14), (44, 46, 14, 12)]
    targets = [box_target(discs(*places[:n])) for n in cells]
    parts = net.losses(torch.rand(2, 2, 64, 64), targets)
    assert list(parts) == ["objectness", "proposal", "class", "box", "mask"]
    assert all(value.ndim == 0 and bool(value.isfinite()) for value in parts.values())
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)
    if any(cells):
        assert all(p.grad is not None for p in net.parameters())


def test_losses_follow_the_global_seed() -> None:
    net = MaskRcnn(SPEC, SMALL)
    x, target = torch.rand(1, 2, 64, 64), [box_target(discs((30, 30, 20, 20)))]

    def total(seed: int) -> float:
        torch.manual_seed(seed)
        return float(torch.stack(list(net.losses(x, target).values())).sum().detach())

    assert total(1) == total(1)


def test_training_and_finding_are_told_apart() -> None:
    net = MaskRcnn(SPEC, SMALL)
    with pytest.raises(ValueError, match="call `losses` while training"):
        net(torch.rand(1, 2, 64, 64))
    with pytest.raises(ValueError, match="call `train` first"):
        net.eval().losses(torch.rand(1, 2, 64, 64), [box_target(discs((30, 30, 20, 20)))])


def test_a_tiles_cells_do_not_depend_on_the_others_of_its_batch() -> None:
    torch.manual_seed(1)
    net = MaskRcnn(SPEC, SMALL).eval()
    x = torch.rand(2, 2, 64, 64)
    with torch.no_grad():
        both, alone = net(x)[1], net(x[1:])[0]
    assert torch.allclose(both.boxes, alone.boxes, atol=1e-2)
    assert torch.allclose(both.masks, alone.masks, atol=1e-3)


def test_boxes_are_exact_under_autocast() -> None:
    torch.manual_seed(0)
    net = MaskRcnn(SPEC, SMALL).eval()
    x = torch.rand(1, 2, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        (found,) = net(x)
    assert found.boxes.dtype == found.masks.dtype == torch.float32
    assert bool(found.boxes.isfinite().all())
    assert bool((found.boxes != found.boxes.bfloat16()).any())  # finer than bfloat16 could say
