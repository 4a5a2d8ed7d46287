"""Splits by field of view, batches from a store, and one scale for training and validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_dama.cells.store import CropStore
from napari_dama.errors import SettingsError, StoreError
from napari_dama.slides.intensity import IntensityStats, normalise
from napari_dama.training.crops import CropBatches, rows_of_step, split_rows, with_label_share
from training.conftest import write_store

CPU = torch.device("cpu")


@pytest.mark.parametrize("share", [0.05, 0.34, 0.6, 0.89])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_field_of_view_on_both_sides(store_path: Path, share: float, seed: int) -> None:
    store = CropStore.open(store_path)
    split = split_rows(store, share=share, seed=seed)
    left, right = set(store.groups[split.train]), set(store.groups[split.validation])
    assert left and right and not left & right
    assert sorted([*split.train, *split.validation]) == list(range(len(store)))
    assert f"{len(right)} of 3 fields" in split.note


def test_one_field_is_parted_in_space_with_a_gap(tmp_path: Path) -> None:
    store = CropStore.open(write_store(tmp_path / "one", groups=1, per_group=64))
    split = split_rows(store, share=0.3, seed=0)
    x = store.table["x"].to_numpy()
    assert x[split.validation].min() - x[split.train].max() > store.crop_px
    assert "one field of view only" in split.note


def test_a_store_too_small_to_part_is_refused(tmp_path: Path) -> None:
    store = CropStore.open(write_store(tmp_path / "small", groups=2, per_group=1))
    with pytest.raises(StoreError, match="1 and 1 cells; add slides"):
        split_rows(store, share=0.15, seed=0)


def test_a_batch_is_normalised_with_its_own_slides_statistics(store_path: Path) -> None:
    store = CropStore.open(store_path)
    batches = CropBatches(store, nuclear=("DAPI",), image_px=store.crop_px, device=CPU)
    rows = np.array([0, 20, 47, 3])
    x, present = batches.batch(rows)
    for index, row in enumerate(rows):
        slide = store.slides[store.slide_index[row]]
        stats = IntensityStats(slide.low, slide.high, store.markers)
        wanted = normalise(np.array(store.crops[row]), stats) * slide.present[:, None, None]
        assert np.allclose(x[index], wanted, atol=1e-5)
        assert present[index].tolist() == slide.present.tolist()
    assert (x[0, -1] == 0).all() and not present[0, -1]


def test_training_and_validation_see_a_crop_at_one_scale(tmp_path: Path) -> None:
    """A bar of 10 um is as long in a batch that is varied without zoom as in one that is not, at any crop_px."""
    from dataclasses import replace

    from napari_dama.cells.augment import NO_VARIATION

    for crop_px in (65, 100, 130):
        path = tmp_path / str(crop_px)
        with CropStore.create(
            path, markers=("DAPI",), dtype=np.uint16, crop_um=32.5, crop_px=crop_px
        ) as writer:
            import pandas as pd

            writer.add_slide("s", low=[0], high=[1000])
            crop = np.zeros((1, 1, crop_px, crop_px), np.uint16)
            half = round(5 / 32.5 * crop_px)
            crop[..., crop_px // 2 - half : crop_px // 2 + half] = 1000
            writer.append(crop, pd.DataFrame({"slide": ["s"], "label": [1], "y": [0.0], "x": [0.0]}))
        batches = CropBatches(CropStore.open(path), nuclear=("DAPI",), image_px=128, device=CPU)
        plain, _ = batches.batch(np.array([0]))
        varied, _ = batches.batch(np.array([0]), how=replace(NO_VARIATION, gain=1e-9))
        for x in (plain, varied):
            width_um = float((x[0, 0, 64] > 0.5).sum()) * 32.5 / 128
            assert width_um == pytest.approx(10.0, abs=0.6)
        assert torch.allclose(plain, varied, atol=1e-4)


def test_rows_of_an_epoch_are_a_permutation_and_follow_the_seed() -> None:
    rows = np.arange(100, 150)
    epoch = np.concatenate([rows_of_step(rows, step, batch_size=10, seed=3) for step in range(5)])
    assert sorted(epoch) == list(rows)
    second = np.concatenate([rows_of_step(rows, step, batch_size=10, seed=3) for step in range(5, 10)])
    assert sorted(second) == list(rows) and list(epoch) != list(second)
    assert list(rows_of_step(rows, 2, batch_size=10, seed=3)) == list(epoch[20:30])
    assert list(rows_of_step(rows, 2, batch_size=10, seed=4)) != list(epoch[20:30])
    assert len(rows_of_step(rows[:3], 0, batch_size=10, seed=0)) == 3


def test_weights_draw_a_rare_class_more_often() -> None:
    rows = np.arange(100)
    weights = np.where(rows < 10, 9.0, 1.0)
    drawn = np.concatenate(
        [rows_of_step(rows, s, batch_size=50, seed=0, weights=weights / weights.sum()) for s in range(40)]
    )
    assert (drawn < 10).mean() == pytest.approx(0.5, abs=0.05)


def test_the_gap_is_a_crop_on_the_slide_whatever_its_pixel_size(tmp_path: Path) -> None:
    store = CropStore.open(write_store(tmp_path / "fine", groups=1, per_group=64))
    table = store.table
    table["y_um"], table["x_um"] = (
        table["y"] * 0.1,
        table["x"] * 0.1,
    )  # pixels ten times finer than the crops'
    split = split_rows(store, share=0.3, seed=0)
    x = table["x_um"].to_numpy()
    assert x[split.validation].min() - x[split.train].max() > store.crop_um


def test_named_groups_are_held_out_and_those_for_tests_are_on_no_side(tmp_path: Path) -> None:
    store = CropStore.open(write_store(tmp_path / "store", groups=5, per_group=8))
    split = split_rows(
        store, share=0.2, seed=0, validation_groups=["field1", "field3"], test_groups=["field0"]
    )
    assert set(store.groups[split.validation]) == {"field1", "field3"}
    assert set(store.groups[split.train]) == {"field2", "field4"}
    assert "1 kept back for tests" in split.note
    drawn = split_rows(store, share=0.5, seed=0, test_groups=["field0", "field4"])
    assert set(store.groups[[*drawn.train, *drawn.validation]]) == {"field1", "field2", "field3"}


def test_groups_that_do_not_fit_are_named(tmp_path: Path) -> None:
    store = CropStore.open(write_store(tmp_path / "store", groups=3, per_group=4))
    with pytest.raises(SettingsError, match="no group 'field9'; it has field0, field1, field2"):
        split_rows(store, share=0.2, seed=0, test_groups=["field9"])
    with pytest.raises(SettingsError, match="'field1' cannot be in validation_groups and test_groups"):
        split_rows(store, share=0.2, seed=0, validation_groups=["field1"], test_groups=["field1"])
    with pytest.raises(StoreError, match="0 and 0 cells; 3 kept back for tests"):
        split_rows(store, share=0.2, seed=0, test_groups=["field0", "field1", "field2"])


@pytest.mark.parametrize("seed", [0, 5])
def test_a_share_of_labels_is_stratified_nested_and_leaves_every_class_one(tmp_path: Path, seed: int) -> None:
    store = CropStore.open(write_store(tmp_path / "store", groups=4, per_group=40))
    split = split_rows(store, share=0.25, seed=0)
    targets = np.random.default_rng(1).choice(3, len(store), p=[0.7, 0.25, 0.05])
    before: set[int] = set()
    for share in (0.01, 0.1, 0.35, 1.0):
        part = with_label_share(split, targets, share=share, seed=seed)
        for kind in range(3):
            n = sum(targets[row] == kind for row in split.train)
            wanted = max(1, round(share * n)) if n else 0
            assert sum(targets[row] == kind for row in part.train) == wanted
        assert before <= set(part.train) <= set(split.train)
        assert list(part.validation) == list(split.validation)
        before = set(part.train)
    again = with_label_share(split, targets, share=0.1, seed=seed)
    assert list(again.train) == list(with_label_share(split, targets, share=0.1, seed=seed).train)
    renumbered = with_label_share(split, 2 - targets, share=0.1, seed=seed)
    assert list(again.train) == list(renumbered.train)
    other = with_label_share(split, targets, share=0.1, seed=seed + 1)
    assert list(again.train) != list(other.train)


def test_crops_on_the_device_are_those_of_the_store(store_path: Path) -> None:
    from napari_dama.training.crops import _as_signed

    store = CropStore.open(store_path)
    batches = CropBatches(store, nuclear=("DAPI",), image_px=32, device=CPU)
    bright = np.array(store.crops)
    bright[0] = np.iinfo(bright.dtype).max  # beyond what a signed number of as many bits holds
    batches.crops = bright
    rows = np.array([3, 0, 3])
    plain, _ = batches.batch(rows)
    batches.resident = _as_signed(bright)
    moved, _ = batches.batch(rows)
    assert torch.equal(plain, moved)
    assert torch.equal(batches.raw(rows).to(torch.int64), torch.from_numpy(bright[rows].astype(np.int64)))


def test_a_store_beyond_memory_is_read_ahead(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_dama.training.crops.MEMORY_BYTES", 0)
    store = CropStore.open(store_path)
    batches = CropBatches(store, nuclear=("DAPI",), image_px=32, device=CPU)
    assert isinstance(batches.crops, np.memmap)
    read: list[list[int]] = []
    plain = batches._read

    def noted(rows: np.ndarray) -> torch.Tensor:
        read.append(rows.tolist())
        return plain(rows)

    batches._read = noted  # type: ignore[method-assign]
    coming, other = np.array([5, 1]), np.array([2, 2])
    batches.expect(coming)
    assert torch.equal(batches.raw(other), plain(other))  # what was not expected is read all the same
    assert torch.equal(batches.raw(coming), plain(coming))
    assert sorted(read) == [[2, 2], [5, 1]]
