"""Tab 5, *Train*: start a run in a process of its own, watch it, stop it, and take its model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QWidget,
)

from napari_dama.errors import DamaError, OutputError
from napari_dama.gui import tooltips
from napari_dama.gui.chart import CurveChart
from napari_dama.gui.layers import slides_in
from napari_dama.gui.processes import Chain
from napari_dama.gui.style import Tab, beside, muted, narrow, say
from napari_dama.gui.train_plan import JobView, ask_to_stop, last_words, put_on_shelf, read_job, resolve_train
from napari_dama.models.shelf import user_folder

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.session import Session

KINDS = {
    "pretrain": "Pretrain (no labels)",
    "types": "Fine-tune cell types",
    "segments": "Fine-tune outlines",
}
POLL_MS = 1000


class TrainTab(Tab):
    """Thin view of ``state.train`` and of a job folder.

    Signals
    -------
    model_offered(name)
        A finished model was put on the shelf.
    """

    model_offered = QtSignal(str)

    def __init__(self, viewer: napari.Viewer, session: Session, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session
        self.state = session.state.train
        self.chain: Chain | None = None
        self.view: JobView | None = None
        self.timer = QTimer(self)
        self.timer.setInterval(POLL_MS)
        self.timer.timeout.connect(self.poll)
        self._build()
        session.models_changed.connect(self._sync_models)
        session.slide_changed.connect(self._sync)
        self.state.events.connect(self._sync)
        self._sync_models()
        self._sync()

    def _build(self) -> None:
        self.kind_box = narrow(QComboBox(), tooltips.TRAIN_KIND)
        for key, title in KINDS.items():
            self.kind_box.addItem(title, key)
        self.init_box = narrow(QComboBox(), tooltips.TRAIN_INIT)
        self.data_edit = narrow(QLineEdit(), tooltips.TRAIN_DATA)
        self.browse = QPushButton("...")
        self.browse.setFixedWidth(32)
        self.browse.setToolTip(tooltips.TRAIN_BROWSE)
        self.hint = muted(QLabel())
        self.numbers: dict[str, QSpinBox] = {}
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("What", self.kind_box)
        form.addRow("Start from", self.init_box)
        form.addRow("Data", beside(self.data_edit, self.browse))
        for key, title, tip, low, high in _NUMBERS:
            box = narrow(QSpinBox(), tip)
            box.setRange(low, high)
            box.setProperty("field", key)
            box.valueChanged.connect(self._on_number)
            self.numbers[key] = box
            form.addRow(title, box)
        self.numbers["max_steps"].setSpecialValueText("no limit")
        self.start_button = QPushButton("Start training")
        self.start_button.setToolTip(tooltips.TRAIN_START)
        self.start_button.setMinimumHeight(32)
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip(tooltips.TRAIN_STOP)
        self.watch_button = narrow(QPushButton("Watch a job..."), tooltips.TRAIN_WATCH)
        self.job_text = muted(QLabel())
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.curve = CurveChart()
        self.use_button = narrow(QPushButton("Use this model"), tooltips.TRAIN_USE)
        self.column.addLayout(form)
        self.column.addWidget(self.hint)
        self.column.addLayout(beside(self.start_button, self.stop_button))
        self.column.addWidget(self.job_text)
        self.column.addWidget(self.bar)
        self.column.addWidget(self.curve)
        self.column.addWidget(self.use_button)
        self.column.addWidget(self.watch_button)
        self.column.addStretch()
        self.kind_box.activated.connect(self._on_kind)
        self.init_box.activated.connect(self._on_init)
        self.data_edit.editingFinished.connect(self._on_data)
        self.browse.clicked.connect(self._on_browse)
        self.start_button.clicked.connect(self.start)
        self.stop_button.clicked.connect(self.stop)
        self.watch_button.clicked.connect(self._on_watch)
        self.use_button.clicked.connect(self._on_use)

    @property
    def base(self) -> Path:
        """Folder that stores and jobs are put in: beside the slide, else the user's."""
        return self.session.path.parent if self.session.slide is not None else Path.home() / "napari-dama"

    def start(self) -> None:
        """Start the run."""
        if self.chain is not None:
            return
        channels = self.session.state.channels
        try:
            plan = resolve_train(
                self.state, slides_in(self.viewer.layers), channels.chosen, channels.pixel_um, self.base
            )
            chain = Chain(plan.commands, plan.job.with_name(plan.job.name + ".console.txt"))
            chain.start()
        except DamaError as error:
            self.failed.emit(error)
            return
        self.noted.emit("")
        self.chain = chain
        self.state.job = str(plan.job)
        self.timer.start()
        self.poll()

    def stop(self) -> None:
        """Ask the run to save a checkpoint and end."""
        if self.chain is not None and not self.chain.is_last:
            self.chain.cancel()
        elif self.state.job:
            try:
                ask_to_stop(Path(self.state.job))
            except OSError as error:
                self.failed.emit(error)
                return
            self.job_text.setText("Saving a checkpoint, then it stops.")
        self.stop_button.setEnabled(False)

    def watch(self, folder: Path) -> None:
        """Watch a job that is there already."""
        self.state.job = str(folder)
        self.timer.start()
        self.poll()

    def poll(self) -> None:
        """Read the job folder; called by the timer."""
        going = self._advance()
        if self.state.job:
            self.view = read_job(Path(self.state.job))
        ended = self.view is not None and self.view.state in ("finished", "failed", "stopped", "silent")
        if not going and (ended or self.chain is None):
            self.timer.stop()
        self._sync_job()

    def _advance(self) -> bool:
        if self.chain is None:
            return False
        try:
            going = self.chain.poll()
        except DamaError as error:
            self.chain = None
            self.failed.emit(error)
            return False
        if not going:
            code, log = self.chain.code, self.chain.log
            self.chain = None
            if code not in (0, 130, -15):
                said = last_words(log) or f"the process ended with code {code}"
                self.failed.emit(OutputError(f"Training ended early: {said} (all of it is in {log})"))
        return going

    def _sync_models(self) -> None:
        self.init_box.clear()
        self.init_box.addItem("nothing (random weights)", "random")
        for card in self.session.cards:
            self.init_box.addItem(card.name, card.name)
        self._sync()

    def _sync(self, event: object = None) -> None:
        self.kind_box.setCurrentIndex(max(self.kind_box.findData(self.state.kind), 0))
        self.init_box.setCurrentIndex(max(self.init_box.findData(self.state.init), 0))
        if not self.data_edit.hasFocus():
            self.data_edit.setText(self.state.data)
        self.data_edit.setPlaceholderText(
            "cells of the open slides" if self.state.kind == "pretrain" else "choose ..."
        )
        say(self.hint, _HINTS[self.state.kind])
        for key, box in self.numbers.items():
            blocked = box.blockSignals(True)
            box.setValue(int(getattr(self.state, key)))
            box.blockSignals(blocked)
        self._sync_job()

    def _sync_job(self) -> None:
        view, busy = self.view, self.chain is not None
        running = busy or (
            view is not None and view.state in ("running", "waiting") and self.timer.isActive()
        )
        self.start_button.setEnabled(not busy)
        self.stop_button.setVisible(running)
        if not running:
            self.stop_button.setEnabled(True)
        self.bar.setVisible(running)
        self.curve.setVisible(view is not None)
        self.use_button.setVisible(view is not None and view.model is not None)
        if self.chain is not None and not self.chain.is_last:
            self.bar.setRange(0, 0)
            say(self.job_text, "Finding cells and cutting crops of them ...")
        elif view is not None:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(view.share * 1000))
            self.curve.show_curve(view.steps, view.losses)
            if running and not self.stop_button.isEnabled():
                return
            say(self.job_text, f"{Path(self.state.job).name}: {view.text}")
        else:
            say(self.job_text, "")

    def _on_kind(self, index: int) -> None:
        self.state.kind = self.kind_box.itemData(index)

    def _on_init(self, index: int) -> None:
        self.state.init = self.init_box.itemData(index)

    def _on_data(self) -> None:
        self.state.data = self.data_edit.text().strip()

    def _on_browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Crop store, or folder of labelled slides")
        if folder:
            self.state.data = folder

    def _on_number(self, value: int) -> None:
        for key, box in self.numbers.items():
            if box.value() != getattr(self.state, key):
                setattr(self.state, key, box.value())

    def _on_watch(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Job folder")
        if folder:
            self.watch(Path(folder))

    def _on_use(self) -> None:
        if self.view is None or self.view.model is None:
            return
        try:
            name = put_on_shelf(self.view.model, user_folder())
        except DamaError as error:
            self.failed.emit(error)
            return
        self.session.refresh_models()
        self.model_offered.emit(name)

    def close_down(self) -> None:
        """Stop watching; the process goes on."""
        self.timer.stop()
        if self.chain is not None:
            self.chain.let_go()
        self.session.models_changed.disconnect(self._sync_models)
        self.session.slide_changed.disconnect(self._sync)
        self.state.events.disconnect(self._sync)


_HINTS = {
    "pretrain": "The model learns the look of your cells. It needs no labels, and many cells.",
    "types": "Needs a crop store whose cells have types (see 'napari-dama crops').",
    "segments": "Needs a folder with NAME.ome.tif and NAME_cells.tif pairs.",
}
_NUMBERS = (
    ("epochs", "Epochs", tooltips.TRAIN_EPOCHS, 1, 100_000),
    ("max_steps", "At most steps", tooltips.TRAIN_STEPS, 0, 10_000_000),
    ("batch_size", "Batch size", tooltips.TRAIN_BATCH, 1, 65_536),
    ("seed", "Seed", tooltips.TRAIN_SEED, 0, 2**31 - 1),
)
