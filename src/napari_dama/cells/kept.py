"""Columns that a person kept with a result (neighbour counts, places on a map): what they rest on, whether that still holds.

A column that does not fit the cells any more is called ``NAME_outdated`` in every file, so that nobody's script takes it for
today's; made anew, or the change undone, it has its own name again.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from napari_dama.cells.correction_records import NO_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

OUTDATED: Final = "_outdated"
UNKNOWN: Final = "?"
"""Stands for a state that nothing is equal to: the values are being written."""
Need = Literal["outlines", "types"]


@dataclass(frozen=True, slots=True)
class CellsState:
    """Short marks of what there is: equal marks, equal outlines and equal types.

    Attributes
    ----------
    outlines, types
        As `outlines_mark` and `types_mark` give them.
    """

    outlines: str
    types: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Some columns that were made together.

    Attributes
    ----------
    names : tuple of str
        The columns.
    made_of : str
        What they are, in words.
    needs : tuple of str
        What they rest on: ``outlines``, ``types``.
    outlines, types : str
        `CellsState` when they were made.
    outdated : bool
        What was found when the result was saved last.
    """

    names: tuple[str, ...]
    made_of: str
    needs: tuple[Need, ...]
    outlines: str
    types: str
    outdated: bool = False

    def changed(self, now: CellsState) -> tuple[Need, ...]:
        """Return what is not as it was when the columns were made; nothing: they hold."""
        return tuple(need for need in self.needs if getattr(self, need) != getattr(now, need))

    def to_json(self) -> dict[str, Any]:
        """Give plain types."""
        return {**asdict(self), "names": list(self.names), "needs": list(self.needs)}


def read_kept(entries: object) -> tuple[Kept, ...]:
    """Return what a result's record says of kept columns; what makes no sense in it is passed over."""
    out = []
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        names, needs = entry.get("names"), entry.get("needs")
        if not isinstance(names, list) or not names or not isinstance(needs, list):
            continue
        wanted: tuple[Need, ...] = tuple(need for need in ("outlines", "types") if need in needs)
        out.append(
            Kept(
                tuple(map(str, names)),
                str(entry.get("made_of", "")),
                wanted,
                str(entry.get("outlines", UNKNOWN)),
                str(entry.get("types", UNKNOWN)),
                bool(entry.get("outdated")),
            )
        )
    return tuple(out)


def outlines_mark(edits: Iterable[int]) -> str:
    """Mark of the outlines: of the numbers of the changes by hand that count; "" where there are none."""
    numbers = ",".join(str(int(n)) for n in edits)
    return hashlib.sha256(numbers.encode()).hexdigest()[:16] if numbers else ""


def types_mark(labels: ArrayLike, types: NDArray[Any]) -> str:
    """Mark of the cells (n,) and their types (n,) as text, in any order; ``cell`` and "" are both *no type*."""
    import pandas as pd

    codes, names = pd.factorize(types)
    words = ["" if name == NO_TYPE else str(name) for name in names]
    salt = np.array(
        [int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little") for word in [*words, ""]],
        np.uint64,
    )
    mixed = np.asarray(labels).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ salt[codes]
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    return f"{len(mixed):x}-{int(np.add.reduce(mixed, dtype=np.uint64)):016x}"


def merged(old: Sequence[Kept], new: Kept) -> tuple[Kept, ...]:
    """Return what is kept after some columns were made, anew or for the first time."""
    rest = [replace(kept, names=tuple(name for name in kept.names if name not in new.names)) for kept in old]
    return (*(kept for kept in rest if kept.names), new)


def plain_names(table: pd.DataFrame, kept: Iterable[Kept]) -> pd.DataFrame:
    """Return a table in which kept columns have their own names, outdated or not."""
    names = {name for one in kept for name in one.names}
    return table.rename(
        columns={
            name + OUTDATED: name for name in names if name + OUTDATED in table and name not in table.columns
        }
    )


def judged(kept: Iterable[Kept], now: CellsState) -> tuple[Kept, ...]:
    """Return the same with `Kept.outdated` as things are now."""
    return tuple(replace(one, outdated=bool(one.changed(now))) for one in kept)


def file_names(table: pd.DataFrame, kept: Iterable[Kept]) -> pd.DataFrame:
    """Return a table in which kept columns are called as their `Kept.outdated` says."""
    kept = tuple(kept)
    late: Mapping[str, str] = {name: name + OUTDATED for one in kept if one.outdated for name in one.names}
    return plain_names(table, kept).rename(columns=late)


def notes_of(kept: Iterable[Kept], table: pd.DataFrame) -> list[str]:
    """Return a sentence for each group of outdated columns that a table has, under either name."""
    out = []
    for one in kept:
        here = [name for name in one.names if name + OUTDATED in table or name in table]
        if one.outdated and here:
            more = "" if len(here) == 1 else f" and {len(here) - 1} more"
            out.append(
                f"{here[0]}{OUTDATED}{more} ({one.made_of or 'kept from a plot'}): made before cells were corrected."
            )
    return out
