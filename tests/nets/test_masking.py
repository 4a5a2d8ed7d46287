"""Masks against slow references in plain Python, over many sizes, and the defects of the published code."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from napari_dama.nets.masking import adaptive_mask, random_mask, visible_count, visible_ids

TOKENS = (4, 9, 16, 25, 49, 64, 196)
MASK_RATIOS = (0.5, 0.6, 0.75, 0.8, 0.9)
OVERLAP_RATIOS = (0.0, 0.25, 0.5, 1.0)


def sizes() -> list[tuple[int, float, float]]:
    """Sizes for which Algorithm 1 has an answer."""
    found = []
    for tokens, mask_ratio, overlap_ratio in itertools.product(TOKENS, MASK_RATIOS, OVERLAP_RATIOS):
        keep = int(tokens * (1 - mask_ratio))
        if keep >= 1 and tokens - 2 * keep + int(keep * overlap_ratio) >= 0:
            found.append((tokens, mask_ratio, overlap_ratio))
    return found


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_adaptive_mask(
    hidden: Tensor, error: Tensor, *, mask_ratio: float, overlap_ratio: float
) -> list[tuple[set[int], set[int], int]]:
    """For each sample: what must become visible, what may stay visible, and how many of these do."""
    answers = []
    for row in range(len(hidden)):
        tokens = hidden.shape[1]
        keep = int(tokens * (1 - mask_ratio))
        overlap = int(keep * overlap_ratio)
        was_hidden = [place for place in range(tokens) if hidden[row, place]]
        was_visible = {place for place in range(tokens) if not hidden[row, place]}
        ranked = sorted(was_hidden, key=lambda place: float(error[row, place]))
        answers.append((set(ranked[: keep - overlap]), was_visible, overlap))
    return answers


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("mask_ratio", MASK_RATIOS)
def test_random_mask_leaves_exactly_keep_visible(tokens: int, mask_ratio: float) -> None:
    keep = int(tokens * (1 - mask_ratio))
    if keep < 1:
        with pytest.raises(ValueError, match=f"no visible patch of {tokens}"):
            random_mask(3, tokens, mask_ratio=mask_ratio)
        return
    hidden = random_mask(7, tokens, mask_ratio=mask_ratio, generator=generator(1))
    assert hidden.shape == (7, tokens) and hidden.dtype == torch.bool
    assert hidden.logical_not().sum(1).tolist() == [keep] * 7
    assert visible_count(tokens, mask_ratio) == keep


def test_random_mask_is_uniform_and_follows_its_generator() -> None:
    hidden = random_mask(4000, 16, mask_ratio=0.75, generator=generator(3))
    share = hidden.float().mean(0)
    assert ((share - 0.75).abs() < 0.04).all()
    assert torch.equal(hidden, random_mask(4000, 16, mask_ratio=0.75, generator=generator(3)))
    assert not torch.equal(hidden, random_mask(4000, 16, mask_ratio=0.75, generator=generator(4)))


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5])
def test_mask_ratio_outside_its_bounds_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=f"between 0 and 1, got {ratio}"):
        random_mask(2, 64, mask_ratio=ratio)


@pytest.mark.parametrize(("tokens", "mask_ratio", "overlap_ratio"), sizes())
@pytest.mark.parametrize("n", [1, 5])
def test_adaptive_mask_is_algorithm_1(n: int, tokens: int, mask_ratio: float, overlap_ratio: float) -> None:
    ratios = {"mask_ratio": mask_ratio, "overlap_ratio": overlap_ratio}
    hidden = random_mask(n, tokens, mask_ratio=mask_ratio, generator=generator(tokens))
    error = torch.rand(n, tokens, generator=generator(7))
    adaptive = adaptive_mask(hidden, error, generator=generator(0), **ratios)
    for row, (must, may, overlap) in enumerate(slow_adaptive_mask(hidden, error, **ratios)):
        visible = {place for place in range(tokens) if not adaptive[row, place]}
        assert visible - may == must
        assert len(visible & may) == overlap
        assert len(visible) == int(tokens * (1 - mask_ratio))


def test_published_numbers_at_batch_32() -> None:
    """The published code leaves 57 to 61 of 64 patches visible here."""
    hidden = random_mask(32, 64, mask_ratio=0.8, generator=generator(0))
    error = torch.rand(32, 64, generator=generator(1))
    adaptive = adaptive_mask(hidden, error, mask_ratio=0.8, overlap_ratio=0.5, generator=generator(2))
    assert adaptive.logical_not().sum(1).tolist() == [12] * 32
    assert (~hidden & ~adaptive).sum(1).tolist() == [6] * 32


@pytest.mark.parametrize("row", [0, 13, 31])
def test_a_mask_does_not_depend_on_its_neighbours(row: int) -> None:
    ratios = {"mask_ratio": 0.8, "overlap_ratio": 0.5}
    hidden = random_mask(32, 64, mask_ratio=0.8, generator=generator(0))
    error = torch.rand(32, 64, generator=generator(1))
    before = adaptive_mask(hidden, error, generator=generator(2), **ratios)
    others = torch.arange(32) != row
    other_hidden, other_error = hidden.clone(), error.clone()
    other_hidden[others] = random_mask(31, 64, mask_ratio=0.8, generator=generator(8))
    other_error[others] = torch.rand(31, 64, generator=generator(9)) * 100
    after = adaptive_mask(other_hidden, other_error, generator=generator(2), **ratios)
    assert torch.equal(before[row], after[row])
    assert not torch.equal(before[others], after[others])


def test_what_stays_visible_is_drawn_from_the_generator_alone() -> None:
    hidden = random_mask(1, 64, mask_ratio=0.8, generator=generator(0)).expand(3000, -1)
    error = torch.rand(1, 64, generator=generator(1)).expand(3000, -1)
    ratios = {"mask_ratio": 0.8, "overlap_ratio": 0.5}
    one = adaptive_mask(hidden, error, generator=generator(5), **ratios)
    torch.manual_seed(99)  # global randomness changes nothing
    assert torch.equal(one, adaptive_mask(hidden, error, generator=generator(5), **ratios))
    assert not torch.equal(one, adaptive_mask(hidden, error, generator=generator(6), **ratios))
    share = one[:, ~hidden[0]].float().mean(0)  # each of the 12 stays hidden or visible equally often
    assert ((share - 0.5).abs() < 0.05).all()


def test_errors_at_visible_patches_are_not_read() -> None:
    ratios = {"mask_ratio": 0.8, "overlap_ratio": 0.5}
    hidden = random_mask(8, 64, mask_ratio=0.8, generator=generator(0))
    error = torch.rand(8, 64, generator=generator(1))
    wild = torch.where(hidden, error, torch.tensor([1e9, -1e9, float("nan"), float("inf")]).repeat(8, 16))
    one, other = (adaptive_mask(hidden, e, generator=generator(2), **ratios) for e in (error, wild))
    assert torch.equal(one, other)


def test_errors_that_are_no_numbers_count_as_highest() -> None:
    hidden = random_mask(4, 16, mask_ratio=0.75, generator=generator(0))
    error = torch.rand(4, 16, generator=generator(1))
    first = [int(hidden[row].nonzero()[0]) for row in range(4)]
    error[range(4), first] = torch.tensor([float("nan"), float("inf"), float("nan"), float("inf")])
    adaptive = adaptive_mask(hidden, error, mask_ratio=0.75, overlap_ratio=0.5, generator=generator(2))
    assert adaptive[range(4), first].all()
    assert adaptive.logical_not().sum(1).tolist() == [4] * 4


def test_equal_errors_still_leave_keep_visible() -> None:
    hidden = random_mask(6, 64, mask_ratio=0.8, generator=generator(0))
    adaptive = adaptive_mask(hidden, torch.zeros(6, 64), mask_ratio=0.8, overlap_ratio=0.5)
    assert adaptive.logical_not().sum(1).tolist() == [12] * 6


def test_mask_carries_no_gradient() -> None:
    error = torch.rand(2, 64, requires_grad=True)
    hidden = random_mask(2, 64, mask_ratio=0.8)
    assert not adaptive_mask(hidden, error, mask_ratio=0.8, overlap_ratio=0.5).requires_grad


def test_too_few_patches_to_exchange_is_refused_with_the_numbers() -> None:
    hidden = random_mask(2, 64, mask_ratio=0.3, generator=generator(0))
    with pytest.raises(ValueError, match=r"64 - 2\*44 \+ 4 = -20.*raise mask_ratio or overlap_ratio"):
        adaptive_mask(hidden, torch.rand(2, 64), mask_ratio=0.3, overlap_ratio=0.1)


def test_inputs_that_do_not_fit_are_refused() -> None:
    hidden = random_mask(2, 64, mask_ratio=0.8)
    ratios = {"mask_ratio": 0.8, "overlap_ratio": 0.5}
    with pytest.raises(ValueError, match=r"\(2, 64\) and \(2, 63\)"):
        adaptive_mask(hidden, torch.rand(2, 63), **ratios)
    with pytest.raises(ValueError, match="boolean"):
        adaptive_mask(hidden.float(), torch.rand(2, 64), **ratios)
    with pytest.raises(ValueError, match=r"0\.\.1, got 1.5"):
        adaptive_mask(hidden, torch.rand(2, 64), mask_ratio=0.8, overlap_ratio=1.5)
    with pytest.raises(ValueError, match="leave 16 of 64"):
        adaptive_mask(hidden, torch.rand(2, 64), mask_ratio=0.75, overlap_ratio=0.5)


@pytest.mark.parametrize("tokens", TOKENS)
def test_visible_ids_are_ascending_places(tokens: int) -> None:
    hidden = random_mask(5, tokens, mask_ratio=0.5, generator=generator(0))
    wanted = [[place for place in range(tokens) if not row[place]] for row in hidden]
    assert visible_ids(hidden).tolist() == wanted
