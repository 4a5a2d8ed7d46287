"""The grid of the model over a slide: tiles end on the encoder's windows, wherever a run begins."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING

from napari_dama.errors import SettingsError
from napari_dama.slides.region import Region
from napari_dama.slides.tiles import Tile

if TYPE_CHECKING:
    from napari_dama.slides.slide import Slide


@dataclass(frozen=True, slots=True)
class WorkTile:
    """A tile: ``tile`` in level-0 pixels of the slide, ``model`` its outer region in model pixels."""

    tile: Tile
    model: Region


@dataclass(frozen=True, slots=True)
class ModelGrid:
    """The model's pixels over a slide, counted from the slide's origin.

    Parameters
    ----------
    shape_yx
        Size of the slide in level-0 pixels.
    slide_um, model_um
        Pixel sizes in micrometres.
    window_px
        Side of the encoder's window in model pixels; tiles begin and end on its multiples.
    """

    shape_yx: tuple[int, int]
    slide_um: float
    model_um: float
    window_px: int = 128

    @property
    def scale(self) -> float:
        """Model pixels per slide pixel."""
        return self.slide_um / self.model_um

    def _windows(self, axis: int) -> int:
        return max(1, ceil(self.shape_yx[axis] * self.scale / self.window_px - 1e-9))

    def _cuts(self, axis: int, start: int, stop: int, tile_px: int) -> list[tuple[int, int]]:
        """Spans in windows that cover the slide pixels start..stop, of even length near ``tile_px``."""
        first = floor(start * self.scale / self.window_px)
        last = min(self._windows(axis), ceil(stop * self.scale / self.window_px - 1e-9))
        total = max(1, last - first)
        count = max(1, ceil(total * self.window_px / tile_px - 0.15))  # a little larger beats one tile more
        step = ceil(total / count)
        return [(at, min(at + step, first + total)) for at in range(first, first + total, step)]

    def _span(self, axis: int, cut: tuple[int, int], halo: int) -> tuple[int, int, int, int, int, int]:
        """Core and outer span in slide pixels, and the outer span in model pixels, of a cut in windows."""
        size, side = self.shape_yx[axis], self.window_px
        model0, model1 = max(0, cut[0] - halo) * side, min(self._windows(axis), cut[1] + halo) * side
        core0 = min(size, round(cut[0] * side / self.scale))
        core1 = size if cut[1] == self._windows(axis) else min(size, round(cut[1] * side / self.scale))
        outer0, outer1 = floor(model0 / self.scale), min(size, ceil(model1 / self.scale))
        return core0, core1, outer0, outer1, model0, model1

    def plan(self, region: Region, *, tile_px: int, halo_px: int) -> list[WorkTile]:
        """Tiles whose cores cover a region of the slide without overlap, row by row.

        Parameters
        ----------
        region
            In level-0 pixels.
        tile_px
            Wanted side of a core, in model pixels.
        halo_px
            Context around a core, in model pixels; rounded up to whole windows.
        """
        if tile_px < self.window_px:
            raise SettingsError(f"tile_px must be at least {self.window_px}, got {tile_px}")
        halo = ceil(halo_px / self.window_px)
        found: list[WorkTile] = []
        for row in self._cuts(0, region.y0, region.y1, tile_px):
            cy0, cy1, oy0, oy1, my0, my1 = self._span(0, row, halo)
            for column in self._cuts(1, region.x0, region.x1, tile_px):
                cx0, cx1, ox0, ox1, mx0, mx1 = self._span(1, column, halo)
                core = Region(
                    max(cy0, region.y0), min(cy1, region.y1), max(cx0, region.x0), min(cx1, region.x1)
                )
                if core.is_empty:
                    continue
                tile = Tile(core, Region(oy0, oy1, ox0, ox1), len(found))
                found.append(WorkTile(tile, Region(my0, my1, mx0, mx1)))
        return found


def level_for(slide: Slide, *, slide_um: float, model_um: float) -> tuple[int, float]:
    """The coarsest level that is still finer than the model's pixels, and its pixels in level-0 pixels.

    Levels that are not shrunk by a whole number, the same in both directions, are passed over.
    """
    height, width = slide.shape[1:]
    best = (0, 1.0)
    for level, (rows, columns) in enumerate(slide.levels):
        if not (rows and columns):
            continue
        factor = round(height / rows)
        same = factor == round(width / columns)
        exact = abs(rows - height / factor) <= 1 and abs(columns - width / factor) <= 1
        if same and exact and best[1] < factor and factor * slide_um <= model_um:
            best = (level, float(factor))
    return best
