"""Outlines that are being edited: a part of a result's labels, and what became of it as one record. No Qt.

The part is a copy; the result changes only when it is kept, and then the journal has what was before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.cells.correction_records import outline_record
from napari_dama.cells.outlines import changed_box, changes_between
from napari_dama.cells.tidy import tidy
from napari_dama.errors import SettingsError
from napari_dama.gui.cell_table import UNTYPED
from napari_dama.predict.amend import measure_cells, whole_cells
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import LABELS, read_run

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.slides.region import Region
    from napari_dama.slides.slide import Slide

LARGEST_PX = 4096
MARGIN_PX = 48


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the labels as it was when editing began.

    Attributes
    ----------
    region : Region
        Where it lies, px of level 0.
    before : array
        Labels (h, w) uint32.
    """

    region: Region
    before: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the cells before the edit: their rows, types, and which were reviewed."""

    table: pd.DataFrame
    types: Mapping[int, str]
    reviewed: frozenset[int]


def begin(folder: Path, view: Region) -> Part:
    """Copy the labels of what is in view, with a margin so that cells there are whole; at most 4096 x 4096 px.

    Raises
    ------
    SettingsError
        Too much is in view, or the analysis is not complete.
    """
    if view.height > LARGEST_PX or view.width > LARGEST_PX:
        raise SettingsError(
            f"{view.height} x {view.width} px are in view: zoom in until it is at most {LARGEST_PX} x {LARGEST_PX}."
        )
    state = read_run(folder).get("state")
    if state != "done":
        raise SettingsError(
            f"{folder.name} is not complete ({state}): finish the analysis first, then its outlines can be edited."
        )
    picture = LabelImage.open(folder / LABELS, mode="r")
    region = view.grow(MARGIN_PX).clip(picture.shape)
    return Part(region, picture.read(region))


def outcome_of(
    part: Part,
    edited: NDArray[np.integer[Any]],
    folder: Path,
    known: Known,
    *,
    number: int,
    next_label: int,
    slide: Slide | None,
    pixel_um: float,
    what: str = "changed",
) -> dict[str, Any] | None:
    """Return the record of an edit, None where nothing changed. Reads the slide: call it in a thread.

    Cells that reach beyond the part follow as a whole: where one was deleted or joined to another inside, the rest of it
    goes the same way. A changed cell keeps its type; a joined one gets the type that most of its area had; parts of a
    cell keep its type; a new cell has none.
    """
    after = tidy(part.before, edited.astype(np.uint32), next_label)
    touched = np.unique(np.concatenate([part.before[part.before != after], after[part.before != after]]))
    if not len(touched):
        return None
    picture = LabelImage.open(folder / LABELS, mode="r")
    region, old = whole_cells(picture, part.region, touched)
    new = old.copy()
    y, x = part.region.y0 - region.y0, part.region.x0 - region.x0
    inside = np.s_[y : y + part.region.height, x : x + part.region.width]
    new[inside] = after
    _follow_outside(old, new, part.before, after, inside, touched)
    box = changed_box(old, new)
    if box is None:
        return None
    changed = np.unique(np.concatenate([old[old != new], new[old != new]]))
    changed = changed[changed > 0]
    there = changed[np.isin(changed, new)]
    measured = measure_cells(new, region, there, slide, pixel_um)
    parents = _parents(old, new, there)
    rows = known.table[known.table["label"].isin(changed)].set_index("label", drop=False)
    gone = [_entry(rows.loc[label].to_dict(), known, int(label)) for label in changed if label in rows.index]
    left = set(np.unique(new).tolist())
    come = [
        _new_entry(one, rows, known, parents[int(one["label"])], left) for one in measured.to_dict("records")
    ]
    y0, y1, x0, x1 = box
    whole = (region.y0 + y0, region.y0 + y1, region.x0 + x0, region.x0 + x1)
    changes = changes_between(old[y0:y1, x0:x1], new[y0:y1, x0:x1])
    return outline_record(number, whole, changes, gone=gone, come=come, what=what)


def _follow_outside(
    old: NDArray[np.uint32],
    new: NDArray[np.uint32],
    before: NDArray[np.uint32],
    after: NDArray[np.uint32],
    inside: tuple[slice, slice],
    touched: NDArray[np.uint32],
) -> None:
    """Let what lies outside of the part go the way of its cell, where that is not inside any more."""
    outside = np.ones(old.shape, bool)
    outside[inside] = False
    for label in touched[touched > 0]:
        was = before == label
        if not was.any() or (after == label).any():
            continue
        rest = outside & (old == label)
        if rest.any():
            values, counts = np.unique(after[was], return_counts=True)
            new[rest] = values[np.argmax(counts)]


def _parents(
    old: NDArray[np.uint32], new: NDArray[np.uint32], labels: NDArray[np.uint32]
) -> dict[int, dict[int, int]]:
    """Return for each cell how many of its pixels each cell before had."""
    out: dict[int, dict[int, int]] = {}
    for label in labels:
        values, counts = np.unique(old[new == label], return_counts=True)
        out[int(label)] = {int(v): int(c) for v, c in zip(values, counts, strict=True) if v > 0}
    return out


def _entry(row: Mapping[Hashable, Any], known: Known, label: int) -> dict[str, Any]:
    """Return a cell as it was."""
    return {
        "label": label,
        "y": float(row["y"]),
        "x": float(row["x"]),
        "type": known.types.get(label, UNTYPED),
        "reviewed": label in known.reviewed,
        "row": _plain(row),
    }


def _new_entry(
    measured: Mapping[Hashable, Any],
    rows: pd.DataFrame,
    known: Known,
    parents: Mapping[int, int],
    left: set[int],
) -> dict[str, Any]:
    """Return a cell as it is now: measured anew, the rest from the cell that it mostly comes from."""
    label = int(measured["label"])
    old = label in rows.index
    source = label if old else max(parents, key=lambda parent: parents[parent], default=0)
    swallowed = [
        parent for parent in parents if parent != label and parent in rows.index and parent not in left
    ]
    kind = known.types.get(source, UNTYPED)
    if swallowed:
        area: dict[str, int] = {}
        for parent, count in parents.items():
            name = known.types.get(parent, UNTYPED)
            area[name] = area.get(name, 0) + count
        kind = max(area, key=lambda name: area[name])
    makers = {source, *swallowed} - {0}
    reviewed = bool(makers) and all(
        parent in known.reviewed and known.types.get(parent) == kind for parent in makers
    )
    row: dict[Hashable, Any] = dict.fromkeys(rows.columns)
    if source in rows.index:
        row.update(rows.loc[source].to_dict())
    elif "type" in row:
        row["type"] = UNTYPED
    if swallowed and "type" in row:
        row["type"] = kind
    row.update({name: value for name, value in measured.items() if name in row})
    y, x = float(measured["y"]), float(measured["x"])
    return {"label": label, "y": y, "x": x, "type": kind, "reviewed": reviewed, "row": _plain(row)}


def _plain(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return a row as JSON takes it: no numpy, no NaN."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not np.isfinite(value):
            value = None
        out[str(name)] = value
    return out
