"""From the pixels of one tile to its cells: read, normalise, resample, maps, instances, types."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np

from napari_dama.cells.instances import instances_from_maps
from napari_dama.predict.grid import ModelGrid, WorkTile, level_for
from napari_dama.predict.sampling import axis_matrix, nearest, resample
from napari_dama.slides.intensity import normalise
from napari_dama.slides.region import Region
from napari_dama.slides.tiles import is_empty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_dama.models.model import Model
    from napari_dama.slides.intensity import IntensityStats
    from napari_dama.slides.panel import ChannelMap
    from napari_dama.slides.slide import Slide

MODEL_SCALE_BELOW: Final = 0.5
"""With fewer model pixels per slide pixel, cells are drawn at the model's scale and then enlarged."""

CROP_BATCH: Final = 128
"""Cells typed at once."""


class Stages:
    """Seconds spent in each stage of a run, for its record and for benchmarks."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the time of a ``with`` block to a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin


@dataclass(slots=True)
class LoadedTile:
    """A tile's pixels.

    ``raw`` (C, h, w) is the tile's outer region, all markers, as stored; ``pixels`` (M, H, W) float32 the
    model's markers, normalised, at the model's scale, or None where there is nothing but glass.
    """

    work: WorkTile
    raw: NDArray[np.generic]
    pixels: NDArray[np.float32] | None


@dataclass
class Pipeline:
    """Everything that does not change from tile to tile.

    ``stats`` are those of all markers of the slide, in the slide's order. ``check`` is called between batches and may
    raise to end the work.
    """

    slide: Slide
    channels: ChannelMap
    stats: IntensityStats
    model: Model
    grid: ModelGrid
    stages: Stages = field(default_factory=Stages)
    check: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        indices = self.channels.indices
        self._targets = [place for place, index in enumerate(indices) if index is not None]
        self._sources = [index for index in indices if index is not None]
        self._stats = self.stats.select(self._sources)
        self._level, self._factor = level_for(
            self.slide, slide_um=self.grid.slide_um, model_um=self.grid.model_um
        )

    def load(self, work: WorkTile) -> LoadedTile:
        """Read a tile and bring the model's markers to its scale; may run in a thread of its own."""
        outer = work.tile.outer
        if self._level:
            with self.stages.time("read"):
                raw = self.slide.read(outer)
                source = self._source(work.model)
                seen = self.slide.read(source, channels=self._sources, level=self._level)
        else:
            with self.stages.time("read"):
                source = _union(self._source(work.model), outer)
                wide = self.slide.read(source)
                seen = wide[self._sources]
                y, x = outer.y0 - source.y0, outer.x0 - source.x0
                raw = wide[:, y : y + outer.height, x : x + outer.width]
        with self.stages.time("resample"):
            if is_empty(seen, self._stats):
                return LoadedTile(work, raw, None)
            return LoadedTile(work, raw, self._resample(seen, source, work.model))

    def sample(self, model: Region) -> NDArray[np.float32]:
        """The model's markers (M, H, W), normalised, in a region of model pixels; mirrored outside."""
        source = self._source(model)
        seen = self.slide.read(source, channels=self._sources, level=self._level)
        return self._resample(seen, source, model)

    def _source(self, model: Region) -> Region:
        """Pixels of the level in use that a region of model pixels is made from."""
        height, width = self.slide.levels[self._level]
        scale = self.grid.scale * self._factor
        return Region(
            max(0, min(height - 1, int(model.y0 / scale) - 2)),
            min(height, ceil(model.y1 / scale) + 2),
            max(0, min(width - 1, int(model.x0 / scale) - 2)),
            min(width, ceil(model.x1 / scale) + 2),
        )

    def _resample(self, seen: NDArray[np.generic], source: Region, model: Region) -> NDArray[np.float32]:
        height, width = self.slide.levels[self._level]
        scale = self.grid.scale * self._factor
        rows = axis_matrix((model.y0, model.y1), (source.y0, source.y1), scale=scale, size=height)
        columns = axis_matrix((model.x0, model.x1), (source.x0, source.x1), scale=scale, size=width)
        pixels = np.zeros((len(self.channels.indices), *model.shape), dtype=np.float32)
        pixels[self._targets] = resample(normalise(seen, self._stats), rows, columns)
        return pixels

    def segment(self, loaded: LoadedTile) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Cells of a tile: labels (h, w) of its outer region, 1..n, and their scores (n,)."""
        if loaded.pixels is None:
            return np.zeros(loaded.work.tile.outer.shape, np.int32), np.zeros(0, np.float32)
        import torch

        with self.stages.time("segment"):
            maps = self.model.segment_maps(torch.from_numpy(loaded.pixels)[None])[0].cpu().numpy()
        with self.stages.time("instances"):
            return self._instances(maps, loaded.work)

    def _instances(
        self, maps: NDArray[np.float32], work: WorkTile
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        outer, model, scale = work.tile.outer, work.model, self.grid.scale
        spans = ((outer.y0, outer.y1), (model.y0, model.y1)), ((outer.x0, outer.x1), (model.x0, model.x1))
        if scale < MODEL_SCALE_BELOW:
            labels, scores = instances_from_maps(maps[0], maps[1], pixel_um=self.grid.model_um)
            rows, columns = (nearest(target, source, scale=1 / scale) for target, source in spans)
            return labels[rows[:, None], columns], scores
        # beyond both ends of the maps the nearest pixel is taken: their grid is as long as needed
        rows, columns = (
            axis_matrix(target, source, scale=1 / scale, size=source[1]) for target, source in spans
        )
        near = resample(maps, rows, columns)
        return instances_from_maps(near[0], near[1], pixel_um=self.grid.slide_um)

    def classify(self, loaded: LoadedTile, centres: NDArray[np.float64]) -> NDArray[np.float32]:
        """Probabilities (n, K) of the types of cells with centres (n, 2): y, x in level-0 pixels."""
        import torch

        side = self.model.card.image_px
        if loaded.pixels is None or not len(centres):
            return np.zeros((len(centres), len(self.model.card.classes)), np.float32)
        with self.stages.time("types"):
            model = loaded.work.model
            origin = np.array([model.y0, model.x0], np.int64)
            places: NDArray[np.int64] = np.floor((centres + 0.5) * self.grid.scale).astype(np.int64) - origin
            found = []
            for start in range(0, len(places), CROP_BATCH):
                self.check()
                crops = cut_crops(loaded.pixels, places[start : start + CROP_BATCH], side)
                found.append(self.model.type_probabilities(torch.from_numpy(crops)).cpu().numpy())
            return np.concatenate(found)


def cut_crops(pixels: NDArray[np.float32], places: NDArray[np.int64], side: int) -> NDArray[np.float32]:
    """Crops (n, C, side, side) of pixels (C, H, W) around places (n, 2), mirrored beyond the borders."""
    height, width = pixels.shape[1:]
    out = np.empty((len(places), len(pixels), side, side), dtype=np.float32)
    for (y, x), into in zip(places - side // 2, out, strict=True):
        if y >= 0 and x >= 0 and y + side <= height and x + side <= width:
            into[...] = pixels[:, y : y + side, x : x + side]
        else:
            rows, columns = mirror(np.arange(y, y + side), height), mirror(np.arange(x, x + side), width)
            into[...] = pixels[:, rows[:, None], columns]
    return out


def mirror(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices brought into ``0..size - 1`` by mirroring at both ends."""
    index = index % (2 * size)
    return np.where(index >= size, 2 * size - 1 - index, index)


def _union(one: Region, other: Region) -> Region:
    return Region(min(one.y0, other.y0), max(one.y1, other.y1), min(one.x0, other.x0), max(one.x1, other.x1))
