"""One crop out of a block of pixels: mirrored beyond the slide's edges, interpolated where scales differ."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.slides.region import Region

SAME_SCALE: Final = 0.005
"""Slides whose pixels differ from the crops' by less than this share are cut without interpolation."""


@dataclass(frozen=True, slots=True)
class Cutter:
    """Cuts crops of one size out of blocks of one slide.

    Attributes
    ----------
    crop_px
        Width of a crop, P.
    step
        Slide pixels per crop pixel; exactly 1 cuts without interpolation.
    shape_yx
        Size of the slide, where mirroring begins.
    """

    crop_px: int
    step: float
    shape_yx: tuple[int, int]

    @classmethod
    def for_slide(cls, *, crop_um: float, crop_px: int, pixel_um: float, shape_yx: tuple[int, int]) -> Cutter:
        """Make the cutter for crops ``crop_um`` wide on a slide with pixels of ``pixel_um``."""
        step = crop_um / crop_px / pixel_um
        return cls(crop_px, 1.0 if abs(step - 1) < SAME_SCALE else step, shape_yx)

    @property
    def reach_px(self) -> int:
        """Slide pixels around a centre that its crop may need."""
        return ceil(self.crop_px * self.step / 2) + 2

    def prepare(self, block: NDArray[Any]) -> NDArray[Any]:
        """Make a block (C, h, w) ready for :meth:`cut`: where pixels are merged they are smoothed first."""
        if self.step == 1:
            return block
        smooth = block.astype(np.result_type(block.dtype, np.float32))
        if self.step > 1:
            sigma = (self.step - 1) / 2
            for channel in smooth:
                ndimage.gaussian_filter(channel, sigma, output=channel, mode="mirror")
        return smooth

    def cut(self, block: NDArray[Any], outer: Region, y: float, x: float) -> NDArray[Any]:
        """Cut the crop (C, P, P) around ``y, x`` (slide pixels) out of a prepared block (C, h, w) that lies at ``outer``."""
        if self.step == 1:
            return self._cut_whole(block, outer, y, x)
        offsets = np.arange(self.crop_px) - (self.crop_px - 1) / 2
        at_y, at_x = y + offsets * self.step, x + offsets * self.step
        above, weight_y = np.floor(at_y), (at_y % 1).astype(block.dtype)[:, None]
        left, weight_x = np.floor(at_x), (at_x % 1).astype(block.dtype)
        top, bottom = (_mirrored(above + i, self.shape_yx[0]) - outer.y0 for i in (0, 1))
        west, east = (_mirrored(left + i, self.shape_yx[1]) - outer.x0 for i in (0, 1))
        first, last = min(west.min(), east.min()), max(west.max(), east.max()) + 1
        near = block[:, :, first:last]
        rows_between = near[:, top] * (1 - weight_y) + near[:, bottom] * weight_y  # (C, P, last - first)
        crop: NDArray[Any] = (
            rows_between[:, :, west - first] * (1 - weight_x) + rows_between[:, :, east - first] * weight_x
        )
        return crop

    def _cut_whole(self, block: NDArray[Any], outer: Region, y: float, x: float) -> NDArray[Any]:
        """Cut whole pixels: a view where the crop lies within the slide, else a copy with the mirrored rest."""
        half, side = (self.crop_px - 1) / 2, self.crop_px
        y0, x0 = floor(y - half + 0.5), floor(x - half + 0.5)
        if y0 >= 0 and x0 >= 0 and y0 + side <= self.shape_yx[0] and x0 + side <= self.shape_yx[1]:
            top, left = y0 - outer.y0, x0 - outer.x0
            inside: NDArray[Any] = block[:, top : top + side, left : left + side]
            return inside
        rows = _mirrored(y0 + np.arange(side), self.shape_yx[0]) - outer.y0
        columns = _mirrored(x0 + np.arange(side), self.shape_yx[1]) - outer.x0
        mirrored: NDArray[Any] = block[:, rows[:, None], columns]
        return mirrored


def _mirrored(index: NDArray[Any], length: int) -> NDArray[np.int64]:
    """Fold indices back into ``0..length - 1``, as np.pad's "reflect" does, however far they lie outside."""
    whole = index.astype(np.int64)
    if length == 1:
        return np.zeros_like(whole)
    period = 2 * (length - 1)
    folded = np.abs(whole) % period
    return np.where(folded >= length, period - folded, folded)
