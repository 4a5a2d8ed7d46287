"""The typing head, the dense head and its loss."""

from __future__ import annotations

import math

import pytest
import torch

from napari_dama.nets.classifier import TypeClassifier, enlarge_middle
from napari_dama.nets.encoder import EncoderSpec
from napari_dama.nets.segmenter import DenseSegmenter, DenseSpec, dense_loss

SPEC = EncoderSpec("tiny", channels=3, image_px=64)


@pytest.mark.parametrize(("use_pixels", "use_tokens"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("shape", [(64, 64), (128, 64)])
def test_dense_maps_have_the_size_of_the_tile(
    shape: tuple[int, int], use_pixels: bool, use_tokens: bool
) -> None:
    net = DenseSegmenter(SPEC, DenseSpec((4, 8, 8, 8), use_pixels, use_tokens)).eval()
    assert net(torch.rand(2, 3, *shape)).shape == (2, 2, *shape)
    assert (net.encoder is not None) == use_tokens
    assert hasattr(net, "down") == use_pixels


@pytest.mark.parametrize("patch_px", [8, 16])
def test_dense_takes_patches_of_8_and_16(patch_px: int) -> None:
    spec = EncoderSpec("tiny", channels=1, image_px=32, patch_px=patch_px)
    assert DenseSegmenter(spec, DenseSpec((4, 4, 4, 4)))(torch.rand(2, 1, 32, 32)).shape == (2, 2, 32, 32)


def test_dense_refuses_what_it_cannot_join() -> None:
    with pytest.raises(ValueError, match="8 or 16 px, got 4"):
        DenseSegmenter(EncoderSpec("tiny", image_px=32, patch_px=4), DenseSpec())
    with pytest.raises(ValueError, match="pixels, tokens or both"):
        DenseSpec(use_pixels=False, use_tokens=False)


def test_dense_windows_do_not_see_each_other_through_tokens() -> None:
    torch.manual_seed(0)
    net = DenseSegmenter(SPEC, DenseSpec((4, 4, 4, 4), use_pixels=False)).eval()
    x = torch.rand(1, 3, 128, 64)
    y = x.clone()
    y[:, :, 64:] = 0
    with torch.no_grad():
        assert torch.allclose(net(x)[:, :, :32], net(y)[:, :, :32], atol=1e-5)


def slow_dense_loss(
    logits: torch.Tensor, foreground: torch.Tensor, distance: torch.Tensor
) -> tuple[float, float, float]:
    entropy = off = area = inter = guesses = truths = 0.0
    n, _, h, w = logits.shape
    for i in range(n):
        for y in range(h):
            for x in range(w):
                truth = float(foreground[i, y, x])
                if truth < 0:
                    continue
                p = 1 / (1 + math.exp(-float(logits[i, 0, y, x])))
                d = abs(1 / (1 + math.exp(-float(logits[i, 1, y, x]))) - float(distance[i, y, x]))
                area += 1
                entropy -= truth * math.log(p) + (1 - truth) * math.log(1 - p)
                off += (0.5 * d * d / 0.1 if d < 0.1 else d - 0.05) * (1 + 2 * truth)
                inter, guesses, truths = inter + p * truth, guesses + p, truths + truth
    area = max(area, 1)
    return entropy / area, 1 - (2 * inter + 1) / (guesses + truths + 1), off / area


@pytest.mark.parametrize(("n", "side", "unknown"), [(1, 4, 0.0), (2, 8, 0.3), (1, 4, 1.0)])
def test_dense_loss_equals_a_loop(n: int, side: int, unknown: float) -> None:
    torch.manual_seed(n)
    logits, distance = torch.randn(n, 2, side, side), torch.rand(n, side, side)
    foreground = (torch.rand(n, side, side) > 0.5).float()
    foreground[torch.rand(n, side, side) < unknown] = -1
    total, parts = dense_loss(logits, foreground, distance)
    wanted = slow_dense_loss(logits, foreground, distance)
    got = tuple(float(parts[name]) for name in ("foreground", "dice", "distance"))
    assert got == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    assert float(total) == pytest.approx(wanted[0] + wanted[1] + 4 * wanted[2], rel=1e-4)


@pytest.mark.parametrize("pool", ["mean", "centre"])
@pytest.mark.parametrize("image_px", [32, 64, 128])
def test_typing_head_pools_as_it_says(pool: str, image_px: int) -> None:
    torch.manual_seed(0)
    net = TypeClassifier(EncoderSpec("tiny", channels=2, image_px=image_px), 5, pool=pool).eval()  # type: ignore[arg-type]
    x = torch.rand(2, 2, image_px, image_px)
    with torch.no_grad():
        assert net(x).shape == (2, 5)
        tokens = net.encoder(x)[:, 1:]
        wanted = tokens.mean(1)
        if pool == "centre":
            grid = image_px // 16
            half = max(grid // 8, 1)
            middle = [
                tokens[:, row * grid + column]
                for row in range(grid // 2 - half, grid // 2 + half)
                for column in range(grid // 2 - half, grid // 2 + half)
            ]
            wanted = torch.cat([wanted, torch.stack(middle).mean(0)], dim=1)
        assert torch.allclose(net.features(x), net.norm(wanted), atol=1e-4)


@pytest.mark.parametrize("pool", ["mean", "centre"])
@pytest.mark.parametrize("channels", [1, 7])
def test_typing_head_with_a_path_from_the_pixels(pool: str, channels: int) -> None:
    spec = EncoderSpec("tiny", channels=channels, image_px=64)
    net = TypeClassifier(spec, 3, pool=pool, zoom=1.5, use_pixels=True).eval()  # type: ignore[arg-type]
    x = torch.rand(2, channels, 64, 64)
    with torch.no_grad():
        features = net.features(x)
        assert features.shape == (2, (48 + 128) * (2 if pool == "centre" else 1)) and net(x).shape == (2, 3)
        assert torch.allclose(features[:1], net.features(x[:1]), atol=1e-4)  # alone or among neighbours


def test_zoom_shows_the_middle_alone() -> None:
    x = torch.rand(2, 3, 64, 64)
    assert enlarge_middle(x, 1.0) is x
    twice = enlarge_middle(x, 2.0)
    wanted = torch.nn.functional.interpolate(x[..., 16:48, 16:48], scale_factor=2, mode="bilinear")
    assert torch.allclose(twice[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2], atol=1e-4)
    outside = x.clone()
    outside[..., :14, :] = 9
    outside[..., 50:] = 9
    assert torch.equal(enlarge_middle(outside, 2.0), twice)
