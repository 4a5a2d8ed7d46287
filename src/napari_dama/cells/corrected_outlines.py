"""Which outlines of a result people corrected, out of its journal: cells drawn or changed by hand, and cells deleted.

What was taken back counts for nothing, and a cell that went up in another is that other's correction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.cells.rle import places_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CorrectedOutline:
    """One outline that a person changed, drew or deleted.

    Attributes
    ----------
    label : int
        Of the cell; of a deleted one, the label that it had.
    y, x : float
        Its centre, px of level 0.
    deleted : bool
        Nothing is to be found here.
    record : dict
        The journal's line that says so.
    """

    label: int
    y: float
    x: float
    deleted: bool
    record: Mapping[str, Any]

    def places(self) -> NDArray[np.int64]:
        """Pixels (n, 2) of level 0, ``y, x``, that a deleted cell covered; none for a cell that is there.

        Raises
        ------
        SlideError
            The journal's run lengths are damaged.
        """
        if not self.deleted:
            return np.zeros((0, 2), np.int64)
        y0, y1, x0, x1 = (int(v) for v in self.record["box"])
        height = y1 - y0
        own = [change for change in self.record["changes"] if int(change["before"]) == self.label]
        flat = [places_of(change, height, x1 - x0) for change in own]
        places = np.concatenate([np.zeros(0, np.int64), *flat])
        return np.stack([y0 + places % height, x0 + places // height], axis=1)


def corrected_outlines(records: Iterable[Mapping[str, Any]]) -> list[CorrectedOutline]:
    """Fold the edits that count, in order, into the outlines that were corrected in the end.

    Parameters
    ----------
    records
        Lines of the journal, without those that were taken back; other than ``outline`` ones are passed over.

    Returns
    -------
    list of CorrectedOutline
        One per cell: by label, the deleted ones last.
    """
    drawn: dict[int, CorrectedOutline] = {}
    deleted: dict[int, CorrectedOutline] = {}
    for record in records:
        if record.get("record") != "outline":
            continue
        come = {int(entry["label"]): entry for entry in record["come"]}
        for entry in record["gone"]:
            label = int(entry["label"])
            if label in come:
                continue
            drawn.pop(label, None)
            if _vanished(record, label):
                deleted[label] = _outline(label, entry, record, deleted=True)
        for label, entry in come.items():
            deleted.pop(label, None)
            drawn[label] = _outline(label, entry, record, deleted=False)
    return [drawn[label] for label in sorted(drawn)] + [deleted[label] for label in sorted(deleted)]


def _vanished(record: Mapping[str, Any], label: int) -> bool:
    """Whether all pixels of a cell became background, and not another cell's."""
    after = [int(change["after"]) for change in record["changes"] if int(change["before"]) == label]
    return bool(after) and not any(after)


def _outline(
    label: int, entry: Mapping[str, Any], record: Mapping[str, Any], *, deleted: bool
) -> CorrectedOutline:
    return CorrectedOutline(label, float(entry["y"]), float(entry["x"]), deleted, record)
