"""Crops of some cells of a result, as the network takes them, tile by tile; tiles without such cells are not read."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from napari_dama.errors import Interrupted
from napari_dama.predict.embeddings import plan_of, stats_of_result, tiles_of
from napari_dama.predict.pipeline import CROP_BATCH, Pipeline, cut_crops
from napari_dama.predict.tiles import clear_memory_errors, read_ahead
from napari_dama.slides.intensity import slide_stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.models.model import Model
    from napari_dama.predict.progress import StopFn
    from napari_dama.predict.result import ResultFolder
    from napari_dama.slides.slide import Slide


def cell_crops(
    result: ResultFolder,
    slide: Slide,
    model: Model,
    cells: pd.DataFrame,
    *,
    stop: StopFn | None = None,
    batch: int = CROP_BATCH,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Cut the crops of cells as an analysis does, with the result's own channels, pixel size and intensities.

    Parameters
    ----------
    result, slide
        A result, and its slide opened with the result's pixel size.
    model
        Whose panel, scale and crop width it is; it must tell types.
    cells
        ``y, x`` (px of level 0) of the cells (N rows).
    stop
        Asked between batches whether to end.
    batch
        Most cells of a batch.

    Yields
    ------
    rows, crops
        Which rows (n,) of ``cells``, and their crops (n, C, image_px, image_px) float32, normalised.

    Raises
    ------
    Interrupted
        ``stop`` returned True.
    SettingsError, PanelError, ModelError
        Slide, result and model do not fit.
    """
    if not len(cells):
        return
    plan = plan_of(result, slide, model, cells=cells, tasks=("types",))
    known = stats_of_result(result)
    pipeline = Pipeline(
        slide, plan.channels, slide_stats(slide) if known is None else known, model, plan.grid
    )
    centres = cells[["y", "x"]].to_numpy(np.float64)
    tile_of = tiles_of(plan, centres)
    side = plan.card.image_px
    todo = [work for work in plan.tiles if (tile_of == work.tile.index).any()]
    with closing(read_ahead(pipeline, todo)) as coming:
        for loaded in coming:
            mine = np.flatnonzero(tile_of == loaded.work.tile.index)
            origin = np.array([loaded.work.model.y0, loaded.work.model.x0], np.int64)
            places = np.floor((centres[mine] + 0.5) * plan.grid.scale).astype(np.int64) - origin
            for start in range(0, len(mine), batch):
                if stop is not None and stop():
                    raise Interrupted("stopped while cells were looked at")
                rows = mine[start : start + batch]
                if loaded.pixels is None:
                    yield rows, np.zeros((len(rows), len(plan.card.panel), side, side), np.float32)
                    continue
                with clear_memory_errors():
                    crops = cut_crops(loaded.pixels, places[start : start + batch], side)
                yield rows, crops


def tell_types(
    result: ResultFolder,
    slide: Slide,
    model: Model,
    cells: pd.DataFrame,
    *,
    progress: Callable[[int, int], None] | None = None,
    stop: StopFn | None = None,
) -> NDArray[np.float32]:
    """Probabilities (N, K) of the model's classes for cells of a result; outlines stay as they are.

    ``progress`` is called with (cells done, cells in all); the rest is as in `cell_crops`.
    """
    import torch

    out = np.zeros((len(cells), len(model.card.classes)), np.float32)
    done = 0
    for rows, crops in cell_crops(result, slide, model, cells, stop=stop):
        with clear_memory_errors():
            out[rows] = model.type_probabilities(torch.from_numpy(crops)).cpu().numpy()
        done += len(rows)
        if progress is not None:
            progress(done, len(cells))
    return out
