"""Read a job's folder as it stands: whoever reads it knows everything, whatever became of its process. No torch.

Everything here may be read while it is written, after a kill, or after someone edited it: what is damaged is passed over.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

import yaml

from napari_dama.errors import JobError
from napari_dama.jobs import far
from napari_dama.jobs.records import Events, Metrics, last_line, read_events, read_metrics
from napari_dama.predict.record import JOB, RUN_FILE
from napari_dama.training.files import read_json
from napari_dama.training.folder import STOP
from napari_dama.training.identity import ProcessId

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ENDED",
    "GOING",
    "Events",
    "JobView",
    "Metrics",
    "State",
    "process_lives",
    "read_events",
    "read_job",
    "read_metrics",
    "read_status",
]

State = Literal["waiting", "starting", "running", "stopping", "stopped", "finished", "failed", "dead"]
GOING: Final = ("waiting", "starting", "running", "stopping")
"""States in which a process works, or waits to work, on the folder."""
ENDED: Final = ("stopped", "finished", "failed")
SILENT_S: Final = 60.0
"""A job of another machine without a heartbeat for so long counts as dead."""


@dataclass(frozen=True, slots=True)
class JobView:
    """What a job's folder says.

    Attributes
    ----------
    path : Path
    name : str
        The settings' ``name``, else that of the folder; of an analysis that of its result.
    kind : str
        ``pretrain``, ``finetune`` or ``analyse``; empty where ``job.yaml`` cannot be read.
    task : str
        The method of a pretraining, ``types`` or ``segments`` of a fine-tuning; empty where unknown.
    state : str
        ``waiting`` (for its device, or in SLURM's queue), ``starting``, ``running``, ``stopping`` (asked to, and still at
        work), ``stopped``,
        ``finished``, ``failed``, or ``dead`` (its process is gone without a word).
    step, steps : int
        Steps done, and of the whole run; tiles of an analysis; 0 while unknown.
    loss, images_per_s, eta_s : float or None
        Mean loss of the last logged steps, pace, seconds left; None while unknown.
    device : str
        Empty while unknown.
    started : float or None
        When this session of the job began, seconds since 1970.
    heartbeat_age_s : float or None
        Seconds since the last sign of life, at least 0.
    why : str
        Why it waits, failed or is dead; empty otherwise.
    parent : str or None
        The model that it starts from; None for random weights.
    best : dict
        Metrics of the best checkpoint on validation data so far, with its ``step``.
    pid : int or None
    host : str
        The machine that it runs or ran on; empty while unknown.
    model : Path or None
        The finished model's folder.
    cells, mpx_per_s : int, float or None
        Cells that an analysis found so far, and its pace in megapixels of the slide per second; None while unknown.
    result : Path or None
        Folder of an analysis' result, once there is something in it.
    slurm : str
        SLURM's number of its last session; empty for a job that was not submitted to a cluster.
    """

    path: Path
    name: str
    kind: str
    task: str
    state: State
    step: int = 0
    steps: int = 0
    loss: float | None = None
    images_per_s: float | None = None
    eta_s: float | None = None
    device: str = ""
    started: float | None = None
    heartbeat_age_s: float | None = None
    why: str = ""
    parent: str | None = None
    best: Mapping[str, float] = field(default_factory=dict)
    pid: int | None = None
    host: str = ""
    model: Path | None = None
    cells: int | None = None
    mpx_per_s: float | None = None
    result: Path | None = None
    slurm: str = ""

    @property
    def unit(self) -> str:
        """What its steps are: ``tiles`` of an analysis, ``steps`` of a training."""
        return "tiles" if self.kind == "analyse" else "steps"

    @property
    def place(self) -> str:
        """Where it runs or ran: SLURM's number and node, a process and its machine."""
        if self.slurm:
            return f"SLURM job {self.slurm}" + (f" on {self.host}" if self.host else "")
        return (
            f"process {self.pid}" + (f" on {self.host}" if self.host else "")
            if self.pid
            else "no process yet"
        )

    @property
    def going(self) -> bool:
        """Whether a process works on it, or waits to."""
        return self.state in GOING

    @property
    def share(self) -> float:
        """Share of the steps that are done, 0 to 1."""
        return min(1.0, self.step / self.steps) if self.steps else 0.0


def read_job(path: str | Path) -> JobView:
    """Read a job's folder.

    Whether a process of this machine still lives is asked of the system, so that a changed clock or a long step never make
    a live job dead; of a job on another machine only the heartbeat tells, which is too old after 60 s.

    Raises
    ------
    JobError
        If there is no such folder, or it is no job's.
    """
    path = Path(path)
    if not path.is_dir():
        raise JobError(f"{path} is no job: there is no such folder")
    if not (path / "job.yaml").is_file() and not (path / "status.json").is_file():
        raise JobError(f"{path} is no job: it has neither job.yaml nor status.json")
    status = read_status(path)
    state = _state(path, status)
    if state == "dead":  # or it ended between the two looks
        status = read_status(path)
        state = _state(path, status)
    settings = _settings(path)
    return _view(path, status, settings, state)


def _view(path: Path, status: Mapping[str, Any], settings: Mapping[str, Any], state: State) -> JobView:
    heartbeat = _number(status.get("heartbeat"))
    best = status.get("best")
    analysis = settings.get("kind") == "analyse"
    init = settings.get("init")
    why = str(status.get("why") or "")
    if _submitted(status):
        why = far.state_of(path, status, silent_s=SILENT_S)[1]
    elif state == "dead":
        why = _why_dead(path, status)
    elif not settings:
        why = why or "job.yaml is missing, or cannot be read"
    return JobView(
        path=path,
        name=str(settings.get("name") or _folder_name(path.absolute())),
        kind=str(settings.get("kind") or ""),
        task=str(settings.get("task") or settings.get("method") or ""),
        state=state,
        step=int(_number(status.get("step")) or 0),
        steps=int(_number(status.get("steps")) or 0),
        loss=_number(status.get("loss")),
        images_per_s=_number(status.get("images_per_s")),
        eta_s=_number(status.get("eta_s")),
        device=str(status.get("device") or ""),
        started=_number(status.get("started")),
        heartbeat_age_s=None if heartbeat is None else max(0.0, time.time() - heartbeat),
        why=why if state in ("waiting", "failed", "dead") or _submitted(status) or not settings else "",
        parent=None if init in (None, "random") else str(init),
        best=_numbers(best if isinstance(best, dict) else {}),
        pid=int(pid) if (pid := _number(status.get("pid"))) else None,
        host=str(status.get("host") or ""),
        model=path / "model" if state == "finished" and (path / "model" / "card.json").is_file() else None,
        cells=None if (cells := _number(status.get("cells"))) is None else int(cells),
        mpx_per_s=_number(status.get("mpx_per_s")),
        result=path.parent if analysis and (path.parent / RUN_FILE).is_file() else None,
        slurm=str(status.get("slurm") or ""),
    )


def _folder_name(path: Path) -> str:
    return path.parent.name if path.name == JOB else path.name


def _state(path: Path, status: Mapping[str, Any]) -> State:
    said = status.get("state")
    if _submitted(status):
        return cast("State", far.state_of(path, status, silent_s=SILENT_S)[0])
    if said in ENDED:
        return cast("State", said)
    if said not in get_args(State) or not process_lives(status):
        return "dead"
    return "stopping" if (path / STOP).exists() else cast("State", said)


def _submitted(status: Mapping[str, Any]) -> bool:
    """Whether a job on a cluster has not said that it ended, or waits there in spite of that."""
    if not status.get("slurm"):
        return False
    return status.get("state") in GOING or (
        status.get("state") == "stopped" and far.queued_again(str(status["slurm"]))
    )


def process_lives(status: Mapping[str, Any]) -> bool:
    """Whether the process that wrote a status lives, as far as can be told from here."""
    process = ProcessId.read(status)
    if process is not None and process.here:
        return process.alive
    heartbeat = _number(status.get("heartbeat"))
    return heartbeat is not None and abs(time.time() - heartbeat) <= SILENT_S


def _why_dead(path: Path, status: Mapping[str, Any]) -> str:
    pid, host = status.get("pid"), status.get("host")
    if pid is None:
        return "its process left no status"
    who = f"process {pid}" + (f" on {host}" if host else "")
    last = last_line(path / "log.txt")
    return f"{who} is gone without a word" + (f"; the last line of its log: {last}" if last else "")


def read_status(path: Path) -> dict[str, Any]:
    """What ``status.json`` holds; empty where it is missing or damaged."""
    return read_json(path / "status.json")


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = yaml.load((path / "job.yaml").read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(key): number for key, value in values.items() if (number := _number(value)) is not None}
