"""Which corrected cells are held out: by place, so that no pixel is both learned and tested, and every class on both sides.

A slide is cut into blocks, and whole blocks are held out; of several slides, whole slides where that leaves every class on
both sides. Cells on the learning side whose field of view meets that of a held-out cell are used by neither. Of many
partitions drawn from the seed the one is taken that shares the classes best and loses the fewest cells between the sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.spatial import cKDTree

from napari_dama.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

LEARN, HELD, BETWEEN = "learn", "held", "between"
LEAST_OF_CLASS: Final = 4
"""A class with fewer cells is learned from, and not tested."""
_DRAWS: Final = 24
_PARTS: Final = (2, 3, 4, 6, 8, 12)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Side of every cell, and how the sides were parted.

    Attributes
    ----------
    part : (N,) of str
        ``learn``, ``held``, or ``between`` for a cell too close to a held-out one.
    how : str
        In words.
    untested : tuple of str
        Classes that no held-out cell has.
    """

    part: NDArray[np.str_]
    how: str
    untested: tuple[str, ...]


def hold_out(
    places_um: NDArray[np.float64],
    types: ArrayLike,
    slides: ArrayLike,
    *,
    field_um: float,
    share: float = 0.3,
    seed: int = 0,
) -> HeldOut:
    """Part corrected cells into a learning and a held-out side.

    Parameters
    ----------
    places_um
        Centres (N, 2) on their slides, in micrometres.
    types, slides
        Class (N,) and number of the slide (N,) of each cell.
    field_um
        Width of what the network sees of a cell: closer ones (in y and x) share pixels.
    share
        Of the cells that should be held out.
    seed
        Of the partitions that are tried.

    Raises
    ------
    StoreError
        No partition leaves two cells on either side: all lie in one place.
    """
    names, codes = np.unique(np.asarray(types, dtype=str), return_inverse=True)
    numbers = np.asarray(slides)
    near = _neighbours(places_um, numbers, field_um)
    best: tuple[float, NDArray[np.bool_], NDArray[np.bool_], str] | None = None
    for held, how in _partitions(places_um, numbers, share, np.random.default_rng(seed)):
        between = _between(held, near)
        cost = _cost(codes, len(names), held, between, share)
        if cost < (np.inf if best is None else best[0]):
            best = (cost, held, between, how)
    if best is None:
        raise StoreError(
            "The corrected cells lie so close together that none can be held out: correct some elsewhere on the slide, too."
        )
    _, held, between, how = best
    part = np.full(len(codes), LEARN, dtype="<U7")
    part[held], part[between] = HELD, BETWEEN
    untested = tuple(str(name) for i, name in enumerate(names) if not (codes[held] == i).any())
    return HeldOut(part, how, untested)


def _neighbours(
    places: NDArray[np.float64], slides: NDArray[np.generic], field_um: float
) -> list[NDArray[np.int64]]:
    """For each cell those (itself too) that share pixels with it."""
    out: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(places)
    for slide in np.unique(slides):
        rows = np.flatnonzero(slides == slide)
        tree = cKDTree(places[rows])
        for row, found in zip(rows, tree.query_ball_point(places[rows], field_um, p=np.inf), strict=True):
            out[row] = rows[np.asarray(found, np.int64)]
    return out


def _between(held: NDArray[np.bool_], near: list[NDArray[np.int64]]) -> NDArray[np.bool_]:
    touched = np.zeros(len(held), bool)
    for row in np.flatnonzero(held):
        touched[near[row]] = True
    return touched & ~held


def _partitions(
    places: NDArray[np.float64], slides: NDArray[np.generic], share: float, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.bool_], str]]:
    names = np.unique(slides)
    if len(names) > 1:
        for _ in range(_DRAWS):
            held, count = _fill(np.searchsorted(names, slides), share, rng)
            yield held, f"{count} of {len(names)} slides held out whole"
    for parts in _PARTS:
        blocks = _blocks(places, slides, parts)
        for _ in range(_DRAWS):
            held, count = _fill(blocks, share, rng)
            yield held, f"{count} of {blocks.max() + 1} blocks of the slide{'s' * (len(names) > 1)} held out"


def _blocks(places: NDArray[np.float64], slides: NDArray[np.generic], parts: int) -> NDArray[np.int64]:
    """Number (N,) of each cell's block, of those that have cells: squares, ``parts`` along the longer side of a slide."""
    keys = np.zeros((len(places), 3), np.int64)
    for number, slide in enumerate(np.unique(slides)):
        rows = slides == slide
        low, high = places[rows].min(axis=0), places[rows].max(axis=0)
        side = max(float((high - low).max()) / parts, 1e-6)
        keys[rows, 0] = number
        keys[rows, 1:] = np.minimum(((places[rows] - low) / side).astype(np.int64), parts - 1)
    return np.asarray(np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1), np.int64)


def _fill(
    groups: NDArray[np.integer], share: float, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], int]:
    """Groups in random order until about a share of the cells is held out; never all."""
    counts = np.bincount(groups)
    held, wanted = [0] * 0, share * len(groups)
    total = 0
    for group in rng.permutation(len(counts)):
        if len(held) + 1 >= len(counts) or (
            held and abs(total + counts[group] - wanted) > abs(total - wanted)
        ):
            continue
        held.append(int(group))
        total += int(counts[group])
    return np.isin(groups, held), len(held)


def _cost(
    codes: NDArray[np.intp],
    classes: int,
    held: NDArray[np.bool_],
    between: NDArray[np.bool_],
    share: float,
) -> float:
    """How bad a partition is: infinite where a side has no two cells."""
    learn = ~held & ~between
    if held.sum() < 2 or learn.sum() < 2:
        return float("inf")
    total = np.bincount(codes, minlength=classes)
    tested, learned = (
        np.bincount(codes[held], minlength=classes),
        np.bincount(codes[learn], minlength=classes),
    )
    enough = total >= LEAST_OF_CLASS
    missing = (enough & (tested == 0)).sum() + 2 * (learned == 0).sum()
    uneven = np.abs(tested / total - share)[enough].mean() if enough.any() else 0.0
    return float(10 * missing + uneven + abs(held.mean() - share) + 2 * between.mean())
