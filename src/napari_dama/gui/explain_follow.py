"""The cursor over the slide, looked at in beats: one question at a time, about the newest place; a click keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

from napari_dama.gui.layers import layers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import napari

    from napari_dama.gui.session import Session

BEAT_MS = 40
"""The cursor's places are looked at no more often than this."""


class Follower(QObject):
    """Tells where the cursor is, no faster than answers come.

    Parameters
    ----------
    wanted, ready
        Whether the cursor is to be followed now; whether the last answer is there.

    Signals
    -------
    moved(y, x), clicked(y, x)
        A new place of the cursor, and a click that keeps one, in level-0 pixels of the slide.
    """

    moved = QtSignal(float, float)
    clicked = QtSignal(float, float)

    def __init__(
        self,
        viewer: napari.Viewer,
        session: Session,
        wanted: Callable[[], bool],
        ready: Callable[[], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session
        self.wanted, self.ready = wanted, ready
        self.cursor: tuple[float, float] | None = None
        self.beat = QTimer(self)
        self.beat.setSingleShot(True)
        self.beat.setTimerType(Qt.TimerType.PreciseTimer)
        self.beat.setInterval(BEAT_MS)
        self.beat.timeout.connect(self._on_beat)
        viewer.mouse_move_callbacks.append(self.on_move)
        viewer.mouse_drag_callbacks.append(self.on_mouse)

    def answered(self) -> None:
        """An answer came: the cursor's newest place is next."""
        if self.wanted():
            self.beat.start()

    def stop(self) -> None:
        """Forget where the cursor was."""
        self.cursor = None
        self.beat.stop()

    def close(self) -> None:
        """Let go of the viewer."""
        self.stop()
        self.viewer.mouse_move_callbacks.remove(self.on_move)
        self.viewer.mouse_drag_callbacks.remove(self.on_mouse)

    def on_move(self, viewer: Any, event: Any) -> None:
        """Remember where the cursor moved to, and look at it at the next beat."""
        if not self.wanted():
            return
        self.cursor = self._place_at(event.position)
        if self.cursor is not None and not self.beat.isActive():
            self.beat.start()

    def on_mouse(self, viewer: Any, event: Any) -> Iterator[None]:
        """Tell a click from a drag; a click keeps the place."""
        yield
        dragged = False
        while event.type == "mouse_move":
            dragged = True
            yield
        if dragged or not self.wanted():
            return
        at = self._place_at(event.position)
        if at is not None:
            self.clicked.emit(*at)

    def _on_beat(self) -> None:
        """Tell the newest place, unless an answer is still awaited: then that starts the next beat."""
        if self.cursor is None or not self.wanted() or not self.ready():
            return
        at, self.cursor = self.cursor, None
        self.moved.emit(*at)

    def _place_at(self, position: Any) -> tuple[float, float] | None:
        layers = layers_of(self.viewer.layers, "marker", self.session.state.slide)
        if not layers or self.session.slide is None:
            return None
        y, x = (float(value) for value in layers[0].world_to_data(position)[-2:])
        height, width = self.session.slide.shape[1:]
        return (y, x) if -0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5 else None
