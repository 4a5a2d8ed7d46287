"""A confusion matrix as a job leaves it in ``previews/confusion.csv``. No Qt."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of cells, rows by true class and columns by guess; ``step`` in words as the file's head says it."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    step: str

    def share(self, row: int, column: int) -> float:
        """Share of the cells of a true class that were taken for a class; 0 for a class without cells."""
        return self.counts[row][column] / max(sum(self.counts[row]), 1)


def read_confusion(file: Path) -> Confusion | None:
    """Read a confusion matrix; None where there is none, or it is no whole one."""
    try:
        with file.open(newline="", encoding="utf-8") as text:
            rows = list(csv.reader(text))
        head, *body = rows
        counts = tuple(tuple(int(value) for value in row[1:]) for row in body)
    except (OSError, ValueError):
        return None
    size = len(head) - 1
    if size < 1 or len(counts) != size or any(len(row) != size for row in counts):
        return None
    return Confusion(tuple(head[1:]), counts, head[0].removeprefix("true (").removesuffix(")"))
