"""Promises that hold before anything runs: light imports, one manifest, one version."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

import napari_dama

HEAVY = ("torch", "timm", "torchvision", "submitit")
LIGHT_MODULES = (
    "napari_dama",
    "napari_dama.cli",
    "napari_dama.errors",
    "napari_dama.jobs.cluster",
    "napari_dama.jobs.folder",
    "napari_dama.jobs.process",
    "napari_dama.jobs.queue",
    "napari_dama.jobs.runner",
    "napari_dama.jobs.shelf",
    "napari_dama.jobs.submission",
    "napari_dama.models.card",
    "napari_dama.predict.progress",
    "napari_dama.simulate",
    "napari_dama.slides.slide",
)
QT = ("napari", "qtpy", "PyQt6", "PySide6")


def _loaded_after_each(modules: Sequence[str]) -> dict[str, set[str]]:
    """Top-level names of what a fresh Python has loaded after it imported each module, one after the other."""
    code = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    print(json.dumps([name, sorted(sys.modules)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: {module.split(".")[0] for module in loaded} for name, loaded in records}


def test_light_modules_import_no_torch_and_no_qt() -> None:
    loaded = _loaded_after_each(LIGHT_MODULES)

    assert {name: found & {*HEAVY, *QT} for name, found in loaded.items() if found & {*HEAVY, *QT}} == {}
    assert set(loaded) == set(LIGHT_MODULES)


@pytest.mark.gui
def test_gui_modules_import_no_torch(repository: Path) -> None:
    folder = repository / "src" / "napari_dama" / "gui"
    modules = sorted(
        "napari_dama.gui" + "".join(f".{part}" for part in path.relative_to(folder).with_suffix("").parts)
        for path in folder.rglob("*.py")
        if path.name != "__init__.py"
    )
    assert modules

    loaded = _loaded_after_each(modules)

    assert {name: found & set(HEAVY) for name, found in loaded.items() if found & set(HEAVY)} == {}


def test_every_public_name_loads() -> None:
    for name in napari_dama.__all__:
        assert getattr(napari_dama, name) is not None
    assert set(napari_dama.__all__) <= set(dir(napari_dama))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        napari_dama.nonsense  # noqa: B018


def test_every_module_imports() -> None:
    """A module that only a rare command reaches must not be broken for want of a test that imports it."""
    root = Path(napari_dama.__file__).parent
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] == "gui" or parts[-1] == "__main__":
            continue
        importlib.import_module(".".join(("napari_dama", *parts)).removesuffix(".__init__"))


def test_root_manifest_is_the_packages_own(repository: Path) -> None:
    link = repository / "napari.yaml"
    target = repository / "src" / "napari_dama" / "napari.yaml"

    assert target.is_file()
    assert link.is_symlink(), "napari.yaml at the root must be a link to src/napari_dama/napari.yaml"
    assert link.resolve() == target.resolve()


def test_version_agrees_with_metadata_and_changelog(repository: Path) -> None:
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d{2}-\d{2}$", changelog, flags=re.MULTILINE)

    assert released, "CHANGELOG.md has no dated release"
    assert napari_dama.__version__ == released[0]
    assert version("napari-dama") == napari_dama.__version__
