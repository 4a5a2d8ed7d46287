"""Analyses as jobs in the dock: started from one tab, listed in another, their cells shown in a third."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_dama.errors import DamaError
from napari_dama.gui.analyse_plan import begin_job
from napari_dama.gui.layers import slides_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.gui.dock import DamaDock
    from napari_dama.jobs.analysis import AnalyseSettings
    from napari_dama.jobs.folder import JobView


class BackgroundRuns:
    """Brings the tabs together; one per dock.

    Attributes
    ----------
    following : str
        Folder of the job whose cells are shown as they come, empty for none.
    """

    def __init__(self, dock: DamaDock) -> None:
        self.dock = dock
        self.jobs = dock.train.jobs
        self.following = ""
        dock.analyse.job_asked.connect(self.start)
        dock.analyse.background.show_asked.connect(self._on_show)
        self.jobs.looked.connect(self._on_looked)
        self.jobs.result_asked.connect(self._on_result_asked)
        self.jobs.failed.connect(dock.analyse.refresh)

    def start(self, settings: AnalyseSettings, wait: bool) -> None:
        """Start an analysis in a process of its own."""
        if self.jobs.acting is not None:
            return
        self.dock.analyse.run.setEnabled(False)  # until it is known whether it began
        self.jobs.start(partial(begin_job, settings, wait=wait), self._on_started)

    def _on_started(self, view: JobView) -> None:
        self.following = str(view.path)
        self.dock.analyse.job_started()
        self._on_looked(self.jobs.views)

    def _on_looked(self, views: Sequence[JobView]) -> None:
        strip = self.dock.analyse.background
        strip.show_jobs(views)
        self.jobs.followed = strip.busy
        view = next((each for each in views if str(each.path) == self.following), None)
        if view is None:
            return
        if view.going:
            self._show_live(view)
            return
        self.following = ""
        if view.result is not None and view.state in ("finished", "stopped"):
            seen = list(self.dock.named_tabs.values())[self.dock.tabs.currentIndex()]
            self._open(view, turn=seen is self.dock.analyse)
            self.dock.message.show_note(f"{view.name}: {_END[view.state]}")

    def _show_live(self, view: JobView) -> None:
        """Show the cells so far, unless the user took that layer away or an analysis of this window has its place."""
        live = self.dock.results.live
        if live is not None and live not in self.dock.viewer.layers:
            self.following = ""
            self.dock.results.live = None
        elif view.result is not None and view.step and self.dock.analyse.work is None:
            self.dock.results.show_live(str(view.result))

    def _on_result_asked(self, view: JobView) -> None:
        if view.result is None:
            return
        if not view.going:
            self._open(view, turn=True)
            return
        try:
            self._open_slide(view)
        except (DamaError, OSError, ValueError) as error:
            self.dock.message.show_error(error)
            return
        self.following = str(view.path)  # its cells come as soon as its slide is there
        self.dock.results.show_live(str(view.result))

    def _open(self, view: JobView, *, turn: bool) -> None:
        self.dock.results.open_folder(str(view.result))
        if turn and self.dock.results.has_result:
            self.dock.show_tab(self.dock.results)

    def _open_slide(self, view: JobView) -> None:
        from napari_dama.jobs.process import read_settings

        slide = str(getattr(read_settings(view.path), "slide", ""))
        if slide and slide not in slides_in(self.dock.viewer.layers):
            self.dock.open_slide(slide)

    def _on_show(self, path: str) -> None:
        self.dock.state.jobs.selected = path
        self.dock.train.fold.collapse(animate=False)
        self.dock.show_tab(self.dock.train)


_END = {
    "finished": "the analysis is finished.",
    "stopped": "the analysis was stopped; finished tiles are kept.",
}
