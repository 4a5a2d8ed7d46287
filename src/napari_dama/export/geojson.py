"""Cells as GeoJSON objects, which QuPath opens with outlines, types in their colours and measurements."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import OutputError, SettingsError
from napari_dama.export.atomic import replacing
from napari_dama.export.outlines import cell_outlines
from napari_dama.export.source import ResultSource, rgb
from napari_dama.export.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_dama.export.outlines import Outline, Piece

OBJECTS: Final = ("cell", "detection", "annotation")
_SPACE: Final = uuid.UUID("6f0c2b0e-0d0a-4d53-9a5e-2f1d5f0b8a11")


def to_geojson(
    result_dir: str | Path,
    file: str | Path,
    *,
    overwrite: bool = False,
    watch: Watch | None = None,
    object_type: str = "cell",
) -> Path:
    """Write every cell as a feature of one collection, as QuPath 0.4 and later read it; memory is that of a tile.

    Coordinates are ``x, y`` in pixels of level 0, counted as QuPath counts them: the first pixel reaches from 0 to 1.
    A cell has its outline (with holes, and several pieces where it has them), its type with colour as classification, its
    label as name, and as measurements its area, score, probabilities and mean intensities under QuPath's own names.

    Parameters
    ----------
    result_dir
        What ``analyse`` left.
    file
        ``.geojson`` or ``.json``.
    overwrite
        Replace a file that is there.
    watch
        Told of progress, asked whether to stop.
    object_type
        What QuPath makes of each: ``"cell"``, ``"detection"`` (no cell commands) or ``"annotation"`` (can be edited; slow
        beyond some thousands).

    Raises
    ------
    OutputError
        There is no result, or the file exists or cannot be written.
    SettingsError
        The object type is none of QuPath's.
    Interrupted
        ``watch`` said so.
    """
    target = Path(file)
    if target.suffix.lower() not in {".geojson", ".json"}:
        raise OutputError(f"{target}: GeoJSON is written to .geojson or .json.")
    if object_type not in OBJECTS:
        raise SettingsError(f"QuPath has objects of type {', '.join(OBJECTS)}, not {object_type!r}.")
    source = ResultSource.open(result_dir)
    watch = watch or Watch()
    with (
        replacing(target, overwrite=overwrite) as part,
        part.open("w", encoding="utf-8", newline="\n") as out,
    ):
        out.write('{"type":"FeatureCollection","features":[')
        first = True
        for feature in _features(source, watch, object_type):
            out.write("\n" if first else ",\n")
            out.write(json.dumps(feature, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
            first = False
        out.write("\n]}\n")
    return target


def _features(source: ResultSource, watch: Watch, object_type: str) -> Iterator[dict[str, Any]]:
    place = {label: row for row, label in enumerate(source.cells["label"].tolist())}
    names, values = _measurements(source)
    codes = source.type_codes()
    classes = [classification(name, rgb(colour)) for name, colour in source.colours.items()]
    for outline in cell_outlines(source.labels, watch):
        row = place.get(outline.label)
        properties: dict[str, Any] = {"objectType": object_type, "name": str(outline.label)}
        if row is not None:
            if codes[row] >= 0:
                properties["classification"] = classes[codes[row]]
            pairs = zip(names, values[row].tolist(), strict=True)
            properties["measurements"] = {name: value for name, value in pairs if np.isfinite(value)}
        yield {
            "type": "Feature",
            "id": str(uuid.uuid5(_SPACE, f"{source.name}/{outline.label}")),
            "geometry": geometry(outline),
            "properties": properties,
        }


def classification(name: str, colour: tuple[int, int, int]) -> dict[str, Any]:
    """Write a type as QuPath itself writes it.

    QuPath takes a colon as the mark of a class within a class: ``T cell: CD8`` is a CD8 among the T cells. It refuses a file
    with a class whose name is empty, and takes spaces at its ends away.
    """
    parts = [" ".join(part.split()) for part in name.split(":")]
    parts = [part for part in parts if part] or ["unnamed"]
    named = {"name": parts[0]} if len(parts) == 1 else {"names": parts}
    return {**named, "color": list(colour)}


def geometry(outline: Outline) -> dict[str, Any]:
    """GeoJSON geometry of a cell: a polygon, or several where the cell is in pieces."""
    pieces = [_rings(piece) for piece in outline.pieces]
    if len(pieces) == 1:
        return {"type": "Polygon", "coordinates": pieces[0]}
    return {"type": "MultiPolygon", "coordinates": pieces}


def _rings(piece: Piece) -> list[list[list[float]]]:
    return [ring.tolist() for ring in (piece.outer, *piece.holes)]


def _measurements(source: ResultSource) -> tuple[list[str], np.ndarray[Any, np.dtype[np.float64]]]:
    """Names that QuPath itself uses, and values (cells, names)."""
    columns: dict[str, str] = {}
    for column in map(str, source.cells.columns):
        if column == "area_um2":
            columns["Cell: Area µm^2"] = column
        elif column == "score":
            columns["Outline score"] = column
        elif column.startswith("p_"):
            columns[f"Probability: {column[2:]}"] = column
        elif column.startswith("mean_"):
            columns[f"{column[5:]}: Cell: Mean"] = column
    columns |= {name: name for name in source.kept_names}
    columns["Label"] = "label"
    # seven digits are what float32 holds, and half the size of a file of doubles
    values = source.cells[list(columns.values())].to_numpy(np.float64)
    return list(columns), np.array([[float(f"{v:.7g}") for v in row] for row in values]).reshape(values.shape)
