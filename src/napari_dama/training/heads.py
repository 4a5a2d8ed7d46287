"""How each segmentation head is taught: its truth of a tile, and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dama.errors import ModelError
from napari_dama.nets.boxes import box_target
from napari_dama.nets.dama import Losses
from napari_dama.nets.mask_rcnn import MaskRcnn
from napari_dama.nets.segmenter import DenseSegmenter, dense_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


class HeadTraining(Protocol):
    """What a head brings to the training on tiles; what it finds, both give through `napari_dama.models.detect`."""

    @property
    def detection_limit(self) -> int | None:
        """Most detections per 640 x 640 px, or None."""

    def truth(self, labels: NDArray[np.int32], distance: NDArray[np.uint8], size: int) -> Tensor:
        """Truth (K, size, size) of a window (h, w) of a field, enlarged or reduced to the tile's size."""

    def loss(self, x: Tensor, truth: Tensor, generator: torch.Generator | None = None) -> Losses:
        """Loss of tiles (N, C, T, T) with their truth (N, K, T, T); ``generator`` says which share of a batch they are."""


class DenseTraining:
    """Foreground and distance, both smooth when resized."""

    detection_limit = None

    def __init__(self, net: DenseSegmenter) -> None:
        self.net = net

    def truth(self, labels: NDArray[np.int32], distance: NDArray[np.uint8], size: int) -> Tensor:
        """Foreground and distance (2, size, size) in 0..1."""
        maps = np.stack([(labels > 0).astype(np.float32), distance.astype(np.float32) / 255])
        return F.interpolate(torch.from_numpy(maps)[None], size=(size, size), mode="bilinear")[0]

    def loss(self, x: Tensor, truth: Tensor, generator: torch.Generator | None = None) -> Losses:
        """`dense_loss` of the two maps."""
        return Losses(*dense_loss(self.net(x), truth[:, 0], truth[:, 1], generator))


class BoxTraining:
    """Boxes and masks from the labels themselves, which must not be blended when resized."""

    def __init__(self, net: MaskRcnn) -> None:
        self.net = net
        self.detection_limit = net.spec.detections

    def truth(self, labels: NDArray[np.int32], distance: NDArray[np.uint8], size: int) -> Tensor:
        """Labels (1, size, size) int64, nearest pixel."""
        rows, columns = (((np.arange(size) + 0.5) * n / size).astype(np.intp) for n in labels.shape)
        return torch.from_numpy(labels[rows[:, None], columns].astype(np.int64))[None]

    def loss(self, x: Tensor, truth: Tensor, generator: torch.Generator | None = None) -> Losses:
        """The sum of Mask R-CNN's five losses, of these tiles alone."""
        parts = self.net.losses(x, [box_target(labels) for labels in truth[:, 0]])
        return Losses(torch.stack(list(parts.values())).sum(), parts)


def head_training(part: nn.Module) -> HeadTraining:
    """How to teach a segmentation network."""
    if isinstance(part, MaskRcnn):
        return BoxTraining(part)
    if isinstance(part, DenseSegmenter):
        return DenseTraining(part)
    raise ModelError(f"{type(part).__name__} is no segmentation network")
