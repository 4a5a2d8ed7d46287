"""Steps that Qt's thread takes one at a time, so that mouse, keys and painting come in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QObject, QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE_MS: Final = 5
"""Between two steps. With a pause of 0 Qt may take the next step before it has painted what the last one changed."""


class Later(QObject):
    """A queue of steps, each in a turn of the event loop of its own, in the order in which they were asked for.

    napari takes Qt's thread for about a tenth of a second to make one layer: several of them, or a layer and much else, in
    one turn would leave the window deaf for longer.

    Signals
    -------
    ended()
        The last step was taken.
    """

    ended = QtSignal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._steps: dict[str, Callable[[], object]] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._take)

    @property
    def waiting(self) -> int:
        """How many steps are still to be taken."""
        return len(self._steps)

    def then(self, key: str, step: Callable[[], object]) -> None:
        """Take a step after those that wait; it replaces one of the same key that still waits."""
        self._steps.pop(key, None)
        self._steps[key] = step
        if not self._timer.isActive():
            self._timer.start()

    def drop(self, key: str = "") -> None:
        """Forget the step of a key, or all."""
        if key:
            self._steps.pop(key, None)
        else:
            self._steps.clear()

    def _take(self) -> None:
        if not self._steps:
            return
        step = self._steps.pop(next(iter(self._steps)))
        try:
            step()
        finally:  # an error is shown by napari; the other steps are still worth taking
            if self._steps:
                self._timer.start()
            else:
                self.ended.emit()
