"""Read what a job's folder says, a little at a time: only what is new since the last look. For a thread; no Qt, no torch."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import yaml

from napari_dama.gui.confusion_file import Confusion, read_confusion
from napari_dama.gui.curves import Curve, loss_curves, thinned
from napari_dama.gui.event_words import words_of_event
from napari_dama.jobs.folder import read_events, read_metrics
from napari_dama.training.preview_files import PREVIEWS, preview_name, preview_steps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOG_BYTES: Final = 16_384
EVENTS_SHOWN: Final = 300
FIRST_EVENTS_BYTES: Final = 4 * 2**20
SCORES: Final = {
    "types": ("balanced_accuracy", "macro_f1"),
    "segments": ("f1_50", "AP50"),
    "pretrain": ("validation_reconstruction_1", "validation_reconstruction_2"),
}
"""Validation metrics that are drawn, the one that the run is chosen by first."""
OTHER_SCORES: Final[tuple[str, ...]] = ("validation_reconstruction", "validation_loss", "score")
NO_DECODER: Final = ("moco", "data2vec", "simmim")


@dataclass(frozen=True, slots=True)
class JobData:
    """What one job's folder says at a moment.

    Attributes
    ----------
    path : Path
    settings : dict
        Its ``job.yaml``.
    losses, scores : tuple of Curve
        Parts of the training loss; metrics on validation data with the parent's as a level line.
    score_title : str
        What the scores are, with their unit.
    previews : tuple of (step, Path)
    confusion : Confusion or None
    log : str
        Its last events in words, and the end of what its process printed.
    notes : tuple of str
        What the run had to say of its data.
    doing : str
        What it does before its first step, with percent; empty otherwise.
    parent_name, parent
        The model that it started from and that model's metrics on the same validation data; empty where not measured.
    pictures : bool
        Whether pictures or counts are to be expected.
    """

    path: Path
    settings: Mapping[str, Any]
    losses: tuple[Curve, ...] = ()
    scores: tuple[Curve, ...] = ()
    score_title: str = ""
    previews: tuple[tuple[int, Path], ...] = ()
    confusion: Confusion | None = None
    log: str = ""
    notes: tuple[str, ...] = ()
    doing: str = ""
    parent_name: str = ""
    parent: Mapping[str, float] = field(default_factory=dict)
    pictures: bool = True


class JobReader:
    """Follows one job's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: dict[str, list[float]] = {}
        self._size = 0
        self._next_byte = 0
        self._validated: dict[int, dict[str, float]] = {}
        self._notes: tuple[str, ...] = ()
        self._parent: tuple[str, dict[str, float]] = ("", {})
        self._settings: dict[str, Any] = {}
        self._happened: deque[str] = deque(maxlen=EVENTS_SHOWN)

    def read(self) -> JobData:
        """Look again and return everything."""
        self._settings = self._settings or self._read_settings()
        self._read_metrics()
        self._read_events()
        kind = str(self._settings.get("task") or self._settings.get("kind") or "")
        if kind == "analyse":
            losses, scores, title = *self._analysis_curves(), "megapixels/s, each tile"
        else:
            losses, (scores, title) = loss_curves(self._columns), self._scores(kind)
        folder = self.path / PREVIEWS
        return JobData(
            self.path,
            self._settings,
            losses,
            scores,
            title,
            tuple((step, folder / preview_name(step)) for step in self._preview_steps(folder)),
            read_confusion(folder / "confusion.csv"),
            self._log(),
            self._notes,
            self._doing(),
            *self._parent,
            pictures=kind != "analyse"
            and bool(self._settings.get("previews", True))
            and self._settings.get("method") not in NO_DECODER,
        )

    def _read_metrics(self) -> None:
        file = self.path / "metrics.csv"
        size = file.stat().st_size if file.is_file() else 0
        if size < self._size:  # resumed from an earlier step, or begun anew
            self._columns = {}
        self._size = size
        steps = self._columns.get("step", [])
        found = read_metrics(self.path, since=int(steps[-1]) if steps else 0)
        if not len(found):
            return
        if set(self._columns) != {"step", *found.columns}:
            self._columns = {"step": [], **{name: [] for name in found.columns}}
        self._columns["step"].extend(found.step.tolist())
        for name, values in found.columns.items():
            self._columns[name].extend(values.tolist())

    def _read_events(self) -> None:
        found = read_events(self.path, self._next_byte, most_bytes=FIRST_EVENTS_BYTES)
        if found.skipped or found.next_byte < self._next_byte:
            self._validated = {}
            self._happened.clear()
        self._next_byte = found.next_byte
        for record in found.records:
            self._happened.append(words_of_event(record))
            if record["kind"] == "validated" and isinstance(record.get("step"), int):
                self._validated[record["step"]] = _numbers(record)
            elif record["kind"] == "parent":
                self._parent = (str(record.get("name", "")), _numbers(record))
            elif record["kind"] == "data":
                self._notes = _sentences(record)
            elif record["kind"] == "analysing":
                self._notes = tuple(str(note) for note in record.get("notes") or ())
            elif record["kind"] == "checked":
                self._notes = (*self._notes, *_warnings(record))

    def _analysis_curves(self) -> tuple[tuple[Curve, ...], tuple[Curve, ...]]:
        """Cells found, and the pace of each tile, over the tiles."""
        steps = np.asarray(self._columns.get("step", ()), float)
        return tuple(
            (Curve(name, *thinned(steps, np.asarray(self._columns[name], float))),)
            if name in self._columns
            else ()
            for name in ("cells", "mpx_per_s")
        )  # type: ignore[return-value]

    def _log(self) -> str:
        """What happened, and below it what the process printed."""
        printed = read_tail(self.path / "log.txt")
        parts = ["\n".join(self._happened), f"Printed by the process:\n{printed}" if printed else ""]
        return "\n\n".join(part for part in parts if part)

    def _scores(self, kind: str) -> tuple[tuple[Curve, ...], str]:
        """Curves of the validation, and what their axis shows."""
        steps = sorted(self._validated)
        seen = set().union(*(self._validated[step] for step in steps)) if steps else set()
        wanted: list[str] = [name for name in SCORES.get(kind, ()) if name in seen]
        wanted = wanted or [name for name in OTHER_SCORES if name in seen][:1]
        x = np.array(steps, float)
        curves = [
            Curve(name, *thinned(x, np.array([self._validated[s].get(name, np.nan) for s in steps], float)))
            for name in wanted
        ]
        level = self._parent[1].get(wanted[0]) if wanted else None
        if level is not None and steps:
            ends = np.array([0.0 if len(steps) == 1 else x[0], x[-1]])
            curves.append(Curve("parent", ends, np.full(2, level)))
        error = bool(wanted) and wanted[0].startswith("validation_")
        title = "error on validation cells" if error else "score on validation data (0 to 1)"
        return tuple(curves), title

    def _preview_steps(self, folder: Path) -> list[int]:
        try:
            return preview_steps(path.name for path in folder.iterdir())
        except OSError:
            return []

    def _doing(self) -> str:
        try:
            status = json.loads((self.path / "status.json").read_text(encoding="utf-8"))
            said, share = status.get("doing"), status.get("share")
        except (OSError, ValueError, AttributeError):
            return ""
        if not said or status.get("state") != "running":
            return ""
        return f"{said}: {share:.0%}" if isinstance(share, int | float) else str(said)

    def _read_settings(self) -> dict[str, Any]:
        try:
            found = yaml.safe_load((self.path / "job.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return found if isinstance(found, dict) else {}


def read_tail(file: Path, most: int = LOG_BYTES) -> str:
    """Return the end of a text from a whole line on; of lines that overwrote each other (progress) the last one."""
    try:
        with file.open("rb") as text:
            size = text.seek(0, 2)
            text.seek(max(0, size - most))
            found = text.read().decode("utf-8", "replace")
    except OSError:
        return ""
    if size > most:
        found = found.partition("\n")[2]
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in found.split("\n")).strip("\n")


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key not in ("time", "step")
    }


def _warnings(record: Mapping[str, Any]) -> tuple[str, ...]:
    found = record.get("findings")
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    return tuple(f"{row.get('level')}: {row.get('text')}" for row in rows if row.get("level") != "note")


def _sentences(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What the run says of its data: how it was parted, how much there is, and what must be known."""
    out = []
    if record.get("crops"):
        out.append(
            f"{record['crops']} crops: {record.get('training')} to train on, {record.get('validation')} to validate."
        )
    elif record.get("samples"):
        out.append(f"{record['samples']} samples to train on.")
    if record.get("split"):
        out.append(f"Split: {record['split']}.")
    return (*out, *(str(note) for note in record.get("notes", ())))
