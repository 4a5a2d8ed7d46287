"""Contrast of a slide that was just opened: its layers appear with a guess, and what is measured in a thread follows.

A marker whose contrast was changed meanwhile, by the user or by a preset, is left alone.
"""

from __future__ import annotations

import math
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QApplication

from napari_dama.gui.layers import KEY, about, layers_of, shaded
from napari_dama.gui.measured import measured_stats
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_dama.slides.intensity import IntensityStats
    from napari_dama.slides.slide import Slide

SMALL_VALUES: Final = 1_000_000
"""A slide of so few values, all channels together, is measured at once: that takes no longer than a guess."""

_following: set[LimitsFollow] = set()


def must_wait(slide: Slide) -> bool:
    """Whether measuring a slide here and now would hold up a window."""
    if math.prod(slide.shape) <= SMALL_VALUES or threading.current_thread() is not threading.main_thread():
        return False
    return QApplication.instance() is not None and current_viewer() is not None


def current_viewer() -> Any:
    """Return napari's window that is or was active last, None where there is none."""
    import napari

    return napari.current_viewer()


class LimitsFollow(QObject):
    """Measures one slide in a thread, then gives its layers the limits.

    Parameters
    ----------
    path : Path
        The slide.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._viewer = weakref.ref(current_viewer())
        self.work = Work(self._measure, self)
        self.work.finished.connect(self._on_measured)
        self.work.failed.connect(self._on_failed)
        _following.add(self)
        self.work.start()

    def _measure(self, progress: Report, stop: Stop) -> IntensityStats:
        from napari_dama.slides.slide import open_slide

        with open_slide(self.path) as slide:
            return measured_stats(slide)

    def _on_measured(self, stats: IntensityStats) -> None:
        _following.discard(self)
        viewers = {id(viewer): viewer for viewer in (self._viewer(), current_viewer()) if viewer is not None}
        for viewer in viewers.values():
            take_limits(viewer.layers, str(self.path), stats)

    def _on_failed(self, error: Exception) -> None:
        """The guess stays; whoever needs the slide says what is wrong with it."""
        _following.discard(self)


def take_limits(layers: Iterable[Any], slide: str, stats: IntensityStats) -> int:
    """Give the layers of a slide what was measured of their markers; returns how many got another contrast."""
    changed = 0
    for layer in layers_of(layers, "marker", slide):
        facts = about(layer)
        guess, index = facts.pop("guess", None), facts.get("index")
        if guess is None or not isinstance(index, int) or index >= len(stats.low):
            continue
        low, high = float(stats.low[index]), float(stats.high[index])
        layer.metadata = {**layer.metadata, KEY: {**facts, "low": low, "high": high}}
        if _alike(layer.contrast_limits, guess):
            layer.contrast_limits = shaded(low, high)
            changed += 1
    return changed


def _alike(one: Iterable[float], other: Iterable[float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-9) for a, b in zip(one, other, strict=True))
