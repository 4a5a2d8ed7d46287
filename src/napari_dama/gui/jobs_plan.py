"""What a job's state means for the window: badge, words, which buttons work, how it compares. No Qt, no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from napari_dama.gui.resolve import duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dama.jobs.folder import JobView
    from napari_dama.jobs.queue import Ticket


@dataclass(frozen=True, slots=True)
class Badge:
    """A state in one word, its colour (legible on dark and light as a background of white text) and what it means."""

    text: str
    colour: str
    tip: str


_BADGES: Final = {
    "waiting": Badge("waiting", "#7a6a00", "It starts when the device is free."),
    "starting": Badge("starting", "#2f6f9f", "Its process loads the data."),
    "running": Badge("running", "#1f7a3f", "It trains, whether this window is open or not."),
    "stopping": Badge("stopping", "#9a5b00", "It ends its step, saves a checkpoint and stops."),
    "stopped": Badge("stopped", "#5c6670", "A checkpoint is kept: Resume goes on from there."),
    "finished": Badge("finished", "#3556a8", "Its model can be used."),
    "failed": Badge("failed", "#b03a36", "It ended with an error."),
    "dead": Badge("dead", "#8a2f5f", "Its process is gone without a word. Resume goes on from the last checkpoint."),
}  # fmt: skip
_UNKNOWN: Final = Badge("unknown", "#5c6670", "Its folder cannot be read.")
KINDS: Final = {
    "pretrain": "Pretraining",
    "finetune": "Fine-tuning",
    "analyse": "Analysis",
    "improve": "Improvement",
}


@dataclass(frozen=True, slots=True)
class JobRow:
    """One line of the list.

    Attributes
    ----------
    path : str
        The job's folder.
    title, line, tip : str
        Its name; progress in words; more in the tooltip.
    badge : Badge
    share : float or None
        Share of the steps that are done; None while that is not known.
    """

    path: str
    title: str
    line: str
    tip: str
    badge: Badge
    share: float | None


@dataclass(frozen=True, slots=True)
class Actions:
    """Which buttons work for a job."""

    stop: bool = False
    resume: bool = False
    delete: bool = False
    folder: bool = False
    use: bool = False
    open: bool = False
    now: bool = False
    """Stop cancels at the cluster, since the polite request was made already."""


_ANALYSE_TIPS: Final = {
    "starting": "Its process loads the model.",
    "running": "It finds cells, whether this window is open or not.",
    "stopping": "It ends its tile and stops.",
    "stopped": "Finished tiles are kept: Resume goes on with the next.",
    "finished": "Its result can be opened.",
    "dead": "Its process is gone without a word. Resume goes on after the last finished tile.",
}


@dataclass(frozen=True, slots=True)
class InLine:
    """The place of a waiting job among those that wait with it; ``before`` and ``behind`` are how many these are."""

    before: int
    behind: int


def in_line(views: Sequence[JobView], line: Sequence[Ticket]) -> list[JobView]:
    """Return jobs in the order to list them: those at work, those that wait in the order of their turns, the others."""
    place = {ticket.job: index for index, ticket in enumerate(line)}

    def key(view: JobView) -> tuple[int, int]:
        if view.state == "waiting":
            return 1, place.get(str(view.path), len(place))
        return (0, 0) if view.going else (2, 0)

    return sorted(views, key=key)


def own_line(view: JobView | None, line: Sequence[Ticket]) -> InLine | None:
    """Return where a job stands in the line for its device; None for one that has no place there."""
    if view is None or view.state != "waiting":
        return None
    own = next((ticket for ticket in line if ticket.job == str(view.path)), None)
    if own is None or own.state != "waiting":
        return None
    waiting = [ticket for ticket in line if ticket.state == "waiting" and ticket.meets(own)]
    before = waiting.index(own)
    return InLine(before, len(waiting) - 1 - before)


def badge_of(view: JobView) -> Badge:
    """Return the badge of a job's state, with the reason in its tooltip where there is one."""
    badge = _BADGES.get(view.state, _UNKNOWN)
    if view.kind == "analyse":
        badge = Badge(badge.text, badge.colour, _ANALYSE_TIPS.get(view.state, badge.tip))
    if view.slurm and view.state == "waiting":
        badge = Badge(badge.text, badge.colour, "It starts when SLURM gives it a node.")
    return Badge(badge.text, badge.colour, f"{view.why} {badge.tip}" if view.why else badge.tip)


def row_of(view: JobView) -> JobRow:
    """Return a job's line in the list."""
    alive = view.going
    known = view.steps > 0
    share = min(view.step / view.steps, 1.0) if known else (None if alive else 0.0)
    badge = badge_of(view)
    tip = f"{KINDS.get(view.kind, view.kind)} in {view.path}\n{badge.tip}"
    return JobRow(str(view.path), view.name, progress_words(view), tip, badge, share)


def progress_words(view: JobView) -> str:
    """Say how far a job is, how fast and how long it takes; why it waits or failed."""
    if view.state == "waiting":
        return view.why or "Waits for its turn."
    if view.state == "failed":
        return view.why or "Failed; the log says more."
    if not view.steps:
        preparing = "Preparing the slide ..." if view.kind == "analyse" else "Preparing the data ..."
        words = {"starting": "Starting ...", "running": preparing}
        return words.get(view.state, "Not begun.")
    parts = [f"{view.step:,} of {view.steps:,} {view.unit}".replace(",", " ")]
    if view.cells is not None:
        parts.append(f"{view.cells:,} cells".replace(",", " "))
    if view.state == "running":
        if view.mpx_per_s:
            parts.append(f"{view.mpx_per_s:.2g} Mpx/s")
        if view.images_per_s:
            parts.append(f"{view.images_per_s:.3g} images/s")
        if view.eta_s is not None:
            parts.append(f"{duration(view.eta_s)} left")
        if view.device:
            parts.append(view.device)
        if view.slurm:
            parts.append(view.place)
    elif view.state == "stopping":
        parts.append("finishing the tile" if view.kind == "analyse" else "saving a checkpoint")
    elif view.loss is not None:
        parts.append(f"loss {view.loss:.4g}")
    return ", ".join(parts)


def actions_of(view: JobView | None, *, has_model: bool) -> Actions:
    """Return which buttons work: a running job can be stopped, an ended one resumed or deleted, a finished one used."""
    if view is None:
        return Actions()
    alive = view.going
    return Actions(
        stop=alive and (view.state != "stopping" or bool(view.slurm)),
        resume=view.state in ("stopped", "failed", "dead"),
        delete=not alive,
        folder=True,
        use=view.state == "finished" and has_model,
        open=view.result is not None,
        now=view.state == "stopping" and bool(view.slurm),
    )


_WORDS: Final = {
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "f1_50": "F1 at IoU 0.5",
    "precision_50": "Precision at IoU 0.5",
    "recall_50": "Recall at IoU 0.5",
    "f1_50_nuclear_only": "F1, nuclear markers alone",
    "mAP": "mAP of masks",
    "AP50": "AP50",
    "AP75": "AP75",
    "validation_loss": "Validation loss",
    "validation_reconstruction": "Reconstruction error",
    "validation_reconstruction_1": "Reconstruction error, random mask",
    "validation_reconstruction_2": "Reconstruction error, adaptive mask",
    "validation_regression": "Feature regression",
}


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric of a job beside its parent's on the same data; ``better`` is None where there is none to compare."""

    name: str
    own: float
    parent: float | None
    better: bool | None


def metric_rows(own: Mapping[str, Any], parent: Mapping[str, Any] | None) -> list[MetricRow]:
    """Return the metrics that have a name for people, each beside the parent's."""
    rows = []
    for key, name in _WORDS.items():
        mine, other = _number(own.get(key)), _number((parent or {}).get(key))
        if mine is not None:
            lower = key.startswith("validation_")
            better = None if other is None or mine == other else (mine < other) == lower
            rows.append(MetricRow(name, mine, other, better))
    return rows


def verdict(own: Mapping[str, Any], parent: Mapping[str, Any] | None, name: str) -> str:
    """Say whether a model is better than its parent by the score that it was chosen by; nothing without a parent."""
    mine, other = _number(own.get("score")), _number((parent or {}).get("score"))
    if mine is None or other is None:
        return ""
    if mine > other:
        return (
            f"Better than its parent {name} on the same validation data ({mine:.4g}, {other:.4g}). Its checkpoint was "
            "chosen on these data, which favours it."
        )
    if mine < other:
        return (
            f"Worse than its parent {name} on the same validation data: keep using the parent, or train on."
        )
    return f"As good as its parent {name} on the same validation data."


def settings_rows(settings: Mapping[str, Any], view: JobView) -> list[tuple[str, str]]:
    """Return the settings of a job in plain words, from its ``job.yaml``."""
    if view.kind == "analyse":
        return _analysis_rows(settings, view)
    get = settings.get
    sources = get("sources") or {}
    data = get("crops") or ", ".join(str(path) for path in get("data") or ())
    if sources:
        data = f"cells of {_count(len(sources.get('slides', ())), 'slide')}, cut by the job itself"
    areas = get("areas") or ()
    if isinstance(areas, dict):  # of a fine-tuning; an improvement has a plain list
        areas = areas.get("areas", ())
    if areas:
        data = f"outlines in {_count(len(areas), 'area')}, kept in the job's folder"
    limit = get("max_steps")
    rows = [
        ("Task", _task(settings, view)),
        ("Starts from", "nothing (random weights)" if get("init") == "random" else str(get("init", ""))),
        ("Data", str(data)),
        ("Length", f"{get('epochs')} epochs" + (f", at most {limit} steps" if limit else "")),
        ("Batch", f"{get('batch_size')} cells or tiles per step"),
        ("Learning rate", f"{get('lr')} per 256 cells"),
        ("Validation", f"every {get('validate_every')} steps on data that is not trained on"),
        ("Checkpoint", f"every {duration(float(get('checkpoint_seconds') or 0))}"),
        ("Seed", str(get("seed"))),
        ("Device", str(view.device or get("device", ""))),
        ("Runs on", view.place if view.slurm else ""),
        ("Folder", str(view.path)),
    ]
    return [(name, text) for name, text in rows if text and "None" not in text]


def _analysis_rows(settings: Mapping[str, Any], view: JobView) -> list[tuple[str, str]]:
    get = settings.get
    chosen = get("chosen")
    pairs = (
        [f"{model}: {mine or 'none'}" for model, mine in chosen.items()] if isinstance(chosen, dict) else []
    )
    size = get("pixel_um")
    return [
        ("Task", "Outlines, measurements" + (" and types" if get("types") else "") + " of every cell"),
        ("Slide", str(get("slide", ""))),
        ("Where", str(get("region") or "the whole slide")),
        ("Model", str(get("model", ""))),
        ("Markers chosen by you", ", ".join(pairs) or "none"),
        ("Pixel size", f"{size:.4g} µm" if isinstance(size, int | float) else "as the file says"),
        ("Device", str(view.device or get("device", ""))),
        ("Result", str(view.result or "not begun")),
        ("Folder", str(view.path)),
    ]


def facts_html(
    settings: Mapping[str, Any],
    view: JobView,
    metrics: Sequence[MetricRow],
    parent: str,
    notes: Sequence[str],
) -> str:
    """Return the settings, the metrics beside the parent's and the notes as a small page."""
    parts = []
    if metrics:
        head = (
            "<tr><td></td><td><b>this model</b></td>"
            + (f"<td>{escape(parent)}</td>" if parent else "")
            + "</tr>"
        )
        lines = [head]
        for row in metrics:
            own = f"<b>{row.own:.4g}</b>" + (
                "" if row.better is None else " better" if row.better else " worse"
            )
            other = "" if not parent else f"<td>{'' if row.parent is None else f'{row.parent:.4g}'}</td>"
            lines.append(f"<tr><td>{row.name}</td><td>{own}</td>{other}</tr>")
        parts.append(
            f"<p>On validation data, best checkpoint:</p><table cellpadding='2'>{''.join(lines)}</table>"
        )
    parts += [f"<p>{escape(note)}</p>" for note in notes]
    facts = [f"<p><b>{name}</b><br>{_breakable(text)}</p>" for name, text in settings_rows(settings, view)]
    return "".join([*parts, *facts])


def _breakable(text: str) -> str:
    """Let long paths break at their slashes: a label wraps at spaces only."""
    return escape(text).replace("/", "/&#8203;").replace("\\", "\\&#8203;").replace("_", "_&#8203;")


def _task(settings: Mapping[str, Any], view: JobView) -> str:
    if view.kind == "pretrain":
        return f"Pretraining by {settings.get('method', '?')}, {settings.get('size', '')} network, without labels"
    if view.kind == "improve":
        what = " and ".join(str(each) for each in settings.get("learn") or ["types"])
        how = ", the whole network learns" if settings.get("encoder") else ""
        return f"Improvement of {what} with corrections{how}; Annotate shows before and after"
    what = {"types": "cell types", "segments": "outlines"}.get(str(settings.get("task")), "")
    mode = {"frozen": ", encoder frozen", "linear-probe": ", linear probe"}.get(str(settings.get("mode")), "")
    return f"Fine-tuning of {what}{mode}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
