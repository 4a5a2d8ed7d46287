"""The coarser levels of a label image that grows, so that a large slide can be looked at while it is analysed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from napari_dama.predict.labels import LabelImage
    from napari_dama.slides.region import Region

EVERY_S: Final = 2.0
COST: Final = 20.0
"""A renewal is followed by a pause of so many times as long."""


class Overview:
    """Fills the levels above level 0 where tiles were written, not too often.

    Parameters
    ----------
    labels
        The image; with a single level there is nothing to do.
    """

    def __init__(self, labels: LabelImage) -> None:
        self.labels = labels
        self._waiting: list[Region] = []
        self._next = 0.0

    def add(self, region: Region) -> None:
        """Take note of a region of level 0 that was written, and renew the levels when it is time."""
        if len(self.labels.levels) == 1:
            return
        self._waiting.append(region)
        begin = time.monotonic()
        if begin < self._next:
            return
        for each in self._waiting:
            self.labels.build_pyramid(each)
        self._waiting = []
        now = time.monotonic()
        self._next = now + max(EVERY_S, COST * (now - begin))
