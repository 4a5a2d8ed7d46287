"""Find nuclei without a trained model: threshold, morphological erosion, watershed, block by block.

This is how the paper made its noisy training sets (supplement, sets II and III): slides cut into blocks of
1000 px, morphological erosion, watershed, crops around the centres. Departures: the threshold is of the
whole slide and of a pixel's surroundings, not of each block, and blocks overlap, so that a nucleus is found the
same way whichever block it lies in, and once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from napari_dama.cells.measure import measure
from napari_dama.errors import Interrupted, SettingsError
from napari_dama.slides.intensity import IntensityStats, normalise, slide_stats
from napari_dama.slides.tiles import tile_grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_dama.slides.slide import Slide
    from napari_dama.slides.tiles import Tile

BLOCK_PX: Final = 1000
HALO_UM: Final = 25.0
SEAM_UM: Final = 2.0
"""A block keeps nuclei this far outside its core; of two centres closer than this one is dropped."""
SMOOTH_UM: Final = 0.5
SURROUNDINGS_UM: Final = 4.0
EROSION_UM: Final = 0.35
SEED_SPACING_UM: Final = 1.3
MIN_CONTRAST: Final = 0.08
"""Normalised difference of nuclei and background below which a slide shows no nuclei."""
_SAMPLE_PX: Final = 512
_SAMPLES: Final = 16


def find_nuclei(
    slide: Slide,
    *,
    nuclear_channel: int,
    pixel_um: float,
    stats: IntensityStats | None = None,
    block_px: int = BLOCK_PX,
    min_area_um2: float = 8.0,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> pd.DataFrame:
    """Find the nuclei of a slide; memory is that of one block.

    Parameters
    ----------
    slide
        Where to look.
    nuclear_channel
        Index of the channel that shows nuclei.
    pixel_um
        Size of a pixel in micrometres.
    stats
        Intensity statistics of all channels of the slide; measured when not given.
    block_px
        Side of a block; the result does not depend on it beyond a few pixels.
    min_area_um2
        Smaller nuclei are dropped.
    progress
        Called with (blocks done, blocks in all).
    stop
        Asked before each block.

    Returns
    -------
    DataFrame
        ``label`` (1..n, block by block), ``y, x`` (level-0 pixels), ``area_um2``; no rows if the slide shows
        no nuclei.

    Raises
    ------
    SettingsError
        A setting is out of bounds.
    Interrupted
        ``stop`` said so.
    """
    if not 0 <= nuclear_channel < slide.shape[0]:
        raise SettingsError(
            f"Channel {nuclear_channel} of {slide.name} does not exist: it has {slide.shape[0]}."
        )
    if not pixel_um > 0 or not min_area_um2 >= 0:
        raise SettingsError(f"pixel_um is {pixel_um}, min_area_um2 {min_area_um2}; they must be above 0.")
    all_stats = slide_stats(slide) if stats is None else stats
    own = all_stats.select([nuclear_channel])
    floor = _slide_threshold(slide, nuclear_channel, own, pixel_um)
    tiles = tile_grid(slide.shape[1:], tile_px=block_px, halo_px=round(HALO_UM / pixel_um))
    found: list[pd.DataFrame] = []
    if progress is not None:
        progress(0, len(tiles))
    for done, tile in enumerate(tiles if floor is not None else [], start=1):
        if stop is not None and stop():
            raise Interrupted(f"Stopped while finding nuclei of {slide.name}.")
        pixels = normalise(slide.read(tile.outer, channels=[nuclear_channel]), own)[0]
        labels = nuclei_of_block(
            pixels, floor=float(floor or 0), pixel_um=pixel_um, min_area_um2=min_area_um2
        )
        cells = measure(labels, None, (), pixel_um, offset=(tile.outer.y0, tile.outer.x0))
        found.append(_owned(cells, tile, SEAM_UM / pixel_um).assign(tile=tile.index))
        if progress is not None:
            progress(done, len(tiles))
    return _without_twins(found, SEAM_UM / pixel_um)


def nuclei_of_block(
    pixels: NDArray[np.float32], *, floor: float, pixel_um: float, min_area_um2: float = 8.0
) -> NDArray[np.int32]:
    """Find the nuclei of one block.

    Parameters
    ----------
    pixels
        Normalised nuclear marker (h, w).
    floor
        Threshold of the whole slide.
    pixel_um, min_area_um2
        As in :func:`find_nuclei`.

    Returns
    -------
    NDArray
        Instances (h, w); 0 is background, numbers may have gaps.
    """
    smooth = ndimage.gaussian_filter(pixels, SMOOTH_UM / pixel_um)
    around = ndimage.gaussian_filter(smooth, SURROUNDINGS_UM / pixel_um)
    # Brighter than most of the slide and than what surrounds it; in a bright crowd the first is enough.
    mask = (smooth > 0.75 * floor) & (smooth > np.minimum(1.05 * around, 1.5 * floor))
    mask = ndimage.binary_fill_holes(mask)
    mask = ndimage.binary_opening(mask, iterations=max(1, round(EROSION_UM / pixel_um)))
    inside_um = ndimage.distance_transform_edt(mask) * pixel_um - EROSION_UM
    height = ndimage.gaussian_filter(np.maximum(inside_um, 0), 0.6 / pixel_um).astype(np.float32) + 2 * smooth
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        height,
        min_distance=max(1, round(SEED_SPACING_UM / pixel_um)),
        labels=mask.astype(np.int32),
        exclude_border=False,
        p_norm=np.inf,
    )
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-height, seeds, mask=mask).astype(np.int32)  # type: ignore[no-untyped-call]
    keep = np.bincount(labels.ravel(), minlength=len(peaks) + 1) >= max(min_area_um2 / pixel_um**2, 1)
    keep[0] = False
    found: NDArray[np.int32] = np.where(keep[labels], labels, 0).astype(np.int32)
    return found


def _slide_threshold(slide: Slide, channel: int, stats: IntensityStats, pixel_um: float) -> float | None:
    """Otsu's threshold of the smoothed channel in windows over the slide; None if it shows no nuclei."""
    windows = tile_grid(slide.shape[1:], tile_px=_SAMPLE_PX, halo_px=0)
    chosen = np.unique(np.linspace(0, len(windows) - 1, min(_SAMPLES, len(windows))).round().astype(int))
    # Every k-th of a row-major list may fall into few columns: a fixed shuffle spreads the windows.
    order = (
        np.random.default_rng(0).permutation(len(windows))
        if len(windows) > _SAMPLES
        else np.arange(len(windows))
    )
    edges = np.linspace(0, 1.6, 321)
    counts = np.zeros(len(edges) - 1)
    for index in order[chosen]:
        pixels = normalise(slide.read(windows[index].core, channels=[channel]), stats)[0]
        counts += np.histogram(ndimage.gaussian_filter(pixels, SMOOTH_UM / pixel_um), edges)[0]
    centres = (edges[1:] + edges[:-1]) / 2
    if np.count_nonzero(counts) < 2:
        return None
    threshold = float(threshold_otsu(hist=(counts, centres)))  # type: ignore[no-untyped-call]
    bright = centres > threshold
    if not counts[bright].sum() or not counts[~bright].sum():
        return None
    contrast = np.average(centres[bright], weights=counts[bright]) - np.average(
        centres[~bright], weights=counts[~bright]
    )
    return threshold if contrast >= MIN_CONTRAST else None


def _owned(cells: pd.DataFrame, tile: Tile, slack_px: float) -> pd.DataFrame:
    """Keep the cells whose centre lies in the core or barely outside, as it may for the next block too."""
    core = tile.core
    y, x = cells["y"] + 0.5, cells["x"] + 0.5  # of a core of n pixels, from 0 to n
    return cells[
        (y >= core.y0 - slack_px)
        & (y < core.y1 + slack_px)
        & (x >= core.x0 - slack_px)
        & (x < core.x1 + slack_px)
    ]


def _without_twins(found: list[pd.DataFrame], radius_px: float) -> pd.DataFrame:
    """Join the blocks' tables; of centres from two blocks that lie within the radius the first stays."""
    columns = ["y", "x", "area_um2"]
    if not any(len(part) for part in found):
        return pd.DataFrame({"label": np.zeros(0, np.int64), **{c: np.zeros(0) for c in columns}})
    cells = pd.concat([part for part in found if len(part)], ignore_index=True)
    tile = cells["tile"].to_numpy()
    pairs = cKDTree(cells[["y", "x"]].to_numpy()).query_pairs(radius_px, output_type="ndarray")
    pairs = np.sort(pairs[tile[pairs[:, 0]] != tile[pairs[:, 1]]], axis=1)
    twin = np.zeros(len(cells), bool)
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if not twin[first]:
            twin[second] = True
    kept = cells.loc[~twin, columns].reset_index(drop=True)
    kept.insert(0, "label", np.arange(1, len(kept) + 1))
    return kept
