"""What a job asks of a SLURM cluster: ``cluster.yaml`` in its folder, validated, and the user's defaults. No torch."""

from __future__ import annotations

import math
import os
import re
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from napari_dama.errors import OutputError, SettingsError
from napari_dama.jobs.shelf import jobs_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CLUSTER: Final = "cluster.yaml"
OURS: Final = frozenset(
    "array cpus-per-task error gpus-per-node job-name mem nodes ntasks ntasks-per-node open-mode output signal time".split()
)
"""Options of sbatch that follow from other settings, or that runs rely on."""
_TIME: Final = re.compile(r"^(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})$")


def _one_line(text: str) -> str:
    if any(ord(letter) < 32 for letter in text):
        raise ValueError("must be one line without control characters")
    return text


def _nothing(value: Any) -> Any:
    """Empty text says that nothing is asked for, as in a form."""
    return None if isinstance(value, str) and value.strip().lower() in ("", "null", "none", "~") else value


def _lines(value: Any) -> Any:
    """A text is its lines; empty ones do not count."""
    if isinstance(value, str):
        value = value.splitlines()
    return [line.strip() for line in value if str(line).strip()] if isinstance(value, list) else value


def _valid_time(value: Any) -> str:
    text = str(value).strip()
    minutes_of(text)
    return text


def _valid_extra(lines: list[str]) -> list[str]:
    for line in lines:
        name, _ = option_of(line)
        if name in OURS:
            raise ValueError(f"--{name} follows from the other settings and must not be given here")
    return lines


Line = Annotated[str, AfterValidator(_one_line)]
Word = Annotated[Line | None, BeforeValidator(_nothing)]
Lines = Annotated[list[Line], BeforeValidator(_lines)]
Gigabytes = Annotated[Annotated[float, Field(gt=0, le=100_000)] | None, BeforeValidator(_nothing)]


class ClusterSettings(BaseModel):
    """Resources of one submission.

    Attributes
    ----------
    partition, account, qos, constraint : str or None
        As ``sbatch`` takes them; None leaves the choice to the cluster.
    time : str
        Limit of one session, in SLURM's forms: ``90`` (minutes), ``4:00:00``, ``2-12:00:00`` (days). A run that needs longer
        is checkpointed and queued again.
    nodes : int
    gpus : int
        Per node; 0 trains on processors. With more than one task (nodes times GPUs) the run is shared among them.
    gpu_type : str or None
        Such as ``a100``.
    gpu_request : {'gpus-per-node', 'gres'}
        How the cluster wants to be asked for GPUs.
    cpus : int
        Processor cores per task.
    memory_gb : float or None
        Main memory per node, GB; None takes the cluster's default.
    setup : list of str
        Shell commands before the run, such as ``module load cuda``.
    python : str or None
        Command that starts Python on the node; None takes this Python.
    extra : list of str
        Further options, one each: ``--mail-type=END``, with or without ``#SBATCH``.
    restarts : int
        How often a run may be queued again after its time limit or a pre-emption.
    checkpoint_s : int
        How long before the time limit the run is told to save and end, seconds.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True)

    partition: Word = None
    account: Word = None
    qos: Word = None
    constraint: Word = None
    time: Annotated[str, BeforeValidator(_valid_time)] = "4:00:00"
    nodes: int = Field(1, ge=1, le=1024)
    gpus: int = Field(1, ge=0, le=64)
    gpu_type: Word = None
    gpu_request: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    cpus: int = Field(4, ge=1, le=1024)
    memory_gb: Gigabytes = 32.0
    setup: Lines = []
    python: Word = None
    extra: Annotated[Lines, AfterValidator(_valid_extra)] = []
    restarts: int = Field(50, ge=0, le=10_000)
    checkpoint_s: int = Field(120, ge=10, le=3600)

    def model_post_init(self, context: Any) -> None:
        """Refuse a warning that would come before the run begins."""
        if self.checkpoint_s >= 60 * self.minutes:
            raise ValueError(
                f"checkpoint_s ({self.checkpoint_s} s before the time limit) must be shorter than time ({self.time})"
            )

    @property
    def minutes(self) -> int:
        """The time limit in whole minutes, at least 1."""
        return minutes_of(self.time)

    @property
    def tasks_per_node(self) -> int:
        """Processes on each node: one per GPU."""
        return max(1, self.gpus)

    @property
    def tasks(self) -> int:
        """Processes in all."""
        return self.nodes * self.tasks_per_node

    @classmethod
    def checked(cls, raw: Mapping[str, Any], *, where: str) -> Self:
        """Settings from plain values.

        Raises
        ------
        SettingsError
            If one is unknown or out of bounds; the message names ``where``.
        """
        unknown = [str(name) for name in raw if name not in cls.model_fields]
        if unknown:
            known = ", ".join(cls.model_fields)
            raise SettingsError(f"{where}: no cluster setting {', '.join(unknown)}; there are: {known}")
        try:
            return cls(**raw)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"] if isinstance(part, str) and "(" not in part)
            said = str(first["msg"]).removeprefix("Value error, ")
            given = f", got {first['input']!r}" if name else ""
            raise SettingsError(f"{where}: {name + ': ' if name else ''}{said}{given}") from None

    @classmethod
    def from_file(cls, file: Path) -> Self:
        """Read a ``cluster.yaml``.

        Raises
        ------
        SettingsError
            If it cannot be read, is no YAML, or a setting is out of bounds.
        """
        try:
            # every value as the text it is: YAML takes an unquoted 4:00:00 for the number 14400
            raw = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SettingsError(f"{file} cannot be read: {error}") from error
        if raw in (None, ""):
            raw = {}
        if not isinstance(raw, dict):
            raise SettingsError(f"{file} holds no settings of a cluster")
        return cls.checked(raw, where=str(file))

    def to_file(self, file: Path) -> None:
        """Write all settings as YAML; readers see the old file or the new one.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
        partial = file.with_name(file.name + ".part")
        try:
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, file)
        except OSError as error:
            raise OutputError(f"cannot write {file}: {error.strerror or error}") from error

    def with_overrides(self, pairs: Iterable[str]) -> Self:
        """A copy with ``key=value`` texts applied; ``setup`` and ``extra`` may be given several times, a line each.

        Raises
        ------
        SettingsError
            If a pair has no ``=``, names no setting, or its value does not fit.
        """
        raw: dict[str, Any] = self.model_dump()
        lists: dict[str, list[str]] = {}
        for pair in pairs:
            key, sign, text = pair.partition("=")
            key = key.strip()
            if not sign:
                raise SettingsError(f"--slurm-set takes key=value, got {pair!r}")
            if key in ("setup", "extra"):
                lists.setdefault(key, []).extend(_lines(text))
            else:
                raw[key] = text.strip()
        return self.checked({**raw, **lists}, where="--slurm-set")


def minutes_of(text: str) -> int:
    """Minutes, rounded up, of a time limit in one of SLURM's forms.

    ``minutes``, ``minutes:seconds``, ``hours:minutes:seconds``, ``days-hours``, ``days-hours:minutes``,
    ``days-hours:minutes:seconds`` (https://slurm.schedmd.com/sbatch.html, --time).

    Raises
    ------
    ValueError
        If it is none of them, or no time at all.
    """
    found = _TIME.match(text)
    if found is None:
        raise ValueError(
            "a time limit is written as 90 (minutes), 4:00:00 or 2-12:00:00 (days-hours:minutes:seconds)"
        )
    parts = [int(part) for part in found["parts"].split(":")]
    if found["days"] is not None:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        hours += 24 * int(found["days"])
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    whole = math.ceil(hours * 60 + minutes + seconds / 60)
    if whole < 1:
        raise ValueError("a time limit must be longer than nothing")
    return whole


def option_of(line: str) -> tuple[str, str | bool]:
    """Name and value of an option of sbatch, ``True`` for one without a value.

    Raises
    ------
    ValueError
        If the line is no long option.
    """
    try:
        words = shlex.split(line.removeprefix("#SBATCH").strip())
    except ValueError:
        words = []
    text = words[0] if len(words) == 1 else "=".join(words) if len(words) == 2 and "=" not in words[0] else ""
    name, sign, value = text.partition("=")
    if not re.fullmatch(r"--[a-z][a-z0-9-]*", name) or (sign and not value):
        raise ValueError(f"an option is written as --mail-type=END, one a line; got {line!r}")
    return name.removeprefix("--"), value if sign else True


def defaults_file() -> Path:
    """Where the user's defaults lie: beside the list of jobs."""
    return jobs_folder() / CLUSTER


def default_settings() -> ClusterSettings:
    """The user's defaults, else those of `ClusterSettings`. Raises `SettingsError` if their file is damaged."""
    file = defaults_file()
    return ClusterSettings.from_file(file) if file.is_file() else ClusterSettings()


def keep_as_defaults(settings: ClusterSettings) -> None:
    """Let later submissions begin with these settings. Raises `OutputError` if they cannot be written."""
    file = defaults_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror or error}") from error
    settings.to_file(file)


def settings_of(job: Path) -> ClusterSettings:
    """What a job was submitted with; the user's defaults for one that never was."""
    file = job / CLUSTER
    return ClusterSettings.from_file(file) if file.is_file() else default_settings()
