"""Cells as AnnData: the table that squidpy, scanpy and napari-spatialdata work with."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama import __version__
from napari_dama.cells.table import CORRECTED_BY, OUTLINE
from napari_dama.errors import DamaError, Interrupted, OutputError
from napari_dama.export.atomic import replacing
from napari_dama.export.source import ResultSource, need
from napari_dama.export.watch import Watch
from napari_dama.slides.intensity import IntensityStats, normalise
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

THUMBNAIL_PX: Final = 1024
"""Longer side of the picture that squidpy draws below the cells."""
_OBS: Final = ("label", "area_um2", "score", "y", "x")


def to_anndata(
    result_dir: str | Path,
    file: str | Path,
    *,
    overwrite: bool = False,
    watch: Watch | None = None,
    image: bool = True,
) -> Path:
    """Write the cells as one ``.h5ad``; see `make_anndata` for what is in it.

    Parameters
    ----------
    result_dir
        What ``analyse`` left.
    file
        ``.h5ad``.
    overwrite
        Replace a file that is there.
    watch
        Told of progress and of what was left out.
    image
        Put a small picture of the slide in, as squidpy's ``hires`` image; when the slide cannot be read, a note says so.

    Raises
    ------
    OutputError
        anndata is not installed, there is no result, or the file exists or cannot be written.
    """
    target = Path(file)
    if target.suffix.lower() != ".h5ad":
        raise OutputError(f"{target}: AnnData is written to .h5ad.")
    source = ResultSource.open(result_dir)
    watch = watch or Watch()
    need("anndata", "anndata")
    with replacing(target, overwrite=overwrite) as part:
        watch.step(0, 3)
        table = make_anndata(source, watch, image=image)
        watch.step(2, 3)
        table.write_h5ad(part, compression="gzip")
        watch.step(3, 3)
    return target


def make_anndata(source: ResultSource, watch: Watch, *, image: bool) -> Any:
    """Build an ``anndata.AnnData`` of a result.

    ``X`` (cells, markers) float32: mean intensities in the slide's units. ``layers["normalised"]``: the same on the scale
    that the model sees (0 dark, 1 bright). ``obs``: label, type (ordered as the model's classes), area_um2, score, p_TYPE,
    y and x in pixels, what was corrected by hand, columns kept from plots, slide. ``var``: the model's marker, and the ends
    of the normalisation. ``obsm["spatial"]``: ``x, y`` in micrometres from the centre of the first pixel;
    ``obsm["X_dama"]``: the model's features, where they were computed.
    ``uns["type_colors"]``; ``uns["spatial"]`` as squidpy reads it; ``uns["napari_dama"]``: the run, as JSON, and units.
    """
    anndata = need("anndata", "anndata")
    cells, markers = source.cells, source.markers
    means = (
        cells[[f"mean_{marker}" for marker in markers]].to_numpy(np.float32).reshape(len(cells), len(markers))
    )
    table = anndata.AnnData(X=means, obs=_obs(source), var=_var(source))
    stats = _stats(source)
    if stats is not None:
        table.layers["normalised"] = normalise(means.T[..., None], stats)[..., 0].T.copy()
    table.obsm["spatial"] = cells[["x_um", "y_um"]].to_numpy(np.float64)
    vectors = _embeddings(source, cells, watch)
    if vectors is not None:
        table.obsm["X_dama"] = vectors
    if source.types:
        table.uns["type_colors"] = [source.colours[name] for name in source.types]
    table.uns["spatial"] = {source.name: _squidpy(source, watch, image=image)}
    table.uns["napari_dama"] = {
        "version": __version__,
        "model": str(source.run.get("model", {}).get("name", "")),
        "pixel_um": source.pixel_um,
        "spatial_unit": "micrometer",
        "X": "mean intensity inside the cell, in the slide's own units",
        "run": json.dumps(source.run, ensure_ascii=False),
    }
    return table


def _obs(source: ResultSource) -> pd.DataFrame:
    import pandas as pd

    cells = source.cells
    obs = pd.DataFrame(index=pd.Index(cells["label"].astype(str).to_numpy(object), name="cell"))
    for name in _OBS:
        if name in cells:
            obs[name] = cells[name].to_numpy()
    if source.types:
        obs["type"] = source.type_column()
    for name in cells.columns:
        if str(name).startswith("p_"):
            obs[name] = cells[name].to_numpy(np.float32)
    for name in ("type_model", CORRECTED_BY):
        if name in cells:
            obs[name] = pd.Categorical(cells[name].where(cells[name] != ""))
    for name in ("reviewed", OUTLINE):
        if name in cells:
            obs[name] = cells[name].to_numpy(bool)
    for name in source.kept_names:
        obs[name] = cells[name].to_numpy()
    obs["slide"] = pd.Categorical([source.name] * len(cells), categories=[source.name])
    return obs


def _var(source: ResultSource) -> pd.DataFrame:
    import pandas as pd

    markers = source.markers
    matches = (source.run.get("channel_map") or {}).get("channels", [])
    serves = {str(m.get("slide_marker")): str(m.get("marker")) for m in matches if m.get("slide_marker")}
    var = pd.DataFrame(index=pd.Index(np.array(markers, object), name="marker"))
    var["model_marker"] = [serves.get(marker, "") for marker in markers]
    stats = _stats(source)
    if stats is not None:
        var["low"], var["high"] = stats.low, stats.high
    return var


def _stats(source: ResultSource) -> IntensityStats | None:
    """Ends of the normalisation for the markers of the table, in its order."""
    recorded = source.run.get("intensity")
    if not recorded:
        return None
    stats = IntensityStats.from_json(recorded)
    place = {name: index for index, name in enumerate(stats.markers)}
    if not source.markers or any(marker not in place for marker in source.markers):
        return None
    return stats.select([place[marker] for marker in source.markers])


def _embeddings(source: ResultSource, cells: pd.DataFrame, watch: Watch) -> NDArray[np.float32] | None:
    """The model's features (cells, D) in the table's order, NaN for a cell that came later; None when there are none."""
    if not source.run.get("embeddings"):
        return None
    try:
        read: Any = importlib.import_module("napari_dama.predict.embeddings").read_embeddings
    except ImportError:
        return None
    labels, vectors = read(source.folder)
    place = {int(label): row for row, label in enumerate(labels)}
    rows = np.array([place.get(int(label), -1) for label in cells["label"]], np.int64)
    out = np.full((len(cells), vectors.shape[1]), np.nan, np.float32)
    out[rows >= 0] = vectors[rows[rows >= 0]]
    if (rows < 0).any():
        watch.note(f"{int((rows < 0).sum())} cells have no features of the model (obsm X_dama is NaN there).")
    return out


def _squidpy(source: ResultSource, watch: Watch, *, image: bool) -> dict[str, Any]:
    """One library of ``uns["spatial"]``: a picture, and factors from micrometres to its pixels."""
    area = source.cells["area_um2"].to_numpy(np.float64) if len(source.cells) else np.ones(1)
    factors: dict[str, float] = {"spot_diameter_fullres": float(2 * np.sqrt(np.nanmedian(area) / np.pi))}
    images: dict[str, Any] = {}
    if image:
        found = _thumbnail(source, watch)
        if found is not None:
            images["hires"], factors["tissue_hires_scalef"] = found
    factors.setdefault("tissue_hires_scalef", 1 / source.pixel_um)
    return {"images": images, "scalefactors": factors, "metadata": {"coordinates": "micrometer"}}


def _thumbnail(source: ResultSource, watch: Watch) -> tuple[NDArray[np.uint8], float] | None:
    from napari_dama.export.blend import blend, shown_markers

    try:
        with source.open_slide() as slide:
            watch.step(1, 3)
            picture = blend(
                slide, Region.whole(source.shape_yx), shown_markers(source, slide), max_px=THUMBNAIL_PX
            )
    except Interrupted:
        raise
    except DamaError as error:
        watch.note(f"No picture of the slide is in the file: {error}")
        return None
    return picture.rgb, 1 / (source.pixel_um * picture.factor)
