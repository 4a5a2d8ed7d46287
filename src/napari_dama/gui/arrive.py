"""Layers come into the window one at a time, so that it answers in between.

napari takes 100 to 150 ms of Qt's thread for one layer: half of it to make the layer and its controls, half to take its
pixels and draw them for the first time. A layer that comes hidden and is shown in the next turn keeps the two apart.
"""

from __future__ import annotations

from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

from napari_dama.errors import SlideError
from napari_dama.gui.reader import get_reader
from napari_dama.gui.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import napari

    from napari_dama.gui.layers import LayerData
    from napari_dama.gui.session import Session


def add_hidden(viewer: napari.Viewer, data: LayerData) -> tuple[Any, bool]:
    """Add a layer hidden; return it and whether it is to be seen."""
    from napari.layers import Layer

    pixels, options, kind = data
    layer = Layer.create(pixels, options | {"visible": False}, kind)
    viewer.add_layer(layer)
    return layer, bool(options.get("visible", True))


def reveal(layer: Any) -> None:
    """Let a layer that came hidden be seen in the next turn."""
    QTimer.singleShot(0, partial(setattr, layer, "visible", True))


def arriving(viewer: napari.Viewer, layers: Iterable[LayerData]) -> Iterator[None]:
    """Add layers, two turns for each: it comes, and it is seen."""
    for data in layers:
        layer, seen = add_hidden(viewer, data)
        yield
        if seen and layer in viewer.layers:
            layer.visible = True
            yield


class _Reading(Thread):
    """Reads a slide's layers."""

    def __init__(self, path: str) -> None:
        super().__init__(name="napari-dama-read", daemon=True)
        self._path = path
        self._layers: list[LayerData] = []
        self._error: Exception | None = None

    def run(self) -> None:
        """Open the slide, and measure how bright its markers are."""
        try:
            read = get_reader(self._path)
            if read is None:
                raise SlideError(
                    f"{self._path} is no slide: open a TIFF, an OME-Zarr folder or a NumPy file."
                )
            self._layers = read(self._path)
        except Exception as error:  # raised again where it is waited for
            self._error = error

    @property
    def layers(self) -> list[LayerData]:
        """What was read; raises what went wrong."""
        if self._error is not None:
            raise self._error
        return self._layers


def bring_slide(viewer: napari.Viewer, session: Session, path: str) -> Iterator[Thread | None]:
    """Open a file or an OME-Zarr folder in steps for `Turns`: read in a thread, then a layer at a time.

    Raises
    ------
    DamaError, OSError
        When it cannot be opened.
    """
    reading = _Reading(path)
    reading.start()
    yield reading
    layers = reading.layers
    with session.layers_arriving():
        yield from arriving(viewer, layers)


class SlideOpener(QObject):
    """Opens a slide for the dock.

    Signals
    -------
    opened(path)
        All its layers are in the window.
    failed(error)
        It could not be opened.
    """

    opened = QtSignal(str)
    failed = QtSignal(object)

    def __init__(self, viewer: napari.Viewer, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer, self.session = viewer, session
        self.turns: Turns | None = None
        self._path = ""

    @property
    def busy(self) -> bool:
        """Whether a slide is on its way."""
        return self.turns is not None

    def open(self, path: str) -> None:
        """Open a file or an OME-Zarr folder; nothing while another one is on its way."""
        if self.busy or not path:
            return
        self._path = path
        self.turns = Turns(bring_slide(self.viewer, self.session, path), self)
        self.turns.finished.connect(self._on_here)
        self.turns.failed.connect(self._on_failed)
        self.turns.start()

    def _on_here(self) -> None:
        self.turns = None
        self.opened.emit(self._path)

    def _on_failed(self, error: Exception) -> None:
        self.turns = None
        self.failed.emit(error)

    def close_down(self) -> None:
        """Add no more layers."""
        if self.turns is not None:
            self.turns.let_go()
            self.turns = None
