"""Which number format is quickest here, found by a measurement of a few milliseconds instead of by belief.

Some processors multiply bfloat16 four times as fast as float32, others (AVX-512 without AMX) hardly faster or more
slowly. And torch's fused attention in bfloat16 on a CPU takes several times as long as the plain product of matrices
(`benchmarks/attention.py` measures it), so that there the plain one is used.
"""

from __future__ import annotations

import time
from functools import lru_cache

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn import functional as F


def fastest_precision(device: torch.device, *, training: bool = False) -> str:
    """``"bfloat16"``, ``"float16"`` or ``"float32"``, whichever is quickest for inference or training on ``device``."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    if device.type == "cpu":
        return _fastest_on_cpu(training)
    return "float32"


def choose_attention(module: nn.Module, device: torch.device, precision: str) -> None:
    """Let every attention of ``module`` use torch's fused kernel, but for bfloat16 on a CPU."""
    fused = not (device.type == "cpu" and precision == "bfloat16")
    for part in module.modules():
        if isinstance(part, Attention):
            part.fused_attn = fused  # type: ignore[misc]  # final for torch.jit only


@lru_cache(maxsize=2)
def _fastest_on_cpu(training: bool) -> str:
    with torch.random.fork_rng(devices=[]):  # whoever set a seed keeps their numbers
        return _measured_on_cpu(training)


def _measured_on_cpu(training: bool) -> str:
    layer = Block(192, 3, qkv_bias=True)
    tokens = torch.rand(8, 65, 192)
    image, kernel = torch.rand(1, 32, 64, 64), torch.rand(32, 32, 3, 3, requires_grad=True)
    image = image.contiguous(memory_format=torch.channels_last)

    def lap(precision: str) -> float:
        choose_attention(layer, torch.device("cpu"), precision)
        start = time.perf_counter()
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
            torch.set_grad_enabled(training),
        ):
            total = layer(tokens).float().mean() + F.conv2d(image, kernel, padding=1).float().mean()
        if training:
            total.backward()
        return time.perf_counter() - start

    layer.train(training)
    times = {precision: min([lap(precision) for _ in range(4)][1:]) for precision in ("float32", "bfloat16")}
    # float32 is kept unless bfloat16 clearly wins: it is the more exact of the two
    return "bfloat16" if times["bfloat16"] < 0.8 * times["float32"] else "float32"
