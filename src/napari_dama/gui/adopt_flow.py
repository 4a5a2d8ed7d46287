"""Layers of other readers become a slide: ask, tag the layers, tell the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

from napari_dama.errors import DamaError
from napari_dama.gui.adopt import Candidate, candidates, take_on
from napari_dama.gui.adopt_dialog import AdoptDialog
from napari_dama.gui.layers import place_layer, slides_in

if TYPE_CHECKING:
    import napari
    from qtpy.QtWidgets import QWidget

    from napari_dama.gui.session import Session


class Adopter(QObject):
    """Takes image layers on as a slide.

    Signals
    -------
    failed(error), noted(text)
        For the message area.
    adopted(slide, names)
        The layers are tagged; the slide can be opened under this name, and its markers are to be called so.
    """

    failed = QtSignal(object)
    noted = QtSignal(str)
    adopted = QtSignal(str, object)

    def __init__(self, viewer: napari.Viewer, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self.viewer, self.session, self.window = viewer, session, parent
        self.dialog: AdoptDialog | None = None

    def ask(self) -> None:
        """Open the dialog *Use layers as a slide*."""
        found = candidates(self.viewer.layers, self.viewer.layers.selection)
        if not found:
            self.noted.emit(
                "There is no image layer that could be a slide: add one, or open a file with File > Open."
            )
            return
        self.dialog = AdoptDialog(found, parent=self.window)
        self.dialog.agreed.connect(self.take)
        self.dialog.open()

    def take(self, candidate: Candidate, names: tuple[str, ...], pixel_um: float | None) -> None:
        """Make the layers a slide."""
        gone = [layer.name for layer in candidate.layers if layer not in self.viewer.layers]
        if gone:
            self.noted.emit(f"The layer {gone[0]} is not there any more: choose again.")
            return
        try:
            slide, opener = take_on(
                candidate, names, pixel_um, self.viewer.dims.point, slides_in(self.viewer.layers)
            )
        except DamaError as error:
            self.failed.emit(error)
            return
        if opener is not None:
            self.session.sources[slide] = opener
        self.session.wish_pixel(slide, pixel_um)
        if pixel_um is not None:
            for layer in candidate.layers:
                place_layer(layer, pixel_um)
            self.viewer.reset_view()
        self.adopted.emit(slide, names)
