"""Reconstruction errors against loops, and what the decoder may know."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from napari_dama.nets.autoencoder import (
    DecoderSpec,
    MaskedAutoencoder,
    hidden_mean,
    patch_error,
    patch_moments,
)
from napari_dama.nets.encoder import EncoderSpec, patchify
from napari_dama.nets.mae import Mae
from napari_dama.nets.masking import random_mask

SPEC, DECODER = EncoderSpec("tiny", channels=3, image_px=64), DecoderSpec(2, 64, 4)


def slow_patch_error(
    prediction: Tensor, patches: Tensor, *, normalise: bool, weight: Tensor | None
) -> Tensor:
    n, tokens, length = patches.shape
    channels = 1 if weight is None else weight.shape[1]
    guesses, truths = prediction.tolist(), patches.tolist()
    shares = [[1.0]] * n if weight is None else weight.tolist()
    error = torch.zeros(n, tokens)
    for i in range(n):
        for j in range(tokens):
            target = truths[i][j]
            if normalise:
                counted = [v for k, v in enumerate(target) if shares[i][k % channels]] or [0.0]
                mean = sum(counted) / len(counted)
                var = sum((v - mean) ** 2 for v in counted) / max(len(counted) - 1, 1)
                target = [(v - mean) / math.sqrt(var + 1e-6) for v in target]
            total = norm = 0.0
            for k in range(length):
                total += shares[i][k % channels] * (guesses[i][j][k] - target[k]) ** 2
                norm += shares[i][k % channels]
            error[i, j] = total / norm if norm else 0.0
    return error


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("n", "tokens", "pixels", "channels"), [(1, 1, 4, 1), (2, 3, 4, 2), (3, 4, 9, 7)])
@pytest.mark.parametrize("absent", [None, 0, 1])
def test_patch_error_equals_a_loop(
    n: int, tokens: int, pixels: int, channels: int, absent: int | None, normalise: bool
) -> None:
    generator = torch.Generator().manual_seed(n + tokens)
    prediction, patches = (torch.rand(n, tokens, pixels * channels, generator=generator) for _ in range(2))
    weight = None
    if absent is not None:
        weight = torch.ones(n, channels)
        weight[::2, : min(absent, channels - 1)] = 0
    got = patch_error(prediction, patches, normalise=normalise, weight=weight)
    wanted = slow_patch_error(prediction, patches, normalise=normalise, weight=weight)
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_absent_markers_do_not_enter_the_error() -> None:
    x = torch.rand(2, 3, 64, 64)
    patches, prediction = patchify(x, 16), torch.rand(2, 16, 16 * 16 * 3)
    weight = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    wild = prediction.clone().reshape(2, 16, -1, 3)
    wild[..., 2] += 100
    before, after = (
        patch_error(p.reshape(2, 16, -1), patches, normalise=False, weight=weight) for p in (prediction, wild)
    )
    assert torch.equal(before[0], after[0])
    assert (after[1] > before[1] + 100).all()


def test_all_markers_present_weighs_nothing() -> None:
    prediction, patches = torch.rand(2, 4, 12), torch.rand(2, 4, 12)
    plain = patch_error(prediction, patches, normalise=True)
    assert torch.allclose(plain, patch_error(prediction, patches, normalise=True, weight=torch.ones(2, 3)))


def test_no_marker_at_all_gives_zero_and_no_nan() -> None:
    error = patch_error(torch.rand(1, 4, 12), torch.zeros(1, 4, 12), normalise=True, weight=torch.zeros(1, 3))
    assert torch.equal(error, torch.zeros(1, 4))


def test_a_constant_patch_has_a_finite_error() -> None:
    error = patch_error(torch.zeros(1, 1, 12), torch.full((1, 1, 12), 0.7), normalise=True)
    assert error.isfinite().all() and float(error.max()) < 1e-3


@pytest.mark.parametrize(("n", "tokens"), [(1, 4), (3, 16), (8, 64)])
def test_hidden_mean_equals_a_loop(n: int, tokens: int) -> None:
    error, hidden = torch.rand(n, tokens), random_mask(n, tokens, mask_ratio=0.75)
    values = [float(error[i, j]) for i in range(n) for j in range(tokens) if hidden[i, j]]
    assert float(hidden_mean(error, hidden)) == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_moments_bring_a_normalised_patch_back() -> None:
    patches = torch.rand(2, 4, 48)
    mean, std = patch_moments(patches)
    normal = (patches - mean) / std
    assert torch.allclose(normal * std + mean, patches, atol=1e-6)
    assert torch.allclose(std**2, patches.var(-1, keepdim=True), atol=1e-5)


def test_absent_markers_do_not_change_what_is_normal() -> None:
    seen = torch.rand(2, 4, 16, 2)
    absent = torch.zeros(2, 4, 16, 1)
    weight = torch.tensor([[1.0, 1.0, 0.0]]).expand(2, 3)
    mean, std = patch_moments(torch.cat([seen, absent], dim=3).flatten(2), weight)
    wanted_mean, wanted_std = patch_moments(seen.flatten(2))
    assert torch.allclose(mean, wanted_mean, atol=1e-6) and torch.allclose(std, wanted_std, atol=1e-5)


def test_shapes_of_a_view() -> None:
    net = MaskedAutoencoder(SPEC, DECODER)
    hidden = random_mask(2, 16, mask_ratio=0.75)
    view = net(torch.rand(2, 3, 64, 64), hidden, last=2)
    assert view.prediction.shape == (2, 16, 16 * 16 * 3)
    assert view.features.shape == (2, 5, 48)
    assert view.targets is not None and view.targets.shape == (2, 5, 48)
    assert net(torch.rand(2, 3, 64, 64), hidden).targets is None


def test_prediction_does_not_see_hidden_patches() -> None:
    torch.manual_seed(0)
    net = MaskedAutoencoder(SPEC, DECODER).eval()
    hidden = random_mask(1, 16, mask_ratio=0.75, generator=torch.Generator().manual_seed(0))
    x = torch.rand(1, 3, 64, 64)
    shown = hidden.logical_not().reshape(1, 1, 4, 4).float()
    mask = torch.nn.functional.interpolate(shown, scale_factor=16)
    one, two = (net(y, hidden).prediction for y in (x, x * mask))
    assert torch.equal(one, two)


def test_decoder_tokens_stand_at_their_places() -> None:
    """The tokens of visible patches reach the decoder where they were cut out, hidden ones as the mask token."""
    torch.manual_seed(0)
    net = MaskedAutoencoder(SPEC, DecoderSpec(1, 64, 4)).eval()
    hidden = random_mask(2, 16, mask_ratio=0.5, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    net.blocks[0].register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach()))
    features = net(torch.rand(2, 3, 64, 64), hidden).features
    small = net.bridge(features)
    for sample in range(2):
        index = 0
        for place in range(16):
            wanted = net.mask_token[0, 0]
            if not hidden[sample, place]:
                index += 1
                wanted = small[sample, index]
            assert torch.allclose(seen[0][sample, 1 + place], wanted + net.positions[0, 1 + place], atol=1e-5)


def test_mae_is_the_hidden_mean_of_one_network() -> None:
    torch.manual_seed(0)
    method = Mae(SPEC, DECODER, mask_ratio=0.75).eval()
    x = torch.rand(3, 3, 64, 64)
    losses = method(x, generator=torch.Generator().manual_seed(4))
    hidden = random_mask(3, 16, mask_ratio=0.75, generator=torch.Generator().manual_seed(4))
    view = method.autoencoder(x, hidden)
    error = slow_patch_error(view.prediction, patchify(x, 16), normalise=True, weight=None)
    total = float(losses.total.detach())
    assert total == pytest.approx(float(hidden_mean(error, hidden)), rel=1e-4)
    assert total == float(losses.parts["reconstruction"].detach())
