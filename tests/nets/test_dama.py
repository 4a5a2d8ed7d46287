"""DAMA's regression and its two students: against loops, and where the published code is at fault."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from napari_dama.nets.autoencoder import DecoderSpec, hidden_mean, patch_error, patch_moments
from napari_dama.nets.dama import (
    Dama,
    DamaSpec,
    Losses,
    Pairing,
    ProjectionHead,
    pair_tokens,
    published_alpha,
    regression_loss,
)
from napari_dama.nets.encoder import EncoderSpec, patchify
from napari_dama.nets.masking import adaptive_mask, random_mask, visible_ids

SPEC, DECODER = EncoderSpec("tiny", channels=3, image_px=64), DecoderSpec(1, 32, 2)
RATIOS = {"mask_ratio": 0.75, "overlap_ratio": 0.5}
PARTS = ("reconstruction_1", "reconstruction_2", "regression")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def method(**changes: object) -> Dama:
    torch.manual_seed(0)
    return Dama(SPEC, DECODER, DamaSpec(mask_ratio=0.75, last_blocks=2, **changes))  # type: ignore[arg-type]


def slow_smooth_l1(a: Tensor, b: Tensor, beta: float) -> Tensor:
    """Sum over features, for each token: (N, T)."""
    out = torch.zeros(a.shape[:2])
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            for u, v in zip(a[i, j].tolist(), b[i, j].tolist(), strict=True):
                d = abs(u - v)
                out[i, j] += 0.5 * d * d / beta if d < beta else d - 0.5 * beta
    return out


@pytest.mark.parametrize(("n", "tokens", "width"), [(1, 1, 4), (2, 13, 8), (5, 7, 48)])
@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_regression_equals_a_loop(n: int, tokens: int, width: int, beta: float) -> None:
    a, b = (torch.randn(n, tokens, width, generator=generator(s)) for s in (0, 1))
    wanted = float(slow_smooth_l1(a, b, beta).mean())
    assert float(regression_loss(a, b, beta=beta)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("times", [2, 8, 64])
def test_regression_does_not_grow_with_the_batch(times: int) -> None:
    a, b = (torch.randn(4, 13, 16, generator=generator(s)).softmax(-1) for s in (0, 1))
    many = regression_loss(a.repeat(times, 1, 1), b.repeat(times, 1, 1), beta=2.0)
    assert float(many) == pytest.approx(float(regression_loss(a, b, beta=2.0)), rel=1e-4)


@pytest.mark.parametrize(("n", "tokens"), [(2, 13), (32, 7), (512, 13)])
def test_published_alpha_gives_the_published_sum(n: int, tokens: int) -> None:
    a, b = (torch.randn(n, tokens, 8, generator=generator(s)).softmax(-1) for s in (0, 1))
    published = nn.functional.smooth_l1_loss(a, b, beta=2.0, reduction="none").sum()
    ours = published_alpha(n, tokens) * regression_loss(a, b, beta=2.0)
    assert float(ours) == pytest.approx(float(published), rel=1e-4)


def places_as_tokens(hidden: Tensor) -> Tensor:
    """Tokens (N, 1 + keep, 1) that say where they come from; the class token says -1."""
    places = visible_ids(hidden)[..., None].float()
    return torch.cat([torch.full((len(hidden), 1, 1), -1.0), places], dim=1)


@pytest.mark.parametrize("tokens", [16, 64, 196])
@pytest.mark.parametrize("overlap_ratio", [0.0, 0.25, 0.5, 1.0])
def test_aligned_pairs_the_same_places(tokens: int, overlap_ratio: float) -> None:
    one = random_mask(32, tokens, mask_ratio=0.75, generator=generator(0))
    error = torch.rand(32, tokens, generator=generator(1))
    other = adaptive_mask(one, error, mask_ratio=0.75, overlap_ratio=overlap_ratio, generator=generator(2))
    a, b = pair_tokens(
        places_as_tokens(one), places_as_tokens(other), one, other, pairing="aligned", generator=None
    )
    assert torch.equal(a, b)
    for row in range(32):
        both = [place for place in range(tokens) if not one[row, place] and not other[row, place]]
        assert a[row, :, 0].tolist() == [-1, *both]


def test_published_pairs_every_token_with_one_of_some_place() -> None:
    one, other = (random_mask(64, 16, mask_ratio=0.75, generator=generator(s)) for s in (0, 1))
    a, b = (places_as_tokens(hidden) for hidden in (one, other))
    left, right = pair_tokens(a, b, one, other, pairing="published", generator=generator(3))
    assert torch.equal(left, a)
    assert (right[:, 0] == -1).all()
    assert torch.equal(right.sort(dim=1).values, b.sort(dim=1).values)  # a permutation of each sample's own
    assert not torch.equal(right, b)
    again = pair_tokens(a, b, one, other, pairing="published", generator=generator(3))[1]
    assert torch.equal(right, again)


def test_pooled_pairs_the_means() -> None:
    one, other = (random_mask(3, 16, mask_ratio=0.75, generator=generator(s)) for s in (0, 1))
    a, b = torch.rand(3, 5, 8), torch.rand(3, 5, 8)
    left, right = pair_tokens(a, b, one, other, pairing="pooled", generator=None)
    assert torch.allclose(left, a.mean(1)[:, None]) and torch.allclose(right, b.mean(1)[:, None])


def test_projection_is_the_published_head() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(8)
    names = [type(layer).__name__ for layer in head.layers]
    assert names == ["Linear", "LayerNorm", "ReLU", "Linear", "LayerNorm", "ReLU"]
    out = head(torch.randn(2, 3, 8))
    assert torch.allclose(out.sum(-1), torch.ones(2, 3))
    x = torch.randn(2, 3, 8)
    assert torch.allclose(head(x), torch.softmax(head.layers(x), -1))


def test_total_is_the_sum_of_its_parts() -> None:
    net = method(alpha=3.0).eval()
    losses = net(torch.rand(4, 3, 64, 64), generator=generator(1))
    assert tuple(losses.parts) == PARTS
    wanted = (
        losses.parts["reconstruction_1"] + losses.parts["reconstruction_2"] + 3 * losses.parts["regression"]
    )
    assert torch.allclose(losses.total, wanted)


def test_losses_follow_step_by_step_from_the_method() -> None:
    net = method().eval()
    x = torch.rand(4, 3, 64, 64, generator=generator(9))
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 0], [1, 0, 0]]).bool()
    got = net(x, present=present, generator=generator(1))
    source = generator(1)
    patches, weight = patchify(x, 16), present.float()
    with torch.no_grad():
        one = random_mask(4, 16, mask_ratio=0.75, generator=source)
        view_1 = net.network_1(x, one)
        error_1 = patch_error(view_1.prediction, patches, normalise=True, weight=weight)
        other = adaptive_mask(one, error_1, generator=source, **RATIOS)
        assert net.network_2 is not None
        view_2 = net.network_2(x, other, last=2)
        error_2 = patch_error(view_2.prediction, patches, normalise=True, weight=weight)
        assert view_2.targets is not None
        pairs = pair_tokens(view_1.features, view_2.targets, one, other, pairing="aligned", generator=None)
        regression = slow_smooth_l1(net.projection(pairs[0]), pairs[1].softmax(-1), 2.0).mean()
    wanted = (hidden_mean(error_1, one), hidden_mean(error_2, other), regression)
    for name, value in zip(PARTS, wanted, strict=True):
        assert float(got.parts[name].detach()) == pytest.approx(float(value), rel=1e-3), name


@pytest.mark.parametrize(("rule", "noise_is_shown"), [("normalised", False), ("intensity", True)])
def test_flat_noise_counts_as_hard_only_where_patches_are_normalised(
    rule: str, noise_is_shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patch of faint noise cannot be foreseen: by normalised error it is hardest, by intensity it is easiest."""
    noise = torch.randn(2, 3, 64, 64, generator=generator(3))
    stripes = (torch.arange(64).view(1, 1, 64, 1) % 16 < 8).float().expand(2, 3, 64, 32)
    x = torch.cat([1e-3 * noise[..., :32], stripes + 0.05 * noise[..., 32:]], dim=3)
    faint = torch.tensor([[True, True, False, False]] * 4).flatten()
    patches = patchify(x, 16)
    mean, std = patch_moments(patches)
    foreseen = torch.where(
        faint[None, :, None], 0.0, 0.9 * (patches - mean) / std
    )  # stripes, and nothing else
    net = method(mask_error=rule).eval()
    monkeypatch.setattr(net.network_1, "_decode", lambda features, places, tokens: foreseen)
    masks: list[Tensor] = []
    plain = net._second_mask

    def noted(one: Tensor, error: Tensor, source: torch.Generator | None) -> tuple[Tensor, Tensor]:
        found = plain(one, error, source)
        masks.append(one & ~found[0])  # hidden at first, then shown
        return found

    monkeypatch.setattr(net, "_second_mask", noted)
    net(x, generator=generator(1))
    assert masks[0].any()
    assert (masks[0] & faint).any() == noise_is_shown
    assert (masks[0] & ~faint).any() == (not noise_is_shown)


def gradients(net: Dama, loss: Tensor) -> dict[str, float]:
    """Largest absolute gradient in each of the three networks."""
    net.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    found = {}
    for name, part in net.named_children():
        values = [float(p.grad.abs().max()) for p in part.parameters() if p.grad is not None]
        found[name] = max(values, default=0.0)
    return found


@pytest.mark.parametrize("pairing", ["aligned", "published", "pooled"])
def test_gradient_reaches_both_networks_but_not_through_the_target(pairing: Pairing) -> None:
    net = method(pairing=pairing)
    x = torch.rand(2, 3, 64, 64)
    found = gradients(net, net(x, generator=generator(0)).total)
    assert min(found.values()) > 0
    found = gradients(net, net(x, generator=generator(0)).parts["regression"])
    assert found["network_1"] > 0 and found["projection"] > 0
    assert found["network_2"] == 0


def test_the_second_mask_at_random_keeps_count_and_overlap_but_ignores_errors() -> None:
    one = random_mask(32, 16, mask_ratio=0.75, generator=generator(0))
    error = torch.rand(32, 16, generator=generator(1))
    adaptive, at_random = (
        method(second_mask=kind)._second_mask(one, error, generator(2))[0] for kind in ("adaptive", "random")
    )
    for mask in (adaptive, at_random):
        assert mask.logical_not().sum(1).tolist() == [4] * 32
        assert (~one & ~mask).sum(1).tolist() == [2] * 32
    flipped = method(second_mask="random")._second_mask(one, 1 - error, generator(2))[0]
    assert torch.equal(at_random, flipped)
    assert not torch.equal(adaptive, method()._second_mask(one, 1 - error, generator(2))[0])


def test_same_generator_same_losses() -> None:
    net = method().eval()
    x = torch.rand(2, 3, 64, 64)
    one: Losses = net(x, generator=generator(5))
    torch.manual_seed(77)
    two: Losses = net(x, generator=generator(5))
    assert torch.equal(one.total, two.total)
    assert not torch.equal(one.total, net(x, generator=generator(6)).total)


def test_the_kept_network_is_the_first() -> None:
    net = method()
    assert net.autoencoder is net.network_1
