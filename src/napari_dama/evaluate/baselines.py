"""What types are worth without any network: a rule on mean intensities, and gradient boosting.

Labels often descend from thresholds on the very markers that are measured. On those a rule is near perfect by
construction, so every accuracy of a network stands beside these two, on the same splits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import SettingsError
from napari_dama.slides.intensity import IntensityStats, normalise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

BRAIN7_TYPES: Final = {
    "NeuN": "neuron",
    "S100": "astrocyte",
    "Olig2": "oligodendrocyte",
    "Iba1": "microglia",
    "RECA1": "endothelial",
}
"""Which marker stands for which type in the brain panel."""


def mean_intensity_rule(
    table: pd.DataFrame,
    type_of_marker: Mapping[str, str] | None = None,
    *,
    stats: IntensityStats | None = None,
) -> NDArray[Any]:
    """Give each cell the type of its brightest marker.

    Parameters
    ----------
    table
        Cells with columns ``mean_<MARKER>`` in the slide's units.
    type_of_marker
        Type per marker; the brain panel by default. Several markers may stand for one type.
    stats
        Intensity statistics of the slide, on whose scale markers are compared. Without, each marker is compared with
        its own median and spread over the cells of the table.

    Returns
    -------
    NDArray
        Types (n,) of str.

    Raises
    ------
    SettingsError
        A marker is not in the table, or not in the statistics.
    """
    rule = BRAIN7_TYPES if type_of_marker is None else dict(type_of_marker)
    missing = [marker for marker in rule if f"mean_{marker}" not in table]
    if missing or not rule:
        has = ", ".join(c.removeprefix("mean_") for c in table.columns if c.startswith("mean_")) or "none"
        raise SettingsError(
            f"The table has no mean intensity of {', '.join(missing) or 'any marker'}; it has {has}."
        )
    markers = list(rule)
    means = table[[f"mean_{marker}" for marker in markers]].to_numpy(float)
    if stats is not None:
        unknown = [marker for marker in markers if marker not in stats.markers]
        if unknown:
            raise SettingsError(
                f"The statistics are not for {unknown[0]}; they are for {', '.join(stats.markers)}."
            )
        own = stats.select([stats.markers.index(marker) for marker in markers])
        level = normalise(means.T[:, :, None], own)[:, :, 0].T
    else:
        middle = np.nanmedian(means, axis=0)
        spread = 1.4826 * np.nanmedian(np.abs(means - middle), axis=0)
        level = (means - middle) / np.where(spread > 0, spread, np.inf)
    best = np.argmax(np.nan_to_num(level, nan=-np.inf), axis=1)
    types: NDArray[Any] = np.array([rule[marker] for marker in markers], dtype=object)[best]
    return types


def boosted_means(
    table: pd.DataFrame, types: Sequence[str], groups: Sequence[Any], *, folds: int = 5, seed: int = 0
) -> NDArray[Any]:
    """Predict each cell's type by gradient boosting on mean intensities and area, learnt from other fields of view.

    Parameters
    ----------
    table
        Cells with columns ``mean_<MARKER>`` and ``area_um2``.
    types
        True types (n,).
    groups
        Field of view or slide (n,) of each cell; cells of one are never on both sides of a split.
    folds
        Splits; at most as many as there are groups.
    seed
        For the order of the groups and the boosting.

    Returns
    -------
    NDArray
        Types (n,) of str, each predicted by a model that saw nothing of its group.

    Raises
    ------
    SettingsError
        There is one group only, one type only, or nothing to learn from.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    columns = [c for c in table.columns if c.startswith("mean_") or c == "area_um2"]
    if not columns:
        raise SettingsError("The table has no columns mean_<MARKER> or area_um2 to learn from.")
    truth, group = np.asarray(types, dtype=object), np.asarray(groups, dtype=object)
    if not len(table) == len(truth) == len(group):
        raise SettingsError(f"There are {len(table)} cells, {len(truth)} types and {len(group)} groups.")
    names = np.random.default_rng(seed).permutation(np.unique(group.astype(str)))
    if len(names) < 2:
        raise SettingsError("All cells are of one field of view; a fair split needs at least two.")
    values = table[columns].to_numpy(float)
    predicted = np.empty(len(truth), dtype=object)
    for held_out in np.array_split(names, min(folds, len(names))):
        test = np.isin(group.astype(str), held_out)
        seen = np.unique(truth[~test].astype(str))
        if len(seen) < 2:
            raise SettingsError(
                f"Without {', '.join(held_out)} only one type is left to learn; use fewer folds."
            )
        model = HistGradientBoostingClassifier(random_state=seed, early_stopping=False, max_iter=100)
        model.fit(values[~test], truth[~test].astype(str))
        predicted[test] = model.predict(values[test]).astype(object)
    return predicted
