"""The user's preferences, in napari's own dialog (Preferences > DAMA) where napari has one for plugins (0.9 and newer).

An older napari has no place for them: then the defaults count, and the environment variables that the command line reads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

PLUGIN: Final = "napari-dama"
FOLDERS: Final = {"model_folder": "NAPARI_DAMA_MODELS", "job_folder": "NAPARI_DAMA_JOBS"}
"""Preferences that are folders, and the environment variables by which the rest of the package and every job know them."""

_given: dict[str, str] = {}  # what this module put into the environment, by variable


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the user prefers.

    Attributes
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    model_folder, job_folder : str
        Folders of the user's models and of the list of jobs, empty for the usual ones.
    outline_seconds : float
        How often outlines that are being drawn are saved, s.
    """

    device: str = "auto"
    model_folder: str = ""
    job_folder: str = ""
    outline_seconds: float = 5.0


def read_preferences() -> Preferences:
    """Return what napari's settings say; the defaults where this napari keeps none for plugins."""
    settings = _settings()
    if settings is None:
        return Preferences()
    return Preferences(
        device=str(settings.work.device),
        model_folder=str(settings.work.model_folder).strip(),
        job_folder=str(settings.work.job_folder).strip(),
        outline_seconds=float(settings.annotation.outline_seconds),
    )


def apply_folders(preferences: Preferences) -> None:
    """Let the shelf, the list of jobs and every process started from here use the preferred folders.

    An environment variable that the user set is left alone: it is the stronger wish.
    """
    for name, variable in FOLDERS.items():
        wanted = getattr(preferences, name)
        ours = _given.get(variable) == os.environ.get(variable) and variable in _given
        if variable in os.environ and not ours:
            continue
        if wanted:
            os.environ[variable] = _given[variable] = os.path.expanduser(wanted)
        elif ours:
            del os.environ[variable], _given[variable]


def _settings() -> Any:
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return get_plugin_settings(PLUGIN)
    except KeyError:  # the plugin runs from its source, or is switched off
        return None
