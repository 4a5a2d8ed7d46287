"""Shares of a batch: their rows together are the whole batch's, for draws and layers alike."""

from __future__ import annotations

import pytest
import torch
from timm.layers.drop import DropPath
from torch import nn

from napari_dama.nets.masking import adaptive_mask, random_mask
from napari_dama.nets.share import (
    Share,
    SharedBatchNorm2d,
    SharedDropPath,
    SharedGenerator,
    rand,
    rows_here,
    share_bounds,
    share_layers,
    share_of,
)


def generator(rank: int, world: int, *, seed: int = 3) -> SharedGenerator:
    made = SharedGenerator("cpu")
    made.rank, made.world = rank, world
    made.manual_seed(seed)
    return made


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("whole", [5, 8, 13])
def test_rows_of_all_processes_are_the_batch(whole: int, world: int) -> None:
    bounds = [share_bounds(whole, rank, world) for rank in range(world)]
    assert [row for bound in bounds for row in range(bound.start, bound.stop)] == list(range(whole))
    counts = [bound.stop - bound.start for bound in bounds]
    assert max(counts) - min(counts) <= 1 and min(counts) >= 1


@pytest.mark.parametrize("normal", [False, True])
def test_draws_are_own_rows_of_the_whole(normal: bool) -> None:
    plain = torch.Generator().manual_seed(3)
    wanted = [rand(size, generator=plain, normal=normal) for size in ((7, 5), (7,), (7, 2, 3))]
    found = []
    for rank in range(3):
        mine = generator(rank, 3)
        count = len(range(7)[rows_here(7, mine)])
        found.append([rand((count, *whole.shape[1:]), generator=mine, normal=normal) for whole in wanted])
    for whole, parts in zip(wanted, zip(*found, strict=True), strict=True):
        assert torch.equal(torch.cat(parts), whole)


def test_masks_are_those_of_one_process() -> None:
    plain, error = torch.Generator().manual_seed(3), torch.rand(6, 64)
    first = random_mask(6, 64, mask_ratio=0.8, generator=plain)
    second = adaptive_mask(first, error, mask_ratio=0.8, overlap_ratio=0.5, generator=plain)
    for rank in range(2):
        mine = generator(rank, 2)
        here = rows_here(6, mine)
        own = random_mask(3, 64, mask_ratio=0.8, generator=mine)
        assert torch.equal(own, first[here])
        own = adaptive_mask(own, error[here], mask_ratio=0.8, overlap_ratio=0.5, generator=mine)
        assert torch.equal(own, second[here])


def test_drop_path_of_windows() -> None:
    """Two samples of three are cut into four windows each."""
    x = torch.rand(12, 5)
    layer = nn.Sequential(DropPath(0.5))
    torch.manual_seed(1)
    whole = layer(x)
    mine = generator(1, 2)
    share_layers(layer, mine)
    assert type(layer[0]) is SharedDropPath
    here = rows_here(3, mine)
    torch.manual_seed(1)
    assert torch.equal(layer(x[here.start * 4 : here.stop * 4]), whole[here.start * 4 : here.stop * 4])
    mine.share = None
    torch.manual_seed(1)
    assert torch.equal(layer(x), whole)


def test_layers_keep_their_names_and_weights() -> None:
    layer = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    share_layers(layer, generator(0, 2))
    assert isinstance(layer[1], SharedBatchNorm2d)
    assert {name: value.tolist() for name, value in layer.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }
    x = torch.rand(3, 1, 4, 4)
    twin = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    twin.load_state_dict(before)
    assert torch.equal(layer(x), twin(x)), "no share is worked on: the whole batch is here"


def test_alone_takes_own_rows_and_shares_nothing() -> None:
    mine = generator(1, 2)
    mine.alone = True
    assert rows_here(8, mine) == slice(4, 8) and share_of(mine) is None
    assert rows_here(8, torch.Generator()) == rows_here(8, None) == slice(0, 8)


def test_rows_that_are_not_equally_many_are_refused() -> None:
    with pytest.raises(ValueError, match="7 rows are not equally many for each of 3 samples"):
        Share(0, 3, 6).rows(7)
