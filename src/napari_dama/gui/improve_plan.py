"""What the section *Improve the model* shows: what there is and what is missing, progress, before and after. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from napari_dama.gui.cell_table import UNTYPED
from napari_dama.gui.confusion_file import Confusion
from napari_dama.gui.resolve import duration, unused
from napari_dama.jobs.folder import read_job, read_status
from napari_dama.jobs.improvement import free_name, read_report
from napari_dama.training.improve_areas import near_words, outlines_ready
from napari_dama.training.improve_data import readiness

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_dama.jobs.folder import JobView
    from napari_dama.models.card import Card

ENDED: Final = ("stopped", "failed", "dead")


@dataclass(frozen=True, slots=True)
class Start:
    """What can be begun.

    Attributes
    ----------
    counts : str
        Corrected cells of each class and corrected outlines, in words.
    blocker : str
        Why nothing can be begun yet; empty where it can.
    hint : str
        What would help, and what will be improved.
    """

    counts: str
    blocker: str
    hint: str


def resolve_start(
    reviewed: Mapping[str, int],
    card: Card | None,
    *,
    is_open: bool,
    outlines: int = 0,
    renamed: Mapping[str, str] | None = None,
) -> Start:
    """Say what corrected cells and ``outlines`` allow, with the model that is chosen."""
    if not is_open:
        return Start("", "Correct cells of a result first.", "")
    counts = {name: count for name, count in reviewed.items() if name != UNTYPED and count}
    words = ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda each: -each[1]))
    total = sum(counts.values())
    text = f"{total} corrected or confirmed cell{'s' * (total != 1)}" + (f": {words}." if words else ".")
    text += f" {outlines} corrected outline{'s' * (outlines != 1)}." if outlines else ""
    if card is None:
        return Start(text, "Choose a model first.", "")
    known = [(renamed or {}).get(name, name) for name in card.classes]
    ready = readiness(counts, known)
    types = ready.blocker if "types" in card.tasks else f"Model {card.name} tells no types."
    needed = outlines_ready(outlines)
    drawn = (
        (f"Still needed: {needed}." if needed else "")
        if "segments" in card.tasks
        else "It finds no outlines."
    )
    if types and drawn:
        if "types" not in card.tasks and "segments" not in card.tasks:
            return Start(text, f"Model {card.name} tells no types: choose another above.", "")
        return Start(text, f"For types: {_uncapital(types)} For outlines: {_uncapital(drawn)}", "")
    what = " and ".join(name for name, why in (("types", types), ("outlines", drawn)) if not why)
    hints = [f"A copy of {card.name} learns {what} from them; the model itself stays as it is."]
    hints += [f"Types are not learned yet. {types}"] if types and total else list(ready.hints) * (not types)
    hints += [f"{near_words()} Learning them takes some minutes."] if not drawn else []
    hints += [f"Outlines are not learned yet. {drawn}"] if drawn and outlines else []
    return Start(text, "", " ".join(hints))


def _uncapital(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


@dataclass(frozen=True, slots=True)
class Running:
    """How far a job is.

    Attributes
    ----------
    state : str
        As `napari_dama.jobs.folder.JobView` has it.
    text : str
        What it does, and how long it still takes.
    share : float or None
        Of what it does, 0 to 1; None while unknown.
    """

    state: str
    text: str
    share: float | None


@dataclass(frozen=True, slots=True)
class TypesShown:
    """What a finished job found out of types.

    Attributes
    ----------
    headline : str
        The mean of the classes before and after.
    verdict : str
        ``better``, ``worse`` or ``open``.
    sentence, sampling : str
        What can be said, and of which cells.
    table : str
        Recall of each class before and after, HTML.
    before, after : Confusion
    """

    headline: str
    verdict: str
    sentence: str
    sampling: str
    table: str
    before: Confusion
    after: Confusion


@dataclass(frozen=True, slots=True)
class OutlinesShown:
    """What a finished job found out of outlines; as `TypesShown`, with F1, overlap and counts in the table."""

    headline: str
    verdict: str
    sentence: str
    sampling: str
    table: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished job found out.

    Attributes
    ----------
    types, outlines
        Of each what was learned, else None.
    improved : tuple of str
        ``types``, ``outlines``: what became better on the held-out part, and is taken unless the user says otherwise.
    hints : str
        What was not learned, and why.
    name : str
        A free name for the shelf.
    """

    types: TypesShown | None
    outlines: OutlinesShown | None
    improved: tuple[str, ...]
    hints: str
    name: str


@dataclass(frozen=True, slots=True)
class Look:
    """What a job's folder says now; ``outcome`` once it has finished."""

    job: Path
    running: Running
    outcome: Outcome | None


def look_at(job: Path) -> Look:
    """Read a job's folder; call it outside of Qt's thread.

    Raises
    ------
    JobError
        The folder is gone.
    """
    view, status = read_job(job), read_status(job)
    report = read_report(job) if view.state == "finished" else {}
    return Look(job, running_of(view, status), outcome_of(report, free_name(job)) if report else None)


def running_of(view: JobView, status: Mapping[str, Any]) -> Running:
    """Return the progress of a job in words."""
    doing = str(status.get("doing") or "")
    share = status.get("share")
    if view.state in ENDED:
        what = {"stopped": "It was stopped.", "failed": "It failed", "dead": "Its process is gone"}[
            view.state
        ]
        return Running(view.state, what + (f": {view.why}" if view.why else ""), None)
    if view.state == "waiting":
        return Running(view.state, f"Waiting: {view.why}" if view.why else "Waiting for the device.", None)
    if not doing:
        return Running(view.state, "Loading the model...", None)
    left = f", about {duration(view.eta_s)} left" if view.eta_s is not None else ""
    text = f"{doing}: {view.step} of {view.steps}{left}"
    return Running(view.state, text, float(share) if isinstance(share, int | float) else None)


def outcome_of(report: Mapping[str, Any], name: str) -> Outcome:
    """Return a report as the window shows it."""
    hints = [str(hint) for hint in report.get("hints", []) if "not learned" in str(hint)]
    types = types_of(report) if "before" in report else None
    outlines = outlines_of(report["outlines"]) if "outlines" in report else None
    improved = tuple(str(each) for each in report.get("improved", []))
    return Outcome(types, outlines, improved, " ".join(hints), name)


def types_of(report: Mapping[str, Any]) -> TypesShown:
    """Return what a report says of types as the window shows it."""
    classes = tuple(str(each) for each in report["classes"])
    before, after = report["before"], report["after"]

    def matrix(side: Mapping[str, Any], title: str) -> Confusion:
        return Confusion(classes, tuple(tuple(int(v) for v in row) for row in side["confusion"]), title)

    headline = (
        f"Right per class, on average: {_share(before['balanced_accuracy'])} before, "
        f"{_share(after['balanced_accuracy'])} after"
    )
    rows = ["<tr><th align='left'>class</th><th>cells</th><th>before</th><th>after</th></tr>"]
    for i, kind in enumerate(classes):
        one, other = before["recall"][i], after["recall"][i]
        if one is None:
            continue
        rows.append(_row(kind, sum(before["confusion"][i]), _share(one), _share(other), other - one))
    untested = [str(each) for each in report.get("untested", [])]
    sampling = str(report.get("sampling", ""))
    if untested:
        sampling += f" Not tested, having too few cells: {', '.join(untested)}."
    return TypesShown(
        headline,
        str(report["verdict"]),
        str(report["sentence"]),
        sampling,
        f"<table cellpadding='2'>{''.join(rows)}</table>",
        matrix(before, "before"),
        matrix(after, "after"),
    )


def outlines_of(report: Mapping[str, Any]) -> OutlinesShown:
    """Return what a report says of outlines as the window shows it."""
    before, after = report["before"], report["after"]
    n, corrected = int(report["n"]), int(report["corrected"])
    headline = f"Outlines found (F1): {_share(before['f1'])} before, {_share(after['f1'])} after"
    lines = [
        ("corrected, found", corrected, "found_corrected"),
        ("corrected, overlap", corrected, "overlap"),
        ("near them, found", n - corrected, "found_near"),
        ("false (fewer is better)", "", "false"),
    ]
    rows = ["<tr><th align='left'>outlines</th><th>cells</th><th>before</th><th>after</th></tr>"]
    for title, cells, key in lines:
        one, other = before[key], after[key]
        if one is None or other is None:
            continue
        before_words, after_words = (_share(v) if key == "overlap" else str(v) for v in (one, other))
        rows.append(_row(title, cells, before_words, after_words, other - one))
    return OutlinesShown(
        headline,
        str(report["verdict"]),
        str(report["sentence"]),
        str(report["sampling"]),
        f"<table cellpadding='2'>{''.join(rows)}</table>",
    )


def _row(title: str, cells: object, before: str, after: str, change: float) -> str:
    sign = "" if not change else " ▲" if change > 0 else " ▼"
    return (
        f"<tr><td>{escape(title)}</td><td align='right'>{cells}</td><td align='right'>{before}</td>"
        f"<td align='right'>{after}{sign}</td></tr>"
    )


def job_for(result: Path) -> Path:
    """Return a folder for a job, beside the result."""
    return unused(result.parent / f"{result.name}_improve")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
