"""A timer of Qt's thread that tells how long the window was deaf, and what it did meanwhile."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

TICK_MS = 10
LIMIT_MS = 100.0
LOOK_MS = 15
"""How often the side thread looks whether the window is deaf."""


class Ticks:
    """Times at which a 10 ms timer of Qt's thread came."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.times: list[float] = []
        self.timer = QTimer()
        self.timer.setTimerType(Qt.TimerType.PreciseTimer)
        self.timer.timeout.connect(self._tick)

    def _tick(self) -> None:
        self.times.append(time.perf_counter())

    def watch(self, seconds: float) -> np.ndarray[Any, Any]:
        """Gaps between ticks over some seconds, ms."""
        self.times = []
        self.timer.start(TICK_MS)
        spin(seconds)
        self.timer.stop()
        return np.diff(self.times) * 1000


def spin(seconds: float, done: Callable[[], bool] | None = None, every_ms: int = 50) -> None:
    """Run Qt's event loop for some time, or until something is so."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, end = QEventLoop(), time.perf_counter() + seconds

    def look() -> None:
        if time.perf_counter() > end or (done is not None and done()):
            loop.quit()

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(every_ms)
    loop.exec()
    timer.stop()


@dataclass(frozen=True)
class Gap:
    """One stretch between two ticks, ms.

    Attributes
    ----------
    wall, own, process, collected : float
        By the clock; processor time of Qt's thread; of all threads of the window; of it Python's cyclic garbage collector.
    """

    wall: float
    own: float
    process: float
    collected: float

    @property
    def who(self) -> str:
        """Who took the time, as far as the processor's clocks tell."""
        if self.collected > 0.5 * self.wall:
            return "garbage collector"
        if self.own > 0.6 * self.wall:
            return "window"
        return "another thread" if self.process > 0.6 * self.wall else "machine"


@dataclass
class StepStalls:
    """What was seen while one step went on."""

    gaps: list[Gap] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    answers: dict[str, list[float]] = field(default_factory=dict)

    def spread(self) -> tuple[float, float, float]:
        """Median, 95 % and longest gap, ms."""
        walls = np.array([gap.wall for gap in self.gaps] or [0.0])
        median, most, longest = (float(np.percentile(walls, share)) for share in (50, 95, 100))
        return median, most, longest


class StallWatch:
    """Watches Qt's thread all the time, and books every gap on the step that is named.

    With ``where`` a side thread looks every 15 ms; while Qt's thread is deaf for longer than half of what is allowed, it
    notes the line of this project, and the innermost line, that Qt's thread is at. It is left out of a session whose
    numbers count.
    """

    def __init__(self, *, where: bool = False) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.steps: dict[str, StepStalls] = {}
        self.step = ""
        self._main = threading.get_ident()
        self._last = self._clocks()
        self._collected = 0.0
        self._began = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True) if where else None

    def start(self) -> None:
        """Begin to watch."""
        gc.callbacks.append(self._on_collection)
        self._last = self._clocks()
        self._timer.start(TICK_MS)
        if self._thread is not None:
            self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._timer.stop()
        self._end.set()
        if self._thread is not None:
            self._thread.join(2)
        gc.callbacks.remove(self._on_collection)

    def begin(self, step: str) -> StepStalls:
        """Book what comes on a step."""
        self._tick()
        self.step = step
        found = self.steps.setdefault(step, StepStalls())
        found.rounds += 1
        return found

    def answer(self, what: str, ms: float) -> None:
        """Note how long an answer took in the step that goes on."""
        self.steps[self.step].answers.setdefault(what, []).append(ms)

    def _clocks(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.thread_time(), time.process_time()

    def _tick(self) -> None:
        now, last = self._clocks(), self._last
        self._last = now
        wall, own, process = (1000 * (after - before) for after, before in zip(now, last, strict=True))
        collected, self._collected = self._collected, 0.0
        if self.step:
            self.steps[self.step].gaps.append(Gap(wall, own, process, collected))

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._collected += 1000 * (time.perf_counter() - self._began)

    def _look(self) -> None:
        while not self._end.wait(LOOK_MS / 1000):
            if 1000 * (time.perf_counter() - self._last[0]) > LIMIT_MS / 2 and self.step:
                self.steps[self.step].seen[place_of_thread(self._main)] += 1


def place_of_thread(number: int) -> str:
    """Name the innermost line of this project and the innermost line of all that a thread is at.

    Nothing of the frames may outlive this call: a painter that lives in one would be kept past its window's turn.
    """
    step = sys._current_frames().get(number)
    inner = own = ""
    while step is not None and not own:
        code, line = step.f_code, step.f_lineno
        named = f"{'/'.join(code.co_filename.split(os.sep)[-2:])}:{line} {code.co_name}"
        inner = inner or named
        if f"{os.sep}napari_dama{os.sep}" in code.co_filename:
            own = named
        step = step.f_back
    del step
    return inner if own == inner else f"{own or 'napari'} > {inner}"
