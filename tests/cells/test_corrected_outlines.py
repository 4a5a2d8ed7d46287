"""Which outlines count as corrected after drawing, merging, splitting, deleting and undoing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from napari_dama.cells.corrected_outlines import corrected_outlines
from napari_dama.cells.correction_records import is_sound, outline_record
from napari_dama.cells.outlines import changes_between


def edit(before: np.ndarray, after: np.ndarray, n: int) -> dict[str, Any]:  # type: ignore[type-arg]
    """The record of a change of a whole image, as the window writes it."""
    changed = sorted({*before[before != after].tolist(), *after[before != after].tolist()} - {0})

    def entries(image: np.ndarray) -> list[dict[str, Any]]:  # type: ignore[type-arg]
        there = [label for label in changed if (image == label).any()]
        return [
            {"label": label, "y": float(y.mean()), "x": float(x.mean()), "type": "cell", "row": {}}
            for label in there
            for y, x in [np.nonzero(image == label)]
        ]

    box = (0, before.shape[0], 0, before.shape[1])
    changes = changes_between(before.astype(np.uint32), after.astype(np.uint32))
    record = outline_record(n, box, changes, gone=entries(before), come=entries(after), what="paint")
    assert is_sound(record)
    return record


def test_what_was_done_in_the_end_counts_once() -> None:
    start = np.zeros((12, 16), int)
    start[1:5, 1:5], start[1:5, 5:9], start[7:11, 1:5], start[7:11, 10:14] = 1, 2, 3, 4
    merged = np.where(start == 2, 1, start)
    split = np.where((merged == 3) & (np.arange(16) >= 3), 9, merged)
    deleted = np.where(split == 4, 0, split)
    drawn = deleted.copy()
    drawn[0, 12:15] = 10
    erased = np.where(drawn == 10, 0, drawn)
    states = [start, merged, split, deleted, drawn, erased]
    records = [edit(one, other, n + 1) for n, (one, other) in enumerate(pairwise(states))]
    found = corrected_outlines(records)
    assert [(each.label, each.deleted) for each in found] == [
        (1, False),
        (3, False),
        (9, False),
        (4, True),
        (10, True),
    ]
    places = found[3].places()
    assert {tuple(p) for p in places} == {tuple(p) for p in np.argwhere(start == 4)}
    assert not len(found[0].places())
    # without the last two nothing is known of 10, and other kinds of records are passed over
    some = corrected_outlines([*records[:3], {"record": "type", "label": [1]}])
    assert [each.label for each in some] == [1, 3, 9, 4]
    # a deleted cell that is drawn again under its label is there again
    back = corrected_outlines([*records[:3], edit(deleted, split, 9)])
    assert [(each.label, each.deleted) for each in back] == [(1, False), (3, False), (4, False), (9, False)]
