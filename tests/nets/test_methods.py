"""Pretraining methods against loops: targets, losses, masks, teachers, and what they draw their randomness from."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from napari_dama.nets.autoencoder import DecoderSpec
from napari_dama.nets.dama import Dama, DamaSpec, published_alpha
from napari_dama.nets.data2vec import Data2Vec, Data2VecSpec
from napari_dama.nets.encoder import Encoder, EncoderSpec, FeatureEncoder, patchify
from napari_dama.nets.mae import Mae
from napari_dama.nets.masking import adaptive_mask, published_mask, random_mask, visible_count
from napari_dama.nets.method import Method, Momentum, follow, teacher_of
from napari_dama.nets.moco import Moco, MocoSpec, info_nce
from napari_dama.nets.simmim import SimMim

SPEC, DECODER = EncoderSpec("tiny", channels=3, image_px=64), DecoderSpec(1, 32, 2)
MOCO = MocoSpec(hidden=32, out=16)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dama(**changes: object) -> Dama:
    return Dama(SPEC, DECODER, DamaSpec(mask_ratio=0.75, last_blocks=2, **changes))  # type: ignore[arg-type]


METHODS: dict[str, Callable[[], Method]] = {
    "dama": dama,
    "dama-shared": lambda: dama(second_network="shared"),
    "dama-ema": lambda: dama(second_network="ema"),
    "dama-published": lambda: dama(second_mask="published", pairing="published"),
    "mae": lambda: Mae(SPEC, DECODER, mask_ratio=0.75),
    "data2vec": lambda: Data2Vec(SPEC, Data2VecSpec(last_blocks=2)),
    "simmim": lambda: SimMim(SPEC),
    "moco": lambda: Moco(SPEC, MOCO),
}
MASKED = [name for name in METHODS if name not in ("moco", "dama-published")]


def made(name: str) -> Method:
    torch.manual_seed(0)
    return METHODS[name]()


def shuffled(net: nn.Module) -> None:
    """Other weights, so that a teacher is no copy of its student."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


def views_of(method: Method, n: int = 4, seed: int = 9) -> list[Tensor]:
    return [torch.rand(n, 3, 64, 64, generator=generator(seed + i)) for i in range(method.views)]


@pytest.mark.parametrize("name", METHODS)
def test_randomness_comes_from_the_generator_alone(name: str) -> None:
    method = made(name)
    x = views_of(method)
    torch.manual_seed(1)
    one = method(*x, generator=generator(3)).total
    torch.manual_seed(2)
    assert torch.equal(one, method(*x, generator=generator(3)).total)


@pytest.mark.parametrize("name", METHODS)
def test_the_kept_encoder_learns_and_teachers_do_not(name: str) -> None:
    method = made(name)
    method(*views_of(method), generator=generator(0)).total.backward()
    learned = {key for key, value in method.named_parameters() if value.grad is not None}
    block = method.encoder.blocks[0].mlp.fc1.weight
    assert block.grad is not None and float(block.grad.abs().max()) > 0
    assert not any(key.startswith("teacher.") for key in learned)
    assert any(key.startswith("network_2.") for key in learned) == (name in ("dama", "dama-published"))


@pytest.mark.parametrize("name", MASKED)
def test_a_sample_does_not_depend_on_its_neighbours(name: str) -> None:
    """A loss that is a mean over samples is additive in them: f(a, b) + f(c, d) = f(a, d) + f(c, b)."""
    method = made(name).eval()
    a, b, c, d = (torch.rand(3, 64, 64, generator=generator(seed)) for seed in range(4))

    def loss(one: Tensor, other: Tensor) -> float:
        with torch.no_grad():
            return float(method(torch.stack([one, other]), generator=generator(8)).total)

    assert loss(a, b) + loss(c, d) == pytest.approx(loss(a, d) + loss(c, b), rel=1e-5)
    assert loss(a, b) != pytest.approx(loss(c, d), rel=1e-4)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_mask_tokens_stand_in_for_hidden_patches(size: int) -> None:
    encoder = Encoder(EncoderSpec("tiny", channels=2, image_px=size))
    token = torch.randn(1, 1, 48)
    x = torch.rand(3, 2, size, size)
    hidden = torch.rand(3, encoder.spec.tokens, generator=generator(0)) < 0.5
    got = encoder.embed_masked(x, hidden, token)
    whole = encoder.patch_embed(x)
    for i in range(3):
        for j in range(encoder.spec.tokens):
            wanted = (token[0, 0] if hidden[i, j] else whole[i, j]) + encoder.pos_embed[0, 1 + j]
            assert torch.allclose(got[i, j], wanted, atol=1e-6)


# teachers


def test_momentum_is_constant_or_rises_as_half_a_cosine() -> None:
    assert [Momentum(0.9).at(p) for p in (0.0, 0.5, 1.0)] == [0.9] * 3
    for p in (0.0, 0.2, 0.5, 0.9, 1.0):
        wanted = 1 - 0.1 * (math.cos(math.pi * p) + 1) / 2
        assert Momentum(0.9, "cosine").at(p) == pytest.approx(wanted)
    with pytest.raises(ValueError, match=r"momentum must lie in 0\.\.1, got 1\.5"):
        Momentum(1.5)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99, 1.0])
def test_a_teacher_follows(momentum: float) -> None:
    student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    teacher = teacher_of(student)
    shuffled(student)
    student(torch.rand(8, 3))
    before = {name: value.clone() for name, value in teacher.named_parameters()}
    follow(teacher, student, momentum)
    for name, value in teacher.named_parameters():
        wanted = momentum * before[name] + (1 - momentum) * student.get_parameter(name)
        assert torch.allclose(value, wanted, atol=1e-6) and not value.requires_grad
    assert not torch.equal(teacher[1].running_mean, student[1].running_mean)  # its own statistics


@pytest.mark.parametrize(("name", "teacher", "student"), [
    ("data2vec", "teacher", "student"), ("moco", "teacher", "student"), ("dama-ema", "network_2", "network_1"),
])  # fmt: skip
def test_teachers_follow_after_a_step_and_restart_as_copies(name: str, teacher: str, student: str) -> None:
    method = made(name)
    own, other = method.get_submodule(teacher), method.get_submodule(student)
    assert {key.split(".")[0] for key in method.state_dict()} >= {teacher, student}
    shuffled(other)
    key, _ = next(iter(own.named_parameters()))
    start = method.spec.momentum.at(0.5)  # type: ignore[union-attr,operator]
    wanted = start * own.get_parameter(key) + (1 - start) * other.get_parameter(key)
    method.after_step(0.5)
    assert torch.allclose(own.get_parameter(key), wanted, atol=1e-6)
    assert not torch.equal(own.get_parameter(key), other.get_parameter(key))
    method.restart()
    assert all(torch.equal(value, other.get_parameter(key)) for key, value in own.named_parameters())


# data2vec


@pytest.mark.parametrize("last", [1, 2, 3])
@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 64), (7, 48)])
def test_target_of_data2vec_is_the_mean_of_normalised_mlp_outputs(
    last: int, channels: int, size: int
) -> None:
    torch.manual_seed(0)
    method = Data2Vec(EncoderSpec("tiny", channels=channels, image_px=size), Data2VecSpec(last_blocks=last))
    shuffled(method.teacher)
    seen: list[Tensor] = []
    for block in method.teacher.blocks:
        block.mlp.register_forward_hook(lambda module, args, out: seen.append(out))
    x = torch.rand(2, channels, size, size)
    got = method.target(x)
    assert len(seen) == 3 and not got.requires_grad and got.shape == (2, 1 + method.encoder.spec.tokens, 48)
    total = torch.zeros_like(got)
    for out in seen[3 - last :]:
        for i in range(2):
            for j in range(out.shape[1]):
                v = out[i, j]
                total[i, j] += (v - v.mean()) / (v.var(unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(got, total / last, atol=1e-5)


@pytest.mark.parametrize("beta", [0.1, 2.0])
@pytest.mark.parametrize(("n", "ratio"), [(1, 0.6), (3, 0.25), (2, 0.9)])
def test_loss_of_data2vec_equals_a_loop(n: int, ratio: float, beta: float) -> None:
    torch.manual_seed(0)
    method = Data2Vec(SPEC, Data2VecSpec(mask_ratio=ratio, last_blocks=2, beta=beta)).eval()
    shuffled(method.teacher)
    x = torch.rand(n, 3, 64, 64)
    with torch.no_grad():
        got = method(x, generator=generator(1))
        hidden = random_mask(n, 16, mask_ratio=ratio, generator=generator(1))
        target = method.target(x)
        tokens = method.student.embed_masked(x, hidden, method.mask_token)
        prediction = method.head(method.student.encode(tokens))
        values = []
        for i in range(n):
            for j in range(16):
                if hidden[i, j]:
                    for u, v in zip(prediction[i, 1 + j].tolist(), target[i, 1 + j].tolist(), strict=True):
                        d = abs(u - v)
                        values.append(0.5 * d * d / beta if d < beta else d - 0.5 * beta)
    assert float(got.total) == pytest.approx(sum(values) / len(values), rel=1e-4)
    spread = target[:, 1:].flatten(0, 1).std(0).mean()
    assert float(got.parts["target_spread"]) == pytest.approx(float(spread), rel=1e-5)
    assert set(got.parts) == {"regression", "target_spread"} and got.total is got.parts["regression"]


def test_the_student_of_data2vec_sees_nothing_of_hidden_patches() -> None:
    method = made("data2vec").eval()
    assert isinstance(method, Data2Vec)
    hidden = random_mask(1, 16, mask_ratio=0.6, generator=generator(0))
    x = torch.rand(1, 3, 64, 64)
    place = int(hidden[0].float().argmax())
    other = x.clone()
    row, column = divmod(place, 4)
    other[:, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] += 1
    one, two = (
        method.student.encode(method.student.embed_masked(v, hidden, method.mask_token)) for v in (x, other)
    )
    assert torch.equal(one, two)
    assert not torch.allclose(method.target(x), method.target(other))


# simmim


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("n", "ratio"), [(1, 0.6), (4, 0.3)])
def test_loss_of_simmim_equals_a_loop_and_leaves_absent_markers_out(
    n: int, ratio: float, normalise: bool
) -> None:
    torch.manual_seed(0)
    method = SimMim(SPEC, mask_ratio=ratio, normalise_patches=normalise).eval()
    x = torch.rand(n, 3, 64, 64)
    present = torch.rand(n, 3, generator=generator(4)) < 0.6
    present[:, 0] = True
    with torch.no_grad():
        got = float(method(x, present=present, generator=generator(1)).total)
        hidden = random_mask(n, 16, mask_ratio=ratio, generator=generator(1))
        tokens = method.student.encode(method.student.embed_masked(x, hidden, method.mask_token))
        prediction, patches = method.head(tokens)[:, 1:], patchify(x, 16)
        errors = []
        for i in range(n):
            for j in range(16):
                if not hidden[i, j]:
                    continue
                target = patches[i, j]
                if normalise:
                    target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
                difference = (prediction[i, j] - target).reshape(256, 3)
                markers = [float(difference[:, c].abs().mean()) for c in range(3) if present[i, c]]
                errors.append(sum(markers) / len(markers))
    assert got == pytest.approx(sum(errors) / len(errors), rel=1e-4)


# moco


@pytest.mark.parametrize(("n", "width"), [(2, 3), (5, 16), (32, 8)])
@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_info_nce_equals_a_loop(n: int, width: int, temperature: float) -> None:
    queries, keys = (torch.randn(n, width, generator=generator(s)) for s in (0, 1))
    total = 0.0
    for i in range(n):
        scores = []
        for j in range(n):
            dot = sum(a * b for a, b in zip(queries[i].tolist(), keys[j].tolist(), strict=True))
            scores.append(dot / float(queries[i].norm() * keys[j].norm()) / temperature)
        total += math.log(sum(math.exp(s) for s in scores)) - scores[i]
    wanted = 2 * temperature * total / n
    assert float(info_nce(queries, keys, temperature=temperature)) == pytest.approx(wanted, rel=1e-4)


def test_loss_of_moco_is_symmetric_and_keys_carry_no_gradient() -> None:
    method = made("moco")
    assert isinstance(method, Moco)
    shuffled(method.teacher)
    a, b = views_of(method, 6)
    losses = method(a, b)
    with torch.no_grad():
        q = [method.predictor(method.student(view)) for view in (a, b)]
        k = [method.teacher(view) for view in (a, b)]
        wanted = info_nce(q[0], k[1], temperature=0.2) + info_nce(q[1], k[0], temperature=0.2)
        turned = method(b, a).total
    assert float(losses.total.detach()) == pytest.approx(float(wanted), rel=1e-5)
    assert float(turned) == pytest.approx(float(wanted), rel=1e-5)
    assert 0 <= float(losses.parts["found"]) <= 1
    losses.total.backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


def test_moco_has_the_published_heads_and_a_frozen_patch_projection() -> None:
    method = made("moco")
    assert isinstance(method, Moco)
    kinds = [type(layer).__name__ for layer in method.student.projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    kinds = [type(layer).__name__ for layer in method.predictor]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    method(*views_of(method)).total.backward()
    assert method.encoder.patch_embed.proj.weight.grad is None
    free = Moco(SPEC, MocoSpec(hidden=32, out=16, freeze_patches=False))
    free(*views_of(free)).total.backward()
    assert free.encoder.patch_embed.proj.weight.grad is not None


def test_moco_refuses_a_batch_of_one() -> None:
    method = made("moco")
    with pytest.raises(ValueError, match="needs at least 2, got 1"):
        method(*views_of(method, 1))


# switches of dama


def slow_published(
    hidden: Tensor, error: Tensor, keep: int, overlap: int, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The published lines, one patch at a time, with ties in the order of ``noise`` (2, N, L)."""
    n, tokens = hidden.shape
    scored = torch.zeros(n, tokens, dtype=torch.bool)
    stay: list[int] = []
    for i in range(n):
        by_error = sorted(range(tokens), key=lambda j: float(error[i, j]) if hidden[i, j] else 0.0)
        for j in range(tokens):
            scored[i, j] = not hidden[i, j]
        for j in by_error[tokens - (tokens - 2 * keep + overlap) :]:
            scored[i, j] = True
        stay += sorted((j for j in range(tokens) if not hidden[i, j]), key=lambda j: float(noise[0, i, j]))[
            :overlap
        ]
    for i in range(n):
        for j in stay:  # of every sample
            scored[i, j] = False
    encoded = torch.ones(n, tokens, dtype=torch.bool)
    for i in range(n):
        shown = (j for j in range(tokens) if not scored[i, j])
        for j in sorted(shown, key=lambda j: float(noise[1, i, j]))[:keep]:
            encoded[i, j] = False
    return encoded, scored


@pytest.mark.parametrize("tokens", [16, 64])
@pytest.mark.parametrize("n", [1, 3, 32])
@pytest.mark.parametrize("overlap_ratio", [0.0, 0.5, 1.0])
def test_the_published_mask_equals_its_lines(tokens: int, n: int, overlap_ratio: float) -> None:
    keep = visible_count(tokens, 0.8)
    hidden = random_mask(n, tokens, mask_ratio=0.8, generator=generator(0))
    error = torch.rand(n, tokens, generator=generator(1)) + 0.01
    ratios = {"mask_ratio": 0.8, "overlap_ratio": overlap_ratio}
    encoded, scored = published_mask(hidden, error, generator=generator(2), **ratios)
    noise = torch.rand(2, n, tokens, generator=generator(2))
    wanted = slow_published(hidden, error, keep, int(keep * overlap_ratio), noise)
    assert torch.equal(encoded, wanted[0]) and torch.equal(scored, wanted[1])
    assert encoded.logical_not().sum(1).tolist() == [keep] * n
    assert not (scored & ~encoded).any()  # what is encoded is never scored


def test_the_published_mask_hides_next_to_nothing_and_hangs_on_the_batch() -> None:
    hidden = random_mask(32, 64, mask_ratio=0.8, generator=generator(0))
    error = torch.rand(32, 64, generator=generator(1))
    ratios = {"mask_ratio": 0.8, "overlap_ratio": 0.5}
    _, scored = published_mask(hidden, error, generator=generator(2), **ratios)
    visible = scored.logical_not().sum(1)
    assert 57 <= int(visible.min()) and int(visible.max()) <= 63  # of 64, where 12 are meant
    _, alone = published_mask(hidden[:1], error[:1], **ratios)
    assert not torch.equal(alone[0], scored[0])
    assert torch.equal(
        alone.sum(1), adaptive_mask(hidden[:1], error[:1], **ratios).sum(1)
    )  # a batch of 1 is well


def test_the_published_mask_makes_samples_hang_together() -> None:
    method = made("dama-published").eval()
    a, b, c, d = (torch.rand(3, 64, 64, generator=generator(seed)) for seed in range(4))
    parts = [
        float(method(torch.stack(pair), generator=generator(8)).parts["reconstruction_2"].detach())
        for pair in ((a, b), (c, d), (a, d), (c, b))
    ]
    assert abs(parts[0] + parts[1] - parts[2] - parts[3]) > 1e-5


def test_the_published_mask_does_not_go_with_aligned_tokens() -> None:
    with pytest.raises(ValueError, match="choose pairing published or pooled"):
        DamaSpec(second_mask="published")


@pytest.mark.parametrize("name", ["dama", "dama-shared", "dama-ema"])
def test_total_of_dama_counts_what_learns(name: str) -> None:
    method = made(name)
    losses = method(*views_of(method), generator=generator(0))
    wanted = losses.parts["reconstruction_1"] + losses.parts["regression"]
    if name != "dama-ema":
        wanted = wanted + losses.parts["reconstruction_2"]
    assert float(losses.total.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)


def test_a_shared_network_is_one_network() -> None:
    method = made("dama-shared")
    assert isinstance(method, Dama)
    assert method.network_2 is None and not any("network_2" in name for name in method.state_dict())
    method(*views_of(method), generator=generator(0)).parts["reconstruction_2"].backward()
    assert method.network_1.head.weight.grad is not None


def test_published_alpha_of_the_published_batch() -> None:
    assert published_alpha(512, 13) == 6656.0


@pytest.mark.parametrize("name", METHODS)
def test_what_is_kept_starts_another_encoder(name: str) -> None:
    method = made(name)
    features = FeatureEncoder(method.encoder)
    x = torch.rand(2, 3, 64, 64)
    assert features(x).shape == (2, 48)
    assert torch.allclose(features(x), method.encoder(x)[:, 1:].mean(1))
    assert (method.autoencoder is not None) == (name.startswith("dama") or name == "mae")
