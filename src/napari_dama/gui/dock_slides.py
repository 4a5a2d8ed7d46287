"""The rows above the tabs: which slide, which model, and what to do with images that belong to no slide yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.style import muted, narrow

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.session import Session

FILES = "Slides (*.tif *.tiff *.qptiff *.npy *.zarr);;All files (*)"


class SlideRows(QWidget):
    """Thin view of ``state.slide``, ``state.model`` and the viewer's layers; empty until `follow`.

    Signals
    -------
    open_asked(path)
        The user wants to open a file as a slide.
    chosen
        Another slide or model was chosen.
    """

    open_asked = QtSignal(str)
    chosen = QtSignal()

    def __init__(self, viewer: napari.Viewer, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session: Session | None = None
        self.slide_box = narrow(QComboBox(), tooltips.SLIDE)
        self.model_box = narrow(QComboBox(), tooltips.MODEL)
        self.facts = muted(QLabel(_GETTING_READY))
        self.open_button = narrow(QPushButton("Open a slide..."), tooltips.OPEN_SLIDE)
        self.adopt = narrow(QPushButton("Open it as a slide"), tooltips.OPEN_AS_SLIDE)
        self.use_layers = narrow(QPushButton("Use layers as a slide ..."), tooltips.USE_LAYERS)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Slide", self.slide_box)
        form.addRow("Model", self.model_box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(form)
        for widget in (self.facts, self.open_button, self.adopt, self.use_layers):
            layout.addWidget(widget)
        for widget in (self.open_button, self.adopt, self.use_layers):
            widget.setVisible(False)

    def follow(self, session: Session) -> None:
        """Show a session, and follow it and the viewer's layers until `let_go`."""
        self.session = session
        self.viewer.layers.events.inserted.connect(self.sync_slides)
        self.viewer.layers.events.removed.connect(self.sync_slides)
        session.slide_changed.connect(self.sync_facts)
        session.plan_changed.connect(self.sync_facts)
        session.models_changed.connect(self.sync_models)
        session.layers_arrived.connect(self.sync_slides)
        self.open_button.clicked.connect(self._on_open)
        self.adopt.clicked.connect(self._on_adopt)
        self.slide_box.activated.connect(self._on_slide_chosen)
        self.model_box.activated.connect(self._on_model_chosen)

    def let_go(self) -> None:
        """Follow no more; safe to call twice."""
        if self.session is None:
            return
        self.viewer.layers.events.inserted.disconnect(self.sync_slides)
        self.viewer.layers.events.removed.disconnect(self.sync_slides)
        self.session.slide_changed.disconnect(self.sync_facts)
        self.session.plan_changed.disconnect(self.sync_facts)
        self.session.models_changed.disconnect(self.sync_models)
        self.session.layers_arrived.disconnect(self.sync_slides)
        self.session = None

    def sync_slides(self, event: object = None) -> None:
        """Let the list be the slides whose layers are in the window."""
        from napari_dama.gui.layers import LAYER_SLIDE, slides_in

        if self.session is None or self.session.arriving:
            return
        state, paths = self.session.state, slides_in(self.viewer.layers)
        self.slide_box.clear()
        for path in paths:
            self.slide_box.addItem(path.removeprefix(LAYER_SLIDE).replace("\\", "/").rsplit("/", 1)[-1], path)
            self.slide_box.setItemData(self.slide_box.count() - 1, path, Qt.ItemDataRole.ToolTipRole)
        if not paths:
            self.slide_box.addItem("none open", "")
        wanted = state.slide if state.slide in paths else (paths[-1] if paths else "")
        self.slide_box.setCurrentIndex(max(self.slide_box.findData(wanted), 0))
        self.session.forget_others(paths)
        state.slide = wanted
        self.sync_facts()

    def sync_models(self) -> None:
        """Let the list be the models on the shelf."""
        if self.session is None:
            return
        self.model_box.clear()
        for card in self.session.cards:
            self.model_box.addItem(card.name, card.name)
            self.model_box.setItemData(self.model_box.count() - 1, card.summary, Qt.ItemDataRole.ToolTipRole)
        if not self.session.cards:
            self.model_box.addItem("none on the shelf", "")
        self.model_box.setCurrentIndex(max(self.model_box.findData(self.session.state.model), 0))
        self.sync_facts()

    def sync_facts(self) -> None:
        """Say what the slide is, or how to come to one."""
        from napari_dama.gui.adopt import strangers
        from napari_dama.gui.layers import foreign_file

        if self.session is None:
            return
        slide = self.session.slide
        stranger = foreign_file(self.viewer.layers) if slide is None else ""
        images = strangers(self.viewer.layers)
        self.open_button.setVisible(slide is None and not stranger)
        self.adopt.setVisible(bool(stranger))
        self.use_layers.setVisible(bool(images))
        if slide is None:
            self.facts.setText(_OTHER_READER if images else _NOTHING_OPEN)
            return
        count, height, width = slide.shape
        pixel = self.session.pixel.pixel_um
        size = "pixel size unknown" if pixel is None else f"{pixel:.4g} µm per pixel"
        self.facts.setText(f"{count} markers, {height} x {width} px, {slide.dtype}, {size}")

    def _on_open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a slide", "", FILES)
        if path:
            self.open_asked.emit(path)

    def _on_adopt(self) -> None:
        from napari_dama.gui.layers import foreign_file

        self.open_asked.emit(foreign_file(self.viewer.layers))

    def _on_slide_chosen(self, index: int) -> None:
        if self.session is not None:
            self.chosen.emit()
            self.session.state.slide = str(self.slide_box.itemData(index) or "")

    def _on_model_chosen(self, index: int) -> None:
        if self.session is not None:
            self.chosen.emit()
            self.session.state.model = str(self.model_box.itemData(index) or "")


_GETTING_READY = "Getting ready ..."
_NOTHING_OPEN = "Open a slide here or with File > Open, or take one of File > Open Sample to try it out."
_OTHER_READER = (
    "The image in the window belongs to no slide yet: another reader opened it, or it was added by hand. "
    "Use its layers as a slide, and name the markers."
)
