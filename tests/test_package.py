"""The wheel: small enough for PyPI, complete, and a valid napari plugin where nothing else is installed."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

WHEEL_LIMIT_BYTES = 90 * 1024 * 1024  # PyPI takes 100 MB a file
NO_NETWORK = (
    "Could not find a version",
    "ConnectionError",
    "NewConnectionError",
    "Temporary failure in name resolution",
    "Read timed out",
)


def _run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)


def _skip_without_network(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode and any(sign in done.stderr for sign in NO_NETWORK):
        pytest.skip(f"pip reaches no package registry to install {what}: {done.stderr.splitlines()[-1]}")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as a release is, by the build backend that pyproject names."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # From a copy, for a build leaves files behind and a checkout may be read-only.
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(repository / name, source)
    shutil.copytree(repository / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    done = _run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", source
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (folder / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that holds npe2 and the wheel only: no napari, no Qt, no torch, nothing of the checkout."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "npe2")
    _skip_without_network(done, "npe2")
    assert done.returncode == 0, done.stderr
    done = _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", wheel)
    assert done.returncode == 0, done.stderr
    return python


def test_wheel_is_small_and_complete(wheel: Path) -> None:
    assert wheel.stat().st_size < WHEEL_LIMIT_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert "napari_dama/napari.yaml" in names
        assert "napari_dama/py.typed" in names
        assert any(name.endswith("licenses/LICENSE") for name in names)
        assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]

        cards = [name for name in names if name.endswith("/card.json")]
        assert cards, "the wheel bundles no model"
        for card in cards:
            assert card.removesuffix("card.json") + "weights.safetensors" in names
            assert json.loads(archive.read(card))["name"]


def test_manifest_is_valid_in_a_clean_environment(clean_python: Path, tmp_path: Path) -> None:
    done = _run(clean_python, "-m", "npe2", "validate", "napari-dama", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid" in done.stdout


def test_manifest_names_what_the_installed_wheel_has(clean_python: Path, tmp_path: Path) -> None:
    """Every `python_name` leads to something that is defined in the module it names.

    `npe2 validate --imports` would import them, and with them napari, Qt and half of scientific Python:
    gigabytes for a look at names. `make manifest` does that in the checkout's environment, where all of it
    is installed. Here the installed files are parsed instead, which finds what only the wheel can get wrong:
    a module left out of it.
    """
    where = _run(
        clean_python,
        "-c",
        "import importlib.metadata as m; print(m.distribution('napari-dama').locate_file('napari_dama'))",
        cwd=tmp_path,
    )
    package = Path(where.stdout.strip())
    manifest = yaml.safe_load((package / "napari.yaml").read_text(encoding="utf-8"))
    commands = {entry["id"]: entry["python_name"] for entry in manifest["contributions"]["commands"]}
    assert commands

    for python_name in commands.values():
        module, attribute = python_name.split(":")
        path = package.parent.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert path.is_file(), f"{python_name}: the wheel has no {path.name}"
        assert attribute.split(".")[0] in _names_defined_in(path), (
            f"{python_name} is not defined in {path.name}"
        )

    contributions = manifest["contributions"]
    for kind in ("widgets", "readers", "writers", "sample_data"):
        for entry in contributions.get(kind, []):
            assert entry.get("command") is None or entry["command"] in commands


def _names_defined_in(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_package_imports_with_nothing_else_installed(clean_python: Path) -> None:
    """The package itself imports from the clean environment, where neither is installed."""
    done = _run(clean_python, "-c", "import napari_dama; print(napari_dama.__version__)")

    assert done.returncode == 0, done.stderr
