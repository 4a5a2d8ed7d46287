"""Rates over time and depth, and what weight decay touches."""

from __future__ import annotations

import math

import pytest
from torch import nn

from napari_dama.nets.autoencoder import DecoderSpec, MaskedAutoencoder
from napari_dama.nets.classifier import TypeClassifier
from napari_dama.nets.dama import Dama, DamaSpec
from napari_dama.nets.encoder import SIZES, EncoderSpec
from napari_dama.nets.segmenter import DenseSegmenter, DenseSpec
from napari_dama.training.optimiser import parameter_groups, rate_at

SPEC = EncoderSpec("tiny", channels=2, image_px=32)


def modules() -> list[nn.Module]:
    decoder = DecoderSpec(1, 32, 2)
    return [
        MaskedAutoencoder(SPEC, decoder),
        Dama(SPEC, decoder, DamaSpec()),
        TypeClassifier(SPEC, 3),
        DenseSegmenter(SPEC, DenseSpec((4, 4, 4, 4))),
        DenseSegmenter(SPEC, DenseSpec((4, 4, 4, 4), use_tokens=False)),
    ]


@pytest.mark.parametrize("index", range(5))
def test_every_parameter_is_in_one_group(index: int) -> None:
    module = modules()[index]
    groups = parameter_groups(module, weight_decay=0.05, layer_decay=0.75)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in module.parameters())


@pytest.mark.parametrize("index", range(5))
def test_no_decay_on_biases_norms_and_tokens(index: int) -> None:
    module = modules()[index]
    decay = {
        id(p): group["weight_decay"]
        for group in parameter_groups(module, weight_decay=0.05)
        for p in group["params"]
    }
    for name, parameter in module.named_parameters():
        free = parameter.ndim == 1 or name.split(".")[-1] in ("cls_token", "pos_embed", "mask_token")
        assert decay[id(parameter)] == (0.0 if free else 0.05), name


@pytest.mark.parametrize("depth", [2, 12])
def test_layer_decay_values(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tiny", (48, depth, 3))
    module = TypeClassifier(SPEC, 3)
    scale = {
        id(p): group["scale"]
        for group in parameter_groups(module, weight_decay=0.05, layer_decay=0.75)
        for p in group["params"]
    }
    for name, parameter in module.named_parameters():
        if name.startswith("encoder.blocks."):
            layer = int(name.split(".")[2]) + 1
        elif name.startswith(("encoder.patch_embed", "encoder.pos_embed", "encoder.cls_token")):
            layer = 0
        else:
            layer = depth + 1
        assert scale[id(parameter)] == pytest.approx(0.75 ** (depth + 1 - layer)), name


def test_frozen_parameters_are_left_out() -> None:
    module = TypeClassifier(SPEC, 3)
    module.encoder.requires_grad_(False)
    held = [p for group in parameter_groups(module, weight_decay=0.05) for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in [*module.norm.parameters(), *module.head.parameters()]}


@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("floor", [0.0, 1e-5])
def test_rate_rises_then_follows_half_a_cosine(steps: int, warmup: float, floor: float) -> None:
    rates = [rate_at(step, steps, peak=1e-3, floor=floor, warmup=warmup) for step in range(steps)]
    rise = max(1, round(warmup * steps))
    for step, rate in enumerate(rates):
        if step < rise:
            assert rate == pytest.approx(1e-3 * (step + 1) / rise)
        else:
            share = (step - rise) / (steps - rise)
            assert rate == pytest.approx(floor + (1e-3 - floor) * (1 + math.cos(math.pi * share)) / 2)
    assert max(rates) == pytest.approx(1e-3)
    assert rate_at(steps * 2, steps, peak=1e-3, floor=floor, warmup=warmup) == pytest.approx(floor)
