"""Cells and types of pixels in memory, without files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.errors import SettingsError
from napari_dama.models.shelf import DEFAULT_MODEL
from napari_dama.predict.pipeline import Pipeline
from napari_dama.predict.prepare import Plan, make_plan, opened
from napari_dama.predict.tiles import add_types, read_ahead, run_tiles
from napari_dama.slides.intensity import IntensityStats, slide_stats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.models.model import Model
    from napari_dama.slides.region import Region
    from napari_dama.slides.slide import Slide


def segment(
    image: NDArray[Any] | Slide | str | Path,
    *,
    markers: Sequence[str] | None = None,
    pixel_um: float | None = None,
    model: str | Path | Model = DEFAULT_MODEL,
    chosen: Mapping[str, str] | None = None,
    device: str = "auto",
    stats: IntensityStats | None = None,
    tile_px: int = 1024,
) -> NDArray[np.uint32]:
    """Instance labels (Y, X) uint32 of an image, 0 for background.

    Parameters
    ----------
    image
        Pixels (C, Y, X), an open slide, or a path.
    markers
        Names of the channels, where the image does not carry them.
    pixel_um
        Pixel size in micrometres, where the image does not carry it.
    stats
        Intensity statistics of the slide that the image was cut from; else those of the image.

    Examples
    --------
    >>> labels = segment(pixels, markers=["DAPI", "NeuN"], pixel_um=0.325)  # doctest: +SKIP
    """
    with opened(image, markers=markers, pixel_um=pixel_um) as slide:
        plan = make_plan(
            slide, model=model, chosen=chosen, pixel_um=pixel_um, region=None, types=False, tile_px=tile_px
        )
        pipeline = _pipeline(plan, device, stats)
        labels = np.zeros(plan.grid.shape_yx, np.uint32)

        def existing(region: Region) -> NDArray[np.uint32]:
            return labels[region.slices].copy()

        for finished in run_tiles(pipeline, plan.tiles, types=False, existing=existing):
            labels[finished.tile.outer.slices] = finished.labels
    return labels


def classify(
    image: NDArray[Any] | Slide | str | Path,
    labels: NDArray[np.integer],
    *,
    markers: Sequence[str] | None = None,
    pixel_um: float | None = None,
    model: str | Path | Model = DEFAULT_MODEL,
    chosen: Mapping[str, str] | None = None,
    device: str = "auto",
    stats: IntensityStats | None = None,
    tile_px: int = 1024,
) -> pd.DataFrame:
    """Types of cells that are already outlined: a table ``label, y, x, type, p_<TYPE>...``, by label.

    ``labels`` is (Y, X), of the image's size; other parameters as in `segment`.

    Raises
    ------
    SettingsError
        The labels have another size, or types cannot be named for these markers (the sentence says why).
    """
    import pandas as pd
    from scipy import ndimage

    with opened(image, markers=markers, pixel_um=pixel_um) as slide:
        plan = make_plan(
            slide,
            model=model,
            chosen=chosen,
            pixel_um=pixel_um,
            region=None,
            types=True,
            tile_px=tile_px,
            task="types",
        )
        if labels.shape != plan.grid.shape_yx:
            raise SettingsError(f"labels are {labels.shape} and the image is {plan.grid.shape_yx} (Y, X)")
        if not plan.types:
            raise SettingsError(f"no types: {plan.types_why}")
        numbers = np.unique(labels)
        numbers = numbers[numbers > 0]
        centres = np.asarray(ndimage.center_of_mass(labels > 0, labels, numbers), float).reshape(-1, 2)
        cells = pd.DataFrame({"label": numbers, "y": centres[:, 0], "x": centres[:, 1]})
        tables = []
        pipeline = _pipeline(plan, device, stats)
        for loaded in read_ahead(pipeline, plan.tiles):
            core = loaded.work.tile.core
            inside = cells["y"].round().between(core.y0, core.y1 - 1) & cells["x"].round().between(
                core.x0, core.x1 - 1
            )
            part = cells[inside].reset_index(drop=True)
            add_types(part, pipeline, loaded)
            tables.append(part)
        return pd.concat(tables, ignore_index=True).sort_values("label", ignore_index=True)


def _pipeline(plan: Plan, device: str, stats: IntensityStats | None) -> Pipeline:
    known = slide_stats(plan.slide) if stats is None else stats
    return Pipeline(plan.slide, plan.channels, known, plan.load_model(device), plan.grid)
