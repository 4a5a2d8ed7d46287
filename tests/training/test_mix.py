"""Mixing and erasing against the same arithmetic written out pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_dama.training.mix import box_of_share, erase, mix_batch, mix_generator

SHAPE = (7, 3, 12, 20)


def batch(n: int = SHAPE[0]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, *SHAPE[1:], generator=generator)
    return x, torch.randint(0, 5, (n,), generator=generator)


def slow_target(truth: torch.Tensor, classes: int, share: float, smoothing: float) -> np.ndarray:
    out = np.zeros((len(truth), classes))
    for i in range(len(truth)):
        for whose, weight in ((i, share), (len(truth) - 1 - i, 1 - share)):
            for k in range(classes):
                hit = float(int(truth[whose]) == k)
                out[i, k] += weight * (hit * (1 - smoothing) + smoothing / classes)
    return out


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_a_weighted_mean_of_a_crop_and_its_opposite(n: int, smoothing: float, seed: int) -> None:
    x, truth = batch(n)
    before = x.clone()
    mixed, target = mix_batch(x, truth, 5, mix_generator(seed, 3), mixup=0.8, cutmix=0, smoothing=smoothing)
    share = mix_generator(seed, 3).beta(0.8, 0.8)
    for i in range(n):
        expected = share * before[i] + (1 - share) * before[n - 1 - i]
        assert torch.allclose(mixed[i], expected, atol=1e-6)
    np.testing.assert_allclose(target.numpy(), slow_target(truth, 5, share, smoothing), atol=1e-6)
    assert torch.equal(x, before)


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_pastes_a_box_and_counts_its_pixels(seed: int) -> None:
    x, truth = batch()
    before = x.clone()
    mixed, target = mix_batch(x, truth, 5, mix_generator(seed, 0), mixup=0, cutmix=1.0, smoothing=0.1)
    rng = mix_generator(seed, 0)
    side = math.sqrt(1 - rng.beta(1.0, 1.0))
    tall, wide = int(12 * side), int(20 * side)
    y, x0 = int(rng.integers(12)), int(rng.integers(20))
    inside = 0
    for row in range(12):
        for column in range(20):
            pasted = (
                y - tall // 2 <= row < y + (tall + 1) // 2 and x0 - wide // 2 <= column < x0 + (wide + 1) // 2
            )
            inside += pasted
            for i in range(len(x)):
                source = before[len(x) - 1 - i] if pasted else before[i]
                assert torch.equal(mixed[i, :, row, column], source[:, row, column])
    np.testing.assert_allclose(target.numpy(), slow_target(truth, 5, 1 - inside / 240, 0.1), atol=1e-6)
    assert torch.equal(x, before)


def test_both_are_taken_about_equally_often_and_rows_sum_to_one() -> None:
    x, truth = batch()
    cut = 0
    for step in range(200):
        mixed, target = mix_batch(x, truth, 5, mix_generator(0, step), mixup=0.8, cutmix=1.0, smoothing=0.1)
        assert torch.allclose(target.sum(1), torch.ones(len(x)))
        same = ((mixed == x) | (mixed == x.flip(0))).all()  # CutMix only copies pixels
        cut += bool(same)
    assert 70 < cut < 130


def test_boxes_cover_what_they_should_on_average() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 1.0):
        for _ in range(50):
            y0, y1, x0, x1 = box_of_share(share, 64, 48, rng)
            assert 0 <= y0 <= y1 <= 64 and 0 <= x0 <= x1 <= 48
            assert (y1 - y0) * (x1 - x0) <= (1 - share) * 64 * 48
    assert box_of_share(1.0, 64, 48, rng)[1] - box_of_share(1.0, 64, 48, rng)[0] <= 64


def test_a_step_repeats_itself_whatever_global_randomness_says() -> None:
    x, truth = batch()
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        rng = mix_generator(4, 9)
        erased = erase(
            x, torch.ones(7, 3, dtype=torch.bool), rng, torch.Generator().manual_seed(5), probability=0.5
        )
        found.append(mix_batch(erased, truth, 5, rng, mixup=0.8, cutmix=1.0, smoothing=0.1))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    other = mix_batch(x, truth, 5, mix_generator(4, 10), mixup=0.8, cutmix=0, smoothing=0.1)
    assert not torch.equal(found[0][0], other[0])


@pytest.mark.parametrize("seed", range(10))
def test_erasing_changes_one_rectangle_of_the_chosen_crops_and_nothing_else(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(16, 3, 40, 40, generator=generator) + 0.1
    present = torch.ones(16, 3, dtype=torch.bool)
    present[::3, 2] = False
    x = x * present[..., None, None]
    before = x.clone()
    out = erase(x, present, mix_generator(seed, 0), generator, probability=0.5)
    assert torch.equal(x, before)
    rng = mix_generator(seed, 0)
    for i in range(16):
        changed = (out[i] != before[i]).any(0)
        if rng.random() >= 0.5:
            assert not changed.any()
            continue
        tall = wide = 40
        while tall >= 40 or wide >= 40:
            area = rng.uniform(0.02, 1 / 3) * 1600
            aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
            tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        y, x0 = int(rng.integers(40 - tall + 1)), int(rng.integers(40 - wide + 1))
        for row in range(40):
            for column in range(40):
                inside = y <= row < y + tall and x0 <= column < x0 + wide
                assert bool(changed[row, column]) == inside
        assert float(out[i].min()) >= 0
        if i % 3 == 0:
            assert not out[i, 2].any()


def test_erasing_none_and_all() -> None:
    x = torch.rand(8, 2, 32, 32)
    present = torch.ones(8, 2, dtype=torch.bool)
    assert torch.equal(erase(x, present, mix_generator(0, 0), None, probability=0.0), x)
    changed = (erase(x, present, mix_generator(0, 0), None, probability=1.0) != x).flatten(1).any(1)
    assert changed.all()


def test_noise_has_the_mean_and_the_spread_of_its_marker() -> None:
    x = 5 + torch.tensor([0.1, 1.0])[:, None, None] * torch.randn(64, 2, 64, 64)
    out = erase(x, torch.ones(64, 2, dtype=torch.bool), mix_generator(0, 0), None, probability=1.0)
    for marker, spread in ((0, 0.1), (1, 1.0)):
        noise = out[:, marker][out[:, marker] != x[:, marker]]
        assert float(noise.mean()) == pytest.approx(5, abs=0.05 * spread)
        assert float(noise.std()) == pytest.approx(spread, rel=0.05)
