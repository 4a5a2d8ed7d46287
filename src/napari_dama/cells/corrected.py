"""A result's table with what people corrected: the model's answer stays in ``type``, what counts stands right beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.cells.correction_records import NO_TYPE
from napari_dama.cells.table import CORRECTED_BY, DERIVED, OUTLINE, TYPE_NOW, insert_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.cells.corrections import Corrections

HAND: Final = "hand"
CONFIRMED: Final = "confirmed"
REVIEWED: Final = (HAND, CONFIRMED)
"""What `CORRECTED_BY` says of a cell that a person looked at."""
_BEHIND: Final = ("type", "score", "area_um2", "label")


@dataclass(frozen=True, slots=True)
class TypesNow:
    """Types of the cells of a table (n,), as text; "" is none.

    Attributes
    ----------
    now
        What counts.
    model
        What the last model said, under the names that classes have now.
    by
        ``hand``: a person gave it; ``confirmed``: a person agreed with the model; ``model NAME``: an improved model told it
        anew; "": nobody looked.
    """

    now: NDArray[Any]
    model: NDArray[Any]
    by: NDArray[Any]


def model_types(table: pd.DataFrame) -> pd.Series[Any]:
    """Return the types of a table's cells as the model told them; "" where it told none."""
    return table["type"] if "type" in table else table["label"].map(lambda _: "")


def types_now(table: pd.DataFrame, hand: Corrections) -> TypesNow:
    """Return the types that count for the cells of a table (``label`` and, where a model told it, ``type``)."""
    labels = table["label"].astype("int64")
    told = _text(model_types(table).replace(hand.renamed))
    by = labels.map(lambda _: "").astype(object)
    if hand.told:
        anew = labels.map(hand.told)
        told = _text(anew.where(anew.notna(), told))
        by = labels.map({label: f"model {name}" for label, name in hand.told_by.items()}).fillna("")
    looked = hand.cells[hand.cells["reviewed"]].set_index("label")["type"]
    given = labels.map(looked)
    there = given.notna()
    now = _text(given.where(there, told))
    by = by.astype(object).where(~there, HAND).where(~(there & (now == told)), CONFIRMED)
    return TypesNow(now.to_numpy(object), told.to_numpy(object), by.to_numpy(object))


def _text(types: pd.Series[Any]) -> pd.Series[Any]:
    return types.astype(object).where(types.notna(), "").astype(str).replace(NO_TYPE, "").astype(object)


def anything(hand: Corrections | None) -> bool:
    """Whether corrections say anything about types or outlines."""
    if hand is None:
        return False
    return bool(len(hand.cells) or hand.renamed or hand.told or hand.outlines or hand.removed)


def without_corrections(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as the model left it, with the outlines as they are now."""
    return table.drop(columns=[name for name in DERIVED if name in table])


def with_corrections(
    table: pd.DataFrame, hand: Corrections, found: TypesNow, *, drawn: Iterable[int] = ()
) -> pd.DataFrame:
    """Return a result's table with ``type_corrected``, ``corrected_by`` and ``outline_corrected`` right behind ``type``.

    Without corrections these columns are left out. ``type`` and the probabilities stay what the model said. ``found`` is
    what `types_now` says of the table; ``drawn`` are labels whose outlines are known to be drawn by hand beside those of
    the journal.
    """
    import pandas as pd

    table = without_corrections(table)
    drawn = {*drawn, *hand.outlines}
    if not (anything(hand) or drawn):
        return table
    columns: dict[str, Any] = {OUTLINE: table["label"].isin(drawn)}
    if "type" in table or len(hand.cells) or hand.told:
        columns = {TYPE_NOW: found.now, CORRECTED_BY: found.by, **columns}
    return insert_after(table, _BEHIND, pd.DataFrame(columns, index=table.index))


def as_it_counts(table: pd.DataFrame, hand: Corrections | None) -> pd.DataFrame:
    """Return a table for other programs: ``type`` is what counts, ``type_model`` what the model said.

    ``reviewed`` says whether a person looked, ``corrected_by`` is as in the result's table, ``outline_corrected`` says where
    an outline was changed by hand. The journal knows; without it (a result that was copied without its slide) the columns of
    the result's table do. Where nothing was corrected, the table is returned as it is.
    """
    if anything(hand) and hand is not None:
        found, outlines = types_now(table, hand), table["label"].isin(hand.outlines).to_numpy(bool)
    elif TYPE_NOW in table or OUTLINE in table:
        found, outlines = _saved(table), _true(table)
    else:
        return table
    table, typed = without_corrections(table), "type" in table
    if typed or (found.now != "").any():
        table = table.assign(type=found.now)
        if typed:
            table = table.assign(type_model=found.model)
        table = table.assign(reviewed=np.isin(found.by, REVIEWED), **{CORRECTED_BY: found.by})
    return table.assign(**{OUTLINE: outlines}) if outlines.any() else table


def _saved(table: pd.DataFrame) -> TypesNow:
    """What the table's own columns say."""
    none = np.full(len(table), "", object)
    model = _text(table["type"]).to_numpy(object) if "type" in table else none
    if TYPE_NOW not in table:
        return TypesNow(model, model, none)
    now, by = _text(table[TYPE_NOW]).to_numpy(object), _text(table[CORRECTED_BY]).to_numpy(object)
    return TypesNow(now, np.where(by == CONFIRMED, now, model), by)


def outlines_by_hand(table: pd.DataFrame) -> list[int]:
    """Return the labels whose outlines a result's table says were changed by hand."""
    return [int(label) for label in table["label"][_true(table)]]


def _true(table: pd.DataFrame) -> NDArray[np.bool_]:
    if OUTLINE not in table:
        return np.zeros(len(table), bool)
    column = table[OUTLINE]
    return column.astype(object).where(column.notna(), False).astype(bool).to_numpy(bool)
