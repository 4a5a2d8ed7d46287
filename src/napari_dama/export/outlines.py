"""Outlines of every cell of a label image as polygons, tile by tile, so that a whole slide fits in little memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_dama.export.watch import Watch

TILE_PX: Final = 2048


@dataclass(frozen=True, slots=True)
class Piece:
    """One connected piece of a cell.

    Attributes
    ----------
    outer
        (n, 2): ``x, y`` in pixels, whose corners are whole numbers (pixel 0 reaches from 0 to 1); the first point again at
        the end.
    holes
        Of the same kind.
    """

    outer: NDArray[np.float64]
    holes: tuple[NDArray[np.float64], ...] = ()


@dataclass(frozen=True, slots=True)
class Outline:
    """A cell's label and its pieces, the largest first."""

    label: int
    pieces: tuple[Piece, ...]


def cell_outlines(labels: Any, watch: Watch | None = None, *, tile_px: int = TILE_PX) -> Iterator[Outline]:
    """Outlines of all cells, in the order in which they lie on the slide.

    A line runs between the centres of a cell's pixels and those around it, with corners cut at 45 degrees: it encloses the
    centres of the cell's pixels, and of no other. Outlines of touching cells never cross. Pieces that touch at a corner only
    are separate.

    Parameters
    ----------
    labels
        (Y, X) whole numbers, 0 is background: an array, or anything that is sliced like one (zarr, dask).
    watch
        Told of progress, twice per tile.
    tile_px
        Memory is that of a tile of this side, and of the cells that reach out of it.
    """
    for label, mask, top, left in cell_masks(labels, watch, tile_px=tile_px):
        yield Outline(label, mask_pieces(mask, top, left))


def cell_masks(
    labels: Any, watch: Watch | None = None, *, tile_px: int = TILE_PX
) -> Iterator[tuple[int, NDArray[np.bool_], int, int]]:
    """Label, mask (h, w) in its box, and the box's first row and column of all cells, as `cell_outlines` takes them."""
    boxes = cell_boxes(labels, watch, tile_px=tile_px)
    height, width = (int(size) for size in labels.shape)
    columns = -(-width // tile_px)
    place = boxes[:, 1] // tile_px * columns + boxes[:, 3] // tile_px
    order = np.argsort(place, kind="stable")
    boxes, starts = boxes[order], np.flatnonzero(np.diff(place[order], prepend=-1))
    total = 2 * columns * -(-height // tile_px)
    for begin, end in zip(starts, np.append(starts[1:], len(boxes)), strict=False):
        group = boxes[begin:end]
        y0, x0, y1, x1 = group[:, 1].min(), group[:, 3].min(), group[:, 2].max(), group[:, 4].max()
        if watch is not None:
            tile = int(y0 // tile_px * columns + x0 // tile_px)
            watch.step(total // 2 + tile, total)
        pixels = np.asarray(labels[y0:y1, x0:x1])
        for label, top, bottom, left, right in group.tolist():
            yield label, pixels[top - y0 : bottom - y0, left - x0 : right - x0] == label, top, left
    if watch is not None:
        watch.step(total, total)


def cell_boxes(labels: Any, watch: Watch | None = None, *, tile_px: int = TILE_PX) -> NDArray[np.int64]:
    """Boxes of all cells, reading the image once, tile by tile.

    Returns
    -------
    NDArray
        (n, 5): label, first row, row after the last, first column, column after the last; labels ascending.
    """
    height, width = (int(size) for size in labels.shape)
    found: list[NDArray[np.int64]] = []
    rows, columns = range(0, height, tile_px), range(0, width, tile_px)
    for row, y in enumerate(rows):
        for column, x in enumerate(columns):
            if watch is not None:
                watch.step(row * len(columns) + column, 2 * len(rows) * len(columns))
            tile = np.asarray(labels[y : y + tile_px, x : x + tile_px])
            numbers = np.unique(tile[tile > 0])
            if not len(numbers):
                continue
            dense = np.searchsorted(numbers, tile).astype(np.int32) + 1
            dense[tile == 0] = 0
            slices = ndimage.find_objects(dense)
            found.append(
                np.array(
                    [
                        (number, a.start + y, a.stop + y, b.start + x, b.stop + x)
                        for number, (a, b) in zip(numbers.tolist(), slices, strict=True)
                    ],
                    np.int64,
                )
            )
    return _merged(found)


def _merged(found: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Join the boxes of cells that lie in several tiles."""
    if not found:
        return np.zeros((0, 5), np.int64)
    boxes = np.concatenate(found)
    boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
    starts = np.flatnonzero(np.diff(boxes[:, 0], prepend=-1))
    out = boxes[starts].copy()
    for column, reduce in ((1, np.minimum), (2, np.maximum), (3, np.minimum), (4, np.maximum)):
        out[:, column] = reduce.reduceat(boxes[:, column], starts)
    return out


def mask_pieces(mask: NDArray[np.bool_], top: int = 0, left: int = 0) -> tuple[Piece, ...]:
    """Pieces of a mask (h, w) whose first pixel is row ``top`` and column ``left`` of the slide, the largest first."""
    from skimage import measure

    find_contours: Any = measure.find_contours
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2))
    padded[1:-1, 1:-1] = mask
    outers: list[tuple[float, NDArray[np.float64]]] = []
    holes: list[NDArray[np.float64]] = []
    for contour in find_contours(padded, 0.5, fully_connected="low"):
        ring = contour[:, ::-1] + (left - 0.5, top - 0.5)
        area = signed_area(ring)
        # around a piece find_contours walks one way (that of GeoJSON), around a hole the other
        if area > 0:
            outers.append((area, _without_straight(ring)))
        else:
            holes.append(_without_straight(ring))
    outers.sort(key=lambda entry: -entry[0])
    if not holes:
        return tuple(Piece(ring) for _, ring in outers)
    inside: list[list[NDArray[np.float64]]] = [[] for _ in outers]
    for hole in holes:
        # the smallest piece around it: a piece may lie in another one's hole
        around = [place for place, (_, ring) in enumerate(outers) if _encloses(ring, hole)]
        inside[around[-1] if around else 0].append(hole)
    return tuple(Piece(ring, tuple(own)) for (_, ring), own in zip(outers, inside, strict=True))


def signed_area(ring: NDArray[np.float64]) -> float:
    """Area of a closed ring (n, 2) of ``x, y``; its sign tells the way round."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2


def _without_straight(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out points on straight lines between their neighbours; the ring stays closed."""
    points = ring[:-1]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    kept = points[np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9]
    return np.concatenate([kept, kept[:1]])


def _encloses(ring: NDArray[np.float64], hole: NDArray[np.float64]) -> bool:
    from skimage import measure

    inside: Any = measure.points_in_poly
    return bool(inside(hole[:1], ring)[0])
