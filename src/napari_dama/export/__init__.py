"""Results to other tools: `export` by name, or the functions themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from napari_dama.errors import OutputError
from napari_dama.export.coco import to_coco
from napari_dama.export.csv import to_csv
from napari_dama.export.labels_tiff import to_labels_tiff

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Exporter(Protocol):
    """What every format offers."""

    def __call__(self, result_dir: str | Path, file: str | Path, *, overwrite: bool = False) -> Path:
        """Write a result folder's content to ``file`` and return its path."""
        ...


FORMATS: Final[Mapping[str, Exporter]] = {"csv": to_csv, "labels-tiff": to_labels_tiff, "coco": to_coco}
"""Formats by the name that ``napari-dama export --to`` takes."""


def export(result_dir: str | Path, to: str, file: str | Path, *, overwrite: bool = False) -> Path:
    """Write a result folder to a file of another tool's format.

    Parameters
    ----------
    result_dir
        What ``analyse`` left.
    to
        A name of `FORMATS`.
    file
        Where to.
    overwrite
        Replace a file that is there.

    Raises
    ------
    OutputError
        The format is not known, the result cannot be read, or the file exists or cannot be written.
    """
    if to not in FORMATS:
        raise OutputError(f"There is no export to {to!r} yet; there is {', '.join(FORMATS)}.")
    return FORMATS[to](result_dir, file, overwrite=overwrite)


__all__ = ["FORMATS", "Exporter", "export", "to_coco", "to_csv", "to_labels_tiff"]
