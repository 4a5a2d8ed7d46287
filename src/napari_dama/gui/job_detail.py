"""One job from near: what can be done with it, its curves, pictures, log and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from napari_dama.gui import tooltips
from napari_dama.gui.curve_plot import CurvePlot
from napari_dama.gui.jobs_plan import actions_of, facts_html, metric_rows, progress_words, verdict
from napari_dama.gui.preview_pane import PreviewPane
from napari_dama.gui.style import muted, narrow, say, wrapped

if TYPE_CHECKING:
    from napari_dama.gui.job_reader import JobData
    from napari_dama.gui.jobs_plan import InLine
    from napari_dama.gui.state import JobPage, JobsState
    from napari_dama.jobs.folder import JobView

PAGES: Final[tuple[JobPage, ...]] = ("curves", "pictures", "log", "about")


class JobDetail(QWidget):
    """Thin view of one job.

    Signals
    -------
    asked(action)
        A button was pressed: ``stop``, ``resume``, ``delete``, ``folder``, ``use``, ``open``, ``earlier`` or ``later``.
    """

    asked = QtSignal(str)

    def __init__(self, state: JobsState, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = state
        self.view: JobView | None = None
        self.data: JobData | None = None
        self._build()
        state.events.page.connect(self._sync_page)
        state.events.log_axis.connect(self._sync_axis)
        self._sync_page()
        self._sync_axis()
        self.show_job(None, None)

    def _build(self) -> None:
        self.name = wrapped(QLabel())
        self.name.setStyleSheet("font-weight: bold;")
        self.words = muted(QLabel())
        self.verdict = muted(QLabel())
        self.buttons: dict[str, QPushButton] = {}
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        for index, (key, title, tip) in enumerate(_BUTTONS):
            button = narrow(QPushButton(title), tip)
            button.setProperty("action", key)
            button.clicked.connect(self._on_button)
            self.buttons[key] = button
            if key in IN_LINE:
                grid.addWidget(button, 1, IN_LINE.index(key))
            elif key not in ("use", "open"):
                grid.addWidget(button, 0, index)
        self.losses = CurvePlot("loss")
        self.scores = CurvePlot("score")
        self.log_box = QCheckBox("Logarithmic loss axis")
        self.log_box.setToolTip(tooltips.LOG_AXIS)
        self.no_curves = muted(QLabel())
        self.previews = PreviewPane()
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        self.log.setMinimumSize(60, 260)
        self.about = wrapped(QLabel())
        self.about.setTextFormat(Qt.TextFormat.RichText)
        self.about.setAlignment(Qt.AlignmentFlag.AlignTop)
        # a tab widget would be as high as its highest page, whichever is seen
        self.tabs = QTabBar()
        self.tabs.setUsesScrollButtons(False)
        self.tabs.setElideMode(Qt.TextElideMode.ElideNone)
        self.tabs.setExpanding(False)
        self.tabs.setDrawBase(False)
        self.pages: list[QWidget] = []
        curves = (self.no_curves, self.log_box, self.losses, self.scores)
        for title, widgets in (
            ("Curves", curves),
            ("Pictures", (self.previews,)),
            ("Log", (self.log,)),
            ("About", (self.about,)),
        ):
            self.tabs.addTab(title)
            self.pages.append(_column(*widgets))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.name, self.words, self.verdict, self.buttons["use"], self.buttons["open"]):
            layout.addWidget(widget)
        layout.addLayout(grid)
        layout.addWidget(self.tabs)
        for page in self.pages:
            layout.addWidget(page)
        layout.addStretch()
        self.tabs.currentChanged.connect(self._on_page)
        self.log_box.toggled.connect(self._on_axis)

    def show_job(self, view: JobView | None, data: JobData | None) -> None:
        """Show a job, or nothing."""
        other = self.view is None or view is None or view.path != self.view.path
        self.view, self.data = view, data
        self.setVisible(view is not None)
        if view is None:
            return
        self.name.setText(view.name)
        doing = data.doing if data is not None else ""
        say(self.words, doing or (progress_words(view) if view.why else ""))  # the rest stands in the list
        actions = actions_of(view, has_model=view.model is not None)
        for key, button in self.buttons.items():
            if key not in IN_LINE:
                button.setEnabled(getattr(actions, key))
        self.buttons["stop"].setVisible(view.going)
        self.buttons["stop"].setText("Stop")
        self.buttons["stop"].setToolTip(tooltips.JOB_STOP)
        self.buttons["resume"].setVisible(not view.going)
        self.buttons["use"].setVisible(actions.use)
        self.buttons["open"].setVisible(actions.open)
        self.buttons["open"].setText("Show the cells so far" if view.going else "Open the result")
        waits = view.state == "waiting"
        self.buttons["stop"].setText("Cancel" if waits else "Stop")
        self.buttons["stop"].setToolTip(tooltips.JOB_CANCEL if waits else tooltips.JOB_STOP)
        if not waits:
            self.show_line(None)
        self._show_kind(view)
        self._show_verdict(view, data)
        if actions.now:
            self.buttons["stop"].setText("End now")
            self.buttons["stop"].setToolTip(tooltips.CLUSTER_CANCEL)
        if data is None:
            return
        self._show_curves(data)
        self.previews.show_previews(data.previews, data.confusion, expected=data.pictures)
        self._show_log(data.log, jump=other)
        rows = metric_rows(view.best, data.parent)
        about = facts_html(data.settings, view, rows, data.parent_name, data.notes)
        if about != self.about.text():
            self.about.setText(about)

    def show_line(self, line: InLine | None) -> None:
        """Offer to change places in the line, where the job stands in one with others."""
        for key, others in (("earlier", line.before if line else 0), ("later", line.behind if line else 0)):
            self.buttons[key].setVisible(line is not None and line.before + line.behind > 0)
            self.buttons[key].setEnabled(others > 0)

    def _show_kind(self, view: JobView) -> None:
        """An analysis counts tiles, and has no pictures."""
        analysis = view.kind == "analyse"
        self.tabs.setTabVisible(PAGES.index("pictures"), not analysis)
        if analysis and self.state.page == "pictures":
            self.state.page = "curves"
        self.losses.set_title("cells found" if analysis else "loss", view.unit.removesuffix("s"))

    def _show_verdict(self, view: JobView, data: JobData | None) -> None:
        text = ""
        if view.state == "finished" and data is not None:
            text = verdict(view.best, data.parent, data.parent_name)
        worse = text.startswith("Worse")
        self.verdict.setProperty("worse", worse)
        say(self.verdict, f"<b>{text}</b>" if worse else text)

    def _show_curves(self, data: JobData) -> None:
        self.losses.setVisible(bool(data.losses))
        analysis = self.view is not None and self.view.kind == "analyse"
        self.log_box.setVisible(bool(data.losses) and not analysis)
        self.losses.set_log(self.state.log_axis and not analysis)
        self.scores.setVisible(bool(data.scores))
        unit = "tile" if analysis else "steps"
        say(self.no_curves, "" if data.losses else f"The curves begin with the first {unit}.")
        self.losses.show_curves(data.losses)
        self.scores.set_title(data.score_title, "tile" if analysis else "step")
        self.scores.show_curves(data.scores)

    def _show_log(self, text: str, *, jump: bool) -> None:
        if text == self.log.toPlainText():
            return
        bar = self.log.verticalScrollBar()
        at_end = jump or bar is None or bar.value() >= bar.maximum() - 4
        place = 0 if bar is None else bar.value()
        self.log.setPlainText(text)
        if bar is not None:
            bar.setValue(bar.maximum() if at_end else place)

    def _sync_page(self) -> None:
        seen = PAGES.index(self.state.page)
        self.tabs.setCurrentIndex(seen)
        for index, page in enumerate(self.pages):
            page.setVisible(index == seen)

    def _sync_axis(self) -> None:
        self.log_box.setChecked(self.state.log_axis)
        self.losses.set_log(self.state.log_axis)

    def _on_page(self, index: int) -> None:
        self.state.page = PAGES[index]

    def _on_axis(self, on: bool) -> None:
        self.state.log_axis = on

    def _on_button(self) -> None:
        sender = self.sender()
        if sender is not None:
            self.asked.emit(str(sender.property("action")))

    def close_down(self) -> None:
        """Stop listening."""
        self.state.events.page.disconnect(self._sync_page)
        self.state.events.log_axis.disconnect(self._sync_axis)


def _column(*widgets: QWidget) -> QWidget:
    page = QWidget()
    layout = QVBoxLayout(page)
    layout.setContentsMargins(0, 4, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    layout.addStretch()
    return page


_BUTTONS = (
    ("stop", "Stop", tooltips.JOB_STOP),
    ("resume", "Resume", tooltips.JOB_RESUME),
    ("folder", "Folder", tooltips.JOB_FOLDER),
    ("delete", "Delete", tooltips.JOB_DELETE),
    ("use", "Use this model", tooltips.TRAIN_USE),
    ("open", "Open the result", tooltips.JOB_OPEN),
    ("earlier", "Earlier", tooltips.JOB_EARLIER),
    ("later", "Later", tooltips.JOB_LATER),
)
IN_LINE = ("earlier", "later")
