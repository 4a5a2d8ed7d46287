"""A result's table on the disk, ``cells.csv`` and ``cells.parquet``: the one place that reads and writes them.

Words stay words: a class may be called *NA* or *None*, which pandas would take for a missing value.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

TABLE: Final = "cells.csv"
PARQUET: Final = "cells.parquet"
TYPE_NAMES: Final = ("type", "cell_type", "celltype", "phenotype", "class")
"""Names of a column of types, in our tables and those of other tools."""
TYPE_NOW: Final = "type_corrected"
"""The type that counts: what a person said, else what a later model told, else the model's."""
CORRECTED_BY: Final = "corrected_by"
"""Where `TYPE_NOW` comes from: ``hand``, ``confirmed``, ``model NAME``; empty where nobody looked."""
OUTLINE: Final = "outline_corrected"
"""Whether a person drew or changed the outline."""
DERIVED: Final = (TYPE_NOW, CORRECTED_BY, OUTLINE)
"""Columns that only repeat what the journal of corrections says; `napari_dama.cells.corrected` makes them."""
UNTYPED_COLOUR: Final = "#a3a8ad"
"""Of cells without type: a light grey, which recedes behind the classes."""
_WORDS: Final = (*TYPE_NAMES, TYPE_NOW, CORRECTED_BY, "type_model")
_MISSING: Final = (
    "",
    "nan",
    "NaN",
    "-nan",
    "-NaN",
    "NA",
    "<NA>",
    "N/A",
    "n/a",
    "#N/A",
    "null",
    "NULL",
    "None",
)
_DECIMALS: Final = {"y": 2, "x": 2, "y_um": 3, "x_um": 3, "area_um2": 3, "score": 4}


def read_csv(source: str | Path | bytes) -> pd.DataFrame:
    """Read a table of cells; columns of types are text, "" where a cell has none.

    Parameters
    ----------
    source
        A file, or its content.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or is no table.
    """
    import pandas as pd

    def again() -> Any:
        return io.BytesIO(source) if isinstance(source, bytes) else source

    header = pd.read_csv(again(), nrows=0)
    numbers = [name for name in header.columns if _plain(name) not in _WORDS]
    missing = {name: list(_MISSING) for name in numbers}
    words: dict[Any, Any] = {name: str for name in header.columns if name not in missing}
    # columns are judged whole: pandas would judge each piece of a large file by itself, and warn where they differ
    return words_only(
        pd.read_csv(again(), keep_default_na=False, na_values=missing, dtype=words, low_memory=False)
    )


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet table of cells as `read_csv` reads its like."""
    import pandas as pd

    return words_only(pd.read_parquet(path))


def read_cells(folder: Path) -> pd.DataFrame:
    """Read a finished result's table: the Parquet file, unless it is older than the CSV file.

    Raises
    ------
    OSError, ValueError
        It cannot be read.
    """
    quick = folder / PARQUET
    if quick.exists() and not _older(quick, folder / TABLE):
        return read_parquet(quick)
    return read_csv(folder / TABLE)


def _older(one: Path, other: Path) -> bool:
    """Whether a file was written before another: a program may be cut off between the two."""
    return other.exists() and one.stat().st_mtime_ns < other.stat().st_mtime_ns


def words_only(table: pd.DataFrame) -> pd.DataFrame:
    """Make columns of types plain text, "" where there is none; in place, and returned."""
    for name in table.columns:
        if _plain(name) in _WORDS:
            table[name] = table[name].astype(object).where(table[name].notna(), "").astype(str)
    return table


def _plain(name: object) -> str:
    return str(name).strip().casefold().replace(" ", "_")


def write_rows(path: Path, table: pd.DataFrame, *, header: bool) -> int:
    """Append rows to a CSV table on disk, or begin it; returns its length in bytes.

    Numbers have eight digits at most. Arrow writes: ten times quicker than pandas, and other threads go on meanwhile.
    """
    shown = table.copy()
    for name in shown.columns:
        kind = shown[name].dtype.kind
        if name in _DECIMALS:
            shown[name] = shown[name].round(_DECIMALS[name])
        elif str(name).startswith("p_"):
            shown[name] = shown[name].astype(float).round(4)
        elif kind == "b":
            shown[name] = np.where(shown[name], "True", "False")
        if shown[name].dtype.kind == "f":
            shown[name] = _digits(shown[name].to_numpy(np.float64))
    names = shown.iloc[:0].to_csv(None, index=False, lineterminator="\n") if header else ""
    with path.open("wb" if header else "ab") as file:
        file.write(names.encode("utf-8"))
        file.write(_lines(shown))
    return path.stat().st_size


def _digits(values: NDArray[np.float64], digits: int = 8) -> NDArray[np.float64]:
    """Round numbers (n,) to so many digits, whatever their size."""
    known = np.isfinite(values) & (values != 0)
    place = digits - 1 - np.floor(np.log10(np.abs(values, where=known, out=np.ones_like(values)))).astype(int)
    place = np.clip(place, -300, 300)
    up, down = (
        10.0 ** np.maximum(place, 0),
        10.0 ** np.maximum(-place, 0),
    )  # powers of ten that a float holds exactly
    rounded: NDArray[np.float64] = np.where(known, np.rint(values * up / down) / up * down, values)
    return rounded


def _lines(table: pd.DataFrame) -> bytes:
    """Rows as CSV, quoted only where a word needs it."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        rows = pa.Table.from_pandas(table, preserve_index=False)
        target = pa.BufferOutputStream()
        csv.write_csv(rows, target, csv.WriteOptions(include_header=False, quoting_style="none"))
        content: bytes = target.getvalue().to_pybytes()
    except (
        pa.ArrowInvalid
    ):  # a word with a comma, a quote or a line break, or a column of all sorts of things
        return table.to_csv(None, header=False, index=False, lineterminator="\n").encode("utf-8")
    return content


def write_parquet(folder: Path) -> None:
    """Copy a result's CSV table to Parquet, in one step."""
    draft = folder / (PARQUET + ".part")
    read_csv(folder / TABLE).to_parquet(draft, index=False)
    os.replace(draft, folder / PARQUET)


def replace_table(folder: Path, table: pd.DataFrame) -> None:
    """Put another table in place of a result's, each of its two files in one step.

    Raises
    ------
    OSError
        The disk is full, or another program holds a file open (on Windows).
    """
    draft = folder / (TABLE + ".part")
    write_rows(draft, table, header=True)
    os.replace(draft, folder / TABLE)
    write_parquet(folder)


def insert_after(table: pd.DataFrame, anchors: Iterable[str], columns: pd.DataFrame) -> pd.DataFrame:
    """Put columns (same index) right behind the first anchor that the table has, else at its end."""
    import pandas as pd

    at = next((table.columns.get_loc(name) for name in anchors if name in table), len(table.columns) - 1)
    place = int(at) + 1  # type: ignore[arg-type]
    return pd.concat([table.iloc[:, :place], columns, table.iloc[:, place:]], axis=1)
