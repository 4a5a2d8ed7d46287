"""A missing marker predicted over a whole slide, tile by tile, into an OME-TIFF of one channel."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.errors import Interrupted, OutputError, SettingsError
from napari_dama.models.shelf import DEFAULT_MODEL
from napari_dama.predict.impute import impute_pixels, place_in_panel, snapped
from napari_dama.predict.impute_quality import PatchMeans, Quality, measure, patch_means
from napari_dama.predict.pipeline import Pipeline
from napari_dama.predict.prepare import make_plan, opened
from napari_dama.predict.progress import Progress
from napari_dama.predict.record import clear_disk_errors
from napari_dama.predict.sampling import axis_matrix, resample
from napari_dama.predict.tiles import clear_memory_errors, read_ahead
from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.picture import linear
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_dama.models.model import Model
    from napari_dama.predict.grid import WorkTile
    from napari_dama.predict.progress import ProgressFn, StopFn
    from napari_dama.slides.slide import Slide


def impute(
    slide: Slide | str | Path,
    out: str | Path,
    *,
    marker: str,
    model: str | Path | Model = DEFAULT_MODEL,
    chosen: Mapping[str, str] | None = None,
    pixel_um: float | None = None,
    region: Region | None = None,
    device: str = "auto",
    seed: int = 0,
    overwrite: bool = False,
    progress: ProgressFn | None = None,
    stop: StopFn | None = None,
) -> Quality | None:
    """Predict a marker of the model's panel from the slide's other markers, and write it as one channel.

    Pixels are float32 at the slide's own pixel size: in the slide's units where it has the marker, so that both compare;
    else 0 is dark and 1 the bright end of what the model knows.

    Parameters
    ----------
    slide, model, chosen, pixel_um, region, device, progress, stop
        As in `napari_dama.analyse`.
    out
        The OME-TIFF (``.tif`` or ``.tiff``).
    marker
        Name in the model's panel.
    seed
        Of the masks.
    overwrite
        Replace an older file.

    Returns
    -------
    Quality or None
        How good the prediction is where the slide has the marker; None where it has not.

    Raises
    ------
    SettingsError, PanelError, ModelError, SlideError, OutputError
        What was wrong, and the way out.
    Interrupted
        ``stop`` returned True; nothing is left behind.
    """
    import tifffile

    path = Path(out)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise SettingsError(f"{path.name}: the name must end in .tif or .tiff")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; --overwrite replaces it")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"there is no folder {path.absolute().parent}")
    with opened(slide, pixel_um=pixel_um) as source:
        plan = make_plan(
            source,
            model=model,
            chosen=chosen,
            pixel_um=pixel_um,
            region=region,
            types=False,
            tile_px=1024,
            task="reconstruct",
        )
        place = place_in_panel(plan.card, plan.channels.present, marker)
        stats = slide_stats(source)
        network = plan.load_model(device)
        pipeline = Pipeline(source, plan.channels, stats, network, plan.grid)
        index = plan.channels.indices[place]
        low, high = (0.0, 1.0) if index is None else (float(stats.low[index]), float(stats.high[index]))
        draft = path.with_name(path.name + ".part")
        found: list[PatchMeans] = []
        begin = time.perf_counter()
        try:
            with (
                clear_disk_errors(path.absolute().parent),
                closing(read_ahead(pipeline, plan.tiles)) as coming,
            ):
                image: Any = tifffile.memmap(
                    draft,
                    shape=plan.region.shape,
                    dtype=np.float32,
                    ome=True,
                    bigtiff=plan.region.height * plan.region.width > 5e8,
                    photometric="minisblack",
                    metadata=_metadata(f"{marker} predicted", plan.pixel_um),
                )
                for done, loaded in enumerate(coming, start=1):
                    if stop is not None and stop():
                        raise Interrupted("stopped; nothing was written")
                    core = loaded.work.tile.core
                    view = image[_within(core, plan.region).slices]
                    if loaded.pixels is None:
                        view[...] = low
                    else:
                        inner = _trimmed(loaded.work, plan.grid.scale, plan.card.image_px // 2)
                        pixels = loaded.pixels[:, *_within(inner, loaded.work.model).slices]
                        with clear_memory_errors():
                            made = impute_pixels(network, pixels, place, seed=seed, stop=stop)
                        view[...] = low + (high - low) * _at_slide_scale(made, inner, core, plan.grid.scale)
                        if index is not None:
                            panel, present = plan.card.panel, plan.channels.present
                            found.append(patch_means(pixels, made, place, plan.card.patch_px, panel, present))
                    if progress is not None:
                        seconds = time.perf_counter() - begin
                        progress(Progress("tiles", done, len(plan.tiles), seconds=seconds))
                image.flush()
                del image, view
                os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    return measure(_joined(found)) if found else None


def _trimmed(work: WorkTile, scale: float, step: int) -> Region:
    """Model pixels of a tile that its core needs: with half a crop around it, within what was loaded."""
    need = snapped(work.tile.core, scale, step)
    return Region(
        max(work.model.y0, need.y0 - step),
        min(work.model.y1, need.y1 + step),
        max(work.model.x0, need.x0 - step),
        min(work.model.x1, need.x1 + step),
    )


def _within(part: Region, whole: Region) -> Region:
    return Region(part.y0 - whole.y0, part.y1 - whole.y0, part.x0 - whole.x0, part.x1 - whole.x0)


def _at_slide_scale(
    made: NDArray[np.float32], inner: Region, core: Region, scale: float
) -> NDArray[np.float32]:
    """A prediction (H, W) over model pixels, on the linear scale, at the slide's pixels of a tile's core."""
    rows = axis_matrix((core.y0, core.y1), (inner.y0, inner.y1), scale=1 / scale, size=inner.y1)
    columns = axis_matrix((core.x0, core.x1), (inner.x0, inner.x1), scale=1 / scale, size=inner.x1)
    out: NDArray[np.float32] = resample(linear(np.clip(made, 0, None))[None], rows, columns)[0]
    return out


def _joined(parts: list[PatchMeans]) -> PatchMeans:
    return PatchMeans(
        np.concatenate([part.true for part in parts]),
        np.concatenate([part.imputed for part in parts]),
        np.concatenate([part.others for part in parts]),
        np.concatenate([part.fold for part in parts]),
        parts[0].names,
    )


def _metadata(name: str, pixel_um: float) -> dict[str, Any]:
    return {
        "axes": "YX",
        "Channel": {"Name": [name]},
        "PhysicalSizeX": pixel_um,
        "PhysicalSizeY": pixel_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeYUnit": "µm",
    }
