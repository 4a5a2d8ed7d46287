"""Presets of colours and contrast: named, saved as plain YAML, and shared by every slide with the same markers. No Qt.

A preset is ``NAME.yaml`` in ``NAPARI_DAMA_PRESETS`` or ``~/.napari-dama/presets``. Markers are found by name, without regard
to case, punctuation and fluorophores, so that one preset serves every slide of a panel.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_dama.errors import OutputError, SettingsError
from napari_dama.slides.panel import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dama.gui.markers import Markers

Scale = Literal["value", "percentile"]
DEFAULT_SHARE: Final = 0.5
"""A default preset is applied by itself to slides of which it knows at least this share of the markers."""
LARGEST_BYTES: Final = 1_000_000


class Look(BaseModel):
    """How one marker is shown; ``low`` and ``high`` are values or percentiles, as the preset says."""

    model_config = ConfigDict(extra="forbid")

    colour: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    gamma: float = Field(default=1.0, gt=0, le=10)
    visible: bool = True

    @model_validator(mode="after")
    def _rising(self) -> Look:
        if self.high <= self.low:
            raise ValueError(f"high {self.high:g} must lie above low {self.low:g}")
        return self


class Preset(BaseModel):
    """A named set of looks.

    Attributes
    ----------
    name : str
        Shown in the menu; also the file's name.
    contrast : str
        ``value``: ends are intensities, for slides of one microscope and exposure; ``percentile``: ends are percentiles of
        each slide's own pixels (0 to 100).
    default : bool
        Applied by itself to slides that are opened and whose markers it knows.
    markers : dict of str to Look
        By marker name.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    name: str = Field(min_length=1, max_length=80, pattern=r"^[\w][\w.,()+\- ]*$")
    contrast: Scale = "value"
    default: bool = False
    markers: dict[str, Look] = Field(min_length=1)

    @model_validator(mode="after")
    def _percentiles(self) -> Preset:
        if self.contrast == "percentile":
            for marker, look in self.markers.items():
                if look.low < 0 or look.high > 100:
                    raise ValueError(
                        f"{marker}: percentiles lie between 0 and 100, not {look.low:g} to {look.high:g}"
                    )
        return self

    def look_of(self, marker: str) -> Look | None:
        """Return the look of a marker: under its very name, else under one that means the same."""
        if marker in self.markers:
            return self.markers[marker]
        key = canonical(marker)
        return next((look for name, look in self.markers.items() if canonical(name) == key), None)

    def share_of(self, markers: Sequence[str]) -> float:
        """Return the share of a slide's markers that the preset knows."""
        return sum(self.look_of(marker) is not None for marker in markers) / max(len(markers), 1)


def presets_folder() -> Path:
    """Where presets lie: ``NAPARI_DAMA_PRESETS``, or ``~/.napari-dama/presets``."""
    given = os.environ.get("NAPARI_DAMA_PRESETS")
    return Path(given) if given else Path.home() / ".napari-dama" / "presets"


def list_presets(markers: Sequence[str] = ()) -> tuple[list[Preset], list[str]]:
    """Return the presets, those that know most of `markers` first, and what is wrong with files that are none."""
    found: list[Preset] = []
    wrong: list[str] = []
    folder = presets_folder()
    for file in sorted(folder.glob("*.yaml")) if folder.is_dir() else []:
        try:
            found.append(read_preset(file))
        except SettingsError as error:
            wrong.append(str(error))
    found.sort(key=lambda preset: (-preset.share_of(markers), preset.name.casefold()))
    return found, wrong


def read_preset(file: Path) -> Preset:
    """Read a preset.

    Raises
    ------
    SettingsError
        If the file is no preset; the message names the file and the field.
    """
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise SettingsError(f"{file} is too large for a preset of colours and contrast.")
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        return Preset.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SettingsError(
            f"{file} is no preset of colours and contrast: {place}: {first['msg']}."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is no preset of colours and contrast: it is no YAML.") from error
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror or error}.") from error


def save_preset(preset: Preset, *, overwrite: bool = False) -> Path:
    """Write a preset into the folder, and return its file; of presets for the same markers only one is the default.

    Raises
    ------
    OutputError
        If there is one of that name and `overwrite` is false, or it cannot be written.
    """
    file = _file(preset.name)
    if file.exists() and not overwrite:
        raise OutputError(f"There is a preset {preset.name!r} already; choose another name, or replace it.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, preset)
        if preset.default:
            for other in list_presets()[0]:
                rival = other.default and other.name != preset.name
                if rival and other.share_of(list(preset.markers)) >= DEFAULT_SHARE:
                    _write(_file(other.name), other.model_copy(update={"default": False}))
    except OSError as error:
        raise OutputError(f"The preset cannot be saved ({file}): {error.strerror or error}.") from error
    return file


def delete_preset(name: str) -> None:
    """Delete a preset.

    Raises
    ------
    OutputError
        If it cannot be deleted.
    """
    try:
        _file(name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"The preset {name!r} cannot be deleted: {error.strerror or error}.") from error


def default_preset(markers: Sequence[str]) -> Preset | None:
    """Return the default preset for a slide's markers, None where there is none that knows enough of them."""
    known = [preset for preset in list_presets(markers)[0] if preset.default]
    return known[0] if known and known[0].share_of(markers) >= DEFAULT_SHARE else None


def preset_of(
    name: str,
    markers: Markers,
    *,
    percentiles: Mapping[int, tuple[float, float]] | None = None,
    default: bool = False,
) -> Preset:
    """Make a preset of how a slide is shown now.

    Parameters
    ----------
    name
        Of the preset.
    markers
        The slide's markers.
    percentiles
        For each channel the percentiles that its contrast stands for; None for a preset by value.
    default
        Apply it by itself from now on.

    Raises
    ------
    SettingsError
        If the name has characters that do not belong into a file's name.
    """
    looks = {}
    for marker in markers.all:
        low, high = marker.contrast if percentiles is None else percentiles.get(marker.index, (1.0, 99.8))
        looks[marker.name] = {
            "colour": marker.colour,
            "low": low,
            "high": high,
            "gamma": marker.gamma,
            "visible": marker.visible,
        }
    try:
        return Preset.model_validate(
            {
                "name": name.strip(),
                "contrast": "value" if percentiles is None else "percentile",
                "default": default,
                "markers": looks,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("name",):
            raise SettingsError(
                f"{name!r} cannot be a preset's name: use letters, digits, spaces and - _ . , ( ) +, 80 at most."
            ) from error
        raise SettingsError(f"This cannot be a preset: {first['msg']}.") from error


def apply_preset(
    preset: Preset, markers: Markers, *, values: Mapping[int, tuple[float, float]] | None = None
) -> int:
    """Show a slide as a preset says, and return how many of its markers the preset knows; the others stay as they are.

    Parameters
    ----------
    preset, markers
        The preset and the slide.
    values
        For a preset by percentile, the intensities that its percentiles mean on this slide, by channel; markers without
        keep their contrast.
    """
    known = 0
    shown = []
    for marker in markers.all:
        look = preset.look_of(marker.name)
        if look is None:
            shown.append(marker.visible)
            continue
        known += 1
        marker.colour, marker.gamma = look.colour.lower(), look.gamma
        ends = (look.low, look.high) if preset.contrast == "value" else (values or {}).get(marker.index)
        if ends is not None and ends[1] > ends[0]:
            marker.contrast = ends
        shown.append(look.visible)
    if known and not markers.one_at_a_time:
        markers.show(i for i, visible in enumerate(shown) if visible)
    return known


def _file(name: str) -> Path:
    return presets_folder() / (re.sub(r"[^\w.,()+\- ]", "_", name) + ".yaml")


def _write(file: Path, preset: Preset) -> None:
    raw: dict[str, Any] = preset.model_dump(mode="json")
    part = file.with_name(f".{os.getpid()}.part.{file.name}")
    try:
        part.write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
