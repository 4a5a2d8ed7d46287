"""What people do to the cells of the open result: types, classes, outlines; with undo, and a journal. No Qt.

The cells themselves are in `CellsModel`; this is the only place that corrects them, so that every correction is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from psygnal import Signal

from napari_dama.cells.carry import carry
from napari_dama.cells.corrected_outlines import corrected_outlines
from napari_dama.cells.correction_records import (
    class_record,
    header,
    mark_record,
    told_record,
    type_record,
)
from napari_dama.cells.corrections import Section, journal_path, outcome, read_sections, result_key
from napari_dama.cells.journal import Journal, Saved
from napari_dama.errors import DamaError, OutputError, SettingsError
from napari_dama.gui.cell_table import UNTYPED, untyped
from napari_dama.predict.amend import catch_up
from napari_dama.predict.saved_table import restored_section, save_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_dama.cells.correction_records import Who
    from napari_dama.cells.corrections import Corrections
    from napari_dama.gui.cells_model import CellsModel


@dataclass(frozen=True, slots=True)
class Found:
    """What the journal of a slide holds for the result that was opened.

    Attributes
    ----------
    path : Path
        The journal, whether it is there or not.
    own : Section
        What was done on this very result.
    others : tuple of Corrections
        What was done on other results of the slide, the last first.
    top : int
        Highest number in the journal.
    size : int
        Its bytes when it was read.
    notes : tuple of str
        What the user should know.
    caught_up : bool
        The result's files were behind the journal and were written anew: read them again.
    restored : tuple of dict
        Lines that the result's table gave back, where no journal came with it; the first edit writes them.
    """

    path: Path
    slide: str
    own: Section
    others: tuple[Corrections, ...]
    top: int
    size: int
    notes: tuple[str, ...]
    caught_up: bool = False
    restored: tuple[dict[str, Any], ...] = ()


def find_corrections(slide: str, result: Path, made: str) -> Found:
    """Read what was corrected on a slide before; call it outside of Qt's thread.

    Raises
    ------
    SlideError, OutputError
        The journal cannot be read.
    """
    path = journal_path(slide, result)
    key = result_key(path, result, made)
    notes: list[str] = []
    if slide and Path(slide).exists() and path.parent != Path(slide).absolute().parent:
        notes.append(f"The slide's folder cannot be written: corrections are saved in {path.parent}.")
    if not path.is_file():
        own, restored, top = restored_section(result, key)
        return Found(path, Path(slide).name, own, (), top, 0, tuple(notes), restored=restored)
    size = path.stat().st_size
    sections, name, top, damage = read_sections(path)
    own = next((section for section in sections if section.key == key), Section(*key))
    others = tuple(outcome(section, path, name) for section in reversed(sections) if section is not own)
    try:
        caught = catch_up(result, own)
    except (DamaError, OSError) as error:
        caught = False
        notes.append(f"Outlines changed earlier could not be brought into {result.name}: {error}.")
    try:
        save_table(result)
    except (DamaError, OSError) as error:
        notes.append(f"{result.name}/cells.csv lacks the latest corrections: {error}. Exports have them.")
    return Found(path, Path(slide).name or name, own, others, top, size, (*notes, *damage), caught)


class Annotator:
    """Corrections of the open result.

    Signals
    -------
    changed()
        Something was done or undone, or another result is open.
    edited(labels)
        Cells (n,) int64 were given types, confirmed, or let go again.
    saved_changed()
        Something was saved, or could not be; may come from another thread.
    outline_asked(record, back)
        The label image and the table on the disk are to follow an edit of outlines (or one that is taken ``back``).
    """

    changed = Signal()
    edited = Signal(object)
    saved_changed = Signal()
    outline_asked = Signal(object, bool)

    def __init__(self, cells: CellsModel) -> None:
        self.cells = cells
        self._reset()

    def _reset(self) -> None:
        self.journal: Journal | None = None
        self.found: Found | None = None
        self.pixel_um = 1.0
        self._reviewed: set[int] = set()
        self._done: list[dict[str, Any]] = []
        self._undone: list[dict[str, Any]] = []
        self._next = 1
        self._top_label = 0

    # -- opening and closing -----------------------------------------------------------------------------------

    def open(self, found: Found, pixel_um: float) -> list[str]:
        """Apply what was corrected before to the cells that are open; returns what to tell the user."""
        self.close()
        self.found, self.pixel_um, self._next = found, pixel_um, found.top + 1
        live = [edit.record for edit in found.own.live]
        by_number = {edit.n: edit.record for edit in found.own.edits}
        self._done, self._undone = live, [by_number[n] for n in found.own.again]
        notes = list(found.notes)
        own = outcome(found.own, found.path, found.slide)
        touched = self._apply(own)
        if len(own.cells):
            here = int((self.cells.rows_of(own.cells["label"]) >= 0).sum())
            notes.append(
                f"{_cells(here)} reviewed earlier {'is' if here == 1 else 'are'} shown as corrected."
            )
            if here < len(own.cells):
                notes.append(f"{_cells(len(own.cells) - here)} of them are not in this table any more.")
        if touched:
            self.cells.classes_changed.emit()
            self.cells.types_changed.emit(self.cells.labels)
        notes += self._carry(found.others, own)
        self.changed.emit()
        return notes

    def _apply(self, own: Corrections) -> bool:
        """Bring cells and classes to what the journal says, without a word."""
        cells = self.cells
        with cells.types_changed.blocked(), cells.classes_changed.blocked():
            for old, new in own.renamed.items():
                if old in cells.classes and new not in cells.classes:
                    cells.rename_class(old, new)
            for name, colour in own.classes.items():
                if name in cells.classes:
                    cells.colour_class(name, colour)
                else:
                    cells.add_class(name, colour)
            told = {label: kind for label, kind in own.told.items() if cells.rows_of(label)[0] >= 0}
            for name in {*told.values()} - {UNTYPED, *cells.classes}:
                cells.add_class(name)
            if told:
                cells.set_types(np.fromiter(told, np.int64, len(told)), list(told.values()))
            here = own.cells[cells.rows_of(own.cells["label"]) >= 0] if len(own.cells) else own.cells
            for name in here["type"].unique():
                if name != UNTYPED and name not in cells.classes:
                    cells.add_class(str(name))
            if len(here):
                cells.set_types(here["label"].to_numpy(), here["type"].tolist())
                self._reviewed = {int(label) for label in here["label"]}
            for name in own.deleted:
                if name in cells.classes and not (cells.types == name).any():
                    cells.delete_class(name)
        return bool(len(here) or told or own.classes or own.renamed or own.deleted)

    def _carry(self, others: Iterable[Corrections], own: Corrections) -> list[str]:
        """Take over what was corrected on other results of this slide, where a cell is at the place."""
        notes = []
        known = dict(zip(own.cells["label"], own.cells["n"], strict=True))
        for other in others:
            if other.cells.empty:
                continue
            fitting = carry(other.cells, self.cells.table, self.pixel_um)
            newer = np.array(
                [known.get(label, 0) < n for label, n in zip(fitting["label"], fitting["n"], strict=True)],
                bool,
            )
            wanted = fitting[newer] if len(fitting) else fitting
            same = self.cells.types[self.cells.rows_of(wanted["label"])] == wanted["type"].to_numpy()
            wanted = wanted[~(same & wanted["label"].isin(self._reviewed).to_numpy())]
            known.update(zip(wanted["label"], wanted["n"], strict=True))
            if wanted.empty:
                continue
            for name in wanted["type"].unique():
                if name != UNTYPED and name not in self.cells.classes:
                    self.add_class(str(name), other.classes.get(str(name), ""))
            self.give(wanted["label"].to_numpy(), wanted["type"].tolist(), "carried")
            notes.append(
                f"{len(wanted)} of {len(other.cells)} corrections made on {Path(other.result).name} fit cells of this "
                "result and were taken over."
            )
        return notes

    def close(self) -> bool:
        """Write what is left and forget; False where something could not be written."""
        whole = self.journal.close() if self.journal is not None else True
        self._reset()
        self.changed.emit()
        return whole

    @property
    def is_open(self) -> bool:
        """Whether cells can be corrected."""
        return self.found is not None and self.cells.is_open

    @property
    def saved(self) -> Saved:
        """How things stand between memory and disk."""
        return Saved(0, 0.0, "") if self.journal is None else self.journal.saved

    # -- what was looked at ------------------------------------------------------------------------------------

    @property
    def reviewed(self) -> NDArray[np.int64]:
        """Labels (n,) of the cells that a person typed or confirmed, ascending."""
        return np.array(sorted(self._reviewed), dtype=np.int64)

    def is_reviewed(self, label: int) -> bool:
        """Whether a person typed or confirmed a cell."""
        return label in self._reviewed

    def reviewed_counts(self) -> dict[str, int]:
        """Reviewed cells of each type that there are."""
        rows = self.cells.rows_of(np.fromiter(self._reviewed, np.int64, len(self._reviewed)))
        names, counts = np.unique(self.cells.types[rows[rows >= 0]].astype(str), return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def outline_count(self) -> int:
        """Outlines that a person drew, changed or deleted."""
        return len(corrected_outlines(self._done))

    # -- types -------------------------------------------------------------------------------------------------

    def give(self, labels: ArrayLike, types: str | Sequence[str], who: Who) -> None:
        """Give cells (n,) a type, ``cell`` for none; they count as reviewed.

        Raises
        ------
        SettingsError
            No result is open, a cell is not in it, or there is no such class.
        OutputError
            The journal is open elsewhere, or changed since.
        """
        wanted = np.atleast_1d(np.asarray(labels, dtype=np.int64))
        if not len(wanted):
            return
        self._ready()
        before = self._facts(wanted)
        self.cells.set_types(wanted, types)
        self._record(type_record(self._number(), before, types, who))
        self._reviewed.update(wanted.tolist())
        self.edited.emit(wanted)
        self.changed.emit()

    def confirm(self, labels: ArrayLike) -> None:
        """Say that cells (n,) are what they are called; what is wrong is as in `give`."""
        wanted = np.atleast_1d(np.asarray(labels, dtype=np.int64))
        if len(wanted):
            self.give(wanted, self.cells.types[self.cells.rows_of(wanted)].tolist(), "confirm")

    def tell(self, labels: ArrayLike, types: Sequence[str], model: str) -> int:
        """Take over what an improved model says of cells (n,); returns how many change.

        One edit, which can be undone. Cells that a person reviewed are passed over, and none counts as reviewed by this;
        other wrong things are as in `give`.
        """
        wanted = np.atleast_1d(np.asarray(labels, dtype=np.int64))
        names = np.array(list(types), dtype=object)
        free = (self.cells.rows_of(wanted) >= 0) & ~np.isin(wanted, self.reviewed)
        wanted, names = wanted[free], names[free]
        before = self.cells.types[self.cells.rows_of(wanted)].astype(object)
        other = before != names
        wanted, names, before = wanted[other], names[other], before[other]
        if not len(wanted):
            return 0
        self._ready()
        for name in dict.fromkeys(names.tolist()):
            if name != UNTYPED and name not in self.cells.classes:
                self.add_class(str(name))
        self.cells.set_types(wanted, names.tolist())
        self._record(told_record(self._number(), wanted.tolist(), names.tolist(), before.tolist(), model))
        self.changed.emit()
        return len(wanted)

    def _facts(self, labels: NDArray[np.int64]) -> pd.DataFrame:
        rows = self.cells.rows_of(labels)
        if (rows < 0).any():
            raise SettingsError(f"There is no cell {int(labels[rows < 0][0])} in this result.")
        table = self.cells.table
        return pd.DataFrame(
            {
                "label": labels,
                "y": table["y"].to_numpy()[rows],
                "x": table["x"].to_numpy()[rows],
                "type": self.cells.types[rows],
                "reviewed": [int(label) in self._reviewed for label in labels],
            }
        )

    # -- classes -----------------------------------------------------------------------------------------------

    def add_class(self, name: str, colour: str = "") -> None:
        """Add a class; errors as in `CellsModel.add_class`."""
        self._ready()
        self.cells.add_class(name, colour)
        name = name.strip()
        self._record(class_record(self._number(), "add", name, self.cells.classes[name]))
        self.changed.emit()

    def rename_class(self, old: str, new: str) -> None:
        """Rename a class with its cells; errors as in `CellsModel.rename_class`."""
        self._ready()
        self.cells.rename_class(old, new)
        self._record(class_record(self._number(), "rename", old, new.strip(), old))
        self.changed.emit()

    def colour_class(self, name: str, colour: str) -> None:
        """Give a class another colour ``#rrggbb``."""
        self._ready()
        before = self.cells.classes.get(name, "")
        self.cells.colour_class(name, colour)
        self._record(class_record(self._number(), "colour", name, colour, before))
        self.changed.emit()

    @property
    def renamed(self) -> dict[str, str]:
        """Names that classes had before anything was renamed, to those that the user gave them."""
        out: dict[str, str] = {}
        for record in self._done:
            if record["record"] == "class" and record["what"] == "rename":
                first = next((old for old, new in out.items() if new == record["name"]), record["name"])
                out[first] = record["value"]
        return out

    def delete_class(self, name: str) -> None:
        """Take out an empty class; errors as in `CellsModel.delete_class`."""
        self._ready()
        before = self.cells.classes.get(name, "")
        self.cells.delete_class(name)
        self._record(class_record(self._number(), "delete", name, "", before))
        self.changed.emit()

    # -- outlines ----------------------------------------------------------------------------------------------

    def change_outlines(self, record: dict[str, Any]) -> None:
        """Take over changed outlines (`outline_record` with `number` as ``n``): the table now, the files later."""
        self._ready()
        self._record(record)
        self._outline(record, back=False)
        self.changed.emit()

    @property
    def outline_edits(self) -> tuple[int, ...]:
        """Numbers of the changes of outlines that count, in their order."""
        return tuple(int(record["n"]) for record in self._done if record["record"] == "outline")

    @property
    def last_number(self) -> int:
        """Number of the journal's last line."""
        return self._next - 1

    def new_label(self) -> int:
        """Return the first number that no cell of this result has or ever had."""
        labels = self.cells.labels
        self._top_label = max(self._top_label, int(labels.max()) if len(labels) else 0)
        for record in (*self._done, *self._undone):
            if record["record"] == "outline":
                every = [int(entry["label"]) for entry in (*record["come"], *record["gone"])]
                self._top_label = max([self._top_label, *every])
        return self._top_label + 1

    def note(self, record: dict[str, Any]) -> None:
        """Record something that is no edit: a draft of outlines."""
        self._ready()
        self._append(record)

    def number(self) -> int:
        """Return the next number of the journal, and count it as used."""
        return self._number()

    def _outline(self, record: dict[str, Any], *, back: bool) -> None:
        gone, come = (record["come"], record["gone"]) if back else (record["gone"], record["come"])
        rows = pd.DataFrame([entry["row"] for entry in come])
        if come:
            rows["label"] = [int(entry["label"]) for entry in come]
        else:
            rows = pd.DataFrame({"label": np.zeros(0, np.int64)})
        here = {int(entry["label"]) for entry in come}
        out = [int(entry["label"]) for entry in gone if int(entry["label"]) not in here]
        self._reviewed.difference_update(int(entry["label"]) for entry in gone)
        self._reviewed.update(int(entry["label"]) for entry in come if entry.get("reviewed"))
        self.cells.replace_rows(out, rows, [str(entry["type"]) for entry in come])
        self.outline_asked.emit(record, back)

    # -- undo --------------------------------------------------------------------------------------------------

    @property
    def undo_text(self) -> str:
        """What would be taken back, in words; empty for nothing."""
        return words_of(self._done[-1]) if self._done else ""

    @property
    def redo_text(self) -> str:
        """What would be done again, in words; empty for nothing."""
        return words_of(self._undone[-1]) if self._undone else ""

    def undo(self) -> str:
        """Take back the last edit; returns it in words, empty where there is none."""
        if not self._done:
            return ""
        self._ready()
        record = self._done.pop()
        self._undone.append(record)
        self._append(mark_record(self._number(), int(record["n"]), "undo"))
        self._back(record)
        self.changed.emit()
        return words_of(record)

    def redo(self) -> str:
        """Do again what was taken back last; returns it in words, empty where there is none."""
        if not self._undone:
            return ""
        self._ready()
        record = self._undone.pop()
        self._done.append(record)
        self._append(mark_record(self._number(), int(record["n"]), "redo"))
        self._again(record)
        self.changed.emit()
        return words_of(record)

    def _back(self, record: dict[str, Any]) -> None:
        kind = record["record"]
        if kind == "outline":
            self._outline(record, back=True)
        elif kind == "told":
            self._told(record, "before")
        elif kind == "type":
            was = _each(record.get("reviewed_before", False), record["label"])
            self._types(record, "before", was)
        else:
            what, name = record["what"], record["name"]
            if what == "add":
                self.cells.delete_class(name)
            elif what == "rename":
                self.cells.rename_class(record["value"], name)
            elif what == "colour":
                self.cells.colour_class(name, record["before"])
            else:
                self.cells.add_class(name, record["before"])

    def _again(self, record: dict[str, Any]) -> None:
        kind = record["record"]
        if kind == "outline":
            self._outline(record, back=False)
        elif kind == "told":
            self._told(record, "type")
        elif kind == "type":
            self._types(record, "type", [True] * len(record["label"]))
        else:
            what, name, value = record["what"], record["name"], record["value"]
            if what == "add":
                self.cells.add_class(name, value)
            elif what == "rename":
                self.cells.rename_class(name, value)
            elif what == "colour":
                self.cells.colour_class(name, value)
            else:
                self.cells.delete_class(name)

    def _told(self, record: dict[str, Any], key: str) -> None:
        labels = np.asarray(record["label"], np.int64)
        free = (self.cells.rows_of(labels) >= 0) & ~np.isin(labels, self.reviewed)
        names = np.array(record["names"], dtype=object)[np.asarray(record[key], np.int64)]
        self.cells.set_types(labels[free], names[free].tolist())

    def _types(self, record: dict[str, Any], key: str, reviewed: list[bool]) -> None:
        labels = np.asarray(record["label"], np.int64)
        there = self.cells.rows_of(labels) >= 0
        names = np.array(_each(record.get(key, UNTYPED), record["label"]), dtype=object)
        self.cells.set_types(labels[there], names[there].tolist())
        for label, was in zip(labels[there].tolist(), np.array(reviewed)[there], strict=True):
            (self._reviewed.add if was else self._reviewed.discard)(label)
        self.edited.emit(labels[there])

    # -- the journal -------------------------------------------------------------------------------------------

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def _record(self, record: dict[str, Any]) -> None:
        self._append(record)
        self._done.append(record)
        self._undone.clear()

    def _append(self, record: dict[str, Any]) -> None:
        if self.journal is None:
            raise SettingsError("Open a result first.")
        self.journal.append(record)

    def _ready(self) -> None:
        """Have the journal open before anything is changed; the first edit of a session makes it."""
        found = self.found
        if found is None or not self.cells.is_open:
            raise SettingsError("Open a result first: there are no cells to correct.")
        if self.journal is not None:
            return
        journal = Journal(found.path, on_change=self.saved_changed.emit)
        size = found.path.stat().st_size if found.path.exists() else 0
        if size != found.size:
            journal.close()
            raise OutputError(
                f"{found.path.name} was changed in another window or program since this result was opened; open the "
                "result anew to go on from there"
            )
        journal.append(header(found.slide, found.own.key))
        for record in found.restored:
            journal.append(record)
        self.journal = journal


def words_of(record: dict[str, Any]) -> str:
    """Return an edit in a few words."""
    kind = record["record"]
    if kind == "type":
        count = len(record["label"])
        names = record["type"]
        one = names if isinstance(names, str) else names[0] if len(set(names)) == 1 else "several types"
        if record.get("who") == "confirm":
            return f"{_cells(count)} confirmed"
        return f"{_cells(count)}: {untyped(one)}"
    if kind == "outline":
        return f"outlines: {record.get('what') or 'changed'}"
    if kind == "told":
        return f"{_cells(len(record['label']))} told anew by {record.get('model') or 'a model'}"
    what = {"add": "added", "rename": "renamed", "colour": "coloured", "delete": "deleted"}[record["what"]]
    return f"class {record['name']} {what}"


def _each(value: Any, labels: list[int]) -> list[Any]:
    return list(value) if isinstance(value, list) else [value] * len(labels)


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
