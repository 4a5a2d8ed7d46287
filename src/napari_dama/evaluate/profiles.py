"""What the types look like in numbers: mean of every marker per type, and how a column is spread in each type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.distance import pdist

from napari_dama.errors import SettingsError
from napari_dama.evaluate.projection import standardised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BINS = 256


@dataclass(frozen=True)
class Profile:
    """Markers by type.

    Attributes
    ----------
    types, markers
        Names, in the order of the matrix (T,), (M,).
    n_cells
        Cells of each type (T,).
    mean : (T, M)
        Mean over the cells of the type of the cells' mean intensities, in the slide's units; NaN for a type without cells.
    z : (T, M)
        Mean over the cells of the type of the z-scored intensities: how many spreads above or below the average cell.
    """

    types: tuple[str, ...]
    markers: tuple[str, ...]
    n_cells: NDArray[np.int64]
    mean: NDArray[np.float64]
    z: NDArray[np.float64]

    def ordered(self, types: Sequence[int], markers: Sequence[int]) -> Profile:
        """Return the same with types and markers in another order, or fewer of them (positions)."""
        t, m = list(types), list(markers)
        return Profile(
            tuple(self.types[i] for i in t),
            tuple(self.markers[i] for i in m),
            self.n_cells[t],
            self.mean[np.ix_(t, m)],
            self.z[np.ix_(t, m)],
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per type and marker: ``type, marker, n_cells, mean, z``."""
        count = len(self.markers)
        return pd.DataFrame(
            {
                "type": np.repeat(self.types, count),
                "marker": np.tile(self.markers, len(self.types)),
                "n_cells": np.repeat(self.n_cells, count),
                "mean": self.mean.ravel(),
                "z": self.z.ravel(),
            }
        )


def marker_profile(cells: pd.DataFrame, types: NDArray[Any], order: Sequence[str] = ()) -> Profile:
    """Average the markers over the cells of each type.

    Parameters
    ----------
    cells
        Table with columns ``mean_<MARKER>``.
    types
        Type of each cell (n,).
    order
        Types that come first; of these, types without cells are left out.

    Raises
    ------
    SettingsError
        There are no cells or no markers.
    """
    columns = [str(name) for name in cells.columns if str(name).startswith("mean_")]
    if not columns or not len(cells):
        raise SettingsError("There are no cells with marker intensities (columns mean_...) to average.")
    codes, names = _codes(types, order)
    values = cells[columns].to_numpy(np.float64)
    return Profile(
        tuple(names),
        tuple(name[5:] for name in columns),
        np.bincount(codes, minlength=len(names)).astype(np.int64),
        _group_means(values, codes, len(names)),
        _group_means(standardised(values), codes, len(names)),
    )


def likeness_order(rows: NDArray[np.float64]) -> list[int]:
    """Return the order of rows (R, C) in which like ones are neighbours: average linkage, leaves ordered optimally."""
    known = np.where(np.isfinite(rows), rows, 0.0)
    if len(known) < 3:
        return list(range(len(known)))
    distances = pdist(known)
    tree = optimal_leaf_ordering(linkage(distances, "average"), distances)
    return [int(i) for i in leaves_list(tree)]


@dataclass(frozen=True)
class Spread:
    """How a column is spread in each type.

    Attributes
    ----------
    column
        Its name.
    types, n_cells
        Names (T,), and cells with a value (T,).
    grid : (G,)
        Values at which the densities stand.
    density : (T, G)
        Smoothed density of each type, its highest point 1; zeros where there are no cells.
    quantiles : (T, 5)
        5 %, 25 %, median, 75 %, 95 % of each type; NaN where there are no cells.
    mean : (T,)
    """

    column: str
    types: tuple[str, ...]
    n_cells: NDArray[np.int64]
    grid: NDArray[np.float64]
    density: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    mean: NDArray[np.float64]

    def to_frame(self) -> pd.DataFrame:
        """One row per type: ``type, n_cells, mean, q05, q25, median, q75, q95``."""
        names = ("q05", "q25", "median", "q75", "q95")
        return pd.DataFrame(
            {"column": self.column, "type": self.types, "n_cells": self.n_cells, "mean": self.mean}
            | {name: self.quantiles[:, i] for i, name in enumerate(names)}
        )


def spread_of(
    values: NDArray[np.floating[Any]], types: NDArray[Any], column: str, order: Sequence[str] = ()
) -> Spread:
    """Describe how values (n,) are spread in each type: quantiles, and a density smoothed with Silverman's bandwidth.

    The density comes from a histogram of `BINS` bins over the 0.5th to 99.5th percentile of all cells, so that many cells
    cost little; quantiles and means are exact.

    Raises
    ------
    SettingsError
        No cell has a value.
    """
    data = np.asarray(values, np.float64)
    codes, names = _codes(types, order)
    known = np.isfinite(data)
    if not known.any():
        raise SettingsError(f"No cell has a value in column {column!r}.")
    low, high = (float(v) for v in np.percentile(data[known], [0.5, 99.5]))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    margin = 0.05 * (high - low)
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    grid = (edges[:-1] + edges[1:]) / 2
    density = np.zeros((len(names), BINS))
    quantiles = np.full((len(names), 5), np.nan)
    mean = np.full(len(names), np.nan)
    counts = np.zeros(len(names), np.int64)
    for i in range(len(names)):
        own = data[known & (codes == i)]
        counts[i] = len(own)
        if not len(own):
            continue
        quantiles[i] = np.percentile(own, [5, 25, 50, 75, 95])
        mean[i] = own.mean()
        histogram = np.histogram(own, edges)[0].astype(np.float64)
        smooth = gaussian_filter1d(
            histogram, max(_bandwidth(own) / (edges[1] - edges[0]), 0.7), mode="constant"
        )
        density[i] = smooth / smooth.max() if smooth.max() > 0 else 0.0
    return Spread(column, tuple(names), counts, grid, density, quantiles, mean)


def _bandwidth(values: NDArray[np.float64]) -> float:
    """Silverman's rule: 0.9 min(spread, IQR / 1.34) n^(-1/5)."""
    quarter, three = np.percentile(values, [25, 75])
    spread = float(values.std())
    inner = float(three - quarter) / 1.34
    return float(0.9 * (min(spread, inner) if inner > 0 else spread) * len(values) ** -0.2)


def _codes(types: NDArray[Any], order: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    codes, found = pd.factorize(np.asarray(types, object))
    present = [str(name) for name in found]
    names = [name for name in dict.fromkeys(order) if name in present]
    names += sorted(set(present) - set(names))
    place = np.array([names.index(name) for name in present], np.int64)
    return place[codes] if len(codes) else np.zeros(0, np.int64), names


def _group_means(values: NDArray[np.float64], codes: NDArray[np.int64], groups: int) -> NDArray[np.float64]:
    out = np.full((groups, values.shape[1]), np.nan)
    for column in range(values.shape[1]):
        known = np.isfinite(values[:, column])
        count = np.bincount(codes[known], minlength=groups)
        total = np.bincount(codes[known], values[known, column], minlength=groups)
        out[:, column] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return out
