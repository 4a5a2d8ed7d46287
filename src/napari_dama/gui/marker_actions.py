"""What is done with a slide's markers as a whole: names, matching, one layer per marker, saving as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_dama.errors import DamaError, Interrupted
from napari_dama.gui.adopt import split_images
from napari_dama.gui.layers import layers_of
from napari_dama.gui.mapping_dialog import MappingDialog
from napari_dama.gui.marker_layers import channel_layer, tag
from napari_dama.gui.rename_dialog import RenameDialog
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import napari

    from napari_dama.gui.marker_book import MarkerBook
    from napari_dama.gui.marker_check import MarkerCheck
    from napari_dama.gui.markers import Markers
    from napari_dama.gui.session import Session

ROLES = ("marker", "truth", "cells", "live", "mark", "explain")


class MarkerActions(QObject):
    """Acts on the open slide.

    Signals
    -------
    failed(error), noted(text)
        For the message area.
    changed()
        Names or the state of saving are others.
    relinked(slide)
        The slide without a file was saved, and is now this file.
    """

    failed = QtSignal(object)
    noted = QtSignal(str)
    changed = QtSignal()
    relinked = QtSignal(str)

    def __init__(
        self,
        viewer: napari.Viewer,
        session: Session,
        book: MarkerBook,
        check: MarkerCheck,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.viewer, self.session, self.book, self.check = viewer, session, book, check
        self.window = parent
        self.work: Work | None = None
        self.saving: float | None = None
        self.rename_dialog: RenameDialog | None = None
        self.mapping_dialog: MappingDialog | None = None

    @property
    def _markers(self) -> Markers | None:
        return self.book.get(self.session.state.slide)

    def ask_names(self) -> None:
        """Open the dialog *Rename markers*."""
        markers = self._markers
        if markers is None:
            return
        try:
            own = self.session.file_names()
        except (DamaError, OSError) as error:
            self.failed.emit(error)
            return
        self.rename_dialog = RenameDialog(
            markers.names, own, self.session.panel, folder=self.session.path.parent, parent=self.window
        )
        self.rename_dialog.renamed.connect(self.rename)
        self.rename_dialog.open()

    def rename(self, names: Sequence[str]) -> None:
        """Give the slide's markers other names."""
        markers = self._markers
        if markers is None:
            return
        try:
            self._carry(markers.rename(names), markers)
        except (DamaError, OSError) as error:
            if markers.can_undo_rename:
                markers.undo_rename()
            self.failed.emit(error)

    def undo_names(self) -> None:
        """Go back to the names before."""
        markers = self._markers
        if markers is not None and markers.can_undo_rename:
            try:
                self._carry(markers.undo_rename(), markers)
            except (DamaError, OSError) as error:
                self.failed.emit(error)

    def _carry(self, names: tuple[str, ...], markers: Markers) -> None:
        """Carry new names to the slide, its names file and its layers."""
        if self.session.slide is not None and names != self.session.slide.markers:
            note = self.session.rename(names)
            self.book.sync_names(markers.slide)
            self.changed.emit()
            self.noted.emit(note)

    def show_mapping(self) -> None:
        """Open the window *How the markers match*."""
        if self.mapping_dialog is None:
            self.mapping_dialog = MappingDialog(self.session, self.check, parent=self.window)
        self.mapping_dialog.show()
        self.mapping_dialog.raise_()

    def split(self) -> None:
        """Replace a layer with an axis of channels by one layer per marker; scale, units and place are kept."""
        from napari.layers import Layer

        markers = self._markers
        layer = channel_layer(layers_of(self.viewer.layers, "marker", self.session.state.slide))
        if layer is None or markers is None:
            return
        try:
            images = split_images(layer, markers)
        except DamaError as error:
            self.failed.emit(error)
            return
        for image in images:
            self.viewer.add_layer(Layer.create(*image))
        self.viewer.layers.remove(layer)

    def ask_file(self) -> None:
        """Ask where to save the slide."""
        start = self.session.path.with_name(self.session.path.name + ".ome.tif")
        file, _ = QFileDialog.getSaveFileName(
            self.window, "Save as OME-TIFF", str(start), "OME-TIFF (*.ome.tif)"
        )
        if file:
            if not file.lower().endswith((".ome.tif", ".ome.tiff")):
                file = file.removesuffix(".tiff").removesuffix(".tif") + ".ome.tif"
            self.save(file)

    def save(self, file: str | Path) -> None:
        """Save the slide as OME-TIFF in a thread, and go on with that file."""
        if self.work is not None or self.session.slide is None:
            return
        slide, pixel_um, before = self.session.reopen(), self.session.pixel.pixel_um, self.session.state.slide

        def task(progress: Report, stop: Stop) -> Any:
            from napari_dama.slides.save import save_ome_tiff

            path = save_ome_tiff(slide, file, pixel_um=pixel_um, overwrite=True, progress=progress, stop=stop)
            return before, str(path.absolute())

        self.work, self.saving = Work(task, self), 0.0
        self.work.progressed.connect(self._on_progress)
        self.work.finished.connect(self._on_saved)
        self.work.failed.connect(self._on_failed)
        self.changed.emit()
        self.work.start()

    def _on_progress(self, share: float) -> None:
        self.saving = share
        self.changed.emit()

    def _on_saved(self, found: tuple[str, str]) -> None:
        self.work, self.saving = None, None
        before, path = found
        for role in ROLES:
            for layer in layers_of(self.viewer.layers, role, before):
                tag(layer, slide=path)
        self.session.renamed_slide(before, path)
        self.relinked.emit(path)
        self.changed.emit()
        self.noted.emit(f"Saved as {path}. The slide is now this file.")

    def _on_failed(self, error: Exception) -> None:
        self.work, self.saving = None, None
        self.changed.emit()
        if not isinstance(error, Interrupted):
            self.failed.emit(error)

    def close_down(self) -> None:
        """Let go of dialogs and of what is being saved."""
        if self.work is not None:
            self.work.let_go()
            self.work = None
        if self.mapping_dialog is not None:
            self.mapping_dialog.close_down()
            self.mapping_dialog = None
