"""What the network makes of every cell of a result, as vectors beside the table: for plots, *more like this*, export.

The vectors are the pooled tokens that the types rest on (`Model.embed`). They lie in the result's folder as two plain
``.npy`` files, ``embeddings.npy`` (N, D) float16 and ``embeddings_labels.npy`` (N,), and ``run.json`` says under
``embeddings`` which model made them. They count only once ``run.json`` says so: a run that is cut off leaves none.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from napari_dama.errors import DamaError, Interrupted, OutputError, SettingsError
from napari_dama.models.card import CARD
from napari_dama.models.shelf import load_card
from napari_dama.predict.pipeline import CROP_BATCH, Pipeline, cut_crops
from napari_dama.predict.prepare import Plan, fingerprint, make_plan, opened
from napari_dama.predict.progress import Progress
from napari_dama.predict.record import EMBEDDINGS, EMBEDDINGS_LABELS, clear_disk_errors, read_run, update_run
from napari_dama.predict.result import ResultFolder
from napari_dama.predict.tiles import clear_memory_errors, read_ahead
from napari_dama.predict.writer import refuse_running
from napari_dama.slides.intensity import IntensityStats, slide_stats
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.models.card import Card, Task
    from napari_dama.models.model import Model
    from napari_dama.predict.progress import ProgressFn, StopFn
    from napari_dama.slides.slide import Slide

TASKS: Final[tuple[Task, ...]] = ("types", "features", "reconstruct")
"""Tasks whose network can embed a cell, in the order that `Model.embed` prefers them."""


class Embeddings(NamedTuple):
    """Labels (N,) int64 of the cells, and their vectors (N, D) float32, row by row."""

    labels: NDArray[np.int64]
    vectors: NDArray[np.float32]


def has_embeddings(result: str | Path) -> bool:
    """Whether a result folder has vectors of its cells."""
    try:
        return bool(read_run(Path(result)).get("embeddings"))
    except OutputError:
        return False


def read_embeddings(result: str | Path) -> Embeddings:
    """Read the vectors of a result's cells.

    Parameters
    ----------
    result
        Folder that `napari_dama.analyse` wrote.

    Returns
    -------
    labels, vectors
        (N,) int64 and (N, D) float32, in the order of the table at the time; ``run.json`` names the model that made them.

    Raises
    ------
    OutputError
        The folder is no result, has no vectors yet, or they are damaged.

    Examples
    --------
    >>> labels, vectors = read_embeddings("tissue_result")  # doctest: +SKIP
    """
    folder = Path(result)
    record = read_run(folder).get("embeddings")
    if not record:
        raise OutputError(
            f"{folder} has no embeddings of its cells yet: `napari-dama embed {folder}` computes them"
        )
    try:
        vectors = np.load(folder / EMBEDDINGS, allow_pickle=False)
        labels = np.load(folder / EMBEDDINGS_LABELS, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise OutputError(f"the embeddings in {folder} cannot be read: {error}") from error
    if vectors.ndim != 2 or labels.shape != vectors.shape[:1] or list(vectors.shape) != record.get("shape"):
        raise OutputError(
            f"the embeddings in {folder} do not fit together: {vectors.shape} vectors, {labels.shape} labels, "
            f"recorded {record.get('shape')}; compute them anew"
        )
    return Embeddings(labels.astype(np.int64), vectors.astype(np.float32))


def embed_cells(
    result: str | Path,
    *,
    slide: Slide | str | Path | None = None,
    model: str | Path | Model | None = None,
    device: str = "auto",
    progress: ProgressFn | None = None,
    stop: StopFn | None = None,
) -> Embeddings:
    """Compute the vectors of all cells of a result and keep them in its folder, in place of older ones.

    Parameters
    ----------
    result
        Folder that `napari_dama.analyse` wrote.
    slide
        The slide, where it is not at the place any more that the result names.
    model
        Another model than the one that made the result: name, folder, or loaded.
    device
        As in `napari_dama.analyse`.
    progress, stop
        Told how many cells are done (stage ``"embeddings"``); asked whether to end.

    Raises
    ------
    OutputError
        The folder is no result, is being written, or cannot be written.
    SettingsError, SlideError, ModelError
        The slide or the model is gone or does not fit.
    Interrupted
        ``stop`` returned True; what was there before stays.
    """
    folder = Path(result)
    found = ResultFolder.open(folder)
    refuse_running(folder)
    cells = found.cells()
    if cells.empty:
        raise SettingsError(f"{folder} has no cells to embed")
    source = slide if slide is not None else slide_of(found)
    with opened(source, pixel_um=found.pixel_um) as image:
        plan = plan_of(found, image, model if model is not None else model_of(found), cells=cells)
        known = stats_of_result(found)
        network = plan.load_model(device)
        pipeline = Pipeline(
            image, plan.channels, slide_stats(image) if known is None else known, network, plan.grid
        )
        vectors = _embed(pipeline, plan, cells, progress, stop)
    labels = cells["label"].to_numpy(np.int64)
    _write(folder, labels, vectors, plan.card)
    return Embeddings(labels, vectors.astype(np.float32))


def _embed(
    pipeline: Pipeline, plan: Plan, cells: pd.DataFrame, progress: ProgressFn | None, stop: StopFn | None
) -> NDArray[np.float16]:
    """Vectors (N, D) of cells, tile by tile; tiles without cells are not read."""
    import torch

    centres = cells[["y", "x"]].to_numpy(np.float64)
    tile_of = tiles_of(plan, centres)
    side, begin = plan.card.image_px, time.perf_counter()
    out: NDArray[np.float16] | None = None
    done = 0
    todo = [work for work in plan.tiles if (tile_of == work.tile.index).any()]
    with closing(read_ahead(pipeline, todo)) as coming:
        for loaded in coming:
            mine = np.flatnonzero(tile_of == loaded.work.tile.index)
            model = loaded.work.model
            origin = np.array([model.y0, model.x0], np.int64)
            places = np.floor((centres[mine] + 0.5) * plan.grid.scale).astype(np.int64) - origin
            for start in range(0, len(mine), CROP_BATCH):
                if stop is not None and stop():
                    raise Interrupted(
                        f"stopped after {done} of {len(cells)} cells; no embeddings were written"
                    )
                rows = mine[start : start + CROP_BATCH]
                if loaded.pixels is None:
                    crops = np.zeros((len(rows), len(plan.card.panel), side, side), np.float32)
                else:
                    crops = cut_crops(loaded.pixels, places[start : start + CROP_BATCH], side)
                with clear_memory_errors():
                    vectors = pipeline.model.embed(torch.from_numpy(crops)).cpu().numpy()
                if out is None:
                    out = np.zeros((len(cells), vectors.shape[1]), np.float16)
                out[rows] = vectors
                done += len(rows)
                if progress is not None:
                    progress(Progress("embeddings", done, len(cells), done, time.perf_counter() - begin))
    assert out is not None  # there are cells, and each lies in a tile
    return out


def tiles_of(plan: Plan, centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index (N,) of the tile whose core holds each cell's centre (N, 2)."""
    height, width = plan.grid.shape_yx
    y = np.clip(np.round(centres[:, 0]), 0, height - 1)
    x = np.clip(np.round(centres[:, 1]), 0, width - 1)
    out = np.full(len(centres), -1, np.int64)
    for work in plan.tiles:
        core = work.tile.core
        out[(y >= core.y0) & (y < core.y1) & (x >= core.x0) & (x < core.x1)] = work.tile.index
    return out


def plan_of(
    result: ResultFolder,
    slide: Slide,
    model: str | Path | Model,
    *,
    cells: pd.DataFrame,
    tasks: tuple[Task, ...] = TASKS,
) -> Plan:
    """Plan of another pass over the cells of a result: its channels and pixel size, tiles around the cells.

    Raises
    ------
    SettingsError
        The slide is another one, or the model can do none of ``tasks``.
    """
    settings: Mapping[str, Any] = result.run["settings"]
    if [int(size) for size in slide.shape] != settings["shape"]:
        raise SettingsError(
            f"{slide.name} is {tuple(slide.shape)} and the slide of {result.path} was {tuple(settings['shape'])} "
            "(markers, rows, columns): give the slide that was analysed"
        )
    card = load_card(model) if isinstance(model, str | Path) else model.card
    task = next((task for task in tasks if task in card.tasks), None)
    if task is None:
        raise SettingsError(
            f"model {card.name!r} cannot do {' or '.join(tasks)}: it was made for {', '.join(card.tasks)}"
        )
    same_panel = set(settings["map"]) == set(card.panel)
    box = Region(
        max(0, int(cells["y"].min()) - 1),
        int(cells["y"].max()) + 2,
        max(0, int(cells["x"].min()) - 1),
        int(cells["x"].max()) + 2,
    )
    return make_plan(
        slide,
        model=model,
        chosen={name: found or "" for name, found in settings["map"].items()} if same_panel else None,
        pixel_um=result.pixel_um,
        region=box,
        types=False,
        tile_px=int(settings["tile_px"]),
        task=task,
    )


def slide_of(result: ResultFolder) -> Path:
    """Where the slide of a result lies.

    Raises
    ------
    SettingsError
        It was never a file, or is not there any more.
    """
    facts = result.run.get("slide", {})
    path = facts.get("path")
    if path is None or not Path(path).exists():
        where = "was pixels in memory" if path is None else f"is not at {path} any more"
        raise SettingsError(
            f"the slide of {result.path} {where}: say where it is (--slide PATH, or open it in the window)"
        )
    return Path(path)


def model_of(result: ResultFolder) -> str | Path:
    """The model that made a result, by its folder while that is there, else by its name on the shelf."""
    facts = result.run.get("model", {})
    path = facts.get("path")
    return Path(path) if path and (Path(path) / CARD).is_file() else str(facts.get("name", ""))


def stats_of_result(result: ResultFolder) -> IntensityStats | None:
    """Intensity statistics that a result was made with, None where it kept none."""
    kept = result.run.get("intensity")
    return IntensityStats.from_json(kept) if kept else None


def _write(folder: Path, labels: NDArray[np.int64], vectors: NDArray[np.float16], card: Card) -> None:
    with clear_disk_errors(folder):
        # while the files change, the record promises nothing
        update_run(folder, lambda record: record.pop("embeddings", None))
        try:
            for name, content in ((EMBEDDINGS, vectors), (EMBEDDINGS_LABELS, labels)):
                draft = folder / (name + ".part")
                with draft.open("wb") as file:
                    np.save(file, content, allow_pickle=False)
                os.replace(draft, folder / name)
        except OSError:
            for name in (EMBEDDINGS, EMBEDDINGS_LABELS):
                (folder / (name + ".part")).unlink(missing_ok=True)
            raise
        made = {
            "file": EMBEDDINGS,
            "labels": EMBEDDINGS_LABELS,
            "shape": [int(size) for size in vectors.shape],
            "model": card.name,
            "model_version": card.version,
            "model_weights": fingerprint(card),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        update_run(folder, lambda record: record.update(embeddings=made))


def is_current(result: str | Path, labels: NDArray[np.integer]) -> bool:
    """Whether a result's vectors are there and belong to exactly these cells, in any order."""
    try:
        known = read_embeddings(result).labels
    except DamaError:
        return False
    return len(known) == len(labels) and bool((np.sort(known) == np.sort(labels)).all())
