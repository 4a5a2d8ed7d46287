"""Instance segmentation as boxes with masks: ViTDet's simple feature pyramid before torchvision's Mask R-CNN heads.

The paper's head for segmentation (supplement of DAMA; Li et al. 2022, He et al. 2017). Departures:

- the encoder runs in windows of its pretraining size (`Encoder.dense`), as for the dense head, and nothing is resized or
  normalised again: input is normalised intensity at the model's pixel size;
- anchors of 8 to 128 px, since cells are 20 to 60 px wide, and 1000 instead of 100 detections (`MaskRcnnSpec.limit`);
- two fully connected layers for boxes, as in torchvision, where ViTDet has four convolutions before one;
- with ``use_pixels`` (off in the paper) a light convolutional path from the pixels joins the maps at strides 4 and 8.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from napari_dama.nets.boxes import BoxTarget, FoundBoxes
from napari_dama.nets.encoder import Encoder, EncoderSpec
from napari_dama.nets.layers import conv_block

STRIDES: Final = (4, 8, 16, 32)
LIMIT_PX: Final = 640
RATIOS: Final = (0.5, 1.0, 2.0)
LOWEST_SCORE: Final = 0.05
BOX_WIDTHS: Final = {"tiny": 64, "small": 128, "base": 256}
"""Channels of the pyramid by size of the encoder; 256 is ViTDet's."""


@dataclass(frozen=True, slots=True)
class MaskRcnnSpec:
    """Shape of the head.

    Attributes
    ----------
    width
        Channels of the pyramid: 256 in ViTDet, fewer for small encoders.
    anchors_px
        Sides of square anchors at strides 4, 8, 16 and 32, in pixels of the input; the same number at each.
    detections
        Most cells of an image of 640 x 640 px or less; a larger image may have more, by its area (`limit`).
    use_pixels
        Whether a convolutional path from the pixels joins the pyramid.
    """

    width: int = 64
    anchors_px: tuple[tuple[float, ...], ...] = ((8, 16), (24, 32), (48, 64), (96, 128))
    detections: int = 1000
    use_pixels: bool = True

    def __post_init__(self) -> None:
        if self.width < 8 or self.detections < 1:
            raise ValueError(f"width {self.width} and detections {self.detections} must be at least 8 and 1")
        counts = {len(sizes) for sizes in self.anchors_px}
        if len(self.anchors_px) != len(STRIDES) or len(counts) != 1 or counts == {0}:
            raise ValueError(
                f"anchors_px needs as many sizes at each of the strides {STRIDES}, got {self.anchors_px}"
            )

    def limit(self, height: int, width: int) -> int:
        """Most detections in an image of this size, in pixels."""
        return math.ceil(self.detections * max(1.0, height * width / LIMIT_PX**2))


class SimpleFeaturePyramid(nn.Module):
    """Maps at strides 4, 8, 16 and 32 from the encoder's last one alone (Li et al. 2022, section 3).

    A transposed convolution doubles the resolution, a maximum over 2 x 2 halves it; then 1 x 1 and 3 x 3 convolutions with
    layer norm bring each map to ``width`` channels.
    """

    def __init__(self, inputs: int, patch_px: int, width: int) -> None:
        super().__init__()
        if patch_px not in (8, 16):
            raise ValueError(f"the pyramid is made from tokens of 8 or 16 px, got {patch_px}")
        self.scale = nn.ModuleList()
        self.narrow = nn.ModuleList()
        self.smooth = nn.ModuleList()
        for stride in STRIDES:
            layers, channels = _to_stride(inputs, patch_px, stride)
            self.scale.append(layers)
            self.narrow.append(nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), LayerNorm2d(width)))
            self.smooth.append(
                nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), LayerNorm2d(width))
            )

    def forward(self, tokens: Tensor, beside: dict[int, Tensor] | None = None) -> list[Tensor]:
        """Maps (N, width, H / s, W / s) for each stride s of a token map (N, D, H / p, W / p).

        ``beside`` holds maps by stride, to be added before the last convolution.
        """
        maps = []
        for stride, scale, narrow, smooth in zip(STRIDES, self.scale, self.narrow, self.smooth, strict=True):
            y = narrow(scale(tokens))
            if beside and stride in beside:
                y = y + beside[stride]
            maps.append(smooth(y))
        return maps


def _to_stride(channels: int, patch_px: int, stride: int) -> tuple[nn.Module, int]:
    """Layers from the stride of the patches to another, and the channels that they leave."""
    layers: list[nn.Module] = []
    now = patch_px
    while now > stride:
        if layers:
            layers += [LayerNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        channels, now = channels // 2, now // 2
    if now < stride:
        layers.append(nn.MaxPool2d(stride // now))
    return nn.Sequential(*layers), channels


class PixelPath(nn.Module):
    """Two maps of ``width`` channels, at strides 4 and 8, from the pixels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_block(channels, width // 2, stride=2), conv_block(width // 2, width, stride=2)
        )
        self.next = conv_block(width, width, stride=2)
        self.out4, self.out8 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Maps by stride of tiles (N, C, H, W)."""
        at4 = self.stem(x.contiguous(memory_format=torch.channels_last))
        return {4: self.out4(at4), 8: self.out8(self.next(at4))}


class MaskRcnn(nn.Module):
    """Encoder in windows, simple feature pyramid, region proposals, boxes and masks of one class: cell.

    torchvision's samplers draw from torch's global generator. The heads run in float32 whatever autocast says: anchors and
    box arithmetic in bfloat16 are off by pixels.

    Examples
    --------
    >>> net = MaskRcnn(EncoderSpec("tiny"), MaskRcnnSpec()).eval()
    >>> found = net(torch.zeros(1, 7, 256, 256))
    >>> found[0].boxes.shape[1], found[0].masks.shape[1:]
    (4, torch.Size([28, 28]))
    """

    def __init__(self, encoder: EncoderSpec, spec: MaskRcnnSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.width
        hidden = min(1024, 4 * width)
        self.encoder = Encoder(encoder)
        self.pyramid = SimpleFeaturePyramid(encoder.width, encoder.patch_px, width)
        self.pixels = PixelPath(encoder.channels, width) if spec.use_pixels else None
        anchors = AnchorGenerator(spec.anchors_px, (RATIOS,) * len(STRIDES))
        # torchvision reads these two again at each call: `forward` sets "testing" by the image's size
        self._before = {"training": 2000, "testing": 2000}
        self._after = {"training": 1000, "testing": 2000}
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(width, len(spec.anchors_px[0]) * len(RATIOS)),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n=self._before,
            post_nms_top_n=self._after,
            nms_thresh=0.7,
        )
        names = [str(stride) for stride in STRIDES]
        # boxes of up to 56 px are read at stride 4, of up to 112 px at stride 8: cells are far below the usual 224 px
        self.roi_heads = RoIHeads(
            box_roi_pool=MultiScaleRoIAlign(names, 7, 2, canonical_scale=224, canonical_level=5),
            box_head=TwoMLPHead(width * 7 * 7, hidden),
            box_predictor=FastRCNNPredictor(hidden, 2),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=256,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=LOWEST_SCORE,
            nms_thresh=0.5,
            detections_per_img=spec.detections,
            mask_roi_pool=MultiScaleRoIAlign(names, 14, 2, canonical_scale=224, canonical_level=5),
            mask_head=MaskRCNNHeads(width, (width,) * 4, 1),
            mask_predictor=MaskRCNNPredictor(width, width, 2),
        )

    def features(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Pyramid of tiles (N, C, H, W) in float32, by the name of the stride."""
        beside = None if self.pixels is None else self.pixels(x)
        maps = self.pyramid(self.encoder.dense(x), beside)
        return OrderedDict((str(stride), y.float()) for stride, y in zip(STRIDES, maps, strict=True))

    def forward(self, x: Tensor) -> list[FoundBoxes]:
        """Cells of each of the tiles (N, C, H, W), best first; H and W multiples of the encoder's window."""
        if self.training:
            raise ValueError("call `losses` while training, or `eval` before asking for cells")
        n, _, h, w = x.shape
        limit = self.spec.limit(h, w)
        self._before["testing"] = self._after["testing"] = 2 * limit
        self.roi_heads.detections_per_img = limit
        features = self.features(x)
        with torch.autocast(x.device.type, enabled=False):
            proposals, _ = self.rpn(ImageList(x, [(h, w)] * n), features)
            found, _ = self.roi_heads(features, proposals, [(h, w)] * n)
        return [FoundBoxes(one["boxes"], one["scores"], one["masks"][:, 0]) for one in found]

    def losses(self, x: Tensor, targets: list[BoxTarget]) -> dict[str, Tensor]:
        """The five losses of Mask R-CNN, each with weight 1, of tiles (N, C, H, W).

        Returns
        -------
        dict
            ``objectness`` and ``proposal`` of the region proposals; ``class``, ``box`` and ``mask`` of the heads.
        """
        if not self.training:
            raise ValueError("losses are of training: call `train` first")
        n, _, h, w = x.shape
        features = self.features(x)
        given = [target.to_torchvision() for target in targets]
        with torch.autocast(x.device.type, enabled=False):
            proposals, first = self.rpn(ImageList(x, [(h, w)] * n), features, given)
            _, second = self.roi_heads(features, proposals, [(h, w)] * n, given)
        return {
            "objectness": first["loss_objectness"],
            "proposal": first["loss_rpn_box_reg"],
            "class": second["loss_classifier"],
            "box": second["loss_box_reg"],
            "mask": second["loss_mask"],
        }
