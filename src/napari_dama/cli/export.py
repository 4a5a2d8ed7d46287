"""export: a result in the format of another program."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated, Any

import typer

from napari_dama.cli.console import Overwrite, Reporter, print_facts, stop_on_interrupt
from napari_dama.errors import SettingsError

NAMES = (
    "csv, parquet, anndata, spatialdata, geojson, ome-zarr, labels-tiff, coco, picture or methods; "
    "napari-dama export --list says who reads them"
)


def _list_formats(asked: bool) -> None:
    if not asked:
        return
    from napari_dama.export import FORMATS

    facts = {}
    for name, kind in FORMATS.items():
        missing = "" if kind.available else f'; needs pip install "napari-dama[{kind.extra}]"'
        facts[name] = f"{kind.ending:<10} {kind.why}{missing}"
    print_facts(facts)
    raise typer.Exit


def export(
    result: Annotated[Path, typer.Argument(help="Folder that analyse left.")],
    file: Annotated[Path, typer.Argument(help="File (or .zarr folder) to write.")],
    to: Annotated[str, typer.Option("--to", help=f"{NAMES}.")],
    overwrite: Overwrite = False,
    region: Annotated[
        str | None, typer.Option(help="picture: Y0:Y1,X0:X1 in pixels; what was analysed by default.")
    ] = None,
    markers: Annotated[
        str | None,
        typer.Option(help='picture: which markers, with a colour or without: "DAPI=#4d7cff,NeuN".'),
    ] = None,
    fill: Annotated[
        bool | None,
        typer.Option("--fill/--outlines", help="picture: cells half transparent, or outlined (default)."),
    ] = None,
    no_cells: Annotated[bool, typer.Option("--no-cells", help="picture: the markers alone.")] = False,
    types: Annotated[
        str | None, typer.Option(help='picture: only cells of these types: "neuron,microglia".')
    ] = None,
    legend: Annotated[
        bool | None, typer.Option("--legend/--no-legend", help="picture: legend beside it (default: yes).")
    ] = None,
    max_px: Annotated[
        int | None, typer.Option(help="picture: longer side in pixels at most (2400 by default).")
    ] = None,
    object_type: Annotated[
        str | None, typer.Option("--object", help="geojson: cell (default), detection or annotation.")
    ] = None,
    image: Annotated[
        bool | None,
        typer.Option(
            "--image/--no-image",
            help="ome-zarr, spatialdata: the slide's pixels, too; anndata: a small picture (default: yes).",
        ),
    ] = None,
    shapes: Annotated[
        bool | None,
        typer.Option("--shapes/--no-shapes", help="spatialdata: outlines as polygons, too (default: yes)."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="ome-zarr: what the labels are called in the image (cells).")
    ] = None,
    list_formats: Annotated[
        bool,
        typer.Option("--list", is_eager=True, callback=_list_formats, help="List the formats and end."),
    ] = False,
) -> None:
    """Write a result in the format of another program.

    For example:

      napari-dama export tissue_result --to csv cells.csv

      napari-dama export tissue_result --to geojson cells.geojson

      napari-dama export tissue_result --to anndata cells.h5ad

      napari-dama export tissue_result --to ome-zarr tissue.ome.zarr

      napari-dama export tissue_result --to picture field.png --region 0:800,0:1200 --markers "DAPI=#4d7cff,NeuN"

      napari-dama export tissue_result --to methods methods.md
    """
    from napari_dama.export import FORMATS, Watch

    if to not in FORMATS:
        raise SettingsError(f"--to is one of {', '.join(FORMATS)}, not {to!r}")
    if no_cells and fill is not None:
        raise SettingsError("--no-cells leaves the cells out, and --fill and --outlines draw them: give one")
    given: dict[str, Any] = {
        "region": region,
        "markers": markers,
        "cells": "none" if no_cells else None if fill is None else "fill" if fill else "outlines",
        "types": types,
        "legend": legend,
        "max_px": max_px,
        "object_type": object_type,
        "image": image,
        "shapes": shapes,
        "name": name,
    }
    options = {key: value for key, value in given.items() if value is not None}
    with Reporter() as reporter, stop_on_interrupt() as stop:
        watch = Watch(reporter.count("export"), stop)
        FORMATS[to](result, file, overwrite=overwrite, watch=watch, **options)
    facts: dict[str, Any] = {"written": str(file)}
    if watch.notes:
        facts["note"] = watch.notes
    print_facts(facts)
