"""What does the model fill in? Masks, reconstruction, difference and errors of one square of the slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QLabel, QPushButton, QSlider, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.explain_layers import show_explanation
from napari_dama.gui.explain_page import Context, Page
from napari_dama.gui.explain_pictures import TITLES
from napari_dama.gui.explain_plan import MASKS, SHOWS
from napari_dama.gui.filling import Filling
from napari_dama.gui.layers import layers_of
from napari_dama.gui.pictures import Pictures
from napari_dama.gui.put_layer import hide
from napari_dama.gui.style import beside, muted, narrow, wrapped
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    from napari_dama.gui.explain_ask import Loaded
    from napari_dama.predict.explanation import Explanation

ALL = "all markers"


class FillPage(Page):
    """The reconstruction explorer."""

    follows = True

    def __init__(self, context: Context, *, parent: QWidget | None = None) -> None:
        super().__init__(context, parent=parent)
        self.state = context.state
        self.filling: Filling | None = None
        self.saving: Work | None = None
        self._live = False
        self._build()
        self.state.events.show.connect(self._on_show_state)
        self.state.events.mask.connect(self._on_view_state)
        self.state.events.marker.connect(self._on_view_state)

    def _build(self) -> None:
        self.mask_ratio = _slider(50, 95, tooltips.MASK_RATIO)
        self.overlap = _slider(0, 100, tooltips.OVERLAP_RATIO)
        self.mask_text, self.overlap_text = QLabel(), QLabel()
        for label in (self.mask_text, self.overlap_text):
            label.setFixedWidth(40)
        self.another = narrow(QPushButton("New mask"), tooltips.ANOTHER_MASK)
        self.save = narrow(QPushButton("Save..."), tooltips.EXPLAIN_SAVE)
        self.mask_box = _box(MASKS, tooltips.EXPLAIN_MASK)
        self.show_box = _box(SHOWS, tooltips.EXPLAIN_SHOW)
        self.marker_box = narrow(QComboBox(), tooltips.EXPLAIN_MARKER)
        self.pictures = Pictures(TITLES, tooltips.PICTURES)
        self.text = muted(wrapped(QLabel()))
        self.text.setToolTip(tooltips.EXPLAIN_HONEST)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Hidden", beside(self.mask_ratio, self.mask_text))
        form.addRow("Overlap", beside(self.overlap, self.overlap_text))
        form.addRow("Mask", self.mask_box)
        form.addRow("Marker", self.marker_box)
        showing = QFormLayout()
        showing.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        showing.addRow("On slide", self.show_box)
        self.column.addLayout(form)
        self.column.addLayout(beside(self.another, self.save))
        self.column.addWidget(self.pictures)
        self.column.addLayout(showing)
        self.column.addWidget(self.text)
        self.mask_ratio.valueChanged.connect(self._on_ratio)
        self.overlap.valueChanged.connect(self._on_ratio)
        self.another.clicked.connect(self._on_another)
        self.save.clicked.connect(self._on_save)
        self.mask_box.activated.connect(self._on_mask)
        self.show_box.activated.connect(self._on_show)
        self.marker_box.activated.connect(self._on_marker)
        self.pictures.chosen.connect(self._on_picture)

    @property
    def explanation(self) -> Explanation | None:
        """What was filled in last."""
        return None if self.filling is None else self.filling.explanation

    def blocker(self) -> str:
        """Say why this model cannot fill anything in."""
        card = self.context.session.card
        if card is not None and "reconstruct" not in card.tasks:
            return f"The model {card.name} cannot fill in what is hidden. Choose one that can, such as a pretrained model."
        return ""

    def ask(self, at: tuple[float, float], *, live: bool = False) -> None:
        """Hide and fill in the square around a place."""
        state, self._live = self.state, live
        asked: dict[str, Any] = {
            "mask_ratio": state.mask_ratio,
            "overlap_ratio": state.overlap_ratio,
            "seed": state.seed,
        }
        shown = state.mask, self._marker, self.context.colours()

        def question(loaded: Loaded, progress: Report, stop: Stop) -> Filling:
            return Filling(loaded.explainer().reconstruct(at, **asked)).prepare(*shown)

        self.context.asker.ask("fill", self.context.bench(), question)

    def on_answer(self, kind: str, value: Any) -> None:
        """Show what was filled in; while the cursor is followed in the dock only."""
        if kind != "fill":
            return
        self.filling = value
        self._show_pictures()
        if not self._live:
            self.context.later.then("fill", self._show_on_slide)

    @property
    def _marker(self) -> int | None:
        return self.context.place_of(self.state.marker)

    def _show_pictures(self) -> None:
        if self.filling is not None:
            pictures = self.filling.pictures(self.state.mask, self._marker, self.context.colours())
            self.pictures.show_pictures(pictures, self.state.show)
            self.text.setText(self.filling.sentence())

    def _show_on_slide(self) -> None:
        if self.filling is not None and not self._live:
            show_explanation(
                self.context.viewer,
                self.context.later,
                self.context.session,
                self.filling,
                mask=self.state.mask,
                show=self.state.show,
                marker=self._marker,
            )

    def sync(self) -> None:
        """Show the state."""
        made = self.filling is not None
        self.mask_box.setCurrentIndex(max(self.mask_box.findData(self.state.mask), 0))
        self.show_box.setCurrentIndex(max(self.show_box.findData(self.state.show), 0))
        names = self.context.present()
        if [self.marker_box.itemData(i) for i in range(1, self.marker_box.count())] != names:
            self.marker_box.clear()
            self.marker_box.addItem(ALL, "")
            for name in names:
                self.marker_box.addItem(name, name)
        self.marker_box.setCurrentIndex(max(self.marker_box.findData(self.state.marker), 0))
        for widget in (self.mask_box, self.show_box, self.marker_box, self.another):
            widget.setEnabled(made)
        self.save.setEnabled(made and self.saving is None)
        self.pictures.setVisible(made)
        for slider, value in (
            (self.mask_ratio, self.state.mask_ratio),
            (self.overlap, self.state.overlap_ratio),
        ):
            blocked = slider.blockSignals(True)
            slider.setValue(round(value * 100))
            slider.blockSignals(blocked)
        self.mask_text.setText(f"{self.state.mask_ratio:.0%}")
        self.overlap_text.setText(f"{self.state.overlap_ratio:.0%}")
        self.another.setText(f"New mask ({self.state.seed})")
        self.text.setVisible(made)

    def _on_ratio(self, value: int) -> None:
        self.state.mask_ratio = self.mask_ratio.value() / 100
        self.state.overlap_ratio = self.overlap.value() / 100
        self.sync()

    def _on_another(self) -> None:
        self.state.seed += 1

    def _on_mask(self, index: int) -> None:
        self.state.mask = self.mask_box.itemData(index)

    def _on_show(self, index: int) -> None:
        self.state.show = self.show_box.itemData(index)

    def _on_picture(self, key: Any) -> None:
        self.state.show = key

    def _on_marker(self, index: int) -> None:
        self.state.marker = self.marker_box.itemData(index)

    def _on_show_state(self) -> None:
        """Another picture on the slide; those in the dock are the same."""
        self.pictures.choose(self.state.show)
        self._show_on_slide()
        self.sync()

    def _on_view_state(self) -> None:
        """Another mask or marker."""
        self._show_pictures()
        self._show_on_slide()
        self.sync()

    def _on_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the explanation", "explanation.png", "Figure (*.png);;Images (*.tif *.tiff)"
        )
        if name:
            self.save_to(Path(name))

    def save_to(self, path: Path) -> None:
        """Save the explanation as a figure or as images, by the name's ending; in a thread."""
        explanation = self.explanation
        if explanation is None:
            return

        def task(progress: Report, stop: Stop) -> Path:
            explanation.save(path)
            return path

        self.saving = Work(task, self)
        self.saving.finished.connect(self._on_saved)
        self.saving.failed.connect(self._on_not_saved)
        self.saving.start()
        self.sync()

    def _on_saved(self, path: Path) -> None:
        self.saving = None
        self.sync()

    def _on_not_saved(self, error: Exception) -> None:
        self.saving = None
        self.sync()
        self.failed.emit(error)

    def forget(self) -> None:
        """Forget the explanation and hide its layers."""
        self.filling = None
        self.context.later.drop("fill")
        hide(self.context.later, layers_of(self.context.viewer.layers, "explain"))
        self.sync()

    def close_down(self) -> None:
        """Stop listening."""
        if self.saving is not None:
            self.saving.let_go()
        self.state.events.show.disconnect(self._on_show_state)
        self.state.events.mask.disconnect(self._on_view_state)
        self.state.events.marker.disconnect(self._on_view_state)


def _box(entries: dict[str, str], tip: str) -> QComboBox:
    box = narrow(QComboBox(), tip)
    for key, title in entries.items():
        box.addItem(title, key)
    return box


def _slider(low: int, high: int, tip: str) -> QSlider:
    slider = narrow(QSlider(Qt.Orientation.Horizontal), tip)
    slider.setRange(low, high)
    slider.setSingleStep(5)
    slider.setPageStep(10)
    return slider
