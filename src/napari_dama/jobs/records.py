"""Read what a job appends to its metrics and events, from where one stopped reading. No torch."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TAIL_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Metrics:
    """Rows of ``metrics.csv``.

    Attributes
    ----------
    step : (N,) int64
        Ascending.
    columns : dict of (N,) float64
        ``epoch``, ``loss``, each part of the loss, ``lr``; NaN where a value is missing.
    """

    step: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.step)


def read_metrics(path: str | Path, since: int = 0) -> Metrics:
    """Rows of a job's ``metrics.csv`` after step ``since``; none while there is no such file.

    Earlier rows are skipped by bisection, so that asking for what is new costs the same however long the job runs. A last
    row that is not whole yet, and rows that are damaged, are left out.
    """
    try:
        with (Path(path) / "metrics.csv").open("rb") as file:
            names = next(csv.reader([file.readline().decode("utf-8", "replace")]), [])
            if since > 0:
                _seek_after(file, since)
            data = file.read()
    except OSError:
        return Metrics(np.zeros(0, np.int64), {})
    values = _rows(data[: data.rfind(b"\n") + 1], len(names), since)
    columns = {name: values[:, i] for i, name in enumerate(names) if name != "step"}
    return Metrics(values[:, 0].astype(np.int64) if names else np.zeros(0, np.int64), columns)


def _rows(text: bytes, columns: int, since: int) -> NDArray[np.float64]:
    """Rows (N, columns) of numbers after step ``since``; quick where all is in order, line by line where not."""
    if not columns or not text.strip():
        return np.zeros((0, columns))
    try:
        values = np.loadtxt(io.BytesIO(text), delimiter=",", ndmin=2, comments=None)
        if values.shape[1] == columns:
            return values[values[:, 0] > since]
    except ValueError:
        pass  # a value is missing, or a row is damaged
    rows = []
    for row in csv.reader(text.decode("utf-8", "replace").splitlines()):
        if len(row) == columns and row[0].isdigit() and int(row[0]) > since:
            rows.append([_float(value) for value in row])
    return np.array(rows, np.float64).reshape(len(rows), columns)


def _seek_after(file: IO[bytes], since: int) -> None:
    """Move to a start of a line such that all rows after step ``since`` still follow."""
    low, high = file.tell(), file.seek(0, os.SEEK_END)
    while high - low > 4096:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        begin = file.tell()
        first = file.readline().split(b",", 1)[0]
        if begin < high and first.isdigit() and int(first) <= since:
            low = begin
        else:
            high = middle
    file.seek(low)


@dataclass(frozen=True, slots=True)
class Events:
    """Records of ``events.jsonl``.

    Attributes
    ----------
    records : list of dict
        Each with ``time`` (seconds since 1970) and ``kind``.
    next_byte : int
        Where to go on: give it as ``since_byte`` next time.
    skipped : bool
        Whether older records were left out, because the file is long or begins anew.
    """

    records: list[dict[str, Any]]
    next_byte: int
    skipped: bool


def read_events(path: str | Path, since_byte: int = 0, *, most_bytes: int | None = TAIL_BYTES) -> Events:
    """Records of a job's ``events.jsonl`` from a byte on; none while there is no such file.

    Parameters
    ----------
    path
        The job's folder.
    since_byte
        `Events.next_byte` of the last call. Where the file is shorter than that, it began anew and is read from its start.
    most_bytes
        Of a longer rest only the end is read; None reads all.
    """
    try:
        with (Path(path) / "events.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            anew = since_byte > size
            begin = 0 if anew else max(0, since_byte)
            cut = most_bytes is not None and size - begin > most_bytes
            if most_bytes is not None and cut:
                file.seek(size - most_bytes)
                file.readline()  # the rest of a record
                begin = file.tell()
            file.seek(begin)
            data = file.read(size - begin)
    except OSError:
        return Events([], 0, since_byte > 0)
    end = data.rfind(b"\n") + 1  # what follows is being written
    records = [record for line in data[:end].splitlines() if (record := _record(line)) is not None]
    return Events(records, begin + end, anew or cut)


def last_line(file: Path) -> str:
    """Last line of a text that is not empty; empty where there is none."""
    try:
        with file.open("rb") as text:
            size = text.seek(0, os.SEEK_END)
            text.seek(max(0, size - 8192))
            lines = text.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("kind"), str) else None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
