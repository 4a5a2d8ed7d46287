"""Results to other tools: `export` by name, or the functions themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from napari_dama.errors import OutputError, SettingsError
from napari_dama.export.anndata import to_anndata
from napari_dama.export.coco import to_coco
from napari_dama.export.csv import to_csv
from napari_dama.export.geojson import to_geojson
from napari_dama.export.labels_tiff import to_labels_tiff
from napari_dama.export.methods import methods_text, to_methods
from napari_dama.export.ome_zarr import to_ome_zarr
from napari_dama.export.parquet import to_parquet
from napari_dama.export.picture import to_picture
from napari_dama.export.source import outdated_notes
from napari_dama.export.spatialdata import to_spatialdata
from napari_dama.export.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Format:
    """One way out.

    Attributes
    ----------
    name
        As ``napari-dama export --to`` takes it.
    title, why
        For menus: what it is, and who reads it.
    ending
        Of the file, or of the folder where ``folder`` is true.
    write
        The function.
    options
        Names of the options that it takes beside ``overwrite`` and ``watch``.
    extra, needs
        The optional extra that installs the library it needs, and the library; empty where nothing is needed.
    """

    name: str
    title: str
    why: str
    ending: str
    write: Callable[..., Path]
    options: tuple[str, ...] = ()
    folder: bool = False
    extra: str = ""
    needs: str = ""

    def __call__(
        self,
        result_dir: str | Path,
        file: str | Path,
        *,
        overwrite: bool = False,
        watch: Watch | None = None,
        **options: Any,
    ) -> Path:
        """Write a result folder's content to ``file`` and return its path.

        Raises
        ------
        SettingsError
            The format has no such option.
        """
        strange = [name for name in options if name not in self.options]
        if strange:
            has = f"it has {', '.join(self.options)}" if self.options else "it has none"
            raise SettingsError(f"The format {self.name} has no option {strange[0]!r}; {has}.")
        written = self.write(result_dir, file, overwrite=overwrite, watch=watch, **options)
        if watch is not None and self.name in _TABLES:
            for note in outdated_notes(result_dir):
                watch.note(note)
        return written

    @property
    def available(self) -> bool:
        """Whether the library that it needs is installed; nothing is imported."""
        from importlib.util import find_spec

        return not self.needs or find_spec(self.needs) is not None


_TABLES: Final = ("csv", "parquet", "anndata", "spatialdata", "geojson")
"""Formats that have the table's columns."""
_ALL: Final = (
    Format("csv", "Table (CSV)", "Excel, R, Python: one row per cell", ".csv", to_csv),
    Format("parquet", "Table (Parquet)", "Python, R, DuckDB: the same, small and quick to read", ".parquet", to_parquet),
    Format(
        "anndata", "AnnData", "squidpy, scanpy, napari-spatialdata: cells by markers, with positions and types", ".h5ad",
        to_anndata, ("image",), extra="anndata", needs="anndata",
    ),
    Format(
        "spatialdata", "SpatialData", "squidpy, napari-spatialdata: slide, labels, outlines and table together", ".zarr",
        to_spatialdata, ("image", "shapes"), folder=True, extra="spatialdata", needs="spatialdata",
    ),
    Format(
        "geojson", "Outlines for QuPath (GeoJSON)", "QuPath: outlines with types, colours and measurements", ".geojson",
        to_geojson, ("object_type",),
    ),
    Format(
        "ome-zarr", "OME-Zarr with labels", "napari, OMERO, Fiji: the slide with the cells as its labels", ".ome.zarr",
        to_ome_zarr, ("image", "name"), folder=True,
    ),
    Format("labels-tiff", "Labels (TIFF)", "Any image tool: each cell's pixels have its number", ".tif", to_labels_tiff),
    Format("coco", "Annotations (COCO)", "Detection and annotation tools: masks, boxes and types", ".json", to_coco),
    Format(
        "picture", "Picture", "Paper or talk: markers and cells in their colours, legend, scale bar", ".png",
        to_picture, ("region", "markers", "contrast", "cells", "types", "legend", "max_px"),
    ),
    Format(
        "methods", "Methods paragraph", "Paper: versions, model, settings, numbers and references", ".md", to_methods
    ),
)  # fmt: skip

FORMATS: Final[Mapping[str, Format]] = {entry.name: entry for entry in _ALL}
"""Formats by the name that ``napari-dama export --to`` takes."""


def export(
    result_dir: str | Path,
    to: str,
    file: str | Path,
    *,
    overwrite: bool = False,
    watch: Watch | None = None,
    **options: Any,
) -> Path:
    """Write a result folder to a file of another tool's format.

    Parameters
    ----------
    result_dir
        What ``analyse`` left.
    to
        A name of `FORMATS`.
    file
        Where to; a folder for ``ome-zarr`` and ``spatialdata``.
    overwrite
        Replace what is there.
    watch
        Told of progress and notes, asked whether to stop.
    options
        Those of the format, see `Format.options` and its function.

    Raises
    ------
    OutputError
        The format is not known, its library is missing, the result cannot be read, or the file exists or cannot be written.
    SettingsError
        An option is not the format's, or out of bounds.
    Interrupted
        ``watch`` said so; nothing is left behind.

    Examples
    --------
    >>> export("tissue_result", "geojson", "cells.geojson")  # doctest: +SKIP
    """
    if to not in FORMATS:
        raise OutputError(f"There is no export to {to!r} yet; there is {', '.join(FORMATS)}.")
    return FORMATS[to](result_dir, file, overwrite=overwrite, watch=watch, **options)


__all__ = [
    "FORMATS",
    "Format",
    "Watch",
    "export",
    "methods_text",
    "to_anndata",
    "to_coco",
    "to_csv",
    "to_geojson",
    "to_labels_tiff",
    "to_methods",
    "to_ome_zarr",
    "to_parquet",
    "to_picture",
    "to_spatialdata",
]
