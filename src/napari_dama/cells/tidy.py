"""What people do to outlines, on label images in memory: join, split, delete; and what is put right after free painting."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import ndimage

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Labels = NDArray[np.unsignedinteger[Any]]

SMALL: Final = 0.2
"""A piece smaller than this share of a cell's largest piece is a slip of the brush and goes."""
SMALLEST_PX: Final = 9
"""A cell of fewer pixels is a slip of the brush, too."""
EIGHT: Final = np.ones((3, 3), bool)


def merge(labels: Labels, chosen: Sequence[int]) -> int:
    """Join cells into the first of them, in place; returns its label. A gap of a pixel or two between them is closed.

    Raises
    ------
    SettingsError
        Fewer than two, or they do not touch.
    """
    wanted = list(dict.fromkeys(int(label) for label in chosen))
    if len(wanted) < 2:
        raise SettingsError(
            "Choose two or more cells that touch each other: click one, then others with Ctrl."
        )
    box, mask = _boxed(labels, wanted, margin=3)
    joined = mask
    if ndimage.label(mask, EIGHT)[1] > 1:
        closed = ndimage.binary_closing(mask, EIGHT, iterations=2)
        joined = mask | (closed & (labels[box] == 0))
    if ndimage.label(joined, EIGHT)[1] > 1:
        raise SettingsError(
            f"Cells {', '.join(map(str, wanted))} do not touch each other, and stay as they are."
        )
    labels[box][joined] = wanted[0]
    return wanted[0]


def delete(labels: Labels, chosen: Sequence[int]) -> None:
    """Take cells out, in place."""
    if len(chosen):
        box, mask = _boxed(labels, [int(label) for label in chosen])
        labels[box][mask] = 0


def split_by_path(labels: Labels, path: NDArray[np.float64], next_label: int) -> list[int]:
    """Cut cells along a line, in place; no pixel is lost.

    Parameters
    ----------
    path
        Points (n, 2) of the line, y and x.
    next_label
        First number for the new cells.

    Returns
    -------
    list of int
        The new cells.

    Raises
    ------
    SettingsError
        The line cuts no cell in two.
    """
    line = _line(np.asarray(path, float), labels.shape)
    new: list[int] = []
    for label in np.unique(labels[line]):
        if label == 0:
            continue
        box, mask = _boxed(labels, [int(label)])
        parts, count = ndimage.label(mask & ~line[box])  # four neighbours: a diagonal line cuts, too
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        good = np.flatnonzero(sizes >= SMALLEST_PX) + 1
        if len(good) < 2:
            continue
        parts[~np.isin(parts, good)] = 0
        nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
        whole = parts[tuple(nearest)]
        new += _name_parts(
            labels[box], mask, whole, good[np.argsort(-sizes[good - 1])], next_label + len(new)
        )
    if not new:
        raise SettingsError(
            "The line cuts no cell in two: draw it right across one, from outside to outside."
        )
    return new


def split_by_seeds(
    labels: Labels, one: tuple[float, float], two: tuple[float, float], next_label: int
) -> int:
    """Part a cell between two points in it, at its waist (watershed of the distance to its edge), in place.

    Returns
    -------
    int
        The new cell.

    Raises
    ------
    SettingsError
        The points do not lie in one cell, or in one spot.
    """
    from skimage.segmentation import watershed

    places = [tuple(round(v) for v in point) for point in (one, two)]
    inside = [0 <= y < labels.shape[0] and 0 <= x < labels.shape[1] for y, x in places]
    found = [int(labels[place]) if ok else 0 for place, ok in zip(places, inside, strict=True)]
    if found[0] == 0 or found[0] != found[1] or places[0] == places[1]:
        raise SettingsError("Click two different spots inside the same cell, one in each half.")
    box, mask = _boxed(labels, [found[0]])
    origin = (box[0].start, box[1].start)
    seeds = np.zeros(mask.shape, np.int32)
    for number, (y, x) in enumerate(places):
        seeds[y - origin[0], x - origin[1]] = number + 1
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    parts = watershed(-distance, seeds, mask=mask)  # type: ignore[no-untyped-call]
    sizes = np.bincount(parts.ravel(), minlength=3)[1:]
    return _name_parts(labels[box], mask, parts, np.argsort(-sizes) + 1, next_label)[0]


def tidy(before: Labels, after: Labels, next_label: int) -> NDArray[np.uint32]:
    """Put right what free painting leaves, for the cells that were changed only.

    Holes in a cell are filled. A cell in pieces keeps its number on the largest; pieces of at least a fifth of it become
    cells (erasing through a cell parts it), smaller ones go. Cells of fewer than nine pixels go.

    Parameters
    ----------
    before, after
        Labels (h, w) before and after.
    next_label
        First number for pieces that become cells.
    """
    out: NDArray[np.uint32] = after.astype(np.uint32).copy()
    touched = before != after
    changed = np.unique(np.concatenate([before[touched], after[touched]]))
    for label in changed[changed > 0]:
        if not (out == label).any():
            continue
        box, mask = _boxed(out, [int(label)], margin=1)
        part = out[box]
        holes = ndimage.binary_fill_holes(mask) & ~mask & (part == 0)
        part[holes] = label
        pieces, count = ndimage.label(mask | holes, EIGHT)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
        largest = int(np.argmax(sizes)) + 1
        for piece in range(1, count + 1):
            if sizes[piece - 1] < SMALLEST_PX or (
                piece != largest and sizes[piece - 1] < SMALL * sizes[largest - 1]
            ):
                part[pieces == piece] = 0
            elif piece != largest:
                part[pieces == piece] = next_label
                next_label += 1
    return out


def _boxed(
    labels: Labels, chosen: Sequence[int], margin: int = 0
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Return the box around cells, and where they are in it.

    Raises
    ------
    SettingsError
        None of them is there.
    """
    whole = np.isin(labels, chosen)
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if not len(rows):
        raise SettingsError("None of these cells lies in the part that is being edited.")
    box = (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
    )
    return box, whole[box]


def _name_parts(
    labels: Labels, mask: NDArray[np.bool_], parts: NDArray[Any], order: NDArray[Any], next_label: int
) -> list[int]:
    """Give the parts of a cell but the first numbers of their own, in place."""
    new: list[int] = []
    for part in order[1:]:
        labels[mask & (parts == part)] = next_label + len(new)
        new.append(next_label + len(new))
    return new


def _line(path: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels (h, w) that a line touches, without gaps at its corners."""
    out = np.zeros(shape, bool)
    for (y0, x0), (y1, x1) in pairwise(path):
        steps = int(4 * max(abs(y1 - y0), abs(x1 - x0), 1)) + 1
        y = np.rint(np.linspace(y0, y1, steps)).astype(int)
        x = np.rint(np.linspace(x0, x1, steps)).astype(int)
        ok = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
        out[y[ok], x[ok]] = True
    return ndimage.binary_dilation(out, np.array([[0, 0, 0], [0, 1, 1], [0, 1, 1]], bool))  # type: ignore[no-any-return]
