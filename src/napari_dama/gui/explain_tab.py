"""Tab 4, *Explain*: what the model fills in when most of a cell's surroundings are hidden from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QPushButton, QSlider, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.explain_layers import add_layers, marker_colours, remove_layers, show_layers
from napari_dama.gui.explain_plan import MASKS, SHOWS, sentence
from napari_dama.gui.layers import about, layers_of
from napari_dama.gui.pictures import Pictures
from napari_dama.gui.place import camera_of, view_centre
from napari_dama.gui.style import Tab, beside, muted, narrow, say, wrapped
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.session import Session
    from napari_dama.predict.explain import Explanation


class ExplainTab(Tab):
    """Thin view of ``state.explain``."""

    def __init__(self, viewer: napari.Viewer, session: Session, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session
        self.state = session.state.explain
        self.explanation: Explanation | None = None
        self.work: Work | None = None
        self._again = False
        self._loaded: dict[str, Any] = {}
        self._build()
        self.wait = QTimer(self)
        self.wait.setSingleShot(True)
        self.wait.setInterval(250)
        self.wait.timeout.connect(self.compute)
        self.state.events.show.connect(self._show)
        self.state.events.mask.connect(self._show)
        session.slide_changed.connect(self._on_slide)
        session.plan_changed.connect(self._on_plan)
        self._show()
        self._sync()

    def _build(self) -> None:
        self.intro = muted(QLabel(_INTRO))
        self.cell = narrow(QPushButton("Clicked cell"), tooltips.EXPLAIN_CELL)
        self.centre = narrow(QPushButton("Centre of the view"), tooltips.EXPLAIN_CENTRE)
        self.mask_ratio = _slider(50, 95, tooltips.MASK_RATIO)
        self.overlap = _slider(0, 100, tooltips.OVERLAP_RATIO)
        self.mask_text, self.overlap_text = QLabel(), QLabel()
        for label in (self.mask_text, self.overlap_text):
            label.setFixedWidth(40)
        self.another = narrow(QPushButton("Another mask"), tooltips.ANOTHER_MASK)
        self.clear = narrow(QPushButton("Clear"), tooltips.EXPLAIN_CLEAR)
        self.mask_box = narrow(QComboBox(), tooltips.EXPLAIN_MASK)
        for key, title in MASKS.items():
            self.mask_box.addItem(title, key)
        self.show_box = narrow(QComboBox(), tooltips.EXPLAIN_SHOW)
        for key, title in SHOWS.items():
            self.show_box.addItem(title, key)
        self.pictures = Pictures()
        self.text = wrapped(QLabel())
        self.text.setToolTip(tooltips.EXPLAIN_HONEST)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Hidden", beside(self.mask_ratio, self.mask_text))
        form.addRow("Overlap", beside(self.overlap, self.overlap_text))
        showing = QFormLayout()
        showing.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        showing.addRow("Mask", self.mask_box)
        showing.addRow("Show", self.show_box)
        self.column.addWidget(self.intro)
        self.column.addLayout(beside(self.cell, self.centre))
        self.column.addLayout(form)
        self.column.addLayout(beside(self.another, self.clear))
        self.column.addWidget(self.text)
        self.column.addWidget(self.pictures)
        self.column.addLayout(showing)
        self.column.addStretch()
        self.cell.clicked.connect(self.explain_cell)
        self.centre.clicked.connect(self.explain_centre)
        self.mask_ratio.valueChanged.connect(self._on_ratio)
        self.overlap.valueChanged.connect(self._on_ratio)
        self.another.clicked.connect(self._on_another)
        self.clear.clicked.connect(self.forget)
        self.mask_box.activated.connect(self._on_mask)
        self.show_box.activated.connect(self._on_show)

    def set_cell(self, centre: tuple[float, float] | None) -> None:
        """Tell which cell is the clicked one."""
        self._cell = centre
        self._sync()

    _cell: tuple[float, float] | None = None

    def explain_cell(self) -> None:
        """Explain the cell that was clicked last."""
        if self._cell is not None:
            self.state.at = self._cell
            self.compute()

    def explain_centre(self) -> None:
        """Explain the middle of the view."""
        layers = layers_of(self.viewer.layers, "marker", self.session.state.slide)
        if layers:
            self.state.at = view_centre(self.viewer, layers[0])
            self.compute()

    def compute(self) -> None:
        """Compute the explanation in a thread; asked while it runs, once more afterwards."""
        if self.state.at is None or self._blocker():
            return
        if self.work is not None:
            self._again = True
            return
        slide, loaded = self.session.reopen(), self._loaded
        name, chosen = self.session.state.model, dict(self.session.state.channels.chosen)
        key = f"{name} {self.session.state.slide}"
        asked: dict[str, Any] = {
            "at": self.state.at,
            "mask_ratio": self.state.mask_ratio,
            "overlap_ratio": self.state.overlap_ratio,
            "seed": self.state.seed,
        }

        def task(progress: Report, stop: Stop) -> Any:
            from napari_dama.models.shelf import load_model
            from napari_dama.predict.device import pick_device
            from napari_dama.predict.explain import reconstruct
            from napari_dama.slides.intensity import slide_stats

            with slide:
                if loaded.get("key") != key:
                    loaded.update(key=key, model=load_model(name, pick_device()), stats=slide_stats(slide))
                return reconstruct(
                    slide, model=loaded["model"], stats=loaded["stats"], chosen=chosen or None, **asked
                )

        self.work = Work(task, self)
        self.work.finished.connect(self._on_finished)
        self.work.failed.connect(self._on_failed)
        self._sync()
        self.work.start()

    def _on_finished(self, explanation: Explanation) -> None:
        self.work = None
        self.explanation = explanation
        add_layers(self.viewer, self.session, explanation)
        self.pictures.show_explanation(explanation, marker_colours(self.viewer, self.session, explanation))
        self._show()
        self._sync()
        self._centre_view()
        if self._again:
            self._again = False
            self.compute()

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self._again = False
        self._sync()
        self.failed.emit(error)

    def _centre_view(self) -> None:
        """Move the camera to the crop when it is out of sight."""
        if self.explanation is None:
            return
        place, side_px = self.explanation.crop_region, self.explanation.input.shape[1]
        um = self.session.pixel.pixel_um or 1.0
        side = side_px * place.step_px * um
        middle = (place.y0 * um + side / 2, place.x0 * um + side / 2)
        camera = camera_of(self.viewer)
        y, x = camera.center[-2:]
        reach = 300 / max(camera.zoom, 1e-9)
        if camera.zoom * side < 80 or abs(middle[0] - y) > reach or abs(middle[1] - x) > reach:
            camera.center = (*camera.center[:-2], *middle)
            camera.zoom = max(camera.zoom, 350 / side)

    def _show(self) -> None:
        show_layers(self.viewer, self.state.mask, self.state.show)
        self.mask_box.setCurrentIndex(max(self.mask_box.findData(self.state.mask), 0))
        self.show_box.setCurrentIndex(max(self.show_box.findData(self.state.show), 0))

    def _blocker(self) -> str:
        card = self.session.card
        if not self.session.blocker and card is not None and "reconstruct" not in card.tasks:
            return f"The model {card.name} cannot fill in what is hidden. Choose one that can, such as a pretrained model."
        return self.session.blocker

    def _sync(self) -> None:
        blocker, busy = self._blocker(), self.work is not None
        self.cell.setEnabled(not blocker and self._cell is not None)
        self.centre.setEnabled(not blocker)
        made = self.explanation is not None
        self.another.setEnabled(made and not blocker)
        self.clear.setEnabled(made)
        for widget in (self.mask_box, self.show_box):
            widget.setEnabled(made)
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
        if busy:
            say(self.text, "The model is filling in ..." if made else "Loading the model ...")
        elif blocker:
            say(self.text, blocker)
        elif self.explanation is not None:
            say(self.text, sentence(self.explanation))
        else:
            say(self.text, "Click a cell in Results, or take the centre of the view.")

    def _on_ratio(self, value: int) -> None:
        self.state.mask_ratio = self.mask_ratio.value() / 100
        self.state.overlap_ratio = self.overlap.value() / 100
        self._sync()
        if self.explanation is not None:
            self.wait.start()

    def _on_another(self) -> None:
        self.state.seed += 1
        self.compute()

    def _on_mask(self, index: int) -> None:
        self.state.mask = self.mask_box.itemData(index)

    def _on_show(self, index: int) -> None:
        self.state.show = self.show_box.itemData(index)

    def _on_slide(self) -> None:
        self._cell = None
        self._loaded = {}
        self.forget()

    def _on_plan(self) -> None:
        if self.explanation is not None and any(about(x) for x in layers_of(self.viewer.layers, "explain")):
            self.forget()
        self._sync()

    def forget(self) -> None:
        """Remove the explanation and its layers."""
        self.explanation = None
        self.state.at = None
        remove_layers(self.viewer)
        self._sync()

    def close_down(self) -> None:
        """Let go of what runs and of the session."""
        self.wait.stop()
        if self.work is not None:
            self.work.let_go()
        self.state.events.show.disconnect(self._show)
        self.state.events.mask.disconnect(self._show)
        self.session.slide_changed.disconnect(self._on_slide)
        self.session.plan_changed.disconnect(self._on_plan)


_INTRO = (
    "Most of a square around a cell is hidden from the model, which fills it in. Where it is most wrong, that piece "
    "could not be foreseen from the rest."
)


def _slider(low: int, high: int, tip: str) -> QSlider:
    slider = narrow(QSlider(Qt.Orientation.Horizontal), tip)
    slider.setRange(low, high)
    slider.setSingleStep(5)
    slider.setPageStep(10)
    return slider
