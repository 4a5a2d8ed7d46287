"""Tab 4, *Explain*: four questions to the model about a place or a cell, followed live by the cursor where wished."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QCheckBox, QComboBox, QLabel, QPushButton, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.explain_ask import Asker
from napari_dama.gui.explain_fill import FillPage
from napari_dama.gui.explain_follow import Follower
from napari_dama.gui.explain_layers import answer_layers
from napari_dama.gui.explain_like import LikePage
from napari_dama.gui.explain_missing import MissingPage
from napari_dama.gui.explain_page import Context, Page
from napari_dama.gui.explain_place import bring_into_view, go_to, outline
from napari_dama.gui.explain_plan import INTROS, QUESTIONS, hint
from napari_dama.gui.explain_type import TypePage
from napari_dama.gui.later import Later
from napari_dama.gui.layers import layers_of
from napari_dama.gui.place import view_centre
from napari_dama.gui.put_layer import hide
from napari_dama.gui.style import Tab, beside, muted, narrow, say, wrapped

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.explain_ask import Loaded
    from napari_dama.gui.session import Session
    from napari_dama.gui.work import Report, Stop
    from napari_dama.predict.explanation import Explanation


class ExplainTab(Tab):
    """Thin view of ``state.explain``: where, which question, and the page of that question.

    Signals
    -------
    cell_asked(label)
        The user wants to go to a cell of the open result.
    """

    cell_asked = QtSignal(int)

    def __init__(self, viewer: napari.Viewer, session: Session, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session
        self.state = session.state.explain
        self.asker = Asker(self)
        self.later = Later(self)
        self.context = Context(viewer, session, self.asker, self.later)
        self._cell: tuple[float, float] | None = None
        self._going = False
        self._build()
        self.wait = QTimer(self)
        self.wait.setSingleShot(True)
        self.wait.setInterval(250)
        self.wait.timeout.connect(self.compute)
        self.follower = Follower(viewer, session, self._follows, self._ready, self)
        self._connect()
        self._sync()

    def _build(self) -> None:
        self.cell = narrow(QPushButton("Clicked cell"), tooltips.EXPLAIN_CELL)
        self.centre = narrow(QPushButton("Centre of view"), tooltips.EXPLAIN_CENTRE)
        self.follow = QCheckBox("Follow the cursor")
        self.follow.setToolTip(tooltips.EXPLAIN_FOLLOW)
        self.clear = narrow(QPushButton("Clear"), tooltips.EXPLAIN_CLEAR)
        self.question_box = narrow(QComboBox(), tooltips.EXPLAIN_QUESTION)
        for key, title in QUESTIONS.items():
            self.question_box.addItem(title, key)
        self.text = wrapped(QLabel())
        self.intro = muted(QLabel())
        self.fill, self.type = FillPage(self.context), TypePage(self.context)
        self.missing, self.like = MissingPage(self.context), LikePage(self.context)
        self.pages: dict[str, Page] = {
            "fill": self.fill,
            "type": self.type,
            "missing": self.missing,
            "like": self.like,
        }
        self.column.addWidget(self.question_box)
        self.column.addWidget(self.intro)
        self.column.addLayout(beside(self.cell, self.centre))
        self.column.addLayout(beside(self.follow, self.clear))
        self.column.addWidget(self.text)
        for page in self.pages.values():
            self.column.addWidget(page)
        self.column.addStretch()

    def _connect(self) -> None:
        self.question_box.activated.connect(self._on_question)
        self.cell.clicked.connect(self.explain_cell)
        self.centre.clicked.connect(self.explain_centre)
        self.follow.toggled.connect(self._on_follow)
        self.clear.clicked.connect(self.forget)
        self.asker.answered.connect(self._on_answer)
        self.asker.failed.connect(self._on_failed)
        self.asker.progressed.connect(self._on_progress)
        self.asker.busy_changed.connect(self._sync)
        self.like.cell_asked.connect(self._on_cell_asked)
        for page in self.pages.values():
            page.failed.connect(self.failed.emit)
        events = self.state.events
        events.question.connect(self._on_question_state)
        events.follow.connect(self._on_follow_state)
        for event in (events.mask_ratio, events.overlap_ratio):
            event.connect(self._on_ratio)
        events.seed.connect(self._on_seed)
        self.session.slide_changed.connect(self._on_slide)
        self.session.plan_changed.connect(self._on_plan)
        self.session.cells.reset.connect(self._on_result)
        self.follower.moved.connect(self._on_cursor)
        self.follower.clicked.connect(self._on_kept)

    @property
    def page(self) -> Page:
        """The page of the question that is asked."""
        return self.pages[self.state.question]

    @property
    def explanation(self) -> Explanation | None:
        """What was filled in last."""
        return self.fill.explanation

    @property
    def work(self) -> object | None:
        """What is being worked on, or waits to be put on the slide; None when nothing is."""
        waits = self.asker if self.asker.busy else self.later if self.later.waiting else None
        return waits or self.like.work or self.fill.saving

    def set_cell(self, centre: tuple[float, float] | None) -> None:
        """Tell which cell is the clicked one; the pages about cells ask anew."""
        self._cell = centre
        about_cells = self.state.question in ("type", "like") and not self._going
        if centre is not None and about_cells and self.isVisible():
            self.explain_cell()
        self._sync()

    def explain_cell(self) -> None:
        """Explain the cell that was clicked last."""
        if self._cell is not None:
            self.state.follow = False
            self.state.at = self._cell
            self.compute()

    def explain_centre(self) -> None:
        """Explain the middle of the view."""
        layers = self._markers()
        if layers:
            self.state.follow = False
            self.state.at = view_centre(self.viewer, layers[0])
            self.compute()

    def compute(self) -> None:
        """Ask the page's question about the place; asked anew while an answer is awaited, only the newest counts."""
        if self.state.at is None or self._blocker():
            return
        self._outline(self.state.at)
        self.page.ask(self.state.at)

    def warm_up(self) -> None:
        """Load the model before the first question."""
        if self.asker.loaded_once or self.asker.busy or self._blocker():
            return

        def question(loaded: Loaded, progress: Report, stop: Stop) -> bool:
            loaded.explainer()
            return True

        self.asker.ask("load", self.context.bench(), question)

    def showEvent(self, event: Any) -> None:
        """Qt shows the tab."""
        super().showEvent(event)
        self.like.refresh()
        self._sync()
        self.warm_up()

    def _on_answer(self, kind: str, value: Any) -> None:
        for page in self.pages.values():
            page.on_answer(kind, value)
        if kind in ("fill", "missing") and not self.state.follow:
            self.later.then("view", self._bring_into_view)
        self.follower.answered()

    def _on_progress(self, kind: str, what: Any) -> None:
        self.page.on_progress(kind, what)

    def _on_failed(self, kind: str, error: Exception) -> None:
        self.state.follow = False
        self._sync()
        self.failed.emit(error)

    def _bring_into_view(self) -> None:
        if self.state.at is not None:
            bring_into_view(self.viewer, self.session, self.state.at)

    def _outline(self, at: tuple[float, float]) -> None:
        """Outline what the model looks at, in a turn of its own: the question is on its way meanwhile."""
        self.later.then("square", partial(outline, self.viewer, self.later, self.session, at))

    def _on_cursor(self, y: float, x: float) -> None:
        self.state.at = (y, x)
        self._outline((y, x))
        self.page.ask((y, x), live=True)

    def _on_kept(self, y: float, x: float) -> None:
        """A click while the cursor is followed keeps the place."""
        self.state.follow = False
        self.state.at = (y, x)
        self.compute()

    def _follows(self) -> bool:
        return self.state.follow and self.isVisible()

    def _ready(self) -> bool:
        return not self.asker.busy and not self._blocker()

    def _markers(self) -> list[Any]:
        return layers_of(self.viewer.layers, "marker", self.session.state.slide)

    def _blocker(self) -> str:
        return self.session.blocker or self.page.blocker()

    def _sync(self, event: Any = None) -> None:
        blocker, busy = self._blocker(), self.asker.busy
        self.question_box.setCurrentIndex(max(self.question_box.findData(self.state.question), 0))
        say(self.intro, INTROS[self.state.question])
        self.cell.setVisible(self.state.question != "like")
        self.cell.setEnabled(not blocker and self._cell is not None)
        self.centre.setEnabled(not blocker)
        self.centre.setVisible(self.state.question != "like")
        self.follow.setVisible(self.page.follows)
        self.follow.setEnabled(not blocker)
        blocked = self.follow.blockSignals(True)
        self.follow.setChecked(self.state.follow)
        self.follow.blockSignals(blocked)
        self.clear.setEnabled(self.state.at is not None)
        for page in self.pages.values():
            page.setVisible(page is self.page and not blocker)
            if page is self.page:
                page.sync()
        loading = busy and not self.asker.loaded_once
        say(
            self.text,
            blocker or hint(self.state.question, loading, self.state.follow, self.state.at is not None),
        )

    def _on_question(self, index: int) -> None:
        self.state.question = self.question_box.itemData(index)

    def _on_question_state(self) -> None:
        if not self.page.follows:
            self.state.follow = False
        self._sync()
        self.compute()

    def _on_follow(self, wanted: bool) -> None:
        self.state.follow = wanted

    def _on_follow_state(self) -> None:
        if not self.state.follow:
            self.follower.stop()
        self._sync()

    def _on_ratio(self) -> None:
        """A slider moves in many small steps: ask when it rests."""
        if self.state.question == "fill" and self.explanation is not None:
            self.wait.start()
        self._sync()

    def _on_seed(self) -> None:
        if self.state.question == "fill" and self.explanation is not None:
            self.compute()
        self._sync()

    def _on_result(self) -> None:
        self.like.refresh()
        self._sync()

    def _on_cell_asked(self, label: int, y: float, x: float) -> None:
        go_to(self.viewer, self.session, (y, x))
        self._going = True  # a neighbour is looked at: the list that it stands in stays
        self.cell_asked.emit(label)
        self._going = False
        self._outline((y, x))

    def _on_slide(self) -> None:
        self._cell = None
        self.asker.release()
        self.forget()
        self.context.remove(answer_layers(self.viewer))

    def _on_plan(self) -> None:
        """Another model or channel map: what was answered does not hold any more."""
        self.asker.loaded_once = False
        there = answer_layers(self.viewer)
        if there:
            self.forget()
            self.context.remove(there)
        self._sync()

    def forget(self) -> None:
        """Take all answers off the slide; their layers stay in the list, hidden, for the next ones."""
        self.asker.drop()
        for step in ("square", "view"):
            self.later.drop(step)
        self.state.follow = False
        self.state.at = None
        for page in self.pages.values():
            page.forget()
        hide(self.later, layers_of(self.viewer.layers, "explain square"))
        self._sync()

    def close_down(self) -> None:
        """Let go of what runs, of the viewer and of the session."""
        self.wait.stop()
        self.later.drop()
        self.follower.close()
        self.asker.close()
        for page in self.pages.values():
            page.close_down()
        events = self.state.events
        events.question.disconnect(self._on_question_state)
        events.follow.disconnect(self._on_follow_state)
        for event in (events.mask_ratio, events.overlap_ratio):
            event.disconnect(self._on_ratio)
        events.seed.disconnect(self._on_seed)
        self.session.cells.reset.disconnect(self._on_result)
        self.session.slide_changed.disconnect(self._on_slide)
        self.session.plan_changed.disconnect(self._on_plan)
