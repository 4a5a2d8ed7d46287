"""A piece of work of Qt's thread, cut into steps: one step for each turn of the event loop.

What only Qt's thread may do (make widgets, add layers) is many small things one after the other. Between two of them the
window answers keys and clicks and paints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Thread

LOOK_MS = 15
"""How often it is looked whether a thread that is waited for has ended."""


class Turns(QObject):
    """Goes through steps, one for each turn of the event loop.

    Parameters
    ----------
    steps : iterator
        A generator: what it does up to a ``yield`` is one step. It yields None, or a thread that must have ended before the
        next step.

    Signals
    -------
    finished
        Every step was done.
    failed(error)
        A step raised an exception; those after it are left out.
    """

    finished = QtSignal()
    failed = QtSignal(object)

    def __init__(self, steps: Iterator[Thread | None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._steps = steps
        self._awaited: Thread | None = None
        self._inside = False
        self.going = True
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._turn)

    def start(self) -> None:
        """Do the first step in the next turn."""
        self._timer.start(0)

    def finish(self) -> None:
        """Do every step that is left now; nothing when called by a step itself.

        Raises
        ------
        Exception
            What a step raised.
        """
        if self._inside:
            return
        self._timer.stop()
        while self.going:
            if self._awaited is not None:
                self._awaited.join()
            self._step()

    def let_go(self) -> None:
        """Leave out the steps that are left, and say nothing more; safe to call twice."""
        self._timer.stop()
        self.going = False
        self.blockSignals(True)

    def _turn(self) -> None:
        if self._awaited is not None and self._awaited.is_alive():
            self._timer.start(LOOK_MS)
            return
        try:
            self._step()
        except Exception as error:  # everything is shown in the window
            self.failed.emit(error)
            return
        if self.going:
            self._timer.start(0)

    def _step(self) -> None:
        self._inside = True
        try:
            self._awaited = next(self._steps)
        except StopIteration:
            self.going = False
        except Exception:
            self.going = False
            raise
        finally:
            self._inside = False
        if not self.going:
            self.finished.emit()
