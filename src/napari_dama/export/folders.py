"""Folders (zarr) that are there whole or not at all, and never in place of somebody's other folder."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from napari_dama.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARKS: Final = (".zgroup", ".zattrs", "zarr.json")


def is_zarr(path: Path) -> bool:
    """Whether a folder holds a zarr group."""
    return any((path / mark).is_file() for mark in _MARKS)


@contextmanager
def replacing_folder(folder: str | Path, *, result: Path, overwrite: bool) -> Iterator[Path]:
    """Give the path of a folder to make, beside ``folder``, that takes its place when all went well.

    Parameters
    ----------
    folder
        A zarr; with ``overwrite`` an old one is replaced, any other folder never.
    result
        The result that is exported; nothing is written into it.

    Raises
    ------
    OutputError
        Something else is there, or it cannot be written.
    """
    path = Path(folder)
    if path.suffix.lower() != ".zarr":
        raise OutputError(f"{path}: this format is a folder whose name ends in .zarr.")
    inside = path.resolve()
    if result.resolve() in (inside, *inside.parents):
        raise OutputError(f"{path} lies in the result's own folder; give another place.")
    if path.exists():
        if not path.is_dir() or not (is_zarr(path) or not any(path.iterdir())):
            raise OutputError(f"{path} exists and is no zarr; it is left alone: give another name.")
        if not overwrite:
            raise OutputError(
                f"{path} exists already: choose another name, or allow overwriting (--overwrite)."
            )
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    old = path.with_name(f".{os.getpid()}.old.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if path.exists():
            os.replace(path, old)
        os.replace(part, path)
    except OutputError:
        raise
    except OSError as error:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise OutputError(f"{path} cannot be written: {error}.") from error
    finally:
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)
