"""Attention of a crop's tokens, forward and backward: torch's fused kernel beside the plain product of matrices.

    python benchmarks/attention.py --json attention.json

`models/precision.choose_attention` rests on it: on CPUs the fused kernel is slow in bfloat16. Milliseconds of processor time
on one thread, medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from _table import Report

SHAPES = (
    ("tiny, visible tokens", (64, 3, 13, 64)),
    ("tiny, all tokens", (64, 3, 65, 64)),
    ("decoder", (64, 4, 65, 32)),
    ("base, visible tokens", (64, 12, 13, 64)),
    ("base, all tokens", (64, 12, 65, 64)),
)


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax of scaled products, as timm's attention computes it without the fused kernel."""
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1) @ v


def milliseconds(fused: bool, shape: tuple[int, ...], dtype: torch.dtype, rounds: int) -> float:
    """Median of one forward and backward pass."""
    attend = F.scaled_dot_product_attention if fused else plain
    found = []
    for _ in range(rounds):
        q, k, v = (torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3))
        begin = time.process_time()
        attend(q, k, v).sum().backward()
        found.append(time.process_time() - begin)
    return 1e3 * statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = Report(
        "attention", ("what", "crops x heads x tokens x width", "dtype", "fused", "plain", "ratio")
    )
    for what, shape in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            fused, other = (milliseconds(way, shape, dtype, options.rounds) for way in (True, False))
            report.add(
                what,
                " x ".join(map(str, shape)),
                str(dtype).removeprefix("torch."),
                fused,
                other,
                fused / other,
            )
    report.finish(options.json)


if __name__ == "__main__":
    main()
