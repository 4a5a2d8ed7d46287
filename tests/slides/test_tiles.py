"""The tile grid and the stitcher against slow references, and cells that cross seams."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_dama.errors import SettingsError
from napari_dama.slides.region import Region
from napari_dama.slides.tiles import LabelStitcher, Tile, tile_grid


@pytest.mark.parametrize("shape", [(100, 130), (64, 64), (1, 1), (65, 200)])
@pytest.mark.parametrize(("tile_px", "halo_px"), [(64, 10), (32, 0), (500, 50), (1000, 0)])
@pytest.mark.parametrize("region", [None, Region(10, 55, 0, 61), Region(-5, 9999, 0, 9999)])
def test_cores_cover_once_and_outers_hold_them(
    shape: tuple[int, int], tile_px: int, halo_px: int, region: Region | None
) -> None:
    if region is not None and region.clip(shape).is_empty:
        with pytest.raises(SettingsError, match="outside"):
            tile_grid(shape, tile_px=tile_px, halo_px=halo_px, region=region)
        return
    tiles = tile_grid(shape, tile_px=tile_px, halo_px=halo_px, region=region)
    area = (region or Region.whole(shape)).clip(shape)
    seen = np.zeros(shape, int)
    for i, tile in enumerate(tiles):
        assert tile.index == i
        seen[tile.core.slices] += 1
        for y in range(tile.outer.y0, tile.outer.y1, 7):
            assert 0 <= y < shape[0] and tile.core.y0 - halo_px <= y < tile.core.y1 + halo_px
        assert tile.outer == tile.core.grow(halo_px).clip(shape)
        inner = tile.core_in_outer
        assert inner.shape == tile.core.shape
    expected = np.zeros(shape, int)
    expected[area.slices] = 1
    np.testing.assert_array_equal(seen, expected)
    assert [(t.core.y0, t.core.x0) for t in tiles] == sorted((t.core.y0, t.core.x0) for t in tiles)


@pytest.mark.parametrize(("tile_px", "halo_px"), [(0, 4), (10, -1)])
def test_lengths_out_of_bounds(tile_px: int, halo_px: int) -> None:
    with pytest.raises(SettingsError, match="tile_px"):
        tile_grid((10, 10), tile_px=tile_px, halo_px=halo_px)


def _blobs(shape: tuple[int, int], n: int, seed: int, radius: int = 7) -> np.ndarray:
    """Touching cells: nearest centre within a radius."""
    random = np.random.default_rng(seed)
    centres = np.ones(shape, bool)
    centres[random.integers(0, shape[0], n), random.integers(0, shape[1], n)] = False
    distance, (y, x) = ndimage.distance_transform_edt(centres, return_indices=True)
    numbers = np.cumsum(~centres).reshape(shape)
    return np.where(distance <= radius, numbers[y, x], 0)


def _slow_accept(
    tile: Tile, labels: np.ndarray, existing: np.ndarray, next_label: int, tolerance: float
) -> tuple[np.ndarray, int]:
    out = existing.copy()
    core = tile.core_in_outer
    for label in np.unique(labels):
        if label == 0:
            continue
        mask = labels == label
        y, x = (float(part.mean()) + 0.5 for part in np.nonzero(mask))
        if not (
            core.y0 - tolerance <= y <= core.y1 + tolerance
            and core.x0 - tolerance <= x <= core.x1 + tolerance
        ):
            continue
        if 2 * int((mask & (existing != 0)).sum()) > int(mask.sum()):
            continue
        free = mask & (existing == 0)
        pieces, count = ndimage.label(free)
        if count > 1 and (mask & (existing != 0)).any():  # a cell that nothing covers stays as it is
            sizes = [int((pieces == k + 1).sum()) for k in range(count)]
            free = pieces == int(np.argmax(sizes)) + 1
        if 2 * int(free.sum()) < int(mask.sum()):
            continue
        out[free] = next_label
        next_label += 1
    return out, next_label


@pytest.mark.parametrize("seed", range(8))
def test_stitcher_equals_the_slow_reference(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (150, 190)
    written = np.zeros(shape, np.uint32)
    slow = np.zeros(shape, np.uint32)
    stitcher, slow_next = LabelStitcher(), 1
    for tile in tile_grid(shape, tile_px=64, halo_px=16):
        labels = _blobs(tile.outer.shape, 40, seed * 100 + tile.index)
        labels[random.random(labels.shape) < 0.02] = 0
        before = written[tile.outer.slices].copy()
        got = stitcher.accept(tile, labels, before)
        want, slow_next = _slow_accept(tile, labels, slow[tile.outer.slices].copy(), slow_next, 4.0)
        assert got.dtype == np.uint32
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(got[before != 0], before[before != 0])
        assert stitcher.next_label == slow_next
        for label in np.flatnonzero(stitcher.last_labels):
            inside = got == stitcher.last_labels[label]
            assert inside.any() and (labels[inside] == label).all()
        written[tile.outer.slices] = got
        slow[tile.outer.slices] = want


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
@pytest.mark.parametrize("tile_px", [50, 64, 97])
def test_cells_across_seams_come_out_whole_and_once(order: str, tile_px: int) -> None:
    shape = (230, 260)
    truth = _blobs(shape, 160, 3)
    written = np.zeros(shape, np.uint32)
    tiles = tile_grid(shape, tile_px=tile_px, halo_px=20)
    if order == "backward":
        tiles = tiles[::-1]
    elif order == "shuffled":
        tiles = [tiles[i] for i in np.random.default_rng(0).permutation(len(tiles))]
    stitcher = LabelStitcher()
    for tile in tiles:
        local = truth[tile.outer.slices]
        numbers = np.unique(local)
        written[tile.outer.slices] = stitcher.accept(
            tile, np.searchsorted(numbers, local) if numbers[0] == 0 else local, written[tile.outer.slices]
        )
    np.testing.assert_array_equal(written != 0, truth != 0)
    pairs = np.unique(np.stack([truth[truth != 0], written[truth != 0]]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    assert sorted(np.unique(pairs[1])) == list(range(1, pairs.shape[1] + 1))


def test_disagreeing_neighbours_do_not_double_a_cell() -> None:
    """The same cell, seen 3 px apart by two tiles, is written once."""
    left, right = tile_grid((60, 100), tile_px=50, halo_px=20)[:2]
    y, x = np.mgrid[:60, :100]
    for shift in (-3, 3):
        stitcher = LabelStitcher()
        written = np.zeros((60, 100), np.uint32)
        for tile, centre in ((left, 50 + shift / 2), (right, 50 - shift / 2)):
            seen = ((y - 30) ** 2 + (x - centre) ** 2 < 81).astype(int)[tile.outer.slices]
            written[tile.outer.slices] = stitcher.accept(tile, seen, written[tile.outer.slices])
        assert set(np.unique(written)) == {0, 1}


def test_resume_and_bad_input() -> None:
    tile = tile_grid((20, 20), tile_px=20, halo_px=0)[0]
    labels = np.zeros((20, 20), int)
    labels[3:6, 3:6] = 5
    stitcher = LabelStitcher(next_label=100)
    assert stitcher.accept(tile, labels, np.zeros((20, 20), np.uint32)).max() == 100
    assert stitcher.last_labels.tolist() == [0, 0, 0, 0, 0, 100]
    stitcher.next_label = 7
    assert stitcher.accept(tile, labels, np.zeros((20, 20), np.uint32)).max() == 7
    assert not stitcher.accept(tile, np.zeros((20, 20), int), np.zeros((20, 20), np.uint32)).any()
    with pytest.raises(SettingsError, match="fit"):
        stitcher.accept(tile, labels[:5], np.zeros((20, 20), np.uint32))
    with pytest.raises(SettingsError, match="background"):
        stitcher.accept(tile, -labels, np.zeros((20, 20), np.uint32))
    with pytest.raises(SettingsError, match="next_label"):
        LabelStitcher(0)
