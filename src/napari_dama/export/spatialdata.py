"""Cells, outlines, labels and the slide as one SpatialData, for squidpy, napari-spatialdata and what builds on them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.export.anndata import make_anndata
from napari_dama.export.folders import replacing_folder
from napari_dama.export.outlines import cell_outlines
from napari_dama.export.source import ResultSource, need
from napari_dama.export.watch import Watch

if TYPE_CHECKING:
    from napari_dama.export.outlines import Outline

IMAGE, LABELS, SHAPES, TABLE = "slide", "cells", "cell_outlines", "table"
_MARK: Final = "spatialdata_attrs"
"""Attribute by which a SpatialData is known."""
_COARSEST_PX: Final = 1024


def to_spatialdata(
    result_dir: str | Path,
    file: str | Path,
    *,
    overwrite: bool = False,
    watch: Watch | None = None,
    image: bool = True,
    shapes: bool = True,
) -> Path:
    """Write a SpatialData folder; it is also an OME-Zarr.

    ``images["slide"]``: all markers, with a pyramid; ``labels["cells"]``; ``shapes["cell_outlines"]``: polygons, in pixels
    whose corners are whole numbers; ``tables["table"]``: as in `napari_dama.export.anndata`, annotating the labels. Two
    coordinate systems: ``global`` is in micrometres, ``pixels`` in those of level 0.

    Parameters
    ----------
    result_dir
        What ``analyse`` left.
    file
        A folder ``.zarr``.
    overwrite
        Replace a SpatialData that is there.
    watch
        Told of progress, asked whether to stop.
    image
        Copy the slide's pixels, too.
    shapes
        Outlines as polygons, too; they are held in memory, some kB per cell.

    Raises
    ------
    OutputError
        spatialdata is not installed; there is no result; the slide cannot be read; or the folder cannot be written.
    Interrupted
        ``watch`` said so; nothing is left behind.
    """
    source, watch = ResultSource.open(result_dir), watch or Watch()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # what dask, xarray and zarr say of each other when spatialdata is imported
        need("spatialdata", "spatialdata")
        with replacing_folder(file, source=source, overwrite=overwrite, mark=_MARK) as part:
            if image:
                with source.open_slide() as slide:
                    elements = {"images": {IMAGE: _image(source, slide)}}
                    _write(source, part, watch, elements, shapes=shapes)
            else:
                _write(source, part, watch, {}, shapes=shapes)
    return Path(file)


def _write(source: ResultSource, part: Path, watch: Watch, elements: dict[str, Any], *, shapes: bool) -> None:
    spatialdata = need("spatialdata", "spatialdata")
    watch.step(0, 100)
    elements["labels"] = {LABELS: _labels(source)}
    if shapes:
        inner = Watch(lambda done, total: watch.step(50 * done // max(total, 1), 100), watch.stop)
        found = [outline for outline in cell_outlines(source.labels, inner) if outline.pieces]
        if found:
            elements["shapes"] = {SHAPES: _shapes(source, found)}
    elements["tables"] = {TABLE: _table(source, watch)}
    watch.step(60, 100)
    spatialdata.SpatialData(**elements).write(part)
    watch.step(100, 100)


def _systems(source: ResultSource) -> dict[str, Any]:
    """Where the elements lie: micrometres, and pixels."""
    transforms = need("spatialdata.transformations", "spatialdata")
    scale = transforms.Scale([source.pixel_um, source.pixel_um], axes=("x", "y"))
    return {"global": scale, "pixels": transforms.Identity()}


def _factors(shape_yx: tuple[int, int]) -> list[int]:
    """How much smaller each level is than the one before."""
    factors: list[int] = []
    side = max(shape_yx)
    while side > _COARSEST_PX and min(shape_yx) // 2 ** (len(factors) + 1) > 0:
        factors.append(2)
        side = (side + 1) // 2
    return factors


def _image(source: ResultSource, slide: Any) -> Any:
    models = need("spatialdata.models", "spatialdata")
    return models.Image2DModel.parse(
        slide.lazy(),
        dims=("c", "y", "x"),
        c_coords=list(slide.markers),
        scale_factors=_factors(source.shape_yx) or None,
        transformations=_systems(source),
    )


def _labels(source: ResultSource) -> Any:
    import dask.array as da

    models = need("spatialdata.models", "spatialdata")
    read: Any = da.from_array
    return models.Labels2DModel.parse(
        read(source.labels, chunks=source.labels.chunks),
        dims=("y", "x"),
        scale_factors=_factors(source.shape_yx) or None,
        transformations=_systems(source),
    )


def _shapes(source: ResultSource, found: list[Outline]) -> Any:
    models = need("spatialdata.models", "spatialdata")
    geopandas = need("geopandas", "spatialdata")
    shapely = need("shapely", "spatialdata")
    polygons = []
    for outline in found:
        pieces = [shapely.Polygon(piece.outer, piece.holes) for piece in outline.pieces]
        polygons.append(pieces[0] if len(pieces) == 1 else shapely.MultiPolygon(pieces))
    numbers = np.array([outline.label for outline in found], np.int64)
    frame = geopandas.GeoDataFrame({"geometry": polygons}, index=numbers)
    return models.ShapesModel.parse(frame.sort_index(), transformations=_systems(source))


def _table(source: ResultSource, watch: Watch) -> Any:
    """The table, tied to the labels by region and label."""
    import pandas as pd

    models = need("spatialdata.models", "spatialdata")
    table = make_anndata(source, watch, image=False)
    table.obs["region"] = pd.Categorical([LABELS] * table.n_obs, categories=[LABELS])
    table.obs["label"] = table.obs["label"].astype(np.int64)
    return models.TableModel.parse(table, region=LABELS, region_key="region", instance_key="label")
