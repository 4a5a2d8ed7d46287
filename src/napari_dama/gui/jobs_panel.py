"""The jobs of this machine: list, the chosen one from near, and what is done with it. Folders are read in a thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, QUrl
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.job_detail import JobDetail
from napari_dama.gui.job_reader import JobReader
from napari_dama.gui.jobs_list import JobsList
from napari_dama.gui.jobs_plan import in_line, own_line, row_of
from napari_dama.gui.style import heading, narrow
from napari_dama.gui.work import Work
from napari_dama.jobs import process, queue, shelf, submission

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dama.gui.job_reader import JobData
    from napari_dama.gui.state import JobsState
    from napari_dama.jobs.folder import JobView
    from napari_dama.jobs.queue import Ticket

POLL_MS = 1000
IDLE_MS = 4000
HIDDEN_MS = 10_000


class JobsPanel(QWidget):
    """Thin view of ``state.jobs`` and of the jobs' folders.

    Signals
    -------
    failed(error), noted(text)
        For the message area.
    use_asked(model)
        The user wants the finished model in this folder.
    looked(jobs)
        All jobs as they were read just now.
    result_asked(job)
        The user wants to see the cells of an analysis.
    """

    failed = QtSignal(object)
    noted = QtSignal(str)
    use_asked = QtSignal(object)
    looked = QtSignal(object)
    result_asked = QtSignal(object)

    def __init__(self, state: JobsState, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = state
        self.views: list[JobView] = []
        self.reader: JobReader | None = None
        self.reading: Work | None = None
        self.acting: Work | None = None
        self._again = False
        self.followed = False
        """Whether somebody else shows these jobs, too, so that they are looked at often while this is hidden."""
        self.timer = QTimer(self)
        self.timer.setInterval(POLL_MS)
        self.timer.timeout.connect(self.poll)
        self.list = JobsList()
        self.detail = JobDetail(state)
        self.add_button = narrow(QPushButton("Add a job folder..."), tooltips.JOB_ADD)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(heading("Jobs"))
        layout.addWidget(self.list)
        layout.addWidget(self.detail)
        layout.addWidget(self.add_button)
        self.list.chosen.connect(self._on_chosen)
        self.detail.asked.connect(self._on_asked)
        self.add_button.clicked.connect(self._on_add)
        state.events.selected.connect(self._on_selected)
        self.timer.start()
        self.poll()

    @property
    def view(self) -> JobView | None:
        """The chosen job as it was read last."""
        return next((view for view in self.views if str(view.path) == self.state.selected), None)

    def poll(self) -> None:
        """Look at the folders, in a thread; while one look is under way no other begins."""
        if self.reading is not None:
            self._again = True
            return
        selected = self.state.selected
        if selected and (self.reader is None or str(self.reader.path) != selected):
            self.reader = JobReader(Path(selected))
        self.reading = Work(_Look(self.reader if selected else None), self)
        self.reading.finished.connect(self._on_read)
        self.reading.failed.connect(self._on_read_failed)
        self.reading.start()

    def act(self, what: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do something to a job in a thread, then look again; one at a time."""
        if self.acting is not None:
            return
        self.noted.emit("")
        self.acting = Work(lambda report, stop: what(), self)
        self.acting.finished.connect(self._on_acted)
        self.acting.finished.connect(done)
        self.acting.failed.connect(self._on_act_failed)
        self.acting.start()

    def _on_read(self, found: tuple[list[JobView], list[Ticket], JobData | None]) -> None:
        self.reading = None
        views, line, data = found
        self.views = in_line(views, line)
        self.looked.emit(self.views)
        if self.view is None and self.views:
            # a job that runs is what one comes back for
            self.state.selected = str(self.views[0].path)
        elif self.view is None:
            self.state.selected = ""
        current = data if data is not None and str(data.path) == self.state.selected else None
        self.list.show_rows([row_of(view) for view in self.views], self.state.selected)
        if current is not None or self.view is None or self.detail.view is None:
            self.detail.show_job(self.view, current)
        self.detail.show_line(own_line(self.view, line))
        going = any(view.going for view in self.views)
        seen = self.isVisible() or (self.followed and going)
        self.timer.setInterval(HIDDEN_MS if not seen else POLL_MS if going else IDLE_MS)
        if self._again or (current is None and self.view is not None):
            self._again = False
            self.poll()

    def _on_read_failed(self, error: Exception) -> None:
        self.reading = None
        self._again = False
        self.failed.emit(error)

    def _on_acted(self, result: object) -> None:
        self.acting = None
        self.poll()

    def _on_act_failed(self, error: Exception) -> None:
        self.acting = None
        self.failed.emit(error)
        self.poll()

    def _on_chosen(self, path: str) -> None:
        self.state.selected = path

    def _on_selected(self) -> None:
        self.detail.show_job(self.view, None)
        self.poll()

    def _on_asked(self, action: str) -> None:
        view = self.view
        if view is not None:
            getattr(self, f"_{action}")(view)

    def _stop(self, view: JobView) -> None:
        again = view.slurm and view.state == "stopping"
        stop = submission.cancel_now if again else process.request_stop
        self.act(lambda: stop(view.path), _nothing)

    def _resume(self, view: JobView) -> None:
        self.act(lambda: process.resume(view.path), _nothing)

    def _earlier(self, view: JobView) -> None:
        self.act(lambda: queue.move(view.path, earlier=True), _nothing)

    def _later(self, view: JobView) -> None:
        self.act(lambda: queue.move(view.path, earlier=False), _nothing)

    def _open(self, view: JobView) -> None:
        self.result_asked.emit(view)

    def _delete(self, view: JobView) -> None:
        what = "with its settings, curves, checkpoints and model"
        if view.kind == "analyse":
            what = "with its settings and log (the cells that it found stay)"
        text = f"Delete {view.name} {what}?\n\n{view.path}"
        if QMessageBox.question(self, "Delete the job", text) == QMessageBox.StandardButton.Yes:
            self.act(lambda: process.delete(view.path), _nothing)

    def _folder(self, view: JobView) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(view.path)))

    def _use(self, view: JobView) -> None:
        if view.model is not None:
            self.use_asked.emit(view.model)

    def _on_add(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Job folder")
        if folder:
            self.add(Path(folder))

    def add(self, folder: Path) -> None:
        """Put a job that stands somewhere on the list, and look at it."""
        self.act(lambda: _known(folder), self.show_started)

    def start(self, begin: Callable[[], JobView], done: Callable[[JobView], None]) -> None:
        """Start a job in a thread, look at it, and tell ``done``."""

        def started(view: JobView) -> None:
            self.show_started(view)
            done(view)

        self.act(begin, started)

    def show_started(self, view: JobView) -> None:
        """Look at a job that was just started or added."""
        self.views = [view, *(other for other in self.views if other.path != view.path)]
        self.state.selected = str(view.path)

    def showEvent(self, event: Any) -> None:
        """Look again at once when the tab is turned to."""
        super().showEvent(event)
        self.timer.setInterval(POLL_MS)
        self.poll()

    def close_down(self) -> None:
        """Stop watching; the jobs go on."""
        self.timer.stop()
        for work in (self.reading, self.acting):
            if work is not None:
                work.let_go()
        self.state.events.selected.disconnect(self._on_selected)
        self.detail.close_down()


class _Look:
    """Reads all jobs and the chosen one; runs in a thread."""

    def __init__(self, reader: JobReader | None) -> None:
        self.reader = reader

    def __call__(self, report: Any, stop: Any) -> tuple[list[JobView], list[Ticket], JobData | None]:
        views = shelf.list_jobs()
        line = queue.list_queue() if any(view.state == "waiting" for view in views) else []
        there = self.reader is not None and any(view.path == self.reader.path for view in views)
        return views, line, self.reader.read() if self.reader is not None and there else None


def _known(folder: Path) -> JobView:
    """Read a job's folder, or that in an analysis' result, and keep it on the list."""
    from napari_dama.jobs.analysis import job_folder
    from napari_dama.jobs.folder import read_job

    inside = job_folder(folder.absolute())
    view = read_job(inside if inside.is_dir() else folder.absolute())
    shelf.remember(view.path)
    return view


def _nothing(result: object) -> None:
    """Need not do anything: the next look shows it."""
