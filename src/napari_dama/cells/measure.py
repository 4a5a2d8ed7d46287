"""What is measured of every cell: centre, area, and mean intensity per marker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def measure(
    labels: NDArray[np.integer[Any]],
    pixels: NDArray[Any] | None,
    markers: Sequence[str],
    pixel_um: float,
    *,
    offset: tuple[int, int] = (0, 0),
) -> pd.DataFrame:
    """Measure every label of an image, in a few passes over the pixels whatever the number of cells.

    Parameters
    ----------
    labels
        Instances (h, w), 0 is background; numbers may have gaps.
    pixels
        Raw intensities (C, h, w) of any dtype, or None to measure shapes only. Pixels that are not finite
        count in no mean.
    markers
        Names of the C channels.
    pixel_um
        Size of a pixel in micrometres.
    offset
        Row and column of ``labels[0, 0]`` in the slide.

    Returns
    -------
    DataFrame
        One row per label, ascending: ``label, y, x`` (centroid in level-0 pixels, whose centres are whole),
        ``y_um, x_um, area_um2, mean_<MARKER>...``.

    Raises
    ------
    SettingsError
        Shapes or names do not fit each other.
    """
    if pixels is not None and (pixels.ndim != 3 or pixels.shape[1:] != labels.shape):
        raise SettingsError(f"Pixels of shape {pixels.shape} do not fit labels of shape {labels.shape}.")
    if pixels is not None and len(pixels) != len(markers):
        raise SettingsError(f"There are {len(pixels)} channels and {len(markers)} marker names.")
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns]
    ids, index = _dense(numbers)
    n = len(ids)
    area = np.bincount(index, minlength=n).astype(np.float64)
    whole = np.maximum(area, 1)
    y = np.bincount(index, rows, minlength=n) / whole + offset[0]
    x = np.bincount(index, columns, minlength=n) / whole + offset[1]
    table: dict[str, Any] = {
        "label": ids.astype(np.int64),
        "y": y,
        "x": x,
        "y_um": y * pixel_um,
        "x_um": x * pixel_um,
        "area_um2": area * pixel_um**2,
    }
    if pixels is not None:
        for marker, channel in zip(markers, pixels, strict=True):
            table[f"mean_{marker}"] = _means(channel[rows, columns], index, area)
    return pd.DataFrame(table)


def _dense(numbers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the sorted distinct labels (n,), and for each pixel the position of its label in them."""
    if numbers.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low = int(numbers.min())
    span = int(numbers.max()) - low + 1
    if span > 8 * numbers.size + 1_000_000:  # far apart: a lookup table would be larger than the image
        ids, index = np.unique(numbers, return_inverse=True)
        return ids, index.astype(np.int64)
    shifted = numbers.astype(np.int64) - low
    used = np.bincount(shifted, minlength=span) > 0
    position = np.cumsum(used) - 1
    return np.flatnonzero(used) + low, position[shifted]


def _means(values: NDArray[Any], index: NDArray[np.int64], area: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the finite ``values`` of each cell (n,); NaN where a cell has none."""
    n = len(area)
    if values.dtype.kind != "f":
        means: NDArray[np.float64] = np.bincount(index, values, minlength=n) / np.maximum(area, 1)
        return means
    finite = np.isfinite(values)
    if finite.all():
        return np.asarray(np.bincount(index, values, minlength=n) / np.maximum(area, 1))
    count = np.bincount(index[finite], minlength=n)
    total = np.bincount(index[finite], values[finite], minlength=n)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
