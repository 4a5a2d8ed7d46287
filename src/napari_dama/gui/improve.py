"""Section *Improve the model*: learn from the corrections in one press, see before and after, take it or leave it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QFrame,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_dama.errors import Interrupted, JobError
from napari_dama.gui import tooltips
from napari_dama.gui.confusion import ConfusionView
from napari_dama.gui.improve_outlines import OutlinesOutcome
from napari_dama.gui.improve_plan import ENDED, Look, Outcome, job_for, look_at, resolve_start
from napari_dama.gui.quiet import load_torch
from napari_dama.gui.style import beside, heading, muted, narrow, wrapped
from napari_dama.gui.work import Report, Stop, Work
from napari_dama.jobs import improvement, process

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dama.gui.annotate import Found
    from napari_dama.gui.results_tab import ResultsTab
    from napari_dama.gui.session import Session

POLL_MS = 500
VERDICT_COLOURS = {"better": "#2e9f5b", "worse": "#e5534b", "open": ""}


class ImprovePanel(QWidget):
    """Thin view of the corrections of the open result, and of the job that learns from them.

    Signals
    -------
    accepted(name)
        An improved model is on the shelf.
    failed(error), noted(text)
        For the message area.
    """

    accepted = QtSignal(str)
    failed = QtSignal(object)
    noted = QtSignal(str)

    def __init__(self, session: Session, results: ResultsTab, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.results = results
        self.annotator = session.annotator
        self.job: Path | None = None
        self.look: Look | None = None
        self.work: Work | None = None
        self.reading: Work | None = None
        self.doing = ""
        self.options: dict[str, Any] = {}  # further settings of the job, for scripts
        self._of: Found | None = None  # the opening of a result whose jobs were looked for
        self._build()
        self.timer = QTimer(self)
        self.timer.setInterval(POLL_MS)
        self.timer.timeout.connect(self._poll)
        self.soon = QTimer(self)
        self.soon.setSingleShot(True)
        self.soon.setInterval(150)
        self.soon.timeout.connect(self.sync)
        self.annotator.changed.connect(self._on_changed)
        session.plan_changed.connect(self._on_changed)
        self.sync()

    def _build(self) -> None:
        self.counts = muted(QLabel())
        self.blocker = wrapped(QLabel())
        self.hint = muted(QLabel())
        self.encoder = QCheckBox("The whole network learns")
        self.encoder.setToolTip(tooltips.IMPROVE_ENCODER)
        self.pseudo = QCheckBox("Use sure unreviewed cells")
        self.pseudo.setToolTip(tooltips.IMPROVE_PSEUDO)
        self.start = narrow(QPushButton("Improve with my corrections"), tooltips.IMPROVE_START)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.state = muted(QLabel())
        self.cancel = narrow(QPushButton("Cancel"), tooltips.IMPROVE_CANCEL)
        self.headline = wrapped(QLabel())
        self.sentence = wrapped(QLabel())
        self.table = QLabel()
        self.table.setToolTip(tooltips.IMPROVE_TABLE)
        self.before, self.after = ConfusionView(), ConfusionView()
        matrices = QWidget()
        column = QVBoxLayout(matrices)
        column.setContentsMargins(0, 0, 0, 0)
        for title, view in (("Before", self.before), ("After", self.after)):
            column.addWidget(muted(QLabel(f"{title}: rows are what you say, columns what the model says")))
            column.addWidget(view)
        self.fold = QCollapsible("What is taken for what")
        self.fold.setDuration(0)
        self.fold.setFrameShape(QFrame.Shape.NoFrame)
        self.fold.setContent(matrices)
        for inside in (self.fold.layout(), self.fold.content().layout()):
            if inside is not None:
                inside.setContentsMargins(0, 0, 0, 0)
        self.fold.collapse(animate=False)
        self.sampling = muted(QLabel())
        self.take_types = QCheckBox("Take the types")
        self.take_types.setToolTip(tooltips.IMPROVE_TAKE)
        self.outlines = OutlinesOutcome(VERDICT_COLOURS)
        self.missing = muted(QLabel())
        self.name = narrow(QLineEdit(), tooltips.IMPROVE_NAME)
        self.anew = QCheckBox("Tell unreviewed cells anew")
        self.anew.setToolTip(tooltips.IMPROVE_ANEW)
        self.anew.setChecked(True)
        self.accept = narrow(QPushButton("Accept"), tooltips.IMPROVE_ACCEPT)
        self.discard = narrow(QPushButton("Discard"), tooltips.IMPROVE_DISCARD)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        self.begin = [self.counts, self.blocker, self.hint, self.encoder, self.pseudo, self.start]
        self.going = [self.progress, self.state, self.cancel]
        self.of_types = [self.headline, self.sentence, self.table, self.fold, self.sampling, self.take_types]
        self.done = [*self.of_types, self.outlines, self.missing, self.name, self.anew]
        layout.addWidget(heading("Improve the model"))
        for widget in [*self.begin, *self.going, *self.done]:
            layout.addWidget(widget)
        layout.addLayout(beside(self.accept, self.discard))
        self.start.clicked.connect(self.improve)
        self.take_types.toggled.connect(self._sync_taking)
        self.outlines.take.toggled.connect(self._sync_taking)
        self.cancel.clicked.connect(self.stop)
        self.accept.clicked.connect(self.take)
        self.discard.clicked.connect(self.leave)

    # -- which job ---------------------------------------------------------------------------------------------

    def _on_changed(self) -> None:
        self.soon.start()

    def sync(self) -> None:
        """Show what there is; where another result was opened, look for a job of it that waits for an answer."""
        result = self.results.result
        found = self.annotator.found if self.annotator.is_open else None
        if found is not self._of:
            self._of = found
            self._let_go()
            if found is not None and result is not None:
                self._find(result.path)
        outcome = None if self.look is None else self.look.outcome
        running = None if self.look is None else self.look.running
        ended = running is not None and running.state in ENDED
        waits = self.job is not None or bool(self.doing)
        self._sync_start(shown=not waits)
        for widget in self.going:
            widget.setVisible((waits and outcome is None) or bool(self.doing))
        self.cancel.setVisible(waits and not ended and (outcome is None or self.doing == "tell"))
        self.progress.setVisible(waits and not ended and (outcome is None or bool(self.doing)))
        for widget in [*self.done, self.accept, self.discard]:
            widget.setVisible(outcome is not None and not self.doing)
        if outcome is not None and not self.doing:
            self._sync_done(outcome)
        self.discard.setVisible((outcome is not None or ended) and not self.doing)
        if running is not None and not self.doing:
            self.state.setText(running.text)
            self.progress.setRange(0, 0 if running.share is None else 1000)
            self.progress.setValue(int(1000 * (running.share or 0)))

    def _sync_done(self, outcome: Outcome) -> None:
        """Show what was learned only; where that is both, each can be taken without the other."""
        both = outcome.types is not None and outcome.outlines is not None
        for widget in self.of_types:
            widget.setVisible(outcome.types is not None)
        self.outlines.setVisible(outcome.outlines is not None)
        self.anew.setVisible(outcome.types is not None)
        self.take_types.setVisible(both)
        self.outlines.take.setVisible(both)
        self.missing.setVisible(bool(outcome.hints))
        self._sync_taking()

    def _sync_taking(self) -> None:
        taken = self.taken
        self.accept.setEnabled(bool(taken))
        self.anew.setEnabled("types" in taken)

    @property
    def taken(self) -> list[str]:
        """What is to be accepted: ``types``, ``outlines``, both or, both being unticked, nothing."""
        outcome = None if self.look is None else self.look.outcome
        if outcome is None:
            return []
        if outcome.types is None or outcome.outlines is None:
            return ["outlines"] if outcome.types is None else ["types"]
        ticked = [("types", self.take_types), ("outlines", self.outlines.take)]
        return [name for name, box in ticked if box.isChecked()]

    def _sync_start(self, *, shown: bool) -> None:
        found = self.annotator.found
        start = resolve_start(
            self.annotator.reviewed_counts() if found is not None else {},
            self.session.card,
            is_open=self.annotator.is_open,
            outlines=self.annotator.outline_count() if found is not None else 0,
            renamed=self.annotator.renamed,
        )
        self.counts.setText(start.counts)
        self.blocker.setText(start.blocker)
        self.hint.setText(start.hint)
        self.start.setEnabled(not start.blocker)
        texts = {self.counts: start.counts, self.blocker: start.blocker, self.hint: start.hint}
        for widget in self.begin:
            wanted = texts.get(widget, "x") if isinstance(widget, QLabel) else "x"
            widget.setVisible(shown and bool(wanted))

    def _find(self, result: Path) -> None:
        def task(progress: Report, stop: Stop) -> Path | None:
            views = improvement.improvements_of(result)
            return views[0].path if views else None

        self._do("", task, self._on_found)

    def _on_found(self, job: Path | None) -> None:
        if job is not None:
            self._watch(job)
        self.sync()

    # -- the job -----------------------------------------------------------------------------------------------

    def improve(self) -> None:
        """Begin a job with the corrections of the open result."""
        result = self.results.result
        card = self.session.card
        if result is None or card is None or not self.annotator.is_open or self.annotator.found is None:
            return
        journal, writer = self.annotator.found.path, self.annotator.journal
        options: dict[str, Any] = {
            "encoder": self.encoder.isChecked(),
            "pseudo_labels": self.pseudo.isChecked(),
            "device": self.session.state.analyse.device,
            **self.options,
        }
        model = card.name

        def task(progress: Report, stop: Stop) -> Path:
            from napari_dama.training.improve_data import discard_prepared, find_corrected, prepare

            if writer is not None and not writer.flush():
                raise JobError(f"The corrections could not be saved yet: {writer.saved.why_not}")
            out = job_for(result.path)
            settings = prepare([find_corrected(journal, result.path)], out, model=model, **options)
            try:
                return process.start(settings).path
            except Exception:
                discard_prepared(out)
                raise

        self._do("Parting the corrections into learned and held out...", task, self._on_begun)

    def _on_begun(self, job: Path) -> None:
        self._watch(job)
        self.sync()

    def _watch(self, job: Path) -> None:
        self.job, self.look = job, None
        self.state.setText("Starting...")
        self.timer.start()
        self._poll()

    def _poll(self) -> None:
        """Read the job's folder in a thread, one reading at a time."""
        job = self.job
        if job is None or self.reading is not None:
            return

        def task(progress: Report, stop: Stop) -> Look:
            return look_at(job)

        self.reading = Work(task, self)
        self.reading.finished.connect(self._on_look)
        self.reading.failed.connect(self._on_lost)
        self.reading.start()

    def _on_look(self, look: Look) -> None:
        self.reading = None
        if self.job != look.job:
            return
        fresh = look.outcome is not None and (self.look is None or self.look.outcome is None)
        self.look = look
        if look.outcome is not None or look.running.state in ENDED:
            self.timer.stop()
        if fresh and look.outcome is not None:
            self._fill(look.outcome)
        self.sync()

    def _fill(self, outcome: Outcome) -> None:
        """Write down what was found out, once."""
        types = outcome.types
        if types is not None:
            self.headline.setText(f"<b>{types.headline}</b>")
            colour = VERDICT_COLOURS.get(types.verdict, "")
            self.sentence.setStyleSheet(f"color: {colour};" if colour else "")
            self.sentence.setText(types.sentence)
            self.table.setText(types.table)
            self.before.show_matrix(types.before)
            self.after.show_matrix(types.after)
            self.fold.collapse(animate=False)  # it measures its contents when it is opened
            self.sampling.setText(types.sampling)
        if outcome.outlines is not None:
            self.outlines.show_outcome(outcome.outlines)
        self.take_types.setChecked("types" in outcome.improved)
        self.outlines.take.setChecked("outlines" in outcome.improved)
        self.missing.setText(outcome.hints)
        self.name.setText(outcome.name)

    def _on_lost(self, error: Exception) -> None:
        """The folder is gone: somebody deleted it."""
        self.reading = None
        self._let_go()
        self.sync()

    def stop(self) -> None:
        """Stop the job, or the telling anew."""
        if self.doing:
            if self.work is not None:
                self.work.cancel()
            return
        job = self.job
        if job is not None:
            self._do("Stopping...", lambda progress, stop: process.request_stop(job), self._on_acted)

    # -- the answer --------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Put the improved model on the shelf and choose it."""
        job, name, taken = self.job, self.name.text().strip(), self.taken
        if job is not None and taken:
            self._do(
                "Putting the model on the shelf...",
                lambda progress, stop: improvement.accept(job, name or None, parts=taken),
                lambda found: self._on_taken(found, taken),
            )

    def _on_taken(self, name: str, taken: list[str]) -> None:
        self._forget_job()
        self.session.refresh_models()
        self.accepted.emit(name)
        if "types" in taken and self.anew.isChecked():
            self.tell_anew(name)
        else:
            again = " Analyse again to have its outlines." if "outlines" in taken else ""
            self.noted.emit(f"{name} is on the shelf and chosen: the next analysis uses it.{again}")
            self.sync()

    def leave(self) -> None:
        """Delete the job; nothing else changes."""
        job = self.job
        if job is not None:
            self._do("Deleting...", lambda progress, stop: improvement.discard(job), self._on_left)

    def _on_left(self, nothing: object) -> None:
        self._forget_job()
        self.noted.emit("Discarded: models and cells are as they were.")
        self.sync()

    def tell_anew(self, model: str) -> None:
        """Let a model tell the types of all cells that nobody reviewed; outlines stay, and it can be undone."""
        result = self.results.result
        if result is None or not self.annotator.is_open:
            return
        path, reviewed = result.path, self.annotator.reviewed
        given = str(self.session.path) if self.session.slide is not None else ""
        device = self.session.state.analyse.device

        def task(progress: Report, stop: Stop) -> tuple[Any, Any]:
            load_torch()
            from napari_dama.models.shelf import load_model
            from napari_dama.predict.cell_crops import tell_types
            from napari_dama.predict.device import pick_device
            from napari_dama.predict.embeddings import slide_of
            from napari_dama.predict.result import ResultFolder
            from napari_dama.slides.slide import open_slide

            folder = ResultFolder.open(path)
            network = load_model(model, device=pick_device(device))
            cells = folder.cells()
            cells = cells[~cells["label"].isin(reviewed)].reset_index(drop=True)
            source = (
                Path(given) if given and Path(given).name == folder.run["slide"]["name"] else slide_of(folder)
            )
            markers = folder.run["slide"].get("markers")
            with open_slide(source, markers=markers, pixel_um=folder.pixel_um) as slide:
                told = tell_types(
                    folder,
                    slide,
                    network,
                    cells,
                    progress=lambda done, total: progress((done, total)),
                    stop=stop,
                )
            names = np.array(network.card.classes, dtype=object)[told.argmax(axis=1)] if len(told) else []
            return cells["label"].to_numpy(), names

        def finished(found: tuple[Any, Any]) -> None:
            if self.results.result is None or self.results.result.path != path:
                return
            changed = self.annotator.tell(*found, model)
            self.noted.emit(
                f"{model} is chosen; of {len(found[0])} unreviewed cells {changed} changed their type. Undo takes that back."
            )
            self.sync()

        self._do("tell", task, finished)

    # -- one thing at a time -----------------------------------------------------------------------------------

    def _do(self, doing: str, task: Callable[[Report, Stop], Any], then: Callable[[Any], None]) -> None:
        """Do something in a thread, then something here; one at a time."""
        if self.work is not None:
            self.work.let_go()
        self.doing = doing
        if doing:
            self.state.setText("Telling the unreviewed cells anew..." if doing == "tell" else doing)
            self.progress.setRange(0, 0)
        self._then = then
        self.work = Work(task, self)
        self.work.progressed.connect(self._on_progress)
        self.work.finished.connect(self._on_done)
        self.work.failed.connect(self._on_failed)
        self.work.start()
        if doing:
            self.sync()

    def _on_progress(self, what: tuple[int, int]) -> None:
        done, total = what
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)
        self.state.setText(f"Telling the unreviewed cells anew: {done} of {total}")

    def _on_done(self, result: Any) -> None:
        self.work, self.doing = None, ""
        self._then(result)

    def _on_failed(self, error: Exception) -> None:
        self.work, self.doing = None, ""
        if isinstance(error, Interrupted):
            self.noted.emit("Stopped: no cell was changed.")
        else:
            self.failed.emit(error)
        self.sync()

    def _on_acted(self, nothing: object) -> None:
        self.timer.start()
        self.sync()

    def _forget_job(self) -> None:
        self.timer.stop()
        self.job = self.look = None

    def _let_go(self) -> None:
        for work in (self.work, self.reading):
            if work is not None:
                work.let_go()
        self.work = self.reading = None
        self.doing = ""
        self._forget_job()

    def close_down(self) -> None:
        """Stop looking; a job goes on, and is found again."""
        self.soon.stop()
        self._let_go()
        self.annotator.changed.disconnect(self._on_changed)
        self.session.plan_changed.disconnect(self._on_changed)
