"""Corrections of one result brought to another of the same slide, by position."""

from __future__ import annotations

import numpy as np
import pandas as pd

DEFAULT_RADIUS_PX = 10.0


def carry(corrected: pd.DataFrame, cells: pd.DataFrame, pixel_um: float) -> pd.DataFrame:
    """Find for each corrected cell the cell of another result at its place.

    Parameters
    ----------
    corrected
        ``label, y, x`` (px of level 0) and whatever else is to come along, one row per corrected cell.
    cells
        The other result's cells: ``label, y, x`` and, where known, ``area_um2``.
    pixel_um
        Pixel size in micrometres.

    Returns
    -------
    DataFrame
        Rows of ``corrected`` that fit, with the other result's ``label, y, x``. One fits where the nearest centre is no
        farther than that cell's radius (of a disc of its area); of several that would fit one cell, the nearest.
    """
    from scipy.spatial import cKDTree

    if corrected.empty or cells.empty:
        return corrected.iloc[:0].copy()
    radius = np.full(len(cells), DEFAULT_RADIUS_PX)
    if "area_um2" in cells:
        area = cells["area_um2"].to_numpy(float) / pixel_um**2
        radius = np.where(np.isfinite(area) & (area > 0), np.sqrt(np.maximum(area, 0) / np.pi), radius)
    distance, row = cKDTree(cells[["y", "x"]].to_numpy(float)).query(corrected[["y", "x"]].to_numpy(float))
    order = np.argsort(distance, kind="stable")
    _, first = np.unique(row[order], return_index=True)
    chosen = np.sort(order[first])
    chosen = chosen[distance[chosen] <= radius[row[chosen]]]
    fitting: pd.DataFrame = corrected.iloc[chosen].copy()
    own = cells.iloc[row[chosen]]
    for column in ("label", "y", "x"):
        fitting[column] = own[column].to_numpy()
    fitting.index = pd.RangeIndex(len(fitting))
    return fitting
