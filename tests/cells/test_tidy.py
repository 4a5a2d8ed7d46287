"""Outlines changed in memory: joined, split, deleted, and put right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_dama.cells.tidy import delete, merge, split_by_path, split_by_seeds, tidy
from napari_dama.errors import SettingsError


def two_halves() -> np.ndarray:  # type: ignore[type-arg]
    labels = np.zeros((40, 60), np.uint32)
    labels[10:30, 10:25] = 3
    labels[10:30, 25:40] = 7
    labels[32:38, 50:58] = 9
    return labels


def test_touching_cells_are_joined_and_others_are_not() -> None:
    labels = two_halves()
    assert merge(labels, [7, 3]) == 7
    assert (labels == 7).sum() == 600 and not (labels == 3).any()
    with pytest.raises(SettingsError, match="do not touch"):
        merge(labels, [7, 9])
    with pytest.raises(SettingsError, match="two or more"):
        merge(labels, [7, 7])
    apart = two_halves()
    apart[:, 25:27] = 0
    merge(apart, [3, 7])
    assert ndimage.label(apart == 3)[1] == 1
    assert (apart == 9).sum() == 48


def test_a_line_cuts_and_loses_no_pixel() -> None:
    for path in ([[5, 17], [35, 17]], [[5, 5], [35, 45]], [[12, 5], [14, 20], [28, 45]]):
        labels = two_halves()
        new = split_by_path(labels, np.array(path), 20)
        assert new == list(range(20, 20 + len(new)))
        before = two_halves()
        assert np.array_equal(labels > 0, before > 0)
        for label in np.unique(labels[labels > 0]):
            assert len(np.unique(before[labels == label])) == 1
            assert ndimage.label(labels == label, np.ones((3, 3)))[1] == 1
        assert (labels == 9).sum() == 48
    with pytest.raises(SettingsError, match="cuts no cell"):
        split_by_path(two_halves(), np.array([[12, 5], [14, 15]]), 20)


def test_two_seeds_part_a_cell_at_its_waist() -> None:
    y, x = np.mgrid[:60, :90]
    labels = (((y - 30) ** 2 + (x - 28) ** 2 < 400) | ((y - 30) ** 2 + (x - 62) ** 2 < 400)).astype(
        np.uint32
    ) * 4
    whole = labels > 0
    assert split_by_seeds(labels, (30, 20), (30, 70), 11) == 11
    assert np.array_equal(labels > 0, whole)
    assert (labels[30, :43][whole[30, :43]] == labels[30, 20]).all()
    assert (labels[30, 48:][whole[30, 48:]] == labels[30, 70]).all()
    assert {int(labels[30, 20]), int(labels[30, 70])} == {4, 11}
    for one, two in (((0, 0), (30, 70)), ((30, 20), (30, 20)), ((30, 20), (99, 99))):
        with pytest.raises(SettingsError, match="two different spots"):
            split_by_seeds(labels, one, two, 12)


def test_deleting_takes_only_these() -> None:
    labels = two_halves()
    delete(labels, [3, 9])
    assert np.unique(labels).tolist() == [0, 7]
    delete(labels, [])
    with pytest.raises(SettingsError, match="None of these"):
        delete(labels, [3])


def test_painting_is_put_right_and_the_rest_is_left_alone() -> None:
    before = two_halves()
    before[0:2, 0:2] = 5  # smaller than a slip, but nobody touched it
    after = before.copy()
    after[15:18, 15:18] = 0  # a hole
    after[2, 50] = 3  # a slip of the brush
    after[10:30, 32] = 0  # an eraser through a cell
    after[35, 50] = 0
    after[38, 2:5] = 12  # a new cell of three pixels
    out = tidy(before, after, 30)
    assert (out[15:18, 15:18] == 3).all() and out[2, 50] == 0
    assert set(np.unique(out[10:30, 25:40])) == {0, 7, 30}
    assert (out[0:2, 0:2] == 5).all()
    assert not (out == 12).any()
    assert (out == 9).sum() == 47
    assert np.array_equal(tidy(before, before, 30), before)


def test_a_neighbour_in_a_hole_stays() -> None:
    before = np.zeros((20, 20), np.uint32)
    before[2:18, 2:18] = 1
    before[8:12, 8:12] = 2
    after = before.copy()
    after[3, 3] = 0
    assert (tidy(before, after, 9)[8:12, 8:12] == 2).all()
