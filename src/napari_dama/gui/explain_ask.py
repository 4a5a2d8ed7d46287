"""Questions to a model that stays loaded, answered in one thread of their own: the latest of a kind wins."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

from napari_dama.errors import Interrupted
from napari_dama.gui.quiet import load_torch, window_first
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_dama.predict.explain import Explainer

CLOSE_WAIT_S = 0.2


@dataclass(frozen=True)
class Bench:
    """What answers are made with: which slide and which model, so that another one is loaded when the user chose another."""

    slide: Path
    markers: tuple[str, ...]
    pixel_um: float | None
    model: str
    chosen: dict[str, str]
    result: str = ""

    def key(self) -> tuple[Any, ...]:
        """What must be the same for the loaded model to serve again."""
        chosen = tuple(sorted(self.chosen.items()))
        return self.slide, self.markers, self.pixel_um, self.model, chosen, self.result


@dataclass
class Loaded:
    """In the thread: the model on its slide, loaded when it is first needed, and whatever answers want to keep."""

    bench: Bench
    memory: dict[str, Any] = field(default_factory=dict)
    _explainer: Explainer | None = None
    _open: ExitStack = field(default_factory=ExitStack)

    def explainer(self) -> Explainer:
        """Return the model on its slide; takes seconds the first time."""
        if self._explainer is None:
            from napari_dama.predict.explain import Explainer
            from napari_dama.slides.slide import open_slide

            bench = self.bench
            slide = self._open.enter_context(
                open_slide(bench.slide, markers=bench.markers, pixel_um=bench.pixel_um)
            )
            self._explainer = Explainer(
                slide, model=bench.model, chosen=bench.chosen or None, stats=_known_stats(bench)
            )
        return self._explainer

    def close(self) -> None:
        """Let go of the model and the slide."""
        self._explainer = None
        self._open.close()


def _known_stats(bench: Bench) -> Any:
    """Statistics that an open result of this slide kept: as exact, and quicker than measuring anew."""
    if not bench.result:
        return None
    from napari_dama.errors import DamaError
    from napari_dama.predict.embeddings import stats_of_result
    from napari_dama.predict.result import ResultFolder

    with suppress(DamaError):
        found = ResultFolder.open(bench.result)
        if found.run.get("slide", {}).get("path") == str(bench.slide):
            stats = stats_of_result(found)
            if stats is not None and stats.markers == bench.markers:
                return stats
    return None


@dataclass(frozen=True)
class Answer:
    """An answer to one question; ``error`` instead of ``value`` where there is none."""

    kind: str
    ticket: int
    value: Any = None
    error: Exception | None = None
    progress: Any = None


class Asker(QObject):
    """Asks, and hands on the answers that are still wanted.

    Signals
    -------
    answered(kind, value), failed(kind, error), progressed(kind, what)
        In Qt's thread, for the newest question of each kind only.
    busy_changed()
        Whether something is being answered.
    """

    answered = QtSignal(str, object)
    failed = QtSignal(str, object)
    progressed = QtSignal(str, object)
    busy_changed = QtSignal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lock = threading.Condition()
        self._waiting: dict[str, tuple[int, Bench, Callable[[Loaded, Report, Stop], Any], bool]] = {}
        self._newest: dict[str, int] = {}
        self._open: set[str] = set()
        self._ticket = 0
        self._closed = False
        self._release = False
        self._loaded: Loaded | None = None
        self.loaded_once = False
        self._work: Work | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._open)

    def is_busy(self, kind: str) -> bool:
        """Whether an answer of one kind is awaited."""
        return kind in self._open

    def ask(
        self, kind: str, bench: Bench, question: Callable[[Loaded, Report, Stop], Any], *, small: bool = True
    ) -> None:
        """Ask; an older question of this kind that is not answered yet is forgotten.

        ``question(loaded, progress, stop)`` runs in the thread; ``stop()`` is true once a newer one is asked. A ``small``
        one, of few crops, is computed in one processor's thread; see `napari_dama.predict.threads`.
        """
        if self._work is None:
            self._work = Work(self._serve, self)
            self._work.progressed.connect(self._on_answer)
            self._work.start()
        with self._lock:
            self._ticket += 1
            self._newest[kind] = self._ticket
            self._waiting.pop(kind, None)
            self._waiting[kind] = (self._ticket, bench, question, small)
            self._lock.notify()
        self._open.add(kind)
        self.busy_changed.emit()

    def drop(self, kind: str = "") -> None:
        """Forget the questions of one kind, or all."""
        with self._lock:
            for each in [kind] if kind else list(self._newest):
                self._newest[each] = 0
                self._waiting.pop(each, None)
                self._open.discard(each)
        self.busy_changed.emit()

    def release(self) -> None:
        """Forget all questions and let go of the slide's file and of the model."""
        with self._lock:
            self._release = self._work is not None
            self._lock.notify()
        self.loaded_once = False
        self.drop()

    def _serve(self, report: Report, stop: Stop) -> None:
        """Answer one question after the other until the window closes."""
        try:
            while True:
                with self._lock:
                    while not self._waiting and not self._release and not stop():
                        self._lock.wait(CLOSE_WAIT_S)
                    if stop():
                        return
                    if self._release:
                        self._release = False
                        if self._loaded is not None:
                            self._loaded.close()
                            self._loaded = None
                        continue
                    kind = next(iter(self._waiting))
                    ticket, bench, question, small = self._waiting.pop(kind)
                report(self._answer(kind, ticket, bench, question, small, report, stop))
        finally:
            if self._loaded is not None:
                self._loaded.close()

    def _answer(
        self,
        kind: str,
        ticket: int,
        bench: Bench,
        question: Callable[[Loaded, Report, Stop], Any],
        small: bool,
        report: Report,
        stop: Stop,
    ) -> Answer:
        def tell(what: Any) -> None:
            report(Answer(kind, ticket, progress=what))

        def unwanted() -> bool:
            return stop() or self._newest.get(kind) != ticket

        try:
            if self._loaded is None or self._loaded.bench.key() != bench.key():
                if self._loaded is not None:
                    self._loaded.close()
                self._loaded = Loaded(bench)
            load_torch()
            from napari_dama.predict.threads import few_threads

            with window_first(), few_threads(small=small):
                return Answer(kind, ticket, question(self._loaded, tell, unwanted))
        except Interrupted:
            return Answer(kind, ticket)
        except Exception as error:  # everything is shown in the window
            return Answer(kind, ticket, error=error)

    def _on_answer(self, answer: Answer) -> None:
        if self._closed or self._newest.get(answer.kind) != answer.ticket:
            return
        if answer.progress is not None:
            self.progressed.emit(answer.kind, answer.progress)
            return
        self._open.discard(answer.kind)
        if answer.error is not None:
            self.failed.emit(answer.kind, answer.error)
        elif answer.value is not None:
            self.loaded_once = True
            self.answered.emit(answer.kind, answer.value)
        self.busy_changed.emit()

    def close(self) -> None:
        """End the thread at its next chance, and say nothing more."""
        self._closed = True
        if self._work is not None:
            self._work.let_go()
            with self._lock:
                self._waiting.clear()
                self._newest.clear()
                self._lock.notify()
        self._open.clear()
