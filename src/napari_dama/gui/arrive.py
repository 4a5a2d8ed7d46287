"""Layers come into the window one at a time, so that it answers in between.

napari takes 100 to 150 ms of Qt's thread for one layer: half of it to make the layer and its controls, half to take its
pixels and draw them for the first time. A layer that comes hidden and is shown in the next turn keeps the two apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

from napari_dama.errors import SlideError
from napari_dama.gui.reader import get_reader
from napari_dama.gui.turns import Turns
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from threading import Thread

    import napari

    from napari_dama.gui.layers import LayerData
    from napari_dama.gui.session import Session


def add_hidden(viewer: napari.Viewer, data: LayerData) -> tuple[Any, bool]:
    """Add a layer hidden; return it and whether it is to be seen."""
    from napari.layers import Layer

    pixels, options, kind = data
    layer = Layer.create(pixels, options | {"visible": False}, kind)  # type: ignore[arg-type]
    viewer.add_layer(layer)
    return layer, bool(options.get("visible", True))


def arriving(viewer: napari.Viewer, layers: Iterable[LayerData]) -> Iterator[None]:
    """Add layers, two turns for each: it comes, and it is seen."""
    for data in layers:
        layer, seen = add_hidden(viewer, data)
        yield
        if seen and layer in viewer.layers:
            layer.visible = True
            yield


class SlideOpener(QObject):
    """Opens a slide: read in a thread, then a layer at a time.

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
        self.work: Work | Turns | None = None
        self._path = ""

    @property
    def busy(self) -> bool:
        """Whether a slide is on its way."""
        return self.work is not None

    def open(self, path: str) -> None:
        """Open a file or an OME-Zarr folder; nothing while another one is on its way."""
        if self.work is not None or not path:
            return
        self._path = path

        def task(progress: Report, stop: Stop) -> list[LayerData]:
            read = get_reader(path)
            if read is None:
                raise SlideError(f"{path} is no slide: open a TIFF, an OME-Zarr folder or a NumPy file.")
            return read(path)

        work = self.work = Work(task, self)
        work.finished.connect(self._on_read)
        work.failed.connect(self._on_failed)
        work.start()

    def _on_read(self, layers: list[LayerData]) -> None:
        turns = self.work = Turns(self._steps(layers), self)
        turns.finished.connect(self._on_here)
        turns.failed.connect(self._on_failed)
        turns.start()

    def _steps(self, layers: list[LayerData]) -> Iterator[Thread | None]:
        with self.session.layers_arriving():
            yield from arriving(self.viewer, layers)

    def _on_here(self) -> None:
        self.work = None
        self.opened.emit(self._path)

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self.failed.emit(error)

    def close_down(self) -> None:
        """Add no more layers."""
        if self.work is not None:
            self.work.let_go()
            self.work = None
