"""Tab 5, *Train*: start a run, and below it every job of this machine, live; they go on without the window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFrame, QWidget
from superqt import QCollapsible

from napari_dama.errors import DamaError
from napari_dama.gui import tooltips
from napari_dama.gui.annotations import annotated_cells
from napari_dama.gui.cluster_dialog import ClusterDialog
from napari_dama.gui.jobs_panel import JobsPanel
from napari_dama.gui.layers import slides_in
from napari_dama.gui.outline_areas import outlined_areas
from napari_dama.gui.resolve import unused
from napari_dama.gui.run_choice import launcher, said_after, why_off
from napari_dama.gui.style import Tab
from napari_dama.gui.train_form import TrainForm
from napari_dama.gui.train_plan import TrainPlan, begin, put_on_shelf, resolve_train
from napari_dama.jobs.cluster import default_settings
from napari_dama.models.shelf import user_folder

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.session import Session
    from napari_dama.jobs.cluster import ClusterSettings
    from napari_dama.jobs.folder import JobView


class TrainTab(Tab):
    """The form and the jobs.

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
        self.form = TrainForm(viewer, session)
        self.jobs = JobsPanel(session.state.jobs)
        self.fold = QCollapsible("Start a run")
        self.fold.setToolTip(tooltips.TRAIN_MORE)
        self.fold.setDuration(0)
        self.fold.setFrameShape(QFrame.Shape.NoFrame)
        self.fold.setContent(self.form)
        for widget in (self.fold, self.fold.content()):
            layout = widget.layout()
            if layout is not None:
                layout.setContentsMargins(0, 0, 0, 0)
        self.fold.expand(animate=False)
        self.column.addWidget(self.fold)
        self.column.addWidget(self.jobs)
        self.column.addStretch()
        self.form.start_asked.connect(self.start)
        self.form.synced.connect(self._fit_fold)
        self.form.run_box.cluster_asked.connect(self.ask_cluster)
        self.form.run_box.hinted.connect(self._fit_fold)
        self.jobs.failed.connect(self.failed)
        self.jobs.noted.connect(self.noted)
        self.jobs.use_asked.connect(self._on_use)

    @property
    def base(self) -> Path:
        """Folder that jobs are put in: beside the slide, else the user's."""
        return self.session.path.parent if self.session.slide is not None else Path.home() / "napari-dama"

    def start(self) -> None:
        """Start the run in a process of its own."""
        channels = self.session.state.channels
        self.form.sync_annotations()
        try:
            plan = resolve_train(
                self.form.state,
                slides_in(self.viewer.layers),
                channels.chosen,
                channels.pixel_um,
                self.base,
                self.form.annotations,
                self.form.outlines,
            )
        except DamaError as error:
            self.failed.emit(error)
            return
        run, cluster = self.form.state.run, self.form.state.cluster
        self.jobs.act(lambda: self._begin(plan, run, cluster), self._on_started)

    def _begin(self, plan: TrainPlan, run: str, cluster: ClusterSettings | None) -> JobView:
        """In a thread: large label images take a moment to read, and so does a cluster to answer."""
        launch = launcher(run, cluster)
        layers = list(self.viewer.layers)
        if plan.outlines is not None:
            areas = outlined_areas(layers, plan.outlines.layer, plan.area, plan.outlines.slide)
            return begin(plan, None, launch, areas)
        if plan.annotation is None:
            return begin(plan, None, launch)
        found = plan.annotation
        layer = next(each for each in layers if each.name == found.layer)
        return begin(plan, annotated_cells(layer, found.column, layers, found.slide), launch)

    def _fit_fold(self) -> None:
        """Give the form the height that its rows need now; the fold measures only when it is opened."""
        if self.fold.isExpanded():
            self.fold.expand(animate=False)

    def _on_started(self, view: JobView) -> None:
        self.fold.collapse(animate=False)
        self.jobs.show_started(view)
        if text := said_after(view):
            self.noted.emit(text)

    def ask_cluster(self) -> None:
        """Show the cluster's settings and the script; what is accepted holds for the runs that are started next."""
        state = self.form.state
        try:
            settings = state.cluster or default_settings()
        except DamaError as error:
            self.failed.emit(error)
            return
        dialog = ClusterDialog(settings, unused(self.base / "dama_job"), why_off("cluster"), parent=self)
        if dialog.exec() and dialog.settings is not None:
            state.cluster = dialog.settings
            self.form.run_box.sync()
        dialog.deleteLater()

    def _on_use(self, model: Path) -> None:
        try:
            name = put_on_shelf(model, user_folder())
        except DamaError as error:
            self.failed.emit(error)
            return
        self.session.refresh_models()
        self.model_offered.emit(name)

    def close_down(self) -> None:
        """Stop watching; the jobs go on."""
        self.jobs.close_down()
        self.form.close_down()
