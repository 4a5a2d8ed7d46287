"""The form that a run is started from: what to learn, from which model, on which data, for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_dama.gui import tooltips
from napari_dama.gui.annotations import find_annotations
from napari_dama.gui.outline_areas import find_areas, find_outlines
from napari_dama.gui.run_box import RunBox
from napari_dama.gui.style import beside, muted, narrow, say

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.annotations import Annotation
    from napari_dama.gui.outline_areas import Outlines
    from napari_dama.gui.session import Session

KINDS = {
    "pretrain": "Pretrain (no labels)",
    "types": "Fine-tune cell types",
    "segments": "Fine-tune outlines",
}


class LayerBox(QComboBox):
    """A choice of layers that says when it is opened: classes may have been added to a layer since.

    Signals
    -------
    opened
        Before the list is shown.
    """

    opened = QtSignal()

    def showPopup(self) -> None:
        """Show the list."""
        self.opened.emit()
        super().showPopup()


class TrainForm(QWidget):
    """Thin view of ``state.train``.

    Signals
    -------
    start_asked
        The user wants to start the run.
    synced
        Rows may have come or gone.
    """

    start_asked = QtSignal()
    synced = QtSignal()

    def __init__(self, viewer: napari.Viewer, session: Session, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session
        self.state = session.state.train
        self.annotations: list[Annotation] = []
        self.outlines: list[Outlines] = []
        self._build()
        session.models_changed.connect(self._sync_models)
        session.slide_changed.connect(self.sync_annotations)
        self.state.events.connect(self._sync)
        viewer.layers.events.inserted.connect(self.sync_annotations)
        viewer.layers.events.removed.connect(self.sync_annotations)
        self._sync_models()

    def _build(self) -> None:
        self.kind_box = narrow(QComboBox(), tooltips.TRAIN_KIND)
        for key, title in KINDS.items():
            self.kind_box.addItem(title, key)
        self.init_box = narrow(QComboBox(), tooltips.TRAIN_INIT)
        self.layer_box = narrow(LayerBox(), tooltips.TRAIN_ANNOTATION)
        self.layer_name = QLabel("Learn from")
        self.area_box = narrow(LayerBox(), tooltips.TRAIN_AREA)
        self.area_name = QLabel("Complete in")
        self.data_edit = narrow(QLineEdit(), tooltips.TRAIN_DATA)
        self.browse = QPushButton("...")
        self.browse.setFixedWidth(32)
        self.browse.setToolTip(tooltips.TRAIN_BROWSE)
        self.menu = QMenu(self)
        for title, slot in (
            ("Slide files ...", self._on_files),
            ("Folder of slides ...", self._on_folder),
            ("Crop store ...", self._on_folder),
        ):
            action = self.menu.addAction(title)
            if action is not None:
                action.triggered.connect(slot)
        self.browse.setMenu(self.menu)
        self.hint = muted(QLabel())
        self.numbers: dict[str, QSpinBox] = {}
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("What", self.kind_box)
        form.addRow("Start from", self.init_box)
        form.addRow(self.layer_name, self.layer_box)
        form.addRow(self.area_name, self.area_box)
        form.addRow("Data", beside(self.data_edit, self.browse))
        for key, title, tip, low, high in _NUMBERS:
            box = narrow(QSpinBox(), tip)
            box.setRange(low, high)
            box.valueChanged.connect(self._on_number)
            self.numbers[key] = box
            form.addRow(title, box)
        self.run_box = RunBox(self.state)
        form.addRow("Run", self.run_box)
        self.numbers["max_steps"].setSpecialValueText("no limit")
        self.start_button = narrow(QPushButton("Start training"), tooltips.TRAIN_START)
        self.start_button.setMinimumHeight(32)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.hint)
        layout.addWidget(self.run_box.hint)
        layout.addWidget(self.start_button)
        self.kind_box.activated.connect(self._on_kind)
        self.init_box.activated.connect(self._on_init)
        self.layer_box.activated.connect(self._on_layer)
        self.layer_box.opened.connect(self.sync_annotations)
        self.area_box.activated.connect(self._on_area)
        self.area_box.opened.connect(self.sync_annotations)
        self.data_edit.editingFinished.connect(self._on_data)
        self.start_button.clicked.connect(self.start_asked)

    def sync_annotations(self, event: object = None) -> None:
        """Look for layers with classes again."""
        layers, slide = self.viewer.layers, self.session.state.slide
        self.annotations, self.outlines = find_annotations(layers, slide), find_outlines(layers, slide)
        self.layer_box.clear()
        self.layer_box.addItem("Data below", "")
        if self.state.kind == "segments":
            for outlines in self.outlines:
                self.layer_box.addItem(f"Layer {outlines.layer}", outlines.layer)
        else:
            for found in self.annotations:
                self.layer_box.addItem(f"Layer {found.layer}: {found.text}", found.layer)
                self.layer_box.setItemData(self.layer_box.count() - 1, found.problem or found.text, 3)
        self.area_box.clear()
        self.area_box.addItem("box around all outlines", "")
        for name in find_areas(layers):
            self.area_box.addItem(f"Layer {name}", name)
        if self.area_box.findData(self.state.area) < 0:
            self.state.area = ""
        if self.layer_box.findData(self.state.annotation) < 0:
            self.state.annotation = ""
        self._sync()

    def _sync_models(self) -> None:
        self.init_box.clear()
        self.init_box.addItem("random weights", "random")
        for card in self.session.cards:
            self.init_box.addItem(card.name, card.name)
        self.sync_annotations()

    def _sync(self, event: object = None) -> None:
        state, labelled = self.state, self.state.kind != "pretrain"
        self.kind_box.setCurrentIndex(max(self.kind_box.findData(state.kind), 0))
        self.init_box.setCurrentIndex(max(self.init_box.findData(state.init), 0))
        self.layer_box.setCurrentIndex(max(self.layer_box.findData(state.annotation), 0))
        self.area_box.setCurrentIndex(max(self.area_box.findData(state.area), 0))
        self.layer_box.setVisible(labelled)
        self.layer_name.setVisible(labelled)
        from_layer = labelled and bool(state.annotation)
        self.area_box.setVisible(from_layer and state.kind == "segments")
        self.area_name.setVisible(from_layer and state.kind == "segments")
        self.data_edit.setEnabled(not from_layer)
        self.browse.setEnabled(not from_layer)
        if not self.data_edit.hasFocus():
            self.data_edit.setText(state.data)
        self.data_edit.setPlaceholderText(
            "open slides" if state.kind == "pretrain" else "the layer" if from_layer else "choose ..."
        )
        say(self.hint, self._hint() if from_layer else _HINTS[state.kind])
        for key, box in self.numbers.items():
            blocked = box.blockSignals(True)
            box.setValue(int(getattr(state, key)))
            box.blockSignals(blocked)
        self.synced.emit()

    def _hint(self) -> str:
        """What the chosen layer holds, or why nothing can be learned from it."""
        name = self.state.annotation
        if self.state.kind == "segments":
            outlines = next((each for each in self.outlines if each.layer == name), None)
            problem = "" if outlines is None else outlines.problem
            return problem or (_IN_SHAPES if self.state.area else _IN_BOX)
        found = next((each for each in self.annotations if each.layer == name), None)
        return _HINTS["types"] if found is None else found.problem or f"{found.text}."

    def _on_area(self, index: int) -> None:
        self.state.area = self.area_box.itemData(index)

    def _on_kind(self, index: int) -> None:
        self.state.kind = self.kind_box.itemData(index)
        self.sync_annotations()

    def _on_init(self, index: int) -> None:
        self.state.init = self.init_box.itemData(index)

    def _on_layer(self, index: int) -> None:
        self.state.annotation = self.layer_box.itemData(index)

    def _on_data(self) -> None:
        self.state.data = self.data_edit.text().strip()

    def _on_files(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(
            self, "Slides to look at", "", "Slides (*.tif *.tiff *.qptiff);;All files (*)"
        )
        if files:
            self.state.data = "; ".join(files)

    def _on_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of slides, or crop store")
        if folder:
            self.state.data = folder

    def _on_number(self, value: int) -> None:
        for key, box in self.numbers.items():
            if box.value() != getattr(self.state, key):
                setattr(self.state, key, box.value())

    def close_down(self) -> None:
        """Let go of the viewer."""
        self.run_box.close_down()
        self.session.models_changed.disconnect(self._sync_models)
        self.session.slide_changed.disconnect(self.sync_annotations)
        self.state.events.disconnect(self._sync)
        self.viewer.layers.events.inserted.disconnect(self.sync_annotations)
        self.viewer.layers.events.removed.disconnect(self.sync_annotations)


_HINTS = {
    "pretrain": "The model learns the look of your cells. It needs no labels, and many cells.",
    "types": "Needs a layer with a class per cell (a feature named 'class'), or a crop store whose cells have types.",
    "segments": "Needs a Labels layer with outlined cells, or a folder with NAME.ome.tif and NAME_cells.tif pairs.",
}
_IN_BOX = (
    "Every cell in the box around your outlines must be outlined: what is not counts as background. Or draw shapes around "
    "what is complete and choose them above. A quarter of the cells, at one end, is held out to test on."
)
_IN_SHAPES = (
    "Every cell inside these shapes must be outlined; nothing outside of them is looked at. A quarter of the cells, at one "
    "end of each, is held out to test on."
)
_NUMBERS = (
    ("epochs", "Epochs", tooltips.TRAIN_EPOCHS, 1, 100_000),
    ("max_steps", "At most steps", tooltips.TRAIN_STEPS, 0, 10_000_000),
    ("batch_size", "Batch size", tooltips.TRAIN_BATCH, 1, 65_536),
    ("seed", "Seed", tooltips.TRAIN_SEED, 0, 2**31 - 1),
)
