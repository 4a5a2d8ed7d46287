"""Cells as boxes with masks: targets from label tiles, and what a detector finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

MIN_AREA_PX: Final = 20
MIN_SIDE_PX: Final = 3


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """Cells found in one tile, best first.

    Attributes
    ----------
    boxes
        (n, 4) float32: ``x0, y0, x1, y1`` in pixels, half open.
    scores
        (n,) float32 in 0..1.
    masks
        (n, M, M) float32 in 0..1, over the box.
    """

    boxes: Tensor
    scores: Tensor
    masks: Tensor


@dataclass(frozen=True, slots=True)
class BoxTarget:
    """True cells of one tile: ``boxes`` (n, 4) float32 as in `FoundBoxes`, ``masks`` (n, H, W) uint8. n may be 0."""

    boxes: Tensor
    masks: Tensor

    def to_torchvision(self) -> dict[str, Tensor]:
        """The same as torchvision's detectors take it: class 1 is a cell."""
        ones = torch.ones(len(self.boxes), dtype=torch.int64, device=self.boxes.device)
        return {"boxes": self.boxes, "labels": ones, "masks": self.masks}


def box_target(labels: Tensor) -> BoxTarget:
    """Boxes and masks of the cells of a label tile.

    Slivers that a tile's edge leaves of a cell, of less than 20 px or thinner than 3 px, are no cells: nothing could be
    learned from their outline, and boxes without width break the arithmetic.

    Parameters
    ----------
    labels
        (H, W) whole numbers, 0 = background.

    Returns
    -------
    BoxTarget
        Cells in the order of their labels.
    """
    ids = labels.unique()  # type: ignore[no-untyped-call]
    masks = labels[None] == ids[ids > 0][:, None, None]  # (n, H, W)
    masks = masks[masks.flatten(1).sum(1) >= MIN_AREA_PX]
    boxes = masks_to_boxes(masks)
    boxes[:, 2:] += 1  # from the last pixel to its far edge
    wide = (boxes[:, 2:] - boxes[:, :2]).amin(1) >= MIN_SIDE_PX
    return BoxTarget(boxes[wide].float(), masks[wide].to(torch.uint8))
