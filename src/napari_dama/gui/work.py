"""One piece of work in a thread of its own, so that the window never blocks.

The function gets ``progress`` (call it with anything) and ``stop`` (true once the user cancelled) and runs outside
Qt's thread; the three signals arrive in Qt's thread.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

Report = Callable[[Any], None]
Stop = Callable[[], bool]
Task = Callable[[Report, Stop], Any]

LAST_WAIT_S = 10.0
"""How long the interpreter's end waits for threads whose window is gone: torch must not be cut off in a kernel."""

_leaving: list[Work] = []


class Work(QObject):
    """Run a function in a thread and tell Qt of its progress, result or error.

    Signals
    -------
    progressed(object), finished(object), failed(object)
        What the function reported; what it returned; the exception that it raised.
    """

    progressed = QtSignal(object)
    finished = QtSignal(object)
    failed = QtSignal(object)

    def __init__(self, task: Task, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._task = task
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="napari-dama-work", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask the function to stop at its next chance."""
        self._stop.set()

    @property
    def cancelled(self) -> bool:
        """Whether the user asked to stop."""
        return self._stop.is_set()

    @property
    def running(self) -> bool:
        """Whether the thread is still at it."""
        return self._thread.is_alive()

    def let_go(self) -> None:
        """Cancel, say nothing more, and end by itself: for a window that closes and must not wait for a tile."""
        self.cancel()
        self.blockSignals(True)
        self.setParent(None)
        _leaving[:] = [work for work in _leaving if work.running]
        if self.running:
            _leaving.append(self)

    def wait(self, seconds: float) -> bool:
        """Wait for the thread's end; False when it still runs afterwards."""
        self._thread.join(seconds)
        return not self.running

    def _run(self) -> None:
        keep_triton_out()
        # the window may be gone when the thread has something to say: Qt then raises RuntimeError
        try:
            result = self._task(self._report, self._stop.is_set)
        except Exception as error:  # everything is shown in the window
            with suppress(RuntimeError):
                self.failed.emit(error)
        else:
            with suppress(RuntimeError):
                self.finished.emit(result)

    def _report(self, what: Any) -> None:
        with suppress(RuntimeError):
            self.progressed.emit(what)


@atexit.register
def _wait_for_leaving() -> None:
    """Give threads that were let go the time to end."""
    until = time.monotonic() + LAST_WAIT_S
    for work in _leaving:
        work.wait(max(0.0, until - time.monotonic()))


def keep_triton_out() -> None:
    """Keep torch from loading triton into a process that draws with Mesa on Linux.

    Both bring an LLVM of their own, and the second one to be loaded crashes the window (seen with triton 3.9 and Mesa's
    software renderer). Nothing here needs triton: torch does without it when it is not there.
    """
    if sys.platform != "linux" or "triton" in sys.modules:
        return
    try:
        drawn_by_llvm = "libLLVM" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if drawn_by_llvm:
        sys.modules["triton"] = None  # type: ignore[assignment]
