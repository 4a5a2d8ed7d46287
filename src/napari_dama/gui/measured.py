"""A slide's intensity statistics, measured once however many ask: the reader, the histogram, the check of markers. No Qt.

Call it in a thread: a large slide takes seconds. Whoever asks while another measures waits for the same answer.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from napari_dama.slides.intensity import IntensityStats, slide_stats

if TYPE_CHECKING:
    from napari_dama.slides.slide import Slide

KEPT: Final = 64
"""Slides that are remembered."""
_known: dict[tuple[Any, ...], IntensityStats] = {}
_turns: dict[tuple[Any, ...], threading.Lock] = {}
_lock = threading.Lock()


def measured_stats(slide: Slide) -> IntensityStats:
    """Return what `slide_stats` says of a slide; of a file that has not changed since, what it said before.

    Raises
    ------
    SlideError
        The slide cannot be read.
    """
    key = _key(slide)
    if key is None:
        return slide_stats(slide)
    with _lock:
        turn = _turns.setdefault(key, threading.Lock())
    with turn:
        found = _known.get(key)
        if found is None:
            found = slide_stats(slide)
            with _lock:
                _known[key] = found
                for old in list(_known)[:-KEPT]:
                    del _known[old], _turns[old]
    return IntensityStats(found.low, found.high, slide.markers)


def _key(slide: Slide) -> tuple[Any, ...] | None:
    """What tells this state of a file from others; None for a slide without one."""
    if slide.path is None:
        return None
    try:
        facts = slide.path.stat()
    except OSError:
        return None
    return str(slide.path.absolute()), facts.st_mtime_ns, facts.st_size, slide.shape
