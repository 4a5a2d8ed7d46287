"""A journal of corrections made anew from a result's table: for a result that was copied or moved without its slide.

The table says what counts, not what was done one after the other: what comes back can be read and built upon, not undone
step by step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.cells.corrected import REVIEWED, model_types
from napari_dama.cells.correction_records import NO_TYPE, class_record, told_record, type_record
from napari_dama.cells.table import CORRECTED_BY, TYPE_NOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


def restored_records(table: pd.DataFrame, noted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of a journal that say what a result's table says; none where nothing was corrected.

    Parameters
    ----------
    table
        With ``type_corrected`` and ``corrected_by``.
    noted
        ``corrections["table"]`` of the result's record: classes that were made, and names that were changed.
    """
    if TYPE_NOW not in table or CORRECTED_BY not in table:
        return []
    out: list[dict[str, Any]] = []
    renamed, classes = noted.get("renamed") or {}, noted.get("classes") or {}
    for old, new in renamed.items():
        out.append(class_record(len(out) + 1, "rename", str(old), str(new), str(old)))
    for name, colour in classes.items():
        out.append(class_record(len(out) + 1, "add", str(name), str(colour)))
    by = table[CORRECTED_BY].to_numpy(object)
    now = np.array([str(name) or NO_TYPE for name in table[TYPE_NOW]], dtype=object)
    was = np.array([str(renamed.get(name, name)) or NO_TYPE for name in model_types(table)], dtype=object)
    labels = table["label"].to_numpy(np.int64)
    for name in sorted({str(word) for word in by if str(word).startswith("model ")}):
        of_it = by == name
        said = now[of_it].tolist(), was[of_it].tolist()
        out.append(told_record(len(out) + 1, labels[of_it].tolist(), *said, name.removeprefix("model ")))
    looked = np.isin(by, REVIEWED)
    if looked.any():
        cells = table.loc[looked, ["label", "y", "x"]].assign(type=was[looked], reviewed=False)
        out.append(type_record(len(out) + 1, cells, now[looked].tolist(), "carried"))
    return out
