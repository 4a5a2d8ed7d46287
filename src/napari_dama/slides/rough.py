"""A first guess at how bright each marker of a slide is, in a moment: for a picture that appears at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import SlideError
from napari_dama.slides.intensity import IntensityStats, stats_of
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.slides.slide import Slide

BUDGET_S: Final = 0.03
"""No further block is begun after so long; the first one is always read."""
_SIDE_PX: Final = 96
_PLACES: Final = ((1, 1), (0, 0), (2, 2), (0, 2), (2, 0), (0, 1), (1, 0), (1, 2), (2, 1))
"""Fields of a 3 x 3 grid in which blocks lie, the middle first."""


def rough_stats(slide: Slide, *, budget_s: float = BUDGET_S) -> IntensityStats:
    """Guess the dark and the bright end of every channel from up to nine small blocks of the coarsest level.

    `napari_dama.slides.intensity.slide_stats` measures them; this is only to show something meanwhile.

    Parameters
    ----------
    slide
        The slide.
    budget_s
        Seconds after which no further block is read.

    Raises
    ------
    SlideError
        The slide has no pixels, or they cannot be read.
    """
    level = len(slide.levels) - 1
    height, width = slide.levels[level]
    if not height * width:
        raise SlideError(f"{slide.name} has no pixels to measure.")
    end = time.perf_counter() + budget_s
    blocks: list[NDArray[Any]] = []
    for row, column in _PLACES:
        y0, y1 = _span(row, height)
        x0, x1 = _span(column, width)
        block = slide.read(Region(y0, y1, x0, x1), level=level)
        blocks.append(block.reshape(len(block), 1, -1))
        if time.perf_counter() > end:
            break
    found = stats_of(np.concatenate(blocks, axis=2), slide.markers)
    return IntensityStats(found.low, found.high, slide.markers)


def _span(field: int, length: int) -> tuple[int, int]:
    """Where a block lies along one side: in the middle of the first, second or last third."""
    side = min(_SIDE_PX, max(length // 3, 1))
    start = min(max((2 * field + 1) * length // 6 - side // 2, 0), length - side)
    return start, start + side
