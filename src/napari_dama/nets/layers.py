"""Small layers that several heads share."""

from __future__ import annotations

from torch import nn


def conv_block(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    """Convolve 3 x 3, normalise over the batch, ReLU: (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
