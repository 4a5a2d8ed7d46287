"""The two baselines without a network, on the crops of a store and on splits that are given.

A store holds crops and no outlines, so the nucleus in the middle of each crop is found again: Otsu's threshold of the summed
nuclear markers within the crop, the piece at the centre, at most `REACH_UM` wide around it; where there is none, a disc. The
cell is that piece grown by `GROW_UM`, without knowing where its neighbours begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import regionprops

from napari_dama.errors import Interrupted, SettingsError
from napari_dama.evaluate.baselines import BRAIN7_TYPES, mean_intensity_rule
from napari_dama.slides.intensity import IntensityStats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_dama.cells.store import CropStore

REACH_UM: Final = 8.0
GROW_UM: Final = 2.0
DISC_UM: Final = 3.0
SMOOTH_UM: Final = 0.5
NEAR_UM: Final = 3.0
"""A piece that does not cover the centre counts when it comes this near."""
SHAPE: Final = ("area_um2", "eccentricity", "solidity")
_CHUNK: Final = 256


def measure_crops(
    store: CropStore,
    *,
    nuclear: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> pd.DataFrame:
    """Measure the cell in the middle of every crop.

    Intensities are on the linear scale of the crop's own slide, where 0 is its background and 1 its bright level; NaN where
    the slide lacks the marker.

    Parameters
    ----------
    store
        The crops.
    nuclear
        Markers that show nuclei; by default those that go by a name of the brain panel's.
    progress
        Called with (crops done, crops in all).
    stop
        Asked now and then.

    Returns
    -------
    DataFrame
        One row per crop, in order: ``mean_<MARKER>`` over the cell, ``nucleus_<MARKER>`` over its nucleus, and of the
        nucleus ``area_um2, eccentricity, solidity``.

    Raises
    ------
    Interrupted
        ``stop`` said so.
    """
    from napari_dama.models.build import nuclear_of  # brings torch

    names = nuclear_of(store.markers) if nuclear is None else nuclear
    shown = np.array([marker in names for marker in store.markers])
    side, um = store.crop_px, store.pixel_um
    yy, xx = np.ogrid[:side, :side]
    distance = np.hypot(yy - (side - 1) / 2, xx - (side - 1) / 2) * um
    rows: list[list[float]] = []
    for start in range(0, len(store), _CHUNK):
        if stop is not None and stop():
            raise Interrupted("Stopped while measuring crops.")
        for index, crop in enumerate(np.asarray(store.crops[start : start + _CHUNK]), start=start):
            slide = store.slide_index[index]
            low, high = store.stats[slide, :, :, None, None]  # (C, 1, 1) each
            level = (crop.astype(np.float32) - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
            present = store.present[slide]
            nucleus = central_nucleus(level[shown & present], distance, um)
            cell = ndimage.distance_transform_edt(~nucleus) * um <= GROW_UM
            values = [*_means(level, cell, present), *_means(level, nucleus, present)]
            shape = regionprops(nucleus.astype(np.uint8))[0]  # type: ignore[no-untyped-call]
            rows.append([*values, nucleus.sum() * um**2, shape.eccentricity, shape.solidity])
        if progress is not None:
            progress(min(start + _CHUNK, len(store)), len(store))
    columns = [f"{what}_{marker}" for what in ("mean", "nucleus") for marker in store.markers]
    return pd.DataFrame(rows, columns=[*columns, *SHAPE])


def central_nucleus(
    level: NDArray[np.float32], distance: NDArray[np.float64], pixel_um: float
) -> NDArray[np.bool_]:
    """Mask (P, P) of the nucleus in the middle of a crop, never empty.

    Parameters
    ----------
    level
        Nuclear markers (M, P, P), M may be 0.
    distance
        Distance (P, P) of each pixel from the centre in micrometres.
    pixel_um
        Size of a pixel.
    """
    disc: NDArray[np.bool_] = distance <= max(DISC_UM, float(distance.min()))
    if not len(level):
        return disc
    light = ndimage.gaussian_filter(np.nan_to_num(level.sum(axis=0)), SMOOTH_UM / pixel_um)
    if light.max() <= light.min():
        return disc
    bright = light > threshold_otsu(light)  # type: ignore[no-untyped-call]
    pieces, _ = ndimage.label(bright & (distance <= REACH_UM))
    nearest = np.argmin(np.where(pieces > 0, distance, np.inf))
    if pieces.flat[nearest] == 0 or distance.flat[nearest] > NEAR_UM:
        return disc
    found: NDArray[np.bool_] = ndimage.binary_fill_holes(pieces == pieces.flat[nearest])
    return found


def _means(
    level: NDArray[np.float32], mask: NDArray[np.bool_], present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    means: NDArray[np.float64] = np.where(present, level[:, mask].mean(axis=1, dtype=np.float64), np.nan)
    return means


def rule_for(
    markers: Sequence[str], types: Sequence[str], given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Which marker stands for which type: as given, or the brain panel's where it knows all types.

    Raises
    ------
    SettingsError
        A marker or type is unknown, or nothing was given and the brain panel's rule does not fit.
    """
    rule = BRAIN7_TYPES if given is None else dict(given)
    if given is None and not set(types) <= set(rule.values()):
        raise SettingsError(
            f"no rule is known for the types {', '.join(sorted(set(types) - set(rule.values())))}; "
            "say which marker stands for which type under `rule`"
        )
    missing = [marker for marker in rule if marker not in markers]
    strange = [kind for kind in rule.values() if kind not in types]
    if missing or (given is not None and strange):
        what = f"marker {missing[0]}" if missing else f"type {strange[0]}"
        raise SettingsError(f"the rule names {what}, which the store does not have")
    return {marker: kind for marker, kind in rule.items() if kind in types}


def rule_types(measures: pd.DataFrame, rule: Mapping[str, str]) -> NDArray[Any]:
    """Type (n,) of each measured crop's brightest marker, on the scale of its own slide; nothing is learnt."""
    markers = tuple(rule)
    scale = IntensityStats(np.zeros(len(markers)), np.ones(len(markers)), markers)  # type: ignore[arg-type]
    return mean_intensity_rule(measures, rule, stats=scale)


def boosted_types(
    measures: pd.DataFrame,
    types: NDArray[Any],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    *,
    seed: int = 0,
) -> NDArray[Any]:
    """Types of the test rows by gradient boosting on intensities and shape, learnt from the training rows.

    Settings are fixed (100 rounds; leaves of 20 cells, fewer where fewer than 200 cells are labelled), so nothing is
    chosen on validation or test cells.

    Parameters
    ----------
    measures
        Of all crops, as `measure_crops` gives them.
    types
        Types (N,) of all crops.
    train, test
        Rows to learn from, and to predict.
    seed
        Of the boosting.

    Raises
    ------
    SettingsError
        There is one type only to learn.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    known = types[train].astype(str)
    if len(np.unique(known)) < 2:
        raise SettingsError("boosting has one type only to learn from; give more labels")
    model = HistGradientBoostingClassifier(
        random_state=seed,
        early_stopping=False,
        max_iter=100,
        min_samples_leaf=int(np.clip(len(train) // 10, 1, 20)),
    )
    values = measures.to_numpy(float)
    model.fit(values[train], known)
    predicted: NDArray[Any] = model.predict(values[test]).astype(object)
    return predicted
