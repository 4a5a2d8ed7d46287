"""Tab 2, *Analyse*: what, where and to which folder; then run, watch and cancel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QWidget,
)

from napari_dama.errors import DamaError, Interrupted, SettingsError
from napari_dama.gui import tooltips
from napari_dama.gui.analyse_plan import (
    RUNS,
    AnalysePlan,
    job_settings,
    kept_text,
    progress_share,
    progress_text,
    resolve_analyse,
    run_hint,
)
from napari_dama.gui.background import BackgroundStrip
from napari_dama.gui.device_box import DeviceBox
from napari_dama.gui.layers import layers_of
from napari_dama.gui.place import shape_region, view_region
from napari_dama.gui.quiet import load_torch
from napari_dama.gui.resolve import area_sentence
from napari_dama.gui.style import Tab, beside, muted, narrow, say
from napari_dama.gui.work import Report, Stop, Work
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.session import Session

REGIONS = {"whole": "Whole slide", "view": "What the window shows", "shape": "Selected shape"}


class AnalyseTab(Tab):
    """Thin view of ``state.analyse``.

    Signals
    -------
    analysed(folder)
        A result folder was finished, or cancelled with something in it.
    tile_done(folder)
        Another tile of a running analysis was written.
    job_asked(settings, wait)
        An analysis is to run as a job, at once or when its device is free.
    """

    analysed = QtSignal(str)
    tile_done = QtSignal(str)
    job_asked = QtSignal(object, bool)

    def __init__(self, viewer: napari.Viewer, session: Session, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session
        self.work: Work | None = None
        self.out: Path | None = None
        self.settings: dict[str, Any] = {}
        self._build()
        session.plan_changed.connect(self._sync)
        session.slide_changed.connect(self._on_slide)
        session.state.analyse.events.connect(self._sync)
        self._sync()

    def _build(self) -> None:
        self.region_box = narrow(QComboBox(), tooltips.REGION_WHOLE)
        for key, (title, tip) in zip(REGIONS, zip(REGIONS.values(), _REGION_TIPS, strict=True), strict=True):
            self.region_box.addItem(title, key)
            self.region_box.setItemData(self.region_box.count() - 1, tip, 3)
        self.area = muted(QLabel())
        self.device_box = DeviceBox()
        self.types_box = QCheckBox("Tell cell types")
        self.types_box.setToolTip(tooltips.TYPES)
        self.types_reason = muted(QLabel())
        self.out_edit = narrow(QLineEdit(), tooltips.OUT)
        self.browse = QPushButton("...")
        self.browse.setFixedWidth(32)
        self.browse.setToolTip(tooltips.BROWSE)
        self.run_box = narrow(QComboBox(), tooltips.ANALYSE_RUN)
        for (key, title), tip in zip(RUNS.items(), _RUN_TIPS, strict=True):
            self.run_box.addItem(title, key)
            self.run_box.setItemData(self.run_box.count() - 1, tip, 3)
        self.run_note = muted(QLabel())
        self.background = BackgroundStrip()
        self.run = QPushButton("Find cells")
        self.run.setToolTip(tooltips.RUN)
        self.run.setMinimumHeight(32)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip(tooltips.CANCEL)
        self.resume = QPushButton("Go on")
        self.resume.setToolTip(tooltips.RESUME)
        self.resume.setVisible(False)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.status = muted(QLabel())
        self.blocker = muted(QLabel())
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Where", self.region_box)
        form.addRow("Device", self.device_box)
        form.addRow("Result", beside(self.out_edit, self.browse))
        form.addRow("Run", self.run_box)
        self.column.addLayout(form)
        self.column.addWidget(self.area)
        self.column.addWidget(self.types_box)
        self.column.addWidget(self.types_reason)
        self.column.addWidget(self.run_note)
        self.column.addWidget(self.blocker)
        self.column.addLayout(beside(self.run, self.cancel, self.resume))
        self.column.addWidget(self.bar)
        self.column.addWidget(self.status)
        self.column.addWidget(self.background)
        self.column.addStretch()
        self.run_box.activated.connect(self._on_run_chosen)
        self.region_box.activated.connect(self._on_region)
        self.device_box.chosen.connect(self._on_device)
        self.device_box.failed.connect(self.failed.emit)
        self.types_box.toggled.connect(self._on_types)
        self.out_edit.editingFinished.connect(self._on_out)
        self.browse.clicked.connect(self._on_browse)
        self.run.clicked.connect(self.start)
        self.resume.clicked.connect(self.go_on)
        self.cancel.clicked.connect(self._on_cancel)

    @property
    def plan(self) -> AnalysePlan:
        """What a click on *Find cells* would do now."""
        return resolve_analyse(self.session.state.analyse, self.session)

    def region(self) -> Region | None:
        """Return the region that is asked for, None for the whole slide.

        Raises
        ------
        SettingsError
            When the view or the shape does not lie on the slide, or no shape is selected.
        """
        slide, kind = self.session.slide, self.session.state.analyse.region
        if slide is None or kind == "whole":
            return None
        layers = layers_of(self.viewer.layers, "marker", self.session.state.slide)
        if not layers:
            raise SettingsError("The slide's layers are no longer in the window: open the slide again.")
        shape_yx = (slide.shape[1], slide.shape[2])
        return (
            view_region(layers, shape_yx)
            if kind == "view"
            else shape_region(self.viewer, layers[0], shape_yx)
        )

    def start(self) -> None:
        """Run the analysis in a thread."""
        plan = self.plan
        if not plan.ready or plan.out is None or self.work is not None:
            return
        try:
            region = self.region()
        except DamaError as error:
            self.failed.emit(error)
            return
        if self.session.state.analyse.run != "window":
            self._start_job(plan, region)
            return
        self.out, self.settings = plan.out, plan.arguments(region)
        self._launch(resume=False)

    def _start_job(self, plan: AnalysePlan, region: Region | None) -> None:
        slide = self.session.slide
        if slide is None:
            return
        try:
            settings = job_settings(plan, self.session.path, slide.markers, region)
        except DamaError as error:
            self.failed.emit(error)
            return
        self.job_asked.emit(settings, self.session.state.analyse.run == "queue")

    def refresh(self, event: object = None) -> None:
        """Show again what can be done."""
        self._sync()

    def job_started(self) -> None:
        """Make ready for the next one: the result's folder is taken."""
        self.session.state.analyse.out = ""
        self._sync()

    def go_on(self) -> None:
        """Go on with the run that was cancelled, with the settings that it had."""
        if self.work is None and self.out is not None:
            self._launch(resume=True)

    def _launch(self, *, resume: bool) -> None:
        slide, out, settings = self.session.reopen(), self.out, self.settings
        if out is None:
            return

        def task(progress: Report, stop: Stop) -> Any:
            load_torch()
            from napari_dama.predict.analyse import analyse

            with slide:
                return analyse(slide, out, live=True, progress=progress, stop=stop, resume=resume, **settings)

        self.noted.emit("")
        self.work = Work(task, self)
        self.work.progressed.connect(self._on_progress)
        self.work.finished.connect(self._on_finished)
        self.work.failed.connect(self._on_failed)
        self.status.setText("Starting: measuring the slide and loading the model.")
        self.bar.setRange(0, 0)
        self._sync()
        self.work.start()

    def _on_progress(self, progress: Any) -> None:
        share = progress_share(progress)
        self.bar.setRange(0, 0 if share is None else 1000)
        if share is not None:
            self.bar.setValue(round(share * 1000))
        if self.work is not None and not self.work.cancelled:
            self.status.setText(progress_text(progress))
        if progress.stage == "tiles" and progress.done and self.out is not None:
            self.tile_done.emit(str(self.out))

    def _on_finished(self, result: Any) -> None:
        self._end()
        self.status.setText(f"Done. Cells, table and record are in {result.path}")
        self.analysed.emit(str(result.path))

    def _on_failed(self, error: Exception) -> None:
        self._end()
        if isinstance(error, Interrupted) and self.out is not None:
            self.status.setText(kept_text(self.out))
            self.resume.setVisible((self.out / "run.json").exists())
            if self.resume.isVisibleTo(self):
                self.analysed.emit(str(self.out))
            return
        self.status.setText("Not finished.")
        self.failed.emit(error)

    def _end(self) -> None:
        self.work = None
        self.bar.setRange(0, 1000)
        self.bar.setValue(0)
        self.session.state.analyse.out = ""
        self._sync()

    def _on_cancel(self) -> None:
        if self.work is not None:
            self.work.cancel()
            self.status.setText("Stopping after this tile; what is finished is kept.")

    def _sync(self, event: object = None) -> None:
        state, plan = self.session.state.analyse, self.plan
        busy = self.work is not None
        self.region_box.setCurrentIndex(max(self.region_box.findData(state.region), 0))
        self.device_box.show_device(state.device)
        blocked = self.types_box.blockSignals(True)
        self.types_box.setChecked(plan.types)
        self.types_box.blockSignals(blocked)
        self.types_box.setEnabled(plan.types_possible and not busy)
        say(self.types_reason, "" if plan.types_possible else plan.types_reason)
        say(self.blocker, plan.blocker)
        self.out_edit.setText("" if plan.out is None else str(plan.out))
        self.out_edit.setCursorPosition(len(self.out_edit.text()))
        self.run_box.setCurrentIndex(max(self.run_box.findData(state.run), 0))
        self.run.setEnabled(plan.ready and not busy)
        self.cancel.setVisible(busy)
        self.bar.setVisible(busy)
        if busy:
            self.resume.setVisible(False)
        for widget in (self.region_box, self.device_box, self.out_edit, self.browse, self.run_box):
            widget.setEnabled(not busy)
        self._sync_area()

    def _sync_area(self) -> None:
        slide = self.session.slide
        if slide is None:
            self.area.setText("")
            say(self.run_note, "")
            return
        try:
            region = self.region() or Region.whole((slide.shape[1], slide.shape[2]))
        except SettingsError as error:
            self.area.setText(str(error))
            say(self.run_note, "")
        else:
            say(self.run_note, run_hint(self.session.state.analyse.run, region))
            self.area.setText(area_sentence(region, self.session.pixel.pixel_um))

    def _on_slide(self) -> None:
        self.resume.setVisible(False)
        self.session.state.analyse.out = ""
        self._sync()

    def _on_region(self, index: int) -> None:
        self.session.state.analyse.region = self.region_box.itemData(index)
        self.region_box.setToolTip(_REGION_TIPS[index])
        self._sync_area()

    def _on_device(self, device: str) -> None:
        self.session.state.analyse.device = device

    def _on_types(self, wanted: bool) -> None:
        self.session.state.analyse.types = wanted

    def _on_run_chosen(self, index: int) -> None:
        self.session.state.analyse.run = self.run_box.itemData(index)

    def _on_out(self) -> None:
        self.session.state.analyse.out = self.out_edit.text().strip()

    def _on_browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder to put the result folder in")
        if folder and self.plan.out is not None:
            self.session.state.analyse.out = str(Path(folder) / self.plan.out.name)

    def close_down(self) -> None:
        """Cancel what runs and let go of the session."""
        self.device_box.close_down()
        if self.work is not None:
            self.work.let_go()
        self.session.plan_changed.disconnect(self._sync)
        self.session.slide_changed.disconnect(self._on_slide)
        self.session.state.analyse.events.disconnect(self._sync)


_RUN_TIPS = (tooltips.RUN_WINDOW, tooltips.ANALYSE_NOW, tooltips.RUN_QUEUE)
_REGION_TIPS = (tooltips.REGION_WHOLE, tooltips.REGION_VIEW, tooltips.REGION_SHAPE)
