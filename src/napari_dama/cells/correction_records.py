"""The lines of a journal of corrections: how each kind is written, and whether one that was read makes sense."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Who = Literal["click", "box", "gallery", "next", "confirm", "carried", "outline"]
VERSION: Final = 1
NO_TYPE: Final = "cell"
"""Stands for *no type*, as everywhere in the window."""


def header(slide: str, key: tuple[str, str]) -> dict[str, Any]:
    """Return the record that opens a section."""
    result, made = key
    return {
        "record": "header", "version": VERSION, "slide": slide, "result": result, "made": made, "time": _now()
    }  # fmt: skip


def type_record(n: int, cells: pd.DataFrame, types: Sequence[str] | str, who: Who) -> dict[str, Any]:
    """Return the record of cells that were given a type, or confirmed.

    Parameters
    ----------
    n
        Number of the edit.
    cells
        ``label, y, x``, ``type`` and ``reviewed`` as they were before.
    types
        What they are now; one for all, or one per cell.
    who
        The way in which it was done.
    """
    return {
        "record": "type",
        "n": n,
        "label": [int(v) for v in cells["label"]],
        "y": [round(float(v), 2) for v in cells["y"]],
        "x": [round(float(v), 2) for v in cells["x"]],
        "type": types if isinstance(types, str) else [str(v) for v in types],
        "before": _short([str(v) for v in cells["type"]]),
        "reviewed_before": _short([bool(v) for v in cells["reviewed"]]),
        "who": who,
        "time": _now(),
    }


def class_record(
    n: int, what: Literal["add", "rename", "colour", "delete"], name: str, value: str = "", before: str = ""
) -> dict[str, Any]:
    """Return the record of a class: ``value`` is its colour, or its next name."""
    return {
        "record": "class", "n": n, "what": what, "name": name, "value": value, "before": before, "time": _now()
    }  # fmt: skip


def mark_record(n: int, of: int, what: Literal["undo", "redo"]) -> dict[str, Any]:
    """Return the record of an edit that is taken back, or done again."""
    return {"record": what, "n": n, "of": of, "time": _now()}


def _short(values: list[Any]) -> Any:
    """One value where all are alike."""
    return values[0] if values and all(value == values[0] for value in values) else values


def _now() -> float:
    return round(time.time(), 2)


def outline_record(
    n: int,
    box: tuple[int, int, int, int],
    changes: list[dict[str, Any]],
    *,
    gone: list[dict[str, Any]],
    come: list[dict[str, Any]],
    what: str,
) -> dict[str, Any]:
    """Return the record of outlines that were changed.

    Parameters
    ----------
    box
        ``y0, y1, x0, x1`` of the changed part, px of level 0.
    changes
        As `napari_dama.cells.outlines.changes_between` gives them.
    gone, come
        The cells before and after: ``label, y, x, type, reviewed`` and ``row``, all of the table's columns.
    what
        In a word, for the list of edits: ``paint``, ``new``, ``merge``, ``split``, ``delete``.
    """
    return {
        "record": "outline", "n": n, "what": what, "box": [int(v) for v in box], "changes": changes, "gone": gone,
        "come": come, "time": _now(),
    }  # fmt: skip


def draft_record(n: int, box: tuple[int, int, int, int], changes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of outlines that are being edited and not kept yet; no changes end it.

    It replaces the draft before it; ``box`` is the whole part that is being edited.
    """
    return {
        "record": "draft", "n": n, "box": [int(v) for v in box], "changes": changes, "gone": [], "come": [],
        "time": _now(),
    }  # fmt: skip


def told_record(
    n: int, labels: Sequence[int], types: Sequence[str], before: Sequence[str], model: str
) -> dict[str, Any]:
    """Return the record of cells whose types another model told anew; they do not count as reviewed by that.

    Types are numbers of ``names``, so that a slide's hundred thousand cells stay a few megabytes.
    """
    names = sorted({*types, *before})
    place = {name: i for i, name in enumerate(names)}
    return {
        "record": "told", "n": n, "model": model, "names": names, "label": [int(v) for v in labels],
        "type": [place[name] for name in types], "before": [place[name] for name in before], "time": _now(),
    }  # fmt: skip


# -- reading ---------------------------------------------------------------------------------------------------


def is_sound(record: dict[str, Any]) -> bool:
    """Whether a record of a type, a class or an outline has what it needs, each of its kind."""
    check = {
        "type": _sound_type,
        "class": _sound_class,
        "outline": _sound_outline,
        "draft": _sound_outline,
        "told": _sound_told,
    }.get(str(record.get("record")))
    return check is not None and check(record)


def is_int(value: Any, low: int, high: int) -> bool:
    """Whether a value is a whole number within bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_place(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_cell(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and is_int(entry.get("label"), 1, 2**32 - 1)
        and _is_place(entry.get("y"))
        and _is_place(entry.get("x"))
        and isinstance(entry.get("type"), str)
        and isinstance(entry.get("row", {}), dict)
    )


def _sound_type(record: dict[str, Any]) -> bool:
    labels = record.get("label")
    if not isinstance(labels, list) or not all(is_int(v, 1, 2**32 - 1) for v in labels):
        return False
    count = len(labels)
    places = [record.get("y"), record.get("x")]
    if not all(isinstance(v, list) and len(v) == count and all(_is_place(p) for p in v) for v in places):
        return False
    names = [record.get("type"), record.get("before", NO_TYPE)]
    return all(
        isinstance(v, str) or (isinstance(v, list) and len(v) == count and all(isinstance(t, str) for t in v))
        for v in names
    )


def _sound_told(record: dict[str, Any]) -> bool:
    names, labels = record.get("names"), record.get("label")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    if not isinstance(labels, list) or not all(is_int(v, 1, 2**32 - 1) for v in labels):
        return False
    columns = [record.get("type"), record.get("before")]
    return all(
        isinstance(v, list) and len(v) == len(labels) and all(is_int(i, 0, len(names) - 1) for i in v)
        for v in columns
    )


def _sound_class(record: dict[str, Any]) -> bool:
    return record.get("what") in ("add", "rename", "colour", "delete") and all(
        isinstance(record.get(key, ""), str) for key in ("name", "value", "before")
    )


def _sound_outline(record: dict[str, Any]) -> bool:
    box = record.get("box")
    if not isinstance(box, list) or len(box) != 4 or not all(is_int(v, 0, 2**31) for v in box):
        return False
    if not all(isinstance(record.get(key), list) for key in ("changes", "gone", "come")):
        return False
    return all(_is_cell(entry) for key in ("gone", "come") for entry in record[key]) and all(
        isinstance(entry, dict)
        and is_int(entry.get("before"), 0, 2**32 - 1)
        and is_int(entry.get("after"), 0, 2**32 - 1)
        and isinstance(entry.get("counts"), str)
        for entry in record["changes"]
    )
