"""Pixels made fit for a store: finite, of its dtype, and what that cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Repairs:
    """What had to be changed in a slide's pixels."""

    not_finite: int = 0
    rounded: int = 0

    def finite(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Put 0 where pixels (C, h, w) are not finite."""
        if pixels.dtype.kind != "f":
            return pixels
        bad = ~np.isfinite(pixels)
        count = int(bad.sum())
        self.not_finite += count
        return np.where(bad, pixels.dtype.type(0), pixels) if count else pixels

    def cast(self, crops: NDArray[Any], source: np.dtype[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Bring crops, cut or interpolated from ``source``, to the store's dtype."""
        if crops.dtype == dtype:
            return crops
        if crops.dtype.kind == "f" and source.kind != "f":
            crops = np.rint(
                crops
            )  # interpolated whole numbers: between those of the slide, so they fit its dtype
        cast = crops.astype(dtype)
        if not np.can_cast(source, dtype, "safe"):
            self.rounded += int((cast != crops).sum())
        return cast

    def notes(self, source: np.dtype[Any], dtype: np.dtype[Any]) -> list[str]:
        """Say it in sentences."""
        lines = []
        if self.not_finite:
            lines.append(f"Pixels that were not finite are stored as 0 ({self.not_finite} read).")
        if self.rounded:
            lines.append(f"{self.rounded} pixels of {source} were rounded to fit {dtype}.")
        return lines
