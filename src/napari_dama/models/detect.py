"""Cells of a tile from either segmentation head: as labels with scores, or as the two maps that tiles are joined by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from napari_dama.cells.instances import instances_from_maps
from napari_dama.cells.paint import instance_maps, paint_instances
from napari_dama.nets.mask_rcnn import MaskRcnn

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

CELL_SCORE: Final = 0.5
"""Score from which a box of Mask R-CNN counts as a cell; those below only serve precision-recall curves."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Cells of one tile, best first, none over another.

    Attributes
    ----------
    labels
        (H, W) int32, 1..n: label ``i + 1`` is detection ``i``.
    scores
        (n,) float32 in 0..1, falling.
    boxes
        (n, 4) float32, ``x0, y0, x1, y1`` in pixels, half open: as Mask R-CNN predicts them, or around the label.
    certain
        How many of them, from the first, count as cells; the others are guesses for precision-recall curves.
    limit
        Most detections that there could have been; None where the head has no limit.
    """

    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    certain: int
    limit: int | None

    def cells(self) -> NDArray[np.int32]:
        """Labels of those that count as cells alone."""
        return np.where(self.labels <= self.certain, self.labels, 0)


def detect(part: nn.Module, x: Tensor, *, pixel_um: float) -> list[Detections]:
    """Cells of tiles (N, C, H, W) by a segmentation network in evaluation mode.

    Scores of the dense head are those of `instances_from_maps`; those of Mask R-CNN are its class probabilities, from 0.05.
    """
    shape = (int(x.shape[2]), int(x.shape[3]))
    if isinstance(part, MaskRcnn):
        return [_painted(*found, shape, part.spec.limit(*shape)) for found in _boxes(part, x)]
    maps = part(x).float().sigmoid().cpu().numpy()
    return [_from_maps(one, pixel_um) for one in maps]


def maps(part: nn.Module, x: Tensor) -> Tensor:
    """Foreground and distance (N, 2, H, W) float32 in 0..1 of tiles (N, C, H, W), on their device.

    Of Mask R-CNN they are drawn from its cells with a score from 0.5, so that a watershed finds those again and tiles are
    joined as ever.
    """
    if not isinstance(part, MaskRcnn):
        logits: Tensor = part(x)
        return logits.float().sigmoid()
    shape = (int(x.shape[2]), int(x.shape[3]))
    drawn = []
    for boxes, scores, masks in _boxes(part, x):
        sure = scores >= CELL_SCORE
        labels, kept = paint_instances(boxes[sure], masks[sure], scores[sure], shape)
        drawn.append(instance_maps(labels, scores[sure][kept]))
    return torch.from_numpy(np.stack(drawn)).to(x.device)


def _boxes(
    part: MaskRcnn, x: Tensor
) -> list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
    """Boxes, scores and masks of each tile, as arrays."""
    return [
        (
            found.boxes.float().cpu().numpy(),
            found.scores.float().cpu().numpy(),
            found.masks.float().cpu().numpy(),
        )
        for found in part(x)
    ]


def _painted(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    masks: NDArray[np.float32],
    shape: tuple[int, int],
    limit: int,
) -> Detections:
    labels, kept = paint_instances(boxes, masks, scores, shape)
    certain = int((scores[kept] >= CELL_SCORE).sum())
    return Detections(labels, scores[kept], boxes[kept], certain, limit)


def _from_maps(maps: NDArray[np.float32], pixel_um: float) -> Detections:
    labels, scores = instances_from_maps(maps[0], maps[1], pixel_um=pixel_um)
    order = np.argsort(-scores, kind="stable")
    place = np.zeros(len(scores) + 1, np.int32)
    place[order + 1] = np.arange(1, len(scores) + 1)
    return Detections(place[labels], scores[order], label_boxes(place[labels]), len(scores), None)


def label_boxes(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Boxes (n, 4) around labels 1..n of (H, W): ``x0, y0, x1, y1``, half open."""
    from scipy import ndimage

    found = ndimage.find_objects(labels)
    return np.array([(x.start, y.start, x.stop, y.stop) for y, x in found], np.float32).reshape(-1, 4)
