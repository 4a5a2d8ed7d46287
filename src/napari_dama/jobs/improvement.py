"""What becomes of an improvement: its report, and whether its model is taken over. No torch until it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_dama.errors import JobError, OutputError
from napari_dama.jobs.folder import read_job
from napari_dama.jobs.process import delete, read_settings
from napari_dama.jobs.shelf import list_jobs
from napari_dama.models.card import Card
from napari_dama.models.shelf import list_models, user_folder
from napari_dama.training.files import read_json, write_json
from napari_dama.training.improve_settings import ImproveSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dama.jobs.folder import JobView

REPORT: Final = "improvement.json"
DECISION: Final = "decision.json"


def read_report(job: str | Path) -> dict[str, Any]:
    """Return what `napari_dama.training.improve` found out; empty while it has not."""
    return read_json(Path(job) / REPORT)


def read_decision(job: str | Path) -> str:
    """Return ``accepted``, ``discarded``, or nothing while nobody has decided."""
    return str(read_json(Path(job) / DECISION).get("decision", ""))


def decision_of(job: str | Path) -> dict[str, Any]:
    """Return the whole decision: ``decision``, ``time``, of an accepted one ``name`` and ``parts``; empty without."""
    return read_json(Path(job) / DECISION)


def learned_parts(report: Mapping[str, Any]) -> list[str]:
    """Return what an improvement learned: ``types``, ``outlines`` or both."""
    return [str(each) for each in report.get("learn", ["types"] if report else [])]


def accept(
    job: str | Path,
    name: str | None = None,
    *,
    parts: Sequence[str] | None = None,
    overwrite: bool = False,
) -> str:
    """Put the improved model on the user's shelf; returns its name there.

    Parameters
    ----------
    job
        Folder of a finished improvement.
    name
        On the shelf; by default one that nothing has yet, after its parent.
    parts
        Which of what was learned is taken, ``types``, ``outlines`` or both; the other stays the parent's. By default what
        improved on the held-out part; of a job that learned one thing, that.
    overwrite
        Replace a model of that name.

    Raises
    ------
    JobError
        The job is no finished improvement, or was discarded, or did not learn (or, by default, improve) what is asked for.
    OutputError
        The shelf has such a model, or cannot be written.
    ModelError
        The model is damaged, or the name cannot be one.
    """
    path = Path(job)
    _finished(path)
    wanted, folder = _wanted(path, parts)
    from napari_dama.models.importer import import_model

    title = name or free_name(path)
    if not overwrite and any(card.name == title for card in list_models()):
        raise OutputError(f"The shelf has a model {title} already: give another name.")
    import_model(folder, name=title, overwrite=overwrite)
    _decide(path, "accepted", name=title, parts=wanted)
    return title


def _wanted(path: Path, parts: Sequence[str] | None) -> tuple[list[str], Path]:
    """What is to be taken of a finished improvement, and the folder of the model that has just that."""
    report = read_report(path)
    learned = learned_parts(report)
    wanted = list(parts) if parts is not None else learned
    if parts is None and len(learned) > 1:
        wanted = [each for each in learned if each in report.get("improved", [])]
        if not wanted:
            raise JobError(
                "Neither types nor outlines improved on the held-out part: discard, or name what to take (--only)."
            )
    strange = [each for each in wanted if each not in learned]
    if strange or not wanted:
        what = strange[0] if strange else "nothing"
        raise JobError(f"{path.name} learned {' and '.join(learned)}: {what} cannot be taken from it.")
    whole = set(wanted) == set(learned)
    return wanted, path / ("model" if whole else f"model-{wanted[0]}")


def discard(job: str | Path, *, keep: bool = False) -> None:
    """Leave everything as it was: the job's folder is deleted, or kept with a note.

    Raises
    ------
    JobError
        It is no job, or still at work.
    """
    path = Path(job)
    if keep:
        _finished(path)
        _decide(path, "discarded")
    else:
        delete(path)


def free_name(job: Path) -> str:
    """Return a name for the model that the shelf does not have: ``PARENT-improved``, ``PARENT-improved-2``, ..."""
    card = Card.read(job / "model")
    base = (card.parent or card.name).split("-improved")[0][:80] + "-improved"
    taken = {each.name for each in list_models()}
    taken |= {entry.name for entry in user_folder().iterdir()} if user_folder().is_dir() else set()
    numbers = (f"{base}-{number}" for number in range(2, len(taken) + 3))
    return base if base not in taken else next(title for title in numbers if title not in taken)


def improvements_of(result: str | Path) -> list[JobView]:
    """Return the improvements learned from a result that wait for an answer or are at work, the latest first."""
    wanted = Path(result).absolute()
    found = []
    for view in list_jobs():
        if view.kind != "improve" or read_decision(view.path):
            continue
        try:
            settings = read_settings(view.path)
        except (OSError, ValueError):
            continue
        if isinstance(settings, ImproveSettings) and any(each.result == wanted for each in settings.slides):
            found.append(view)
    return found


def _finished(path: Path) -> None:
    view = read_job(path)
    if view.kind != "improve":
        raise JobError(f"{path} is no improvement of a model: its job is {view.kind or 'unknown'}")
    if view.model is None or not read_report(path):
        raise JobError(f"{view.name} is {view.state}: there is no improved model to decide on (yet)")
    if read_decision(path) == "discarded":
        raise JobError(f"{view.name} was discarded; remove its decision.json to decide anew")


def _decide(path: Path, decision: str, **facts: Any) -> None:
    try:
        write_json(path / DECISION, {"decision": decision, "time": time.time(), **facts})
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {error.strerror or error}") from error
