"""Small pictures of many cells, cut from a slide in few reads and coloured as the window shows it; no Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.gui.layers import about, layers_of, shown_colour
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_dama.slides.slide import Slide

BLOCK_PX: Final = 1024
"""Cells whose centres lie in one block of so many pixels are read together."""
TOGETHER: Final = 0.15
"""Share of what is read together that the cells must fill; scattered ones are read one by one."""


@dataclass(frozen=True, slots=True)
class ShownMarker:
    """A marker as it is shown: its channel, its colour ``#rrggbb``, and the values that are black and full."""

    index: int
    colour: str
    low: float
    high: float


def shown_markers(layers: Iterable[Any], slide: str) -> list[ShownMarker]:
    """Return the visible markers of a slide; all of them where none is visible."""
    found = layers_of(layers, "marker", slide)
    visible = [layer for layer in found if layer.visible] or found
    return [
        ShownMarker(int(about(layer)["index"]), shown_colour(layer), *map(float, layer.contrast_limits))
        for layer in visible
    ]


def paint(pixels: NDArray[Any], markers: Sequence[ShownMarker]) -> NDArray[np.uint8]:
    """Return the colour picture (h, w, 3) of pixels (c, h, w), one channel per marker, added up as napari does."""
    out = np.zeros((*pixels.shape[1:], 3), dtype=np.float32)
    for channel, marker in zip(pixels, markers, strict=True):
        span = max(marker.high - marker.low, 1e-9)
        share = np.clip((channel.astype(np.float32) - marker.low) / span, 0, 1)
        for place in range(3):
            value = int(marker.colour[1 + 2 * place : 3 + 2 * place], 16)
            if value:
                out[..., place] += share * np.float32(value)
    picture: NDArray[np.uint8] = np.minimum(np.nan_to_num(out), 255).astype(np.uint8)
    return picture


def level_for(slide: Slide, side_px: float, wanted_px: int) -> tuple[int, float]:
    """Return the coarsest level at which a crop is still as wide as it is shown, and its pixels per pixel of that level."""
    best = (0, 1.0)
    for level, shape in enumerate(slide.levels):
        factor = slide.levels[0][0] / shape[0]
        if side_px / factor >= wanted_px:
            best = (level, factor)
    return best


def crop_pictures(
    slide: Slide,
    centres: NDArray[np.float64],
    markers: Sequence[ShownMarker],
    *,
    side_px: int,
    wanted_px: int,
    outlines: Callable[[Region], NDArray[Any]] | None = None,
    numbers: NDArray[np.int64] | None = None,
    stop: Callable[[], bool] = bool,
) -> Iterator[tuple[NDArray[np.int64], list[NDArray[np.uint8]]]]:
    """Cut pictures around cells, block by block.

    Parameters
    ----------
    centres
        Centres (n, 2) of the cells, y and x in px of level 0.
    markers
        What is shown.
    side_px
        Width of a crop in px of level 0.
    wanted_px
        Width at which it is shown; a coarser level is read where that suffices.
    outlines, numbers
        Reads the labels (h, w) of a region of level 0; labels (n,) of the cells. With both, each cell's edge is drawn.
    stop
        Asked before every read.

    Yields
    ------
    rows, pictures
        Which cells (k,), and a picture (p, p, 3) of each; beyond the slide it is black.
    """
    level, factor = level_for(slide, side_px, wanted_px)
    side = max(1, round(side_px / factor))
    shape = slide.levels[level]
    corners = np.rint(centres / factor - side / 2).astype(np.int64)
    channels = [marker.index for marker in markers]
    for rows in _groups(corners, side):
        if stop():
            return
        low, high = corners[rows].min(axis=0), corners[rows].max(axis=0) + side
        region = Region(int(low[0]), int(high[0]), int(low[1]), int(high[1]))
        inside = region.clip(shape)
        picture = np.zeros((region.height, region.width, 3), dtype=np.uint8)
        if not inside.is_empty:
            part = paint(slide.read(inside, channels=channels, level=level), markers)
            y, x = inside.y0 - region.y0, inside.x0 - region.x0
            picture[y : y + part.shape[0], x : x + part.shape[1]] = part
        pictures = []
        for row in rows:
            y, x = corners[row] - low
            pictures.append(picture[y : y + side, x : x + side].copy())
        if outlines is not None and numbers is not None:
            _draw_edges(pictures, rows, corners, numbers, factor, region, slide.levels[0], outlines)
        yield rows, pictures


def _groups(corners: NDArray[np.int64], side: int) -> Iterator[NDArray[np.int64]]:
    """Return the cells that are read together."""
    blocks = corners // BLOCK_PX
    _, index = np.unique(blocks, axis=0, return_inverse=True)
    index = np.asarray(index).ravel()
    order = np.argsort(index, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(index[order])) + 1):
        if not len(rows):
            continue
        span = np.ptp(corners[rows], axis=0) + side
        if len(rows) * side * side >= TOGETHER * span[0] * span[1]:
            yield rows
        else:
            yield from (rows[i : i + 1] for i in range(len(rows)))


def _draw_edges(
    pictures: list[NDArray[np.uint8]],
    rows: NDArray[np.int64],
    corners: NDArray[np.int64],
    numbers: NDArray[np.int64],
    factor: float,
    region: Region,
    shape: tuple[int, int],
    outlines: Callable[[Region], NDArray[Any]],
) -> None:
    """Draw the edge of each picture's own cell in white."""
    whole = Region(*(round(v * factor) for v in (region.y0, region.y1, region.x0, region.x1)))
    inside = whole.clip(shape)
    if inside.is_empty:
        return
    labels = outlines(inside)
    for picture, row in zip(pictures, rows, strict=True):
        side = picture.shape[0]
        y, x = ((corners[row][axis] + np.arange(side)) * factor for axis in (0, 1))
        y = np.rint(y).astype(np.int64) - inside.y0
        x = np.rint(x).astype(np.int64) - inside.x0
        known = ((y >= 0) & (y < labels.shape[0]))[:, None] & ((x >= 0) & (x < labels.shape[1]))
        near = labels[np.clip(y, 0, labels.shape[0] - 1)[:, None], np.clip(x, 0, labels.shape[1] - 1)]
        mask = known & (near == numbers[row])
        core = mask.copy()
        core[1:] &= mask[:-1]
        core[:-1] &= mask[1:]
        core[:, 1:] &= mask[:, :-1]
        core[:, :-1] &= mask[:, 1:]
        edge = mask & ~core
        picture[edge] = (picture[edge].astype(np.uint16) + 3 * 235) // 4
