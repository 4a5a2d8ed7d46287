"""The keys of annotation, on the viewer and on DAMA's own layers, only as long as they are wanted.

napari's layers have tools on the keys 1 to 9. DAMA's own layers (markers, cells, rings) give them up while cells are
annotated; layers of the user keep theirs, and so does the layer in which outlines are edited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from napari_dama.gui.layers import about
from napari_dama.gui.place import bare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import napari

ROLES: Final = ("marker", "cells", "mark", "truth", "explain")


class AnnotateKeys:
    """Bind keys to functions, and let them go again.

    Parameters
    ----------
    keys
        Keys as napari writes them (``"1"``, ``"Control-Z"``), and what they do.
    """

    def __init__(self, viewer: napari.Viewer, keys: Mapping[str, Callable[[], None]]) -> None:
        self._viewer = bare(viewer)
        self._keys = {key: _without_layer(do) for key, do in keys.items()}
        self._held: list[Any] = []

    @property
    def held(self) -> bool:
        """Whether the keys count now."""
        return bool(self._held)

    def hold(self) -> None:
        """Take the keys."""
        if self.held:
            return
        self._bind(self._viewer)
        for layer in self._viewer.layers:
            self._on_layer(layer)
        self._viewer.layers.events.inserted.connect(self._on_inserted)

    def release(self) -> None:
        """Give the keys back."""
        if not self.held:
            return
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        ours = list(self._keys.values())
        for provider in self._held:
            keymap = provider.keymap
            for key in [key for key, do in keymap.items() if do in ours]:
                del keymap[key]
        self._held = []

    def _on_inserted(self, event: Any) -> None:
        self._on_layer(event.value)

    def _on_layer(self, layer: Any) -> None:
        if about(layer).get("role") in ROLES:
            self._bind(layer)

    def _bind(self, provider: Any) -> None:
        for key, do in self._keys.items():
            provider.bind_key(key, do, overwrite=True)
        self._held.append(provider)


def _without_layer(do: Callable[[], None]) -> Callable[[Any], None]:
    def pressed(provider: Any) -> None:
        do()

    return pressed
