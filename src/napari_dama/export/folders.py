"""Folders (zarr) that are there whole or not at all, and never in place of somebody's other folder."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_dama.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_dama.export.source import ResultSource

_MARKS: Final = (".zgroup", ".zattrs", "zarr.json")


def attributes(path: Path) -> dict[str, Any]:
    """Attributes of a zarr group; empty for anything else."""
    import zarr

    try:
        return dict(zarr.open_group(str(path), mode="r").attrs)
    except (OSError, ValueError, KeyError):
        return {}


def is_zarr(path: Path) -> bool:
    """Whether a folder holds a zarr group."""
    return any((path / mark).is_file() for mark in _MARKS)


@contextmanager
def replacing_folder(
    folder: str | Path, *, source: ResultSource, overwrite: bool, mark: str
) -> Iterator[Path]:
    """Give the path of a folder to make, beside ``folder``, that takes its place when all went well.

    Parameters
    ----------
    folder
        A zarr.
    source
        The result that is exported; nothing is written into it, nor over its slide.
    overwrite
        Replace a zarr of the same kind.
    mark
        Attribute that tells that kind; a folder without it is never replaced, lest somebody's images are lost.

    Raises
    ------
    OutputError
        Something else is there, or it cannot be written.
    """
    path = Path(folder)
    if path.suffix.lower() != ".zarr":
        raise OutputError(f"{path}: this format is a folder whose name ends in .zarr.")
    inside = path.resolve()
    if source.folder.resolve() in (inside, *inside.parents):
        raise OutputError(f"{path} lies in the result's own folder; give another place.")
    if path.exists():
        if source.slide_path is not None and source.slide_path.resolve() == inside:
            raise OutputError(f"{path} is the slide that was analysed; it is left alone: give another name.")
        if not path.is_dir() or (any(path.iterdir()) and mark not in attributes(path)):
            raise OutputError(
                f"{path} was not written by such an export; it is left alone: give another name."
            )
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
