"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dama.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(file: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a path to write to, beside ``file`` and with its ending, that takes its place when all went well.

    Raises
    ------
    OutputError
        The file exists and ``overwrite`` is false, or it cannot be written.
    """
    path = Path(file)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already: choose another file, or allow overwriting (--overwrite).")
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.") from error
    try:
        yield part
        os.replace(part, path)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
