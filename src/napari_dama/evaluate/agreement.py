"""A result's types beside annotations of some of its cells: which cell is which, the scores, and who is in each field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import SettingsError
from napari_dama.evaluate.neighbourhoods import NO_TYPE
from napari_dama.evaluate.types import MAX_DISTANCE_PX, TypeScores, nearest_pairs, type_scores

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

FEW: Final = 30
"""Fewer annotated cells of a type than this say little about it."""


@dataclass(frozen=True)
class Agreement:
    """Annotations and predictions of the same cells.

    Attributes
    ----------
    scores : TypeScores
        Accuracy and confusion matrix; rows are annotated, columns predicted types.
    labels : (k,) int64
        Labels of the result's cells that were compared.
    truth, predicted : (k,) int64
        Positions of their types in ``scores.types``.
    n_unmatched : int
        Annotations without a cell of the result near enough.
    """

    scores: TypeScores
    labels: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    n_unmatched: int

    def labels_in(self, row: int, column: int) -> NDArray[np.int64]:
        """Return the labels (n,) of the cells in one field of the confusion matrix."""
        found: NDArray[np.int64] = self.labels[(self.truth == row) & (self.predicted == column)]
        return found

    @property
    def rare(self) -> dict[str, int]:
        """Types with fewer than `FEW` annotated cells, and how many."""
        counts = self.scores.confusion.sum(axis=1)
        return {name: int(n) for name, n in zip(self.scores.types, counts, strict=True) if 0 < n < FEW}


def compare_types(
    annotated: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    max_distance_px: float | None = None,
    pixel_um: float | None = None,
) -> Agreement:
    """Compare annotated cells with the cells of a result; each is paired with the nearest centre, one to one.

    Parameters
    ----------
    annotated
        Table with ``y, x`` (px of level 0) and ``type``; rows without a type are left out.
    cells
        The result's table: ``label, y, x, type``, and ``area_um2`` for the default distance.
    max_distance_px
        Largest distance of a pair; by default the radius of a middling cell, but at least 8 px.
    pixel_um
        Pixel size, for the default distance.

    Raises
    ------
    SettingsError
        Columns are missing, or no annotated cell lies on a cell with a predicted type.
    """
    for table, name, wanted in (
        (annotated, "annotations", ("y", "x", "type")),
        (cells, "cells", ("label", "y", "x", "type")),
    ):
        lacking = [column for column in wanted if column not in table]
        if lacking:
            raise SettingsError(f"The table of the {name} has no column {lacking[0]!r}.")
    known = annotated[~np.isin(_words(annotated), NO_TYPE)]
    told = cells[~np.isin(_words(cells), NO_TYPE)]
    reach = _reach(cells, pixel_um) if max_distance_px is None else max_distance_px
    one, two = nearest_pairs(
        known[["y", "x"]].to_numpy(np.float64), told[["y", "x"]].to_numpy(np.float64), reach
    )
    if not len(one):
        raise SettingsError(
            f"None of the {len(known)} annotated cells lies within {reach:.0f} px of a cell whose type the model told, "
            "so there is nothing to compare. Do the annotations belong to this slide?"
        )
    truth, predicted = _words(known)[one], _words(told)[two]
    scores = type_scores(
        truth.tolist(),
        predicted.tolist(),
        n_truth_unmatched=len(known) - len(one),
        matched_by=f"nearest centres within {reach:.0f} px",
    )
    place = {name.strip().casefold(): position for position, name in enumerate(scores.types)}
    return Agreement(
        scores,
        told["label"].to_numpy(np.int64)[two],
        np.array([place[name.strip().casefold()] for name in truth], np.int64),
        np.array([place[name.strip().casefold()] for name in predicted], np.int64),
        len(known) - len(one),
    )


def _words(table: pd.DataFrame) -> NDArray[Any]:
    column = table["type"].astype(object)
    return column.where(column.notna(), "").astype(str).to_numpy(object)


def _reach(cells: pd.DataFrame, pixel_um: float | None) -> float:
    if pixel_um is None or "area_um2" not in cells or not cells["area_um2"].notna().any():
        return MAX_DISTANCE_PX
    return max(MAX_DISTANCE_PX, float(np.sqrt(cells["area_um2"].median() / np.pi)) / pixel_um)
