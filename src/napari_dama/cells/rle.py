"""COCO's ways to write a mask, as pixels and back: polygons, run lengths, and run lengths packed into text.

Runs go down the columns: pixel (y, x) of an image of height H has the place ``x * H + y``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.errors import SlideError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def places_of(segmentation: Any, height: int, width: int) -> NDArray[np.int64]:
    """Places of a mask's pixels, ascending.

    Parameters
    ----------
    segmentation
        A list of polygons ``[x, y, x, y, ...]``, or ``{"size": [H, W], "counts": ...}`` with run lengths as a list or
        packed. Polygons become pixels as pycocotools does it; what lies outside of the image is cut off.
    height, width
        Of the image.

    Raises
    ------
    SlideError
        If it is none of these, or does not fit the image.
    """
    if isinstance(segmentation, list):
        return _of_polygons(segmentation, height, width)
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise SlideError("its segmentation is neither a list of polygons nor run lengths")
    size = segmentation.get("size", [height, width])
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise SlideError(f"its run lengths are for an image of {size}, and the image is {[height, width]}")
    counts = segmentation["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("latin1")
    runs = np.asarray(unpack(counts) if isinstance(counts, str) else _whole(counts), np.int64)
    if (runs < 0).any() or runs.sum() != height * width:
        raise SlideError(f"its run lengths cover {runs.sum()} pixels, and the image has {height * width}")
    ends = np.cumsum(runs)
    start, length = ends[0::2][: len(runs) // 2], runs[1::2]
    inside = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    places: NDArray[np.int64] = np.repeat(start, length) + inside
    return places


def _whole(counts: Any) -> list[int]:
    if not isinstance(counts, list) or not all(isinstance(n, int) and n < 2**62 for n in counts):
        raise SlideError("its run lengths are no whole numbers")
    return counts


def unpack(text: str) -> list[int]:
    """Run lengths of COCO's packed text: five bits a character, differences to the run before the last.

    Read here and not by the library, which trusts the text and writes beyond the mask when it is damaged.

    Raises
    ------
    SlideError
        If the text is cut short, or has other characters.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 60:
            raise SlideError("its packed run lengths are damaged")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
        value = shift = 0
    if shift:
        raise SlideError("its packed run lengths are cut short")
    return runs


def pack(places: NDArray[np.int64], height: int, width: int) -> dict[str, Any]:
    """Packed run lengths ``{"size": [H, W], "counts": text}`` of a mask's ``places``, ascending and at least one."""
    from faster_coco_eval.core.mask import frPyObjects

    gaps = np.flatnonzero(np.diff(places) != 1)
    start = places[np.append(0, gaps + 1)]
    end = places[np.append(gaps, len(places) - 1)] + 1
    edges = np.column_stack([start, end]).ravel()
    runs = np.diff(np.concatenate([[0], edges, [height * width]])).tolist()
    if runs[-1] == 0:
        runs.pop()
    packed = frPyObjects({"size": [height, width], "counts": runs}, height, width)
    counts = packed["counts"]
    return {
        "size": [height, width],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


def _of_polygons(polygons: list[Any], height: int, width: int) -> NDArray[np.int64]:
    """Draw polygons in a window of their own: an image of its size for every cell would take minutes."""
    from faster_coco_eval.core.mask import decode, frPyObjects, merge

    outlines = []
    for polygon in polygons:
        try:
            points = np.asarray(polygon, np.float64)
        except (TypeError, ValueError):
            points = np.zeros(0)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
            raise SlideError("a polygon needs at least three points x, y of finite numbers")
        outlines.append(np.clip(points.reshape(-1, 2), 0, [width, height]))
    if not outlines:
        raise SlideError("it has no polygon")
    every = np.concatenate(outlines)
    x0, y0 = np.floor(every.min(axis=0)).astype(int)
    x1, y1 = np.ceil(every.max(axis=0)).astype(int) + 1
    x0, y0 = min(int(x0), width - 1), min(int(y0), height - 1)
    tall, wide = min(int(y1), height) - y0, min(int(x1), width) - x0
    # The library works on fifths of a pixel: rounded before the window is moved, a tie falls as it would in the whole image.
    fifths = [np.floor(outline * 5 + 0.5) - [5 * x0, 5 * y0] for outline in outlines]
    drawn = frPyObjects([(points / 5).ravel().tolist() for points in fifths], tall, wide)
    columns, rows = np.nonzero(decode(merge(drawn)).T)
    places: NDArray[np.int64] = (columns + x0) * height + rows + y0
    return places
