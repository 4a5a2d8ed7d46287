"""Keys of the viewer for the markers: next, previous, alone. None of them is napari's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari

NEXT: Final = "."
PREVIOUS: Final = ","
SOLO: Final = "H"


class MarkerKeys:
    """Binds the keys to a viewer until it is closed; keys that somebody else bound are left alone.

    Parameters
    ----------
    viewer
        The viewer; keys work while its canvas has the focus.
    step, solo
        Called with 1 or -1; called for *alone, and back*.
    """

    def __init__(self, viewer: napari.Viewer, step: Callable[[int], None], solo: Callable[[], None]) -> None:
        self.viewer = viewer
        self._step, self._solo = step, solo
        self.bound: list[str] = []
        for key, action in ((NEXT, self._next), (PREVIOUS, self._previous), (SOLO, self._alone)):
            try:
                viewer.bind_key(key, action)
            except ValueError:  # taken by the user or by another plugin
                continue
            self.bound.append(key)

    def _next(self, viewer: Any) -> None:
        self._step(1)

    def _previous(self, viewer: Any) -> None:
        self._step(-1)

    def _alone(self, viewer: Any) -> None:
        self._solo()

    def close(self) -> None:
        """Give the keys back."""
        for key in self.bound:
            self.viewer.bind_key(key, None)
        self.bound = []
