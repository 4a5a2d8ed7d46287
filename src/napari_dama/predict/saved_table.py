"""A result's table brought up to what its journal of corrections says, and the columns that a person kept in it.

The journal is the original, and is on the disk first; what was cut off in between is made good by `save_table`, which may be
called at any time and does nothing where nothing is behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_dama.cells.corrected import (
    CONFIRMED,
    HAND,
    model_types,
    outlines_by_hand,
    types_now,
    with_corrections,
)
from napari_dama.cells.corrections import Section, journal_path, read_corrections, section_of
from napari_dama.cells.kept import (
    UNKNOWN,
    CellsState,
    Kept,
    file_names,
    judged,
    outlines_mark,
    plain_names,
    read_kept,
    types_mark,
)
from napari_dama.cells.restored import restored_records
from napari_dama.cells.table import TABLE, read_csv, replace_table
from napari_dama.errors import OutputError
from napari_dama.predict.record import changing_table, clear_disk_errors, read_run, slide_path, update_run

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from napari_dama.cells.corrected import TypesNow
    from napari_dama.cells.corrections import Corrections


def restored_section(folder: Path, key: tuple[str, str]) -> tuple[Section, tuple[dict[str, Any], ...], int]:
    """Return what a result's table says was corrected, where its journal is not at hand.

    Returns
    -------
    Section
        As a journal would give it.
    tuple of dict
        Its lines.
    int
        The highest number that is taken: of these lines, and of those of the journal that is away.

    Raises
    ------
    OutputError
        The table cannot be read.
    """
    run = read_run(folder)
    noted = run.get("corrections") or {}
    saved = noted.get("table") or {}
    if not saved:
        return Section(*key), (), int(noted.get("applied", 0))
    records = restored_records(_read(folder), saved)
    top = max(len(records), int(noted.get("applied", 0)), int(saved.get("journal", 0)))
    return section_of(key, records), tuple(records), top


@dataclass(frozen=True)
class KeptColumns:
    """Columns as they are to be in a result's table.

    Attributes
    ----------
    values
        ``label`` and the columns (n rows, any order).
    kept
        What they are; columns of the table that are kept and not named here are taken out of it.
    """

    values: pd.DataFrame
    kept: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class SavedTable:
    """What a result's table has by now.

    Attributes
    ----------
    changed, confirmed
        Cells whose type a person changed; agreed with.
    kept
        Columns that were kept.
    why_not
        Why the table was left as it is, in a sentence; empty where it is up to date.
    """

    changed: int = 0
    confirmed: int = 0
    kept: tuple[Kept, ...] = ()
    why_not: str = ""


def journal_of(folder: Path, run: dict[str, Any]) -> Corrections | None:
    """Return what people corrected on a result, None where no journal has anything of this very result.

    That is so, too, where the slide was moved with its journal: then the table's own columns keep what was corrected.

    Raises
    ------
    SlideError, OutputError
        The journal cannot be read.
    """
    path = journal_path(slide_path(run), folder)
    if not path.is_file():
        return None
    found = read_corrections(path, result=folder, made=str(run.get("created") or ""))
    return found if found.top else None


def state_of(table: pd.DataFrame, hand: Corrections | None, found: TypesNow | None = None) -> CellsState:
    """Return the marks of a result's outlines and types as they count now; ``found``: the types, where they are known."""
    if hand is None:
        return CellsState("", types_mark(table["label"], model_types(table).to_numpy(object)))
    found = found or types_now(table, hand)
    return CellsState(outlines_mark(hand.outline_edits), types_mark(table["label"], found.now))


def save_table(folder: Path, columns: KeptColumns | None = None, *, always: bool = False) -> SavedTable:
    """Write corrected types and kept columns into ``cells.csv`` and ``cells.parquet``, where they are behind.

    Parameters
    ----------
    folder
        The result.
    columns
        What is kept; None leaves that as it is.
    always
        Write even where the record says that the table is up to date.

    Raises
    ------
    OutputError, SlideError
        The result or the journal cannot be read, or the result cannot be written.
    """
    with changing_table:
        return _save(folder, columns, always=always)


def _save(folder: Path, columns: KeptColumns | None, *, always: bool) -> SavedTable:
    run = read_run(folder)
    if run.get("state") != "done":
        return SavedTable(
            why_not=f"{folder.name} is not complete: cells.csv gets the corrections once it is."
        )
    hand, before = journal_of(folder, run), read_kept(run.get("columns"))
    noted = (run.get("corrections") or {}).get("table") or {}
    if columns is None and not always and (hand is None or noted.get("journal") == hand.top):
        return _summary(noted, before)
    table, kept = plain_names(_read(folder), before), before
    if columns is not None:
        _announce(folder, run, columns)
        table, kept = _with_columns(table, columns, before), columns.kept
    found = None if hand is None else types_now(table, hand)
    kept = judged((one for one in kept if set(one.names) <= set(table.columns)), state_of(table, hand, found))
    if hand is not None and found is not None:
        noted = {"journal": hand.top, **_facts(found, hand)}
        drawn = () if hand.has_outlines else outlines_by_hand(table)
        table = with_corrections(table, hand, found, drawn=drawn)
    with clear_disk_errors(folder):
        replace_table(folder, file_names(table, kept))
        update_run(folder, lambda record: _note(record, noted, kept))
    return _summary(noted, kept)


def _read(folder: Path) -> pd.DataFrame:
    try:
        return read_csv(folder / TABLE)
    except (OSError, ValueError) as error:
        raise OutputError(f"{folder / TABLE} cannot be read: {error}") from error


def _announce(folder: Path, run: dict[str, Any], columns: KeptColumns) -> None:
    """While the columns are written, the record promises nothing about them: a kill leaves them outdated, never wrong."""
    if {_same(one) for one in columns.kept} != {_same(one) for one in read_kept(run.get("columns"))}:
        doubtful = [replace(one, outlines=UNKNOWN, types=UNKNOWN).to_json() for one in columns.kept]
        with clear_disk_errors(folder):
            update_run(folder, lambda record: record.update(columns=doubtful))


def _same(one: Kept) -> tuple[object, ...]:
    """What is alike where only the verdict may have changed, or values of redrawn cells."""
    return one.names, one.made_of, one.outlines, one.types


def _with_columns(table: pd.DataFrame, columns: KeptColumns, before: tuple[Kept, ...]) -> pd.DataFrame:
    old = {name for one in (*before, *columns.kept) for name in one.names}
    rest = table.drop(columns=[name for name in table.columns if name in old])
    names = [name for one in columns.kept for name in one.names if name in columns.values]
    if not names:
        return rest
    return rest.merge(columns.values[["label", *names]], on="label", how="left")


def _facts(found: TypesNow, hand: Corrections) -> dict[str, Any]:
    return {
        "changed": int((found.by == HAND).sum()),
        "confirmed": int((found.by == CONFIRMED).sum()),
        "classes": dict(hand.classes),
        "renamed": dict(hand.renamed),
    }


def _note(record: dict[str, Any], noted: dict[str, Any], kept: tuple[Kept, ...]) -> None:
    if noted:
        record["corrections"] = {**(record.get("corrections") or {}), "table": noted}
    if kept or "columns" in record:
        record["columns"] = [one.to_json() for one in kept]


def _summary(noted: dict[str, Any], kept: tuple[Kept, ...]) -> SavedTable:
    return SavedTable(int(noted.get("changed", 0)), int(noted.get("confirmed", 0)), kept)
