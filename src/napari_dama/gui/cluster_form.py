"""What the user types into the cluster's dialog, and the settings and the script that follow from it. No Qt, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from psygnal import EventedModel
from pydantic import ConfigDict

from napari_dama.errors import SettingsError
from napari_dama.gui import tooltips
from napari_dama.jobs.cluster import ClusterSettings

if TYPE_CHECKING:
    from pathlib import Path


class ClusterWishes(EventedModel):
    """Every setting of a submission as the text that stands in its field; see `ClusterSettings`."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    partition: str = ""
    account: str = ""
    time: str = ""
    nodes: str = "1"
    gpus: str = "1"
    cpus: str = "4"
    memory_gb: str = ""
    setup: str = ""
    gpu_type: str = ""
    gpu_request: str = "gpus-per-node"
    qos: str = ""
    constraint: str = ""
    python: str = ""
    restarts: str = "50"
    checkpoint_s: str = "120"
    extra: str = ""

    @classmethod
    def of(cls, settings: ClusterSettings) -> ClusterWishes:
        """The texts of settings."""
        return cls(**{key: _text(value) for key, value in settings.model_dump().items()})

    def resolve(self) -> ClusterSettings:
        """The settings. Raises `SettingsError` naming the field that does not fit."""
        names = {field.key: field.title for field in FIELDS}
        raw = self.model_dump()
        for key in ("nodes", "gpus", "cpus", "restarts", "checkpoint_s"):
            if not raw[key].strip().isdigit():
                raise SettingsError(f"{names[key]} must be a whole number, got {raw[key] or 'nothing'}.")
        try:
            return ClusterSettings.checked(raw, where="cluster")
        except SettingsError as error:
            said = str(error).removeprefix("cluster: ")
            key, sign, rest = said.partition(": ")
            text = f"{names[key]}: {rest}" if sign and key in names else said
            raise SettingsError(f"{text[:1].upper()}{text[1:]}.") from error


@dataclass(frozen=True, slots=True)
class ClusterField:
    """A field of the dialog: a line, a whole number in bounds, one of several words, or several lines."""

    key: str
    title: str
    tip: str
    kind: Literal["line", "number", "choice", "lines"] = "line"
    low: int = 0
    high: int = 0
    words: tuple[str, ...] = ()
    empty: str = ""
    more: bool = False


_OWN: Final = "the cluster's own"
FIELDS: Final = (
    ClusterField("partition", "Partition", tooltips.CLUSTER_PARTITION, empty=_OWN),
    ClusterField("account", "Account", tooltips.CLUSTER_ACCOUNT, empty=_OWN),
    ClusterField("time", "Time limit", tooltips.CLUSTER_TIME),
    ClusterField("nodes", "Nodes", tooltips.CLUSTER_NODES, "number", 1, 1024),
    ClusterField("gpus", "GPUs per node", tooltips.CLUSTER_GPUS, "number", 0, 64),
    ClusterField("cpus", "CPU cores per task", tooltips.CLUSTER_CPUS, "number", 1, 1024),
    ClusterField("memory_gb", "Memory per node, GB", tooltips.CLUSTER_MEMORY, empty=_OWN),
    ClusterField("setup", "Commands before", tooltips.CLUSTER_SETUP, "lines", empty="module load cuda"),
    ClusterField("gpu_type", "GPU type", tooltips.CLUSTER_GPU_TYPE, empty="any", more=True),
    ClusterField(
        "gpu_request",
        "Ask for GPUs by",
        tooltips.CLUSTER_GPU_REQUEST,
        "choice",
        words=("gpus-per-node", "gres"),
        more=True,
    ),
    ClusterField("qos", "QOS", tooltips.CLUSTER_QOS, empty=_OWN, more=True),
    ClusterField("constraint", "Constraint", tooltips.CLUSTER_CONSTRAINT, empty="none", more=True),
    ClusterField("python", "Python", tooltips.CLUSTER_PYTHON, empty="this one", more=True),
    ClusterField(
        "restarts", "Queue again at most", tooltips.CLUSTER_RESTARTS, "number", 0, 10_000, more=True
    ),
    ClusterField(
        "checkpoint_s", "Save before the end, s", tooltips.CLUSTER_CHECKPOINT, "number", 10, 3600, more=True
    ),
    ClusterField(
        "extra", "Further options", tooltips.CLUSTER_EXTRA, "lines", empty="--mail-type=END", more=True
    ),
)


def script_of(settings: ClusterSettings, job: Path) -> str:
    """The script that would be sent for a job's folder; imports submitit, so call it in a thread."""
    from napari_dama.jobs.submission import script_text

    return script_text(job, settings, job.name)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(str(line) for line in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
