"""How far a run over a slide has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a run.

    Parameters
    ----------
    stage
        What is being done: ``"statistics"``, ``"model"``, ``"tiles"`` or ``"finish"``.
    done, total
        Steps of that stage, e.g. tiles.
    cells
        Cells found so far.
    seconds
        Time since the run began.
    megapixels
        Area of the slide done in this run, in millions of level-0 pixels (of one channel).
    """

    stage: str
    done: int
    total: int
    cells: int = 0
    seconds: float = 0.0
    megapixels: float = 0.0
    done_before: int = 0

    @property
    def rate(self) -> float:
        """Megapixels per second; 0 when nothing is done."""
        return self.megapixels / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds left in this stage at the pace so far; None when that cannot be told yet."""
        fresh = self.done - self.done_before
        if fresh <= 0 or self.seconds <= 0:
            return None
        return self.seconds / fresh * (self.total - self.done)


ProgressFn = Callable[[Progress], None]
"""Called with each report, in the thread that computes."""

StopFn = Callable[[], bool]
"""Asked between steps; True ends the run and keeps what is finished."""
