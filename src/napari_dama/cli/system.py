"""doctor: what is here, what is missing, and the line that installs it."""

from __future__ import annotations

import importlib
import platform
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Any

from napari_dama import __version__
from napari_dama.cli.console import Json, print_facts, print_json

if TYPE_CHECKING:
    import typer

QT_BINDINGS = ("PyQt6", "PySide6", "PyQt5")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(as_json: Json = False) -> None:
    """Check this installation: versions, window, devices with memory, and what is missing.

    For example: napari-dama doctor --json
    """
    missing: list[dict[str, str]] = []
    facts: dict[str, Any] = {
        "napari-dama": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "napari": _version("napari"),
        "qt": _qt(missing),
        "torch": _torch(missing),
        "devices": _devices(),
        "models": _models(),
    }
    _packages(missing)
    facts["missing"] = missing
    if as_json:
        print_json(facts)
        return
    shown = dict(facts)
    shown["napari"] = facts["napari"] or "missing"
    shown["qt"] = facts["qt"] or "missing: the window cannot open, the command line works"
    shown["torch"] = facts["torch"] or "missing"
    shown["devices"] = [
        f"{device['name']}: {device['title']}, {device['free_gb']:.1f} of {device['memory_gb']:.1f} GB free"
        for device in facts["devices"]
    ] or ["none without torch"]
    shown["models"] = ", ".join(facts["models"]) or "none on the shelf"
    shown["missing"] = [f"{item['what']}: {item['install']}" for item in missing] or ["nothing"]
    print_facts(shown)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _pip(what: str) -> str:
    return f'"{sys.executable}" -m pip install {what}'


def _qt(missing: list[dict[str, str]]) -> str | None:
    """The Qt binding that qtpy would take; a binding is not imported, so no window system is needed."""
    for binding in QT_BINDINGS:
        found = _version(binding)
        if found:
            return f"{binding} {found}"
    missing.append({"what": "a Qt binding, for the window", "install": _pip('"napari-dama[pyqt6]"')})
    return None


def _torch(missing: list[dict[str, str]]) -> str | None:
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # a broken torch raises OSError or worse, and the doctor must say so and go on
        say = "torch" if isinstance(error, ModuleNotFoundError) else f"a torch that works ({error})"
        missing.append({"what": say, "install": _pip("--upgrade torch")})
        return None
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return f"{torch.__version__}, {cuda}"


def _devices() -> list[dict[str, Any]]:
    try:
        from napari_dama.predict.device import describe_devices

        found = describe_devices()
    except Exception:  # without torch there is nothing to ask
        return []
    return [
        {
            "name": device.name,
            "title": device.title,
            "memory_gb": round((device.memory_bytes or 0) / 1e9, 1),
            "free_gb": round((device.free_bytes or 0) / 1e9, 1),
        }
        for device in found
    ]


def _models() -> list[str]:
    try:
        from napari_dama.models.shelf import list_models

        return [card.name for card in list_models()]
    except ImportError:
        return []


def _packages(missing: list[dict[str, str]]) -> None:
    """Add packages that napari-dama needs and that are not here, or too old."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        missing.append({"what": "packaging", "install": _pip("packaging")})
        return
    for line in requires("napari-dama") or []:
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        if need.name == "torch":
            continue
        found = _version(need.name)
        if found is None or not need.specifier.contains(found, prereleases=True):
            exact = f'"{need.name}{need.specifier}"'
            have = f", here is {found}" if found else ""
            missing.append({"what": f"{need.name}{need.specifier}{have}", "install": _pip(exact)})
