"""A result folder as layers: read it, show it on its slide, colour it, and find the cell at a place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.cells.corrected import without_corrections
from napari_dama.cells.kept import Kept, plain_names, read_kept
from napari_dama.gui.arrive import reveal
from napari_dama.gui.cell_colours import label_colormap_of
from napari_dama.gui.cell_table import feature_table, instance_colormap, type_colormap_of
from napari_dama.gui.layers import KEY, LayerData, about, layers_of, scale_of, slides_in
from napari_dama.gui.put_layer import add_hidden_quietly

if TYPE_CHECKING:
    import napari
    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.gui.cell_colours import CellColours
    from napari_dama.gui.cells_model import CellsModel
    from napari_dama.gui.session import Session

LIVE_LIMIT_PX = 4096 * 4096


@dataclass(frozen=True, slots=True)
class OpenResult:
    """What was read of a result folder.

    Attributes
    ----------
    levels : list of arrays
        Labels (Y, X), lazily, the finest first.
    bright : dict of str to float
        Per marker the 98th percentile of the cells' means: what a bright cell has.
    made : str
        When it was made; tells it from another result of the same folder.
    kept : tuple of Kept
        Columns that were kept from plots; here under their own names, outdated or not.
    """

    path: Path
    cells: pd.DataFrame
    levels: list[Any]
    pixel_um: float
    slide: str
    colours: dict[str, str]
    summary: str
    bright: dict[str, float]
    made: str = ""
    kept: tuple[Kept, ...] = ()


def read_result(folder: Path) -> OpenResult:
    """Read a result folder's table and record; labels stay on disk.

    Raises
    ------
    OutputError
        When the folder is no result.
    """
    from napari_dama.predict.record import slide_path
    from napari_dama.predict.result import ResultFolder

    result = ResultFolder.open(folder)
    run, kept = result.run, read_kept(result.run.get("columns"))
    # what was corrected comes from the journal: the window changes it, and would have to change these columns, too
    cells = without_corrections(plain_names(result.cells(), kept))
    model = run.get("model", {})
    means = [column for column in cells.columns if str(column).startswith("mean_")]
    bright = {
        str(name)[5:]: float(np.nanpercentile(cells[name], 98)) if len(cells) else 1.0 for name in means
    }
    return OpenResult(
        path=folder,
        cells=cells,
        levels=result.label_levels,
        pixel_um=result.pixel_um,
        slide=slide_path(run),
        colours=dict(zip(model.get("classes", []), model.get("class_colours", []), strict=False)),
        summary=summary_of(folder, len(cells), run),
        bright=bright,
        made=str(run.get("created") or ""),
        kept=tuple(one for one in kept if set(one.names) <= set(cells.columns)),
    )


def summary_of(folder: Path, count: int, run: dict[str, Any]) -> str:
    """Say in a few sentences what a result is and what it lacks."""
    parts = [
        f"{folder.name}: {count:,} {'cell' if count == 1 else 'cells'}".replace(",", " ")
        + f", found with {run.get('model', {}).get('name', '?')}."
    ]
    if run.get("state") != "done":
        parts.append(
            f"Not complete: {run.get('tiles_done', 0)} of {run.get('tiles', '?')} tiles ({run.get('state')})."
        )
    why = str(run.get("types_why") or "")
    if why:
        parts.append(f"No types: {why}.")
    return " ".join(parts)


def slide_missing(viewer: napari.Viewer, result: OpenResult) -> bool:
    """Whether a result's slide is not open in the window, and is there to be opened."""
    return bool(result.slide and result.slide not in slides_in(viewer.layers) and Path(result.slide).exists())


def make_room(viewer: napari.Viewer, session: Session, result: OpenResult) -> None:
    """Take out a layer of the same result, and let the pixel size be the result's where the slide says none."""
    if session.state.slide == result.slide and session.pixel.pixel_um is None:
        session.state.channels.pixel_um = result.pixel_um
    for old in layers_of(viewer.layers, "cells"):
        if about(old).get("result") == str(result.path):
            viewer.layers.remove(old)


def result_layer(result: OpenResult) -> LayerData:
    """Return a result as a labels layer that lies exactly on its slide."""
    multiscale = len(result.levels) > 1
    options = {
        "name": f"Cells: {result.path.name}",
        "features": feature_table(result.cells),
        "multiscale": multiscale,
        "opacity": 0.6,
        "metadata": {KEY: {"role": "cells", "slide": result.slide, "result": str(result.path)}},
        **scale_of(result.pixel_um),
    }
    return result.levels if multiscale else result.levels[0], options, "labels"


def colour_result(layer: Any, cells: CellsModel, colours: CellColours, hidden: frozenset[str]) -> None:
    """Give the cells of a layer their colours."""
    if colours.kind == "instance" and not hidden:
        layer.colormap = instance_colormap()
    elif colours.by == "type":
        layer.colormap = type_colormap_of(cells.labels, cells.types, cells.classes, hidden=hidden)
    else:
        layer.colormap = label_colormap_of(cells.labels, colours)


def live_layer(viewer: napari.Viewer, folder: Path) -> LayerData | None:
    """Return a layer that reads the labels of a running analysis; None while there are none, or its slide is not open.

    Of a large slide the coarser levels are shown, too, which the analysis renews every few seconds.
    """
    from napari_dama.errors import OutputError
    from napari_dama.predict.labels import LabelImage
    from napari_dama.predict.record import LABELS, read_run, slide_path

    try:
        run = read_run(folder)
        levels = LabelImage.open(folder / LABELS, mode="r").levels
    except OutputError:
        return None
    slide = slide_path(run)
    if slide not in slides_in(viewer.layers):
        return None
    large = len(levels) > 1 and levels[0].shape[0] * levels[0].shape[1] > LIVE_LIMIT_PX
    options = {
        "name": "Cells so far",
        "opacity": 0.6,
        "multiscale": large,
        "metadata": {KEY: {"role": "live", "slide": slide, "result": str(folder)}},
        **scale_of(run["settings"]["pixel_um"]),
    }
    return levels if large else levels[0], options, "labels"


def label_at(layer: Any, position: tuple[float, ...]) -> int:
    """Return the label that is shown at a position in world coordinates, 0 for none."""
    value = layer.get_value(position, world=True)
    if isinstance(value, tuple):  # multiscale: (level, label)
        value = value[1]
    return int(value or 0)


def mark_cells(
    viewer: napari.Viewer, layer: Any, result: OpenResult, cells: CellsModel, labels: NDArray[np.int64]
) -> None:
    """Draw a ring around each of some cells (n,), all in one points layer; none leaves it without points."""
    rows = cells.rows_of(labels) if len(labels) else np.zeros(0, np.int64)
    found = layers_of(viewer.layers, "mark")
    if not len(rows):
        for old in found:  # kept, without a ring: to make a layer anew takes napari a quarter of a second
            old.selected_data = set()
            old.data = np.zeros((0, old.ndim))
        return
    table = cells.table.iloc[rows]
    places = table[["y", "x"]].to_numpy(np.float64)
    sizes = 2.6 * np.sqrt(table["area_um2"].to_numpy(np.float64) / np.pi) / result.pixel_um + 6
    sizes = np.where(np.isfinite(sizes), sizes, np.nanmedian(sizes) if np.isfinite(sizes).any() else 20.0)
    name = "Clicked cell" if len(rows) == 1 else "Selected cells"
    if found:
        if len(found[0].data) != len(rows):
            found[0].selected_data = set()
        found[0].data, found[0].name = places, name
        found[0].size = sizes
        return
    rings = add_hidden_quietly(
        viewer,
        "points",
        places,
        name=name,
        size=sizes,
        face_color="transparent",
        border_color="white",
        border_width=0.06,
        metadata={KEY: {"role": "mark", "slide": result.slide}},
        scale=layer.scale[-2:],
        units=layer.units[-2:],
    )
    reveal(rings)
