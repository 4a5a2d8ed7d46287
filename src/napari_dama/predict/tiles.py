"""The loop over tiles: one thread reads ahead, the other computes and hands finished tiles on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dama.cells.measure import measure
from napari_dama.errors import DamaError, Interrupted
from napari_dama.slides.tiles import LabelStitcher

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.predict.grid import WorkTile
    from napari_dama.predict.pipeline import LoadedTile, Pipeline
    from napari_dama.predict.progress import StopFn
    from napari_dama.slides.region import Region
    from napari_dama.slides.tiles import Tile


@dataclass(frozen=True, slots=True)
class FinishedTile:
    """A tile's outcome: ``labels`` (h, w) uint32 of its outer region, with its neighbours', and its rows."""

    tile: Tile
    labels: NDArray[np.uint32]
    table: pd.DataFrame
    next_label: int
    empty: bool


class Stopped(Interrupted):
    """The stop callback said so, between two steps."""


def read_ahead(pipeline: Pipeline, tiles: Iterable[WorkTile]) -> Generator[LoadedTile]:
    """Loaded tiles in order, the next one being read while the caller works on one."""
    with ThreadPoolExecutor(1, thread_name_prefix="dama-read") as pool:
        waiting: Future[LoadedTile] | None = None
        try:
            for work in tiles:
                coming = pool.submit(pipeline.load, work)
                if waiting is not None:
                    yield waiting.result()
                waiting = coming
            if waiting is not None:
                yield waiting.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def run_tiles(
    pipeline: Pipeline,
    tiles: list[WorkTile],
    *,
    types: bool,
    existing: Callable[[Region], NDArray[np.uint32]],
    next_label: int = 1,
    region: Region | None = None,
    stop: StopFn | None = None,
) -> Generator[FinishedTile]:
    """Find, measure and type the cells of each tile.

    Parameters
    ----------
    existing
        Gives the labels that finished tiles left in a region; the caller writes ``labels`` of a finished tile
        before the next is asked for.
    next_label
        First free label.
    region
        Keep only cells whose centre lies in it.

    Raises
    ------
    Stopped
        When ``stop`` returned True; tiles handed on so far stand.
    """
    stitcher = LabelStitcher(region=region)
    stitcher.next_label = next_label

    def check() -> None:
        if stop is not None and stop():
            raise Stopped("stopped")

    pipeline.check = check
    check()
    with closing(read_ahead(pipeline, tiles)) as coming:
        for loaded in coming:
            check()
            with clear_memory_errors():
                labels, scores = pipeline.segment(loaded)
                check()
                finished = _finish(pipeline, loaded, labels, scores, stitcher, existing, types=types)
            yield finished
            check()


def _finish(
    pipeline: Pipeline,
    loaded: LoadedTile,
    labels: NDArray[np.int32],
    scores: NDArray[np.float32],
    stitcher: LabelStitcher,
    existing: Callable[[Region], NDArray[np.uint32]],
    *,
    types: bool,
) -> FinishedTile:
    tile = loaded.work.tile
    stages = pipeline.stages
    first = stitcher.next_label
    with stages.time("stitch"):
        joined = stitcher.accept(tile, labels, existing(tile.outer))
        own = np.where(joined >= first, joined - np.uint32(first - 1), 0).astype(np.int32)
        kept = np.flatnonzero(
            stitcher.last_labels
        )  # this tile's own numbers of its new cells, in their order
    with stages.time("measure"):
        markers, slide_um = pipeline.slide.markers, pipeline.grid.slide_um
        table = measure(own, loaded.raw, markers, slide_um, offset=(tile.outer.y0, tile.outer.x0))
    number = table["label"].to_numpy(np.int64)
    table["score"] = scores[kept[number - 1] - 1]
    table["label"] = number + (first - 1)
    if types:
        add_types(table, pipeline, loaded)
    return FinishedTile(tile, joined, table, stitcher.next_label, loaded.pixels is None)


def add_types(table: pd.DataFrame, pipeline: Pipeline, loaded: LoadedTile) -> None:
    """Add ``type`` and ``p_<TYPE>`` to a table of cells with ``y`` and ``x``."""
    classes = pipeline.model.card.classes
    chances = pipeline.classify(loaded, table[["y", "x"]].to_numpy(np.float64).reshape(-1, 2))
    best = chances.argmax(axis=1) if len(chances) else np.zeros(0, np.int64)
    table["type"] = np.asarray(classes, dtype=object)[best]
    for place, name in enumerate(classes):
        table[f"p_{name}"] = chances[:, place]


class clear_memory_errors:
    """Turn a device's lack of memory into a sentence that says what to do."""

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Replace torch's and Python's out-of-memory errors."""
        if kind is not None and (kind.__name__ == "OutOfMemoryError" or issubclass(kind, MemoryError)):
            raise DamaError(
                "the memory is not enough for a tile: use --device cpu, or close what else uses this device, "
                "and continue with --resume"
            ) from error
