"""What an export from the window writes, and where; no Qt here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_dama.errors import SettingsError
from napari_dama.export import FORMATS, Format
from napari_dama.gui.layers import about, layers_of, shown_colour
from napari_dama.gui.place import view_region

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

GROUPS: tuple[tuple[str, ...], ...] = (
    ("csv", "parquet"),
    ("geojson", "anndata", "spatialdata"),
    ("ome-zarr", "labels-tiff", "coco"),
    ("methods",),
)
"""The menu's entries, with a line between groups; pictures are added to the last one."""
VIEW, WHOLE = "picture of the view", "picture of everything"


@dataclass(frozen=True)
class ExportPlan:
    """One export.

    Attributes
    ----------
    result
        The open result's folder.
    kind
        The format.
    file
        Where to.
    options
        Of the format.
    overwrite
        Replace the file: the dialog asked.
    """

    result: Path
    kind: Format
    file: Path
    options: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False


def menu_text(kind: Format) -> str:
    """What the menu says of a format; three dots ask for a file."""
    return f"{kind.title}..." if kind.available else f"{kind.title} (library missing)..."


def menu_tip(kind: Format) -> str:
    """Who reads it, and how to get the library that is missing."""
    if kind.available:
        return f"{kind.why}."
    return f'{kind.why}. Needs a library: pip install "napari-dama[{kind.extra}]"'


def default_file(result: Path, kind: Format) -> Path:
    """Where a file is offered: beside the result, with its name; never in the result's folder."""
    name = result.name.removesuffix("_result")
    if kind.name == "methods":
        name += "_methods"
    elif kind.name == "coco":
        name += "_coco"
    elif kind.name == "labels-tiff":
        name += "_cells"
    elif kind.name == "spatialdata":
        name += "_spatialdata"
    return result.parent / f"{name}{kind.ending}"


def with_ending(file: Path, kind: Format) -> Path:
    """Give the name its ending where the user left it out."""
    allowed = {
        "picture": (".png", ".pdf", ".svg"),
        "methods": (".md", ".txt"),
        "geojson": (".geojson", ".json"),
        "labels-tiff": (".tif", ".tiff"),
        "ome-zarr": (".zarr",),
    }.get(kind.name, (kind.ending,))
    return file if file.suffix.lower() in allowed else file.with_name(file.name + kind.ending)


def file_filter(kind: Format) -> str:
    """What a file dialog lists."""
    if kind.name == "picture":
        return "PNG (*.png);;PDF (*.pdf);;SVG (*.svg)"
    return f"{kind.title} (*{kind.ending})"


def picture_options(
    layers: Sequence[Any],
    slide: str,
    shape_yx: tuple[int, int],
    *,
    view: bool,
    cells: Any | None,
    types: Iterable[str],
    hidden: frozenset[str],
) -> dict[str, Any]:
    """Draw what the window shows: visible markers in their colours and contrast, cells as their layer has them.

    Parameters
    ----------
    layers
        Of the viewer.
    slide
        Path of the result's slide.
    shape_yx
        Of the slide.
    view
        The part in view; else all that was analysed.
    cells
        The layer of cells.
    types, hidden
        All types, and those that the legend hides.

    Raises
    ------
    SettingsError
        No marker of the slide is visible, or none of it is in view.
    """
    markers = [layer for layer in layers_of(layers, "marker", slide) if layer.visible]
    if not markers:
        raise SettingsError("No marker of the slide is visible: show those that the picture is to have.")
    options: dict[str, Any] = {
        "markers": {about(layer)["marker"]: shown_colour(layer) for layer in markers},
        "contrast": {
            about(layer)["marker"]: tuple(float(v) for v in layer.contrast_limits) for layer in markers
        },
        "cells": "none",
    }
    if view:
        options["region"] = view_region(markers, shape_yx)
    if cells is not None and cells.visible:
        options["cells"] = "outlines" if cells.contour else "fill"
    names = list(types)
    if hidden and names:
        options["types"] = [name for name in names if name not in hidden]
    return options


def size_text(path: Path) -> str:
    """Size of a file or folder in the unit that people read."""
    files = path.rglob("*") if path.is_dir() else (path,)
    size = float(sum(file.stat().st_size for file in files if file.is_file()))
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def written_text(plan: ExportPlan, size: str, notes: Sequence[str]) -> str:
    """Say what was written, and what the user should know of it."""
    return " ".join([f"Written: {plan.file.name} ({size}).", *notes])


def offered() -> list[list[Format]]:
    """Formats of the menu, in their groups."""
    return [[FORMATS[name] for name in group] for group in GROUPS]
