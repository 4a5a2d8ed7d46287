"""The documentation is true: commands run as they are written, links and pictures are there, no command is left out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from typer.testing import CliRunner

from napari_dama.cli import app

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = (*sorted(DOCS.rglob("*.md")), REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md")
LIMIT_BYTES = 400_000
_BLOCK = re.compile(r"<!-- run -->\n```sh\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def commands_of(page: str) -> list[str]:
    """Lines of a page's blocks that are marked to be run."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [line for block in _BLOCK.findall(text) for line in block.splitlines() if line.strip()]


def links_of(page: Path) -> Iterator[tuple[bool, str]]:
    """Whether it is a picture, and where it leads, for every link of a page but those to other places."""
    for sign, target in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            yield bool(sign), unquote(target)


def id_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["start.md", "tutorial/ten-minutes.md"])
def test_commands_run_as_written(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, one after the other, with the bundled model; each must end well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(tmp_path / "shelf"))
    monkeypatch.setenv("NAPARI_DAMA_JOBS", str(tmp_path / "list of jobs"))
    commands = commands_of(page)
    assert commands, f"{page} has no block below '<!-- run -->'"
    for line in commands:
        program, *words = shlex.split(line, comments=True)
        assert program == "napari-dama"
        result = CliRunner().invoke(app, words)
        trouble = result.exception if not isinstance(result.exception, SystemExit) else None
        assert result.exit_code == 0, f"{line}\n{result.output}{trouble!r}"
        for out in _outputs(words):
            assert out.exists(), f"{line} left no {out}"


def _outputs(words: list[str]) -> list[Path]:
    """What a command line promises to leave."""
    if words[0] == "export":
        return [Path(words[-1])]
    if words[0] == "simulate":
        return [Path(words[1]) / "sim_normal_0001.ome.tif"]
    return [Path(words[i + 1]) for i, word in enumerate(words) if word == "-o"]


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Anchors are checked by `mkdocs build --strict`."""
    for _, target in links_of(page):
        path = target.partition("#")[0]
        assert not path or (page.parent / path).exists(), f"{id_of(page)} links to {target}"


def test_pictures_are_small_and_all_are_shown() -> None:
    shown = {
        (page.parent / target).resolve() for page in PAGES for picture, target in links_of(page) if picture
    }
    for picture in shown:
        size = picture.stat().st_size
        assert size <= LIMIT_BYTES, f"{id_of(picture)} has {size // 1000} kB"
    left = {picture.resolve() for picture in (DOCS / "images").glob("*")} - shown
    assert not left, f"on no page: {sorted(path.name for path in left)}"


def test_every_page_is_in_the_contents() -> None:
    contents = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        assert page.relative_to(DOCS).as_posix() in contents, f"{id_of(page)} is not in mkdocs.yml"


def test_every_command_is_in_the_reference() -> None:
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    names = list(_names(typer.main.get_command(app)))
    assert len(names) > 20
    left = [name for name in names if f"napari-dama {name}" not in text]
    assert not left, f"docs/command-line.md does not mention {left}"


def _names(command: Any, before: str = "") -> Iterator[str]:
    """Names of the commands that do something, with those of their groups in front."""
    children = getattr(command, "commands", None)  # typer brings a click of its own
    if children is None:
        yield before
        return
    for name, child in children.items():
        if not child.hidden:
            yield from _names(child, f"{before} {name}".strip())
