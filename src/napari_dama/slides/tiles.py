"""A slide cut into tiles that overlap, and cells put together again so that none is cut, doubled or lost at a seam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_dama.errors import SettingsError
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_dama.slides.intensity import IntensityStats

SEAM_TOLERANCE_PX = 4.0
"""A tile may keep a cell whose centre lies this far outside of its core, since two tiles rarely agree to the pixel."""
_LAST_LABEL = int(np.iinfo(np.uint32).max)


@dataclass(frozen=True, slots=True)
class Tile:
    """One piece of work.

    Attributes
    ----------
    core
        What this tile is responsible for; the cores of a grid cover the region once, without gaps.
    outer
        The core with its halo, clipped to the slide: what is read.
    index
        Place in the grid, row by row.
    """

    core: Region
    outer: Region
    index: int

    @property
    def core_in_outer(self) -> Region:
        """The core in pixels of the outer array."""
        y, x = self.outer.y0, self.outer.x0
        return Region(self.core.y0 - y, self.core.y1 - y, self.core.x0 - x, self.core.x1 - x)


def tile_grid(
    shape_yx: Sequence[int], *, tile_px: int, halo_px: int, region: Region | None = None
) -> list[Tile]:
    """Cut a slide, or a region of it, into tiles, row by row.

    Parameters
    ----------
    shape_yx
        Height and width of the slide.
    tile_px
        Side of a core; the last of a row or column may be smaller.
    halo_px
        Pixels read around a core, also beyond `region`, never beyond the slide.
    region
        What to cover; everything by default.

    Raises
    ------
    SettingsError
        If a length is out of bounds, or the region lies outside of the slide.
    """
    if tile_px < 1 or halo_px < 0:
        raise SettingsError(f"tile_px is {tile_px} and halo_px {halo_px}; at least 1 and 0 are needed.")
    whole = Region.whole(shape_yx)
    area = whole if region is None else region.clip(whole.shape)
    if area.is_empty:
        raise SettingsError(
            f"The region {region} lies outside of the slide, which has {whole.height} rows and {whole.width} columns."
        )
    tiles: list[Tile] = []
    for y in range(area.y0, area.y1, tile_px):
        for x in range(area.x0, area.x1, tile_px):
            core = Region(y, min(y + tile_px, area.y1), x, min(x + tile_px, area.x1))
            tiles.append(Tile(core, core.grow(halo_px).clip(whole.shape), len(tiles)))
    return tiles


class LabelStitcher:
    """Give the cells of overlapping tiles numbers that are unique over the slide.

    For each tile call `accept` with the cells found in its outer region and with what is already written there, and
    write back what it returns. A cell is kept by the tile whose core holds its centre (with a tolerance of 4 px).
    Where two tiles found the same cell, the one written first stays. Tiles may come in any order. With a `region`, cells
    whose centre lies outside of it are left out: the tolerance is for seams between tiles, not for its border.

    Attributes
    ----------
    next_label
        The number that the next cell gets; set it to continue an interrupted run.
    """

    def __init__(
        self,
        next_label: int = 1,
        *,
        region: Region | None = None,
        tolerance_px: float = SEAM_TOLERANCE_PX,
    ) -> None:
        if next_label < 1:
            raise SettingsError(f"next_label is {next_label}; numbers of cells start at 1.")
        self.next_label = next_label
        self.region = region
        self.tolerance_px = tolerance_px
        self._last: NDArray[np.uint32] = np.zeros(1, np.uint32)

    @property
    def last_labels(self) -> NDArray[np.uint32]:
        """For each label of the tile accepted last, (n + 1,), the number it got on the slide; 0 if it was not kept."""
        return self._last

    def accept(self, tile: Tile, labels: NDArray[Any], existing: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Merge a tile's cells into what is written.

        Parameters
        ----------
        tile
            Where we are.
        labels
            (h, w) whole numbers over ``tile.outer``, 0 is background, each cell its own number.
        existing
            (h, w) uint32, numbers already written over ``tile.outer``.

        Returns
        -------
        NDArray
            (h, w) uint32 to write over ``tile.outer``: `existing` unchanged, the kept cells in its free pixels. A cell
            that lies for more than half of its area on written cells is dropped; of others the largest piece in free
            pixels stays, unless that is less than half of the cell.
        """
        if labels.shape != tile.outer.shape or existing.shape != tile.outer.shape:
            raise SettingsError(
                f"Labels of shape {labels.shape} on existing ones of {existing.shape} do not fit tile {tile.index}, "
                f"which is {tile.outer.height} x {tile.outer.width} pixels."
            )
        flat = labels.reshape(-1).astype(np.intp)
        inside = np.flatnonzero(flat)
        ids = flat[inside]
        if len(ids) and ids.min() < 0:
            raise SettingsError(
                f"Labels of tile {tile.index} go down to {ids.min()}; 0 is background, cells are above."
            )
        count = int(ids.max()) + 1 if len(ids) else 1
        taken = existing.reshape(-1)[inside] != 0
        area = np.bincount(ids, minlength=count)
        keep = self._centre_in_core(tile, inside, ids, area)
        overlap = np.bincount(ids[taken], minlength=count)
        keep &= 2 * overlap <= area

        out = np.array(existing, np.uint32)
        clipped = {
            int(i): _largest_piece(labels, existing, int(i), box)
            for i, box in _boxes(labels, keep & (overlap > 0))
        }
        for label, (piece, _) in clipped.items():
            if 2 * int(piece.sum()) < int(area[label]):
                keep[label] = False
        self._last = self._number(keep)
        whole = keep & (overlap == 0)
        chosen = whole[ids]
        out.reshape(-1)[inside[chosen]] = self._last[ids[chosen]]
        for label, (piece, box) in clipped.items():
            if keep[label]:
                out[box][piece] = self._last[label]
        return out

    def _centre_in_core(
        self, tile: Tile, inside: NDArray[np.intp], ids: NDArray[np.intp], area: NDArray[np.intp]
    ) -> NDArray[np.bool_]:
        width = tile.outer.width
        some = np.maximum(area, 1)
        # Pixel centres are half a pixel into the pixel, so that a core of n pixels reaches from 0 to n.
        y = np.bincount(ids, inside // width, minlength=len(area)) / some + 0.5
        x = np.bincount(ids, inside % width, minlength=len(area)) / some + 0.5
        core, slack = tile.core_in_outer, self.tolerance_px
        keep: NDArray[np.bool_] = (area > 0) & _within(y, x, core, slack)
        if self.region is not None:
            keep &= _within(y + tile.outer.y0, x + tile.outer.x0, self.region, 0.0)
        return keep

    def _number(self, keep: NDArray[np.bool_]) -> NDArray[np.uint32]:
        kept = int(keep.sum())
        if self.next_label + kept > _LAST_LABEL:
            raise SettingsError(f"More than {_LAST_LABEL} cells: labels of 32 bits cannot number them.")
        numbers = np.zeros(len(keep), np.uint32)
        numbers[keep] = np.arange(self.next_label, self.next_label + kept, dtype=np.uint32)
        self.next_label += kept
        return numbers


def _within(
    y: NDArray[np.float64], x: NDArray[np.float64], region: Region, slack: float
) -> NDArray[np.bool_]:
    """Tell which points lie in a region, or at most `slack` px outside."""
    rows = (y >= region.y0 - slack) & (y <= region.y1 + slack)
    inside: NDArray[np.bool_] = rows & (x >= region.x0 - slack) & (x <= region.x1 + slack)
    return inside


def _boxes(labels: NDArray[Any], wanted: NDArray[np.bool_]) -> list[tuple[int, tuple[slice, slice]]]:
    """Give the bounding boxes of the wanted labels."""
    if not wanted.any():
        return []
    only = np.where(wanted[labels], labels, 0).astype(np.int32)
    return [(i + 1, box) for i, box in enumerate(ndimage.find_objects(only)) if box is not None]


def _largest_piece(
    labels: NDArray[Any], existing: NDArray[np.uint32], label: int, box: tuple[slice, slice]
) -> tuple[NDArray[np.bool_], tuple[slice, slice]]:
    """Give the largest connected piece of a cell in free pixels, as a mask of its bounding box."""
    free = (labels[box] == label) & (existing[box] == 0)
    pieces, count = ndimage.label(free)
    if count > 1:
        free = pieces == int(np.argmax(np.bincount(pieces.reshape(-1))[1:])) + 1
    return free, box


def is_empty(pixels: NDArray[Any], stats: IntensityStats) -> bool:
    """Tell whether a tile shows nothing but glass: no channel rises above its noise.

    In doubt a tile is not empty. Judged on means of 4 x 4 pixels, where noise is small.

    Parameters
    ----------
    pixels
        (C, h, w), as read.
    stats
        Of these C channels.
    """
    for channel, low, high in zip(pixels, stats.low, stats.high, strict=True):
        height, width = channel.shape[0] // 4 * 4, channel.shape[1] // 4 * 4
        if not height or not width:
            return False
        blocks = channel[:height, :width].reshape(height // 4, 4, width // 4, 4)
        means = blocks.mean((1, 3), dtype=np.float32)
        means = np.where(np.isfinite(means), means, np.float32(low))  # no measurement, so no sign of tissue
        level = (means - low) / (high - low)
        top, middle = float(level.max()), float(np.median(level))
        if top >= 0.1 and (top - middle >= 0.08 or middle >= 0.25):
            return False
    return True
