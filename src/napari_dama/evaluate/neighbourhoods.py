"""Who lives beside whom: types among the neighbours of every cell, and whether that is more than chance.

Neighbours are the cells whose centres lie within a radius, or the k nearest. The enrichment compares the number of links
from type A to type B with the numbers that come out when the types are dealt anew among the same places: the z-score of
Schapiro et al. (histoCAT, Nature Methods 2017) and squidpy's ``nhood_enrichment`` (Palla et al., Nature Methods 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_dama.errors import Interrupted, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

RADIUS_UM: Final = 30.0
PERMUTATIONS: Final = 200
NO_TYPE: Final = ("", "cell", "nan", "none")
"""What stands for *no type* in tables; such cells are left out."""


@dataclass(frozen=True)
class Neighbourhoods:
    """Neighbours by type.

    Attributes
    ----------
    types
        Names (K,), the order of rows and columns.
    n_cells
        Cells of each type (K,).
    links : (K, K) int64
        Neighbours of type *column*, summed over the cells of type *row*.
    expected : (K, K)
        Mean of ``links`` when the types are dealt anew; NaN without permutations.
    z : (K, K)
        ``(links - expected) / standard deviation`` of the permutations; NaN where nothing varies.
    per_cell : (N, K) int64
        Neighbours of each type around every cell, in the table's order; rows of cells without type count all the same.
    how
        What a neighbour is, in words.
    column_suffix
        ``30um`` or ``5nn``, for the names of columns.
    permutations, seed
        How often the types were dealt anew, and from which seed.
    n_untyped
        Cells that were left out because they have no type.
    """

    types: tuple[str, ...]
    n_cells: NDArray[np.int64]
    links: NDArray[np.int64]
    expected: NDArray[np.float64]
    z: NDArray[np.float64]
    per_cell: NDArray[np.int64]
    how: str
    column_suffix: str
    permutations: int
    seed: int
    n_untyped: int

    @property
    def mean(self) -> NDArray[np.float64]:
        """Neighbours of type *column* per cell of type *row* (K, K); NaN for a type without cells."""
        n = self.n_cells[:, None].astype(np.float64)
        return np.where(n > 0, self.links / np.maximum(n, 1), np.nan)

    def columns(self) -> dict[str, NDArray[np.int64]]:
        """Counts per cell as columns ``near_<TYPE>_<suffix>``, each (N,)."""
        return {
            f"near_{name}_{self.column_suffix}": self.per_cell[:, place]
            for place, name in enumerate(self.types)
        }

    def to_frame(self) -> pd.DataFrame:
        """One row per pair of types: ``type, neighbour, n_cells, links, mean, expected, z``."""
        k = len(self.types)
        return pd.DataFrame(
            {
                "type": np.repeat(self.types, k),
                "neighbour": np.tile(self.types, k),
                "n_cells": np.repeat(self.n_cells, k),
                "links": self.links.ravel(),
                "mean": self.mean.ravel(),
                "expected": self.expected.ravel(),
                "z": self.z.ravel(),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where a number has no meaning."""

        def plain(values: NDArray[Any]) -> list[list[float | None]]:
            return [[None if not np.isfinite(v) else float(v) for v in row] for row in values]

        return {
            "types": list(self.types),
            "n_cells": self.n_cells.tolist(),
            "n_untyped": self.n_untyped,
            "neighbours": self.how,
            "links": self.links.tolist(),
            "mean": plain(self.mean),
            "expected": plain(self.expected),
            "z": plain(self.z),
            "permutations": self.permutations,
            "seed": self.seed,
        }

    def describe(self) -> list[str]:
        """Lines for a terminal."""
        lines = [
            f"{int(self.n_cells.sum())} cells with a type, {self.n_untyped} without were left out; "
            f"neighbours are {self.how}",
            "",
            "neighbours per cell (row: cell, column: its neighbours)",
            *_lines(self.types, self.mean, "{:.2f}"),
        ]
        if self.permutations:
            lines += [
                "",
                f"enrichment z-score against {self.permutations} random deals of the types (seed {self.seed})",
                *_lines(self.types, self.z, "{:+.1f}"),
            ]
        return lines


def neighbourhoods(
    cells: pd.DataFrame,
    *,
    radius_um: float | None = None,
    nearest: int | None = None,
    types: Sequence[str] | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Neighbourhoods:
    """Count neighbours by type.

    Parameters
    ----------
    cells
        Table with ``y_um, x_um, type``.
    radius_um
        A neighbour's centre lies at most this far away, um; by default 30 where ``nearest`` is not given either.
    nearest
        The k nearest cells are the neighbours instead; being a neighbour is then not always mutual.
    types
        Order of the types; others follow by name. By default by name.
    permutations
        How often the types are dealt anew among the typed cells; 0 leaves expectation and z-score out.
    seed
        Of the deals: the same seed gives the same numbers.
    progress, stop
        Told (done, of how many) deals; asked whether to end.

    Raises
    ------
    SettingsError
        Columns are missing, values make no sense, or fewer than two cells have a type.
    Interrupted
        ``stop`` returned True.
    """
    reach, chosen = _reach(radius_um, nearest), nearest is None
    missing = [name for name in ("y_um", "x_um", "type") if name not in cells]
    if missing:
        raise SettingsError(
            f"The table has no column {missing[0]}, so there are no neighbours of types to count."
        )
    if permutations < 0:
        raise SettingsError(f"permutations is 0 or more, not {permutations}")
    words = cells["type"].astype(object).where(cells["type"].notna(), "").astype(str).to_numpy(object)
    typed = ~np.isin(words, NO_TYPE)
    if int(typed.sum()) < 2:
        raise SettingsError("Fewer than two cells have a type, so there are no neighbours to count.")
    if nearest is not None and nearest >= int(typed.sum()):
        raise SettingsError(
            f"nearest is {nearest}, but each of the {int(typed.sum())} cells with a type has fewer neighbours than that"
        )
    names = _names(words[typed], types)
    place = {name: position for position, name in enumerate(names)}
    codes = np.array([place[name] for name in words[typed]], np.int64)
    points = cells[["y_um", "x_um"]].to_numpy(np.float64)
    if not np.isfinite(points).all():
        raise SettingsError("Some cells have no place (y_um, x_um).")
    around, near = _links(points, points[typed], np.flatnonzero(typed), reach if chosen else None, nearest)
    k = len(names)
    per_cell = np.bincount(around * k + codes[near], minlength=len(cells) * k).reshape(len(cells), k)
    row_of = np.full(len(cells), -1, np.int64)
    row_of[typed] = np.arange(int(typed.sum()))
    inside = row_of[around] >= 0
    one, two = row_of[around[inside]], near[inside]
    links = _count(codes, one, two, k)
    expected, z = _enrichment(codes, one, two, k, links, permutations, seed, progress, stop)
    return Neighbourhoods(
        types=tuple(names),
        n_cells=np.bincount(codes, minlength=k).astype(np.int64),
        links=links,
        expected=expected,
        z=z,
        per_cell=per_cell.astype(np.int64),
        how=f"cells within {reach:g} µm" if chosen else f"the {nearest} nearest cells",
        column_suffix=f"{reach:g}um" if chosen else f"{nearest}nn",
        permutations=permutations,
        seed=seed,
        n_untyped=int((~typed).sum()),
    )


def _reach(radius_um: float | None, nearest: int | None) -> float:
    if radius_um is not None and nearest is not None:
        raise SettingsError("Give a radius, or a number of nearest cells, not both.")
    if nearest is not None and nearest < 1:
        raise SettingsError(f"nearest is 1 or more, not {nearest}")
    reach = RADIUS_UM if radius_um is None else float(radius_um)
    if not np.isfinite(reach) or reach <= 0:
        raise SettingsError(f"radius_um is above 0, not {reach:g}")
    return reach


def _names(words: NDArray[Any], types: Sequence[str] | None) -> list[str]:
    found = set(words.tolist())
    first = [name for name in dict.fromkeys(types or ()) if name in found]
    return first + sorted(found - set(first))


def _links(
    points: NDArray[np.float64],
    typed_points: NDArray[np.float64],
    typed_rows: NDArray[np.int64],
    radius: float | None,
    nearest: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (m,), (m,): rows of all cells, and positions among the typed ones of their neighbours, never themselves."""
    tree = cKDTree(typed_points)
    if radius is not None:
        found = tree.query_ball_point(points, radius, return_sorted=False)
        sizes = np.fromiter(map(len, found), np.int64, len(found))
        near = np.fromiter(chain.from_iterable(found), np.int64, int(sizes.sum()))
        around = np.repeat(np.arange(len(points)), sizes)
    else:
        assert nearest is not None
        _, near = tree.query(points, k=min(nearest + 1, len(typed_points)))
        near = np.asarray(near, np.int64).reshape(len(points), -1)
        own = np.full(len(points), -1, np.int64)
        own[typed_rows] = np.arange(len(typed_rows))
        # where several cells lie on one spot, a cell may be missing among its own nearest: the farthest goes then
        is_own = near == own[:, None]
        is_own[~is_own.any(axis=1), -1] = True
        around = np.repeat(np.arange(len(points)), near.shape[1] - 1)
        return around, near[~is_own]
    keep = typed_rows[near] != around
    return around[keep], near[keep]


def _count(
    codes: NDArray[np.int64], one: NDArray[np.int64], two: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    return np.bincount(codes[one] * k + codes[two], minlength=k * k).reshape(k, k).astype(np.int64)


def _enrichment(
    codes: NDArray[np.int64],
    one: NDArray[np.int64],
    two: NDArray[np.int64],
    k: int,
    links: NDArray[np.int64],
    permutations: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
    stop: Callable[[], bool] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of the links over random deals of the types, and the z-score of the links, both (K, K)."""
    if not permutations:
        return np.full((k, k), np.nan), np.full((k, k), np.nan)
    random = np.random.default_rng(seed)
    small = codes.astype(np.int32)
    total, squares = np.zeros((k, k)), np.zeros((k, k))
    for done in range(permutations):
        if stop is not None and stop():
            raise Interrupted(f"stopped after {done} of {permutations} random deals of the types")
        dealt = _count(random.permutation(small), one, two, k) - links  # differences: no loss of digits
        total += dealt
        squares += dealt.astype(np.float64) ** 2
        if progress is not None:
            progress(done + 1, permutations)
    mean = total / permutations
    spread = np.sqrt(np.maximum(squares / permutations - mean**2, 0))
    flat = spread < 1e-9
    return links + mean, np.where(flat, np.nan, -mean / np.where(flat, 1, spread))


def _lines(types: Sequence[str], values: NDArray[np.float64], form: str) -> list[str]:
    width = max(len(name) for name in types)
    head = " ".join(["".ljust(width), *(name.rjust(max(7, len(name))) for name in types)])
    rows = [
        " ".join(
            [
                name.ljust(width),
                *(
                    (form.format(v) if np.isfinite(v) else "-").rjust(max(7, len(other)))
                    for v, other in zip(row, types, strict=True)
                ),
            ]
        )
        for name, row in zip(types, values, strict=True)
    ]
    return [head, *rows]
