"""The cells of the open result as one evented model: their types, their classes' colours, and which are selected. No Qt.

Tabs, gallery, plots and layers look here and listen here; none of them keeps a copy of the table.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from psygnal import Signal

from napari_dama.errors import SettingsError
from napari_dama.gui.cell_table import UNTYPED, types_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import ArrayLike, NDArray

SPARE_COLOURS = (
    "#f2c14e",
    "#4cc9f0",
    "#e76f51",
    "#90be6d",
    "#b388eb",
    "#ff8fab",
    "#43aa8b",
    "#f9844a",
    "#a3b18a",
)
"""Colours of classes that the model does not know, in the order in which they are made."""


class CellsModel:
    """One row per cell, and what is said and done about them.

    Signals
    -------
    reset()
        Another result is open, or none.
    types_changed(labels)
        Cells (n,) int64 have another type now.
    rows_changed(labels)
        Cells (n,) int64 were added, removed, or measured anew.
    selection_changed()
        Other cells are selected.
    classes_changed()
        A class was added, renamed or coloured anew.
    columns_changed()
        Columns were computed and added: neighbours, coordinates of a plot.
    """

    reset = Signal()
    types_changed = Signal(object)
    rows_changed = Signal(object)
    selection_changed = Signal()
    classes_changed = Signal()
    columns_changed = Signal()

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._table = pd.DataFrame({"label": np.zeros(0, np.int64)})
        self._row = np.full(1, -1, np.int64)
        self._types = np.zeros(0, dtype=object)
        self._predicted = np.zeros(0, dtype=object)
        self._classes: dict[str, str] = {}
        self._selected = np.zeros(0, np.int64)
        self._counted: Counter[str] | None = None
        self._typed = False
        self._open = False

    # -- the table -------------------------------------------------------------------------------------------

    def open(self, table: pd.DataFrame, classes: Mapping[str, str]) -> None:
        """Take a result's table (``label`` and the columns of ``cells.csv``) and its classes with their colours."""
        self._clear()
        self._open = True
        self._typed = "type" in table
        types = types_of(table)
        self._set_table(table.reset_index(drop=True), types, types)
        self._classes = dict(classes)
        for name in dict.fromkeys(self._types.tolist()):
            if name != UNTYPED and name not in self._classes:
                self._classes[name] = self._spare_colour()
        self.reset.emit()

    def close(self) -> None:
        """Forget everything."""
        if self._open:
            self._clear()
            self.reset.emit()

    @property
    def is_open(self) -> bool:
        """Whether a result is open."""
        return self._open

    @property
    def typed(self) -> bool:
        """Whether cells have types: the model's, or given by hand."""
        return self._typed

    @property
    def table(self) -> pd.DataFrame:
        """The cells as measured and predicted; do not write into it. `types` says what counts."""
        return self._table

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels (n,) in the table's order."""
        return self._table["label"].to_numpy(np.int64)

    @property
    def types(self) -> NDArray[Any]:
        """Types (n,) that count now, as text; ``cell`` where there is none. Do not write into it."""
        return self._types

    @property
    def predicted(self) -> NDArray[Any]:
        """Types (n,) that the model told; ``cell`` where it told none."""
        return self._predicted

    @property
    def frame(self) -> pd.DataFrame:
        """A copy of the table with the types that count now, as exports and layers want it."""
        if not self._typed:
            return self._table.copy()
        return self._table.assign(type=self._types)

    def rows_of(self, labels: ArrayLike) -> NDArray[np.int64]:
        """Return the rows (n,) of labels, -1 for those that are not in the table."""
        wanted = np.atleast_1d(np.asarray(labels, dtype=np.int64))
        inside = (wanted >= 0) & (wanted < len(self._row))
        return np.where(inside, self._row[np.where(inside, wanted, 0)], -1)

    def type_of(self, label: int) -> str:
        """Return a cell's type; ``cell`` where it has none or is not there."""
        row = int(self.rows_of(label)[0])
        return UNTYPED if row < 0 else str(self._types[row])

    def counts(self) -> dict[str, int]:
        """Cells of each class in the classes' order, then of those without type."""
        if self._counted is None:
            self._counted = _count(self._types)
        found = {name: number for name, number in self._counted.items() if number}
        return {
            name: found.get(name, 0)
            for name in [*self._classes, UNTYPED]
            if name in self._classes or name in found
        }

    def set_types(self, labels: ArrayLike, types: str | Iterable[str]) -> NDArray[Any]:
        """Give cells another type; returns the types (n,) that they had, to be able to go back.

        Parameters
        ----------
        labels
            Cells (n,), all in the table.
        types
            One type for all, or one per cell; ``cell`` takes the type away.

        Raises
        ------
        SettingsError
            A label is not in the table, or a type is no class of this result.
        """
        wanted = np.atleast_1d(np.asarray(labels, dtype=np.int64))
        rows = self.rows_of(wanted)
        if (rows < 0).any():
            raise SettingsError(f"There is no cell {int(wanted[rows < 0][0])} in this result.")
        new = (
            np.full(len(rows), types, dtype=object)
            if isinstance(types, str)
            else np.array(list(types), dtype=object)
        )
        strange = sorted({str(name) for name in new if name != UNTYPED and name not in self._classes})
        if strange:
            raise SettingsError(
                f"There is no class {strange[0]!r}; there is {', '.join(self._classes) or 'none yet'}."
            )
        before = self._types[rows].copy()
        changed = before != new
        self._types[rows] = new
        if len(rows) != len(np.unique(rows)):
            self._counted = None
        elif self._counted is not None:
            self._counted.subtract(_count(before))
            self._counted.update(_count(new))
        self._typed = self._typed or bool((new != UNTYPED).any())
        if changed.any():
            self.types_changed.emit(wanted[changed])
        return before

    def replace_rows(self, gone: ArrayLike, rows: pd.DataFrame, types: Iterable[str] | None = None) -> None:
        """Take cells out of the table and put others in: outlines were drawn, joined, split or deleted.

        Parameters
        ----------
        gone
            Labels (n,) to take out; those that are not in the table are passed over.
        rows
            Cells measured anew, with at least ``label, y, x``; a label that is there already is replaced and keeps its type
            where ``types`` is not given.
        types
            Type of each row.
        """
        out = np.atleast_1d(np.asarray(gone, dtype=np.int64))
        own = self.rows_of(rows["label"].to_numpy(np.int64)) if len(rows) else np.zeros(0, np.int64)
        kept_types = [str(self._types[row]) if row >= 0 else UNTYPED for row in own]
        fresh = types_of(
            rows
        )  # of a cell that was taken out and comes back, its row knows what the model said
        told = [str(self._predicted[row]) if row >= 0 else str(fresh[i]) for i, row in enumerate(own)]
        new_types = kept_types if types is None else list(types)
        drop = np.concatenate([self.rows_of(out), own])
        keep = np.ones(len(self._table), dtype=bool)
        keep[drop[drop >= 0]] = False
        parts = [part for part in (self._table[keep], rows.reindex(columns=self._table.columns)) if len(part)]
        table = pd.concat(parts, ignore_index=True) if parts else self._table.iloc[:0]
        all_types = np.concatenate([self._types[keep], np.array(new_types, dtype=object)])
        predicted = np.concatenate([self._predicted[keep], np.array(told, dtype=object)])
        order = np.argsort(table["label"].to_numpy(np.int64), kind="stable")
        self._set_table(table.iloc[order].reset_index(drop=True), all_types[order], predicted[order])
        touched = np.unique(np.concatenate([out, rows["label"].to_numpy(np.int64)]))
        self.rows_changed.emit(touched)
        self.select(self._selected[self.rows_of(self._selected) >= 0] if len(self._selected) else [])

    def set_columns(self, columns: Mapping[str, ArrayLike]) -> None:
        """Add columns, or replace those of these names; each (n,) in the table's order.

        Raises
        ------
        SettingsError
            A column has another length than the table.
        """
        for name, values in columns.items():
            if len(np.asarray(values)) != len(self._table):
                raise SettingsError(
                    f"Column {name!r} has {len(np.asarray(values))} values for {len(self._table)} cells."
                )
        self._table = self._table.assign(**{name: np.asarray(values) for name, values in columns.items()})
        self.columns_changed.emit()

    def _set_table(self, table: pd.DataFrame, types: NDArray[Any], predicted: NDArray[Any]) -> None:
        self._table = table
        labels = table["label"].to_numpy(np.int64)
        self._row = np.full(int(labels.max(initial=0)) + 1, -1, np.int64)
        self._row[labels] = np.arange(len(labels))
        self._types, self._predicted = types.copy(), predicted.copy()
        self._counted = None

    # -- classes ---------------------------------------------------------------------------------------------

    @property
    def classes(self) -> dict[str, str]:
        """Names of the classes in the order of their keys 1 to 9, each with its colour ``#rrggbb``."""
        return dict(self._classes)

    def add_class(self, name: str, colour: str = "") -> None:
        """Add a class that a cell can be given.

        Raises
        ------
        SettingsError
            The name is empty, taken, or means *no type*.
        """
        name = self._checked(name)
        self._classes[name] = colour or self._spare_colour()
        self.classes_changed.emit()

    def rename_class(self, old: str, new: str) -> None:
        """Rename a class, its cells included.

        Raises
        ------
        SettingsError
            There is no class of the old name, or the new one cannot be taken.
        """
        if old not in self._classes:
            raise SettingsError(f"There is no class {old!r}.")
        new = self._checked(new)
        self._classes = {new if name == old else name: colour for name, colour in self._classes.items()}
        of_it = self._types == old
        self._types[of_it] = new
        self._counted = None
        self._predicted[self._predicted == old] = new
        self.classes_changed.emit()
        if of_it.any():
            self.types_changed.emit(self.labels[of_it])

    def delete_class(self, name: str) -> None:
        """Take out a class that no cell has.

        Raises
        ------
        SettingsError
            There is no such class, or cells have it.
        """
        if name not in self._classes:
            raise SettingsError(f"There is no class {name!r}.")
        count = int((self._types == name).sum())
        if count:
            has = "1 cell is" if count == 1 else f"{count} cells are"
            raise SettingsError(f"{has} of class {name!r}: give them another type first.")
        del self._classes[name]
        self.classes_changed.emit()

    def colour_class(self, name: str, colour: str) -> None:
        """Give a class another colour ``#rrggbb``.

        Raises
        ------
        SettingsError
            There is no such class.
        """
        if name not in self._classes:
            raise SettingsError(f"There is no class {name!r}.")
        self._classes[name] = colour
        self.classes_changed.emit()

    def _checked(self, name: str) -> str:
        name = name.strip()
        if not name or name == UNTYPED:
            raise SettingsError(
                f"A class needs a name of its own; {UNTYPED!r} stands for cells without type."
            )
        if name in self._classes:
            raise SettingsError(f"There is a class {name!r} already.")
        return name

    def _spare_colour(self) -> str:
        used = set(self._classes.values())
        return next(
            (colour for colour in SPARE_COLOURS if colour not in used),
            SPARE_COLOURS[len(used) % len(SPARE_COLOURS)],
        )

    # -- selection -------------------------------------------------------------------------------------------

    @property
    def selected(self) -> NDArray[np.int64]:
        """Labels (n,) of the selected cells; the last is the one that was chosen last."""
        return self._selected

    def select(self, labels: ArrayLike) -> None:
        """Select cells (n,), and no others; labels that are not in the table are passed over."""
        wanted = np.atleast_1d(np.asarray(labels, dtype=np.int64))
        wanted = wanted[self.rows_of(wanted) >= 0]
        if not np.array_equal(wanted, self._selected):
            self._selected = wanted
            self.selection_changed.emit()


def _count(types: NDArray[Any]) -> Counter[str]:
    """Cells of each type (n,)."""
    codes, names = pd.factorize(types)
    numbers = np.bincount(codes, minlength=len(names))
    return Counter({str(name): int(number) for name, number in zip(names, numbers, strict=True)})
