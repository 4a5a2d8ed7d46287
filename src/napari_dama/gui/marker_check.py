"""Does the slide look like those that the model learned from? Asked in a thread whenever slide, model or matching change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QObject, QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

from napari_dama.gui.measured import measured_stats
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.gui.session import Session
    from napari_dama.slides.intensity import IntensityStats
    from napari_dama.slides.profile import Finding
    from napari_dama.slides.slide import Slide

WAIT_MS: Final = 400


class MarkerCheck(QObject):
    """Keeps what is unlike the training slides.

    Attributes
    ----------
    findings : tuple of Finding
        What was found, empty while nothing was.
    why_not : str
        Why nothing can be said, empty when it can.

    Signals
    -------
    changed()
        There is a new answer.
    """

    changed = QtSignal()

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.findings: tuple[Finding, ...] = ()
        self.why_not = ""
        self.work: Work | None = None
        self._asked: tuple[Any, ...] = ()
        self._answered: tuple[Any, ...] = ()
        self._wait = QTimer(self)
        self._wait.setSingleShot(True)
        self._wait.setInterval(WAIT_MS)
        self._wait.timeout.connect(self._ask)
        session.plan_changed.connect(self._on_plan)
        self._on_plan()

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self.work is not None or self._wait.isActive()

    def _question(self) -> tuple[Any, ...]:
        session, plan = self.session, self.session.plan
        if session.slide is None or plan is None:
            return ()
        fed = tuple((row.index, row.feeds) for row in plan.rows if row.feeds)
        return (session.state.slide, session.state.model, session.pixel.pixel_um, fed, session.slide.markers)

    def _on_plan(self) -> None:
        question = self._question()
        if question != self._answered:
            self._say((), "")
            self._answered = ()
            self._wait.start()

    def _ask(self) -> None:
        if self.work is not None:
            return  # its end asks again
        session, plan, card = self.session, self.session.plan, self.session.card
        self._asked = self._question()
        why = ""
        if session.slide is None or plan is None or card is None or plan.channels is None:
            why = "Nothing to compare yet: slide and model must fit first."
        elif session.pixel.pixel_um is None:
            why = "Nothing can be compared before the pixel size is known."
        elif not any("fine" in numbers for numbers in card.statistics.values()):
            why = f"The card of {card.name} does not say what its training slides looked like (older models do not)."
        if why or session.slide is None or plan is None or card is None or plan.channels is None:
            self._answered = self._asked
            self._say((), why)
            return
        try:
            slide = session.reopen()
        except (ValueError, OSError) as error:
            self._say((), str(error))
            return
        stats = known_stats(session)
        indices, pixel_um = plan.channels.indices, float(session.pixel.pixel_um or 1.0)
        panel, typical = session.panel, card.statistics
        nuclear = [i for i, marker in enumerate(panel.markers) if marker.nuclear]

        def task(progress: Report, stop: Stop) -> Any:
            from napari_dama.slides.profile import sampled_um2, slide_profiles, unlike

            with slide:
                known = measured_stats(slide) if stats is None else stats
                found = slide_profiles(slide, known, indices, nuclear, pixel_um=pixel_um)
                area = sampled_um2(slide, pixel_um)
            profiles = {name: p for name, p in zip(panel.names, found, strict=True) if p is not None}
            return unlike(profiles, typical, names=slide_names(slide, panel.names, indices), area_um2=area)

        self.work = Work(task, self)
        self.work.finished.connect(self._on_found)
        self.work.failed.connect(self._on_failed)
        self.work.start()

    def _on_found(self, findings: Sequence[Finding]) -> None:
        self.work = None
        if self._question() != self._asked:
            self._wait.start()
            return
        self._answered = self._asked
        self._say(tuple(findings), "")

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self._answered = self._asked
        self._say((), f"The slide could not be compared: {error}")

    def _say(self, findings: tuple[Finding, ...], why_not: str) -> None:
        if (findings, why_not) != (self.findings, self.why_not) or not findings:
            self.findings, self.why_not = findings, why_not
            self.changed.emit()

    def close_down(self) -> None:
        """Let go of the session and of what is being compared."""
        self._wait.stop()
        if self.work is not None:
            self.work.let_go()
            self.work = None
        self.session.plan_changed.disconnect(self._on_plan)


def known_stats(session: Session) -> IntensityStats | None:
    """Return the slide's intensity statistics where its markers know them all, so that they are not measured twice."""
    from napari_dama.slides.intensity import IntensityStats

    markers, slide = session.markers, session.slide
    if markers is None or slide is None or len(markers) != slide.shape[0]:
        return None
    low = [marker.low for marker in markers.all]
    high = [marker.high for marker in markers.all]
    if any(value is None for value in (*low, *high)):
        return None
    return IntensityStats(low, high, slide.markers)  # type: ignore[arg-type]


def slide_names(slide: Slide, panel: Sequence[str], indices: Sequence[int | None]) -> dict[str, str]:
    """Return what the model's markers are called on the slide: ``RECA1 (CD31)`` where that differs."""
    out = {}
    for name, index in zip(panel, indices, strict=True):
        mine = "" if index is None else slide.markers[index]
        out[name] = f"{name} ({mine})" if mine and mine != name else name
    return out
