"""What people corrected on a slide by hand: types given, classes made, outlines changed; in a journal beside the slide.

The journal ``NAME.dama-corrections.jsonl`` only grows (`napari_dama.cells.journal`); this module reads
it. Its format is in ``docs/formats.md``. A journal has *sections*, one per result of the slide that was annotated;
labels mean cells of that result, and positions carry corrections over to another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from napari_dama.cells.correction_records import NO_TYPE, VERSION, is_int, is_sound
from napari_dama.cells.journal import read_lines
from napari_dama.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Iterable

ENDING: Final = ".dama-corrections.jsonl"
COLUMNS: Final = ("label", "y", "x", "type", "reviewed", "who", "n")
_SUFFIXES: Final = (".gz", ".tif", ".tiff", ".qptiff", ".npy", ".zarr", ".ome")


@dataclass(frozen=True, slots=True)
class Edit:
    """One act of the user, as recorded: what was before and what is after.

    Attributes
    ----------
    n : int
        Its number in the journal.
    kind : str
        ``type``, ``class``, ``outline`` or ``told``.
    record : dict
        The line of the journal.
    undone : bool
        Whether it was taken back.
    """

    n: int
    kind: str
    record: dict[str, Any]
    undone: bool


@dataclass(slots=True)
class Section:
    """What was corrected on one result of the slide.

    Attributes
    ----------
    result, made : str
        Folder of the result, relative to the journal where that is possible, and when the result was made.
    edits : list of Edit
        Everything that was done, in order, undone things included.
    again : list of int
        Numbers of the edits that can be done again, the next one last.
    marks : list of tuple
        ``(number of the line, edit, taken back)`` of every change of the outlines in order: doing, undoing, doing again.
    draft : dict or None
        Outlines that were being edited when the program ended, neither kept nor discarded.
    top : int
        Highest number of what was done or undone, drafts left out; 0 where nothing was.
    """

    result: str
    made: str
    edits: list[Edit] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    marks: list[tuple[int, Edit, bool]] = field(default_factory=list)
    draft: dict[str, Any] | None = None
    top: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What tells this section from others."""
        return self.result, self.made

    @property
    def live(self) -> list[Edit]:
        """Edits that count."""
        return [edit for edit in self.edits if not edit.undone]


@dataclass(frozen=True, slots=True)
class Corrections:
    """The outcome of a journal.

    Attributes
    ----------
    path : Path
        The journal.
    slide : str
        Name of the slide's file.
    result : str
        The result that this is about: the one annotated last, unless another was asked for.
    cells : DataFrame
        One row per cell that was looked at: ``label, y, x`` (px of level 0), ``type``, ``reviewed`` (a person
        said what it is, or confirmed it), ``who``, ``n`` (line that said so).
    classes : dict of str to str
        Classes that were made or coloured, with their colours ``#rrggbb``.
    renamed : dict of str to str
        The model's names of classes, to those that the user gave them.
    deleted : tuple of str
        Classes that were taken out, being empty.
    outlines : tuple of int
        Labels whose outline was changed or drawn by hand.
    removed : tuple of int
        Labels that were deleted, or went up in another.
    notes : tuple of str
        What a reader should know: damaged lines.
    told : dict of int to str
        Types that an improved model told anew, by label; what a person said of a cell stands above it.
    told_by : dict of int to str
        The name of that model, by label.
    outline_edits : tuple of int
        Numbers of the changes of outlines that count, in their order.
    has_outlines : bool
        Whether the journal has any change of outlines, taken back or not.
    top : int
        Highest number of what was done or undone; tells whether something was written before or after it.
    """

    path: Path
    slide: str
    result: str
    cells: pd.DataFrame
    classes: dict[str, str]
    renamed: dict[str, str]
    deleted: tuple[str, ...]
    outlines: tuple[int, ...]
    removed: tuple[int, ...]
    notes: tuple[str, ...]
    told: dict[int, str] = field(default_factory=dict)
    told_by: dict[int, str] = field(default_factory=dict)
    outline_edits: tuple[int, ...] = ()
    has_outlines: bool = False
    top: int = 0

    @property
    def typed(self) -> pd.DataFrame:
        """``label, y, x, type`` of the reviewed cells that have a type: what can be learned from."""
        wanted = self.cells["reviewed"] & (self.cells["type"] != NO_TYPE)
        return self.cells.loc[wanted, ["label", "y", "x", "type"]].reset_index(drop=True)


def journal_path(slide: str | Path, result: str | Path | None = None) -> Path:
    """Return where a slide's journal is, or is to be: beside the slide, else in the result's folder.

    The result's folder is taken where the slide is gone, or its folder cannot be written and has no journal.
    """
    file = Path(slide) if str(slide) else None
    name = (stem_of(file) if file is not None else Path(result or "cells").name) + ENDING
    if file is not None and file.exists():
        beside = file.absolute().parent / name
        if result is None or os.access(beside if beside.exists() else beside.parent, os.W_OK):
            return beside
    return (Path(result) if result is not None else Path()) / name


def stem_of(slide: Path) -> str:
    """Return the name of a slide's file without its suffixes: ``tissue`` of ``tissue.ome.tif``."""
    name = slide.name
    while any(name.lower().endswith(suffix) and len(name) > len(suffix) for suffix in _SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def result_key(journal: Path, result: str | Path, made: str) -> tuple[str, str]:
    """Return how a journal names a result: relative to itself where it can, so that both may be moved together."""
    folder = Path(result).absolute()
    try:
        name = folder.relative_to(journal.absolute().parent).as_posix()
    except ValueError:
        name = folder.as_posix()
    return name, made


def read_sections(path: Path) -> tuple[list[Section], str, int, list[str]]:
    """Read a journal: its sections in the order of their last use, the slide's name, the highest number, and notes.

    Raises
    ------
    OutputError
        The file cannot be read.
    SlideError
        It is no journal of corrections, or a newer program wrote it.
    """
    records, damaged = read_lines(path)
    heads = [record for record in records if record.get("record") == "header"]
    if records and not heads:
        raise SlideError(f"{path} is no file of napari-dama's corrections: it has no header.")
    newer = [head.get("version") for head in heads if not is_int(head.get("version"), 1, VERSION)]
    if newer:
        raise SlideError(
            f"{path} has version {newer[0]} and this program knows {VERSION}: update napari-dama."
        )
    sections: dict[tuple[str, str], Section] = {}
    current: Section | None = None
    slide, top = "", 0
    for record in records:
        if record.get("record") == "header":
            slide = str(record.get("slide", "")) or slide
            key = (str(record.get("result", "")), str(record.get("made", "")))
            current = sections.pop(key, None) or Section(*key)
            sections[key] = current
        elif current is None or not _take(current, record):
            damaged += 1
        else:
            top = max(top, int(record["n"]))
    notes = [_damage(path, damaged)] if damaged else []
    return list(sections.values()), slide, top, notes


def section_of(key: tuple[str, str], records: Iterable[dict[str, Any]]) -> Section:
    """Return a section made of lines in memory."""
    section = Section(*key)
    for record in records:
        _take(section, record)
    return section


def _damage(path: Path, count: int) -> str:
    what = "1 line" if count == 1 else f"{count} lines"
    are = "is" if count == 1 else "are"
    return f"{what} of {path.name} cannot be read and {are} passed over: cut off, or changed by hand."


def _take(section: Section, record: dict[str, Any]) -> bool:
    """Add a record to its section; False where it makes no sense."""
    kind, n = record.get("record"), record.get("n")
    if not is_int(n, 1, 2**53):
        return False
    number = int(record["n"])
    if kind in ("undo", "redo"):
        at = next(
            (i for i in reversed(range(len(section.edits))) if section.edits[i].n == record.get("of")), None
        )
        if at is None:
            return False
        old = section.edits[at]
        section.edits[at] = Edit(old.n, old.kind, old.record, kind == "undo")
        section.top = max(section.top, number)
        if old.n in section.again:
            section.again.remove(old.n)
        if kind == "undo":
            section.again.append(old.n)
        if old.kind == "outline":
            section.marks.append((number, old, kind == "undo"))
        return True
    if not is_sound(record):
        return False
    if kind == "draft":
        section.draft = record if record["changes"] else None
        return True
    edit = Edit(number, str(kind), record, undone=False)
    section.edits.append(edit)
    section.top = max(section.top, number)
    section.again.clear()
    if kind == "outline":
        section.marks.append((number, edit, False))
    return True


def read_corrections(
    source: str | Path, *, result: str | Path | None = None, made: str | None = None
) -> Corrections:
    """Read what was corrected on a slide.

    Parameters
    ----------
    source
        A slide, or its journal ``.jsonl``.
    result
        Folder of the result whose labels are wanted; by default that of the result annotated last.
    made
        When that result was made (``created`` in its ``run.json``): a result that was made anew in the same folder has other
        labels. None takes the last one of that folder.

    Returns
    -------
    Corrections
        Empty where the journal has nothing for that result.

    Raises
    ------
    SlideError
        There is no journal, or the file is none.
    OutputError
        It cannot be read.

    Examples
    --------
    >>> read_corrections("tissue.ome.tif").typed  # doctest: +SKIP
    """
    path = Path(source)
    if not path.name.endswith(".jsonl"):
        path = journal_path(path, result)
    if not path.is_file():
        raise SlideError(f"Nothing was corrected on {source}: there is no {path}.")
    sections, slide, _, notes = read_sections(path)
    wanted = sections[-1:]
    if result is not None:
        name = result_key(path, result, "")[0]
        own = [section for section in sections if section.result == name]
        wanted = [section for section in own if made is None or section.made == made][-1:]
    if not wanted:
        return outcome(Section("" if result is None else str(result), ""), path, slide, notes)
    return outcome(wanted[0], path, slide, notes)


def outcome(section: Section, path: Path, slide: str, notes: Iterable[str] = ()) -> Corrections:
    """Fold a section's edits into what holds in the end."""
    fold = _Fold()
    for edit in section.live:
        fold.take(edit)
    cells = pd.DataFrame(
        [[label, *row] for label, row in sorted(fold.rows.items())], columns=list(COLUMNS)
    ).astype({"label": np.int64, "y": float, "x": float, "reviewed": bool, "n": np.int64})
    return Corrections(
        path=path,
        slide=slide,
        result=section.result,
        cells=cells,
        classes=fold.classes,
        renamed=fold.renamed,
        deleted=tuple(fold.deleted),
        outlines=tuple(fold.drawn),
        removed=tuple(fold.removed),
        notes=tuple(notes),
        told=fold.told,
        told_by=fold.told_by,
        outline_edits=tuple(edit.n for edit in section.live if edit.kind == "outline"),
        has_outlines=bool(section.marks),
        top=section.top,
    )


class _Fold:
    """What holds after the edits that were taken so far."""

    def __init__(self) -> None:
        self.rows: dict[int, list[Any]] = {}
        self.classes: dict[str, str] = {}
        self.renamed: dict[str, str] = {}
        self.deleted: dict[str, None] = {}
        self.told: dict[int, str] = {}
        self.told_by: dict[int, str] = {}
        self.drawn: dict[int, None] = {}
        self.removed: dict[int, None] = {}
        self._made: set[str] = set()

    def take(self, edit: Edit) -> None:
        """Take the next edit."""
        kinds = {"type": self._types, "class": self._class, "outline": self._outline, "told": self._told}
        kinds[edit.kind](edit)

    def _types(self, edit: Edit) -> None:
        record = edit.record
        kind, who = record["type"], str(record.get("who", ""))
        for i, label in enumerate(record["label"]):
            name = kind if isinstance(kind, str) else kind[i]
            self.rows[label] = [float(record["y"][i]), float(record["x"][i]), name, True, who, edit.n]

    def _told(self, edit: Edit) -> None:
        names = edit.record["names"]
        for label, number in zip(edit.record["label"], edit.record["type"], strict=True):
            self.told[label] = names[number]
        self.told_by |= dict.fromkeys(edit.record["label"], str(edit.record.get("model") or "improved"))

    def _class(self, edit: Edit) -> None:
        record = edit.record
        what, name, value = record["what"], record["name"], record.get("value", "")
        if what == "rename":
            self._rename(name, value)
        elif what == "delete":
            self.classes.pop(name, None)
            self._made.discard(name)
            self.deleted[name] = None
        else:
            self.classes[name] = value
            self.deleted.pop(name, None)
            if what == "add":
                self._made.add(name)

    def _rename(self, name: str, value: str) -> None:
        if name in self._made:
            self._made.discard(name)
            self._made.add(value)
        else:
            first = next((first for first, now in self.renamed.items() if now == name), name)
            self.renamed[first] = value
        if name in self.classes:
            self.classes = {value if key == name else key: c for key, c in self.classes.items()}
        for row in self.rows.values():
            row[2] = value if row[2] == name else row[2]
        self.told = {label: value if kind == name else kind for label, kind in self.told.items()}

    def _outline(self, edit: Edit) -> None:
        come = {int(entry["label"]): entry for entry in edit.record["come"]}
        for label in {int(entry["label"]) for entry in edit.record["gone"]} - set(come):
            self.drawn.pop(label, None)
            self.rows.pop(label, None)
            self.removed[label] = None
        for label, entry in come.items():
            self.removed.pop(label, None)
            self.drawn[label] = None
            self.rows.pop(label, None)
            if entry.get("reviewed"):
                y, x, kind = float(entry["y"]), float(entry["x"]), str(entry["type"])
                self.rows[label] = [y, x, kind, True, "outline", edit.n]
