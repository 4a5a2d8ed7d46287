"""Changes of a label image's outlines as data: what differs between two states, packed; and how to put it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.cells.rle import pack, places_of
from napari_dama.errors import SlideError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def changed_box(before: NDArray[np.uint32], after: NDArray[np.uint32]) -> Box | None:
    """Return ``y0, y1, x0, x1`` of the smallest box with all that differs between two images (h, w); None for equal ones."""
    rows, columns = np.nonzero(before != after)
    if not len(rows):
        return None
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


def changes_between(before: NDArray[np.uint32], after: NDArray[np.uint32]) -> list[dict[str, Any]]:
    """Return how to come from one image (h, w) to another and back.

    Returns
    -------
    list of dict
        For each pair of labels that pixels went from and to: ``before``, ``after``, ``size`` ``[h, w]`` and ``counts``,
        COCO's packed run lengths of these pixels (`napari_dama.cells.rle`).
    """
    height, width = before.shape
    places = np.flatnonzero((before != after).ravel(order="F"))
    old, new = before.ravel(order="F")[places], after.ravel(order="F")[places]
    pairs, index = np.unique(np.stack([old, new]).astype(np.int64), axis=1, return_inverse=True)
    index = np.asarray(index).ravel()
    out = []
    for number in range(pairs.shape[1]):
        packed = pack(places[index == number], height, width)
        out.append({"before": int(pairs[0, number]), "after": int(pairs[1, number]), **packed})
    return out


def apply_changes(labels: NDArray[np.uint32], changes: list[dict[str, Any]], *, back: bool = False) -> None:
    """Put the pixels of recorded changes to what they are after, or (``back``) were before; ``labels`` (h, w) is written.

    It does not matter whether they were put there already.

    Raises
    ------
    SlideError
        The run lengths are damaged, or of an image of another size; nothing is changed then.
    """
    height, width = labels.shape
    found = [places_of(change, height, width) for change in changes]
    flat = np.ravel(labels, order="F").copy()
    for change, places in zip(changes, found, strict=True):
        value = int(change["before" if back else "after"])
        if not 0 <= value < 2**32:
            raise SlideError(f"a changed outline has the label {value}")
        flat[places] = value
    labels[...] = flat.reshape((height, width), order="F")
