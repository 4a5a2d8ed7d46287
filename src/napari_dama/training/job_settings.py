"""What the settings of every job share, whatever it does: one validated file, written whole. No torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_dama.errors import SettingsError

S = TypeVar("S", bound="JobSettings")


class JobSettings(BaseModel):
    """Settings of work that runs in a process of its own.

    Attributes
    ----------
    out : Path
        The job's folder.
    device : str
        ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:1``, ...
    name : str or None
        What it is called in lists; None for the name of its folder.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True)

    out: Path
    device: str = "auto"
    name: str | None = None

    @classmethod
    def from_file(cls, file: Path) -> Self:
        """Read ``job.yaml``.

        Raises
        ------
        SettingsError
            If the file is missing, no YAML, or a setting is unknown or out of bounds.
        """
        try:
            raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SettingsError(f"{file} does not exist") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file} is no valid YAML: {error}") from error
        if not isinstance(raw, dict):
            raise SettingsError(f"{file} holds no settings")
        raw.pop("kind", None)
        return checked(cls, raw, where=str(file))

    def to_file(self, file: Path) -> None:
        """Write all settings as YAML, with the kind of job in front; a kill leaves the old file or the new one whole."""
        kind = {"kind": type(self).__name__.removesuffix("Settings").lower()}
        text = yaml.safe_dump(
            kind | self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
        )
        partial = file.with_name(file.name + ".part")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, file)


def checked(kind: type[S], raw: dict[str, Any], *, where: str) -> S:
    """Validated settings.

    Raises
    ------
    SettingsError
        Naming the first setting that does not fit, its value and the bound.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        # a rule over several settings carries its values in its message
        got = "" if first["type"] == "missing" or not first["loc"] else f", got {first['input']!r}"
        raise SettingsError(f"{where}: {name}: {first['msg']}{got}") from error
