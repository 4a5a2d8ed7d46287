"""A rectangle of pixels, half open: rows ``y0`` to ``y1``, columns ``x0`` to ``x1``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATTERN = re.compile(r"^\s*(-?\d+)\s*:\s*(-?\d+)\s*,\s*(-?\d+)\s*:\s*(-?\d+)\s*$")


@dataclass(frozen=True, slots=True)
class Region:
    """Rows ``[y0, y1)`` and columns ``[x0, x1)``, in pixels of one level of a slide."""

    y0: int
    y1: int
    x0: int
    x1: int

    @classmethod
    def parse(cls, text: str) -> Region:
        """Read ``"Y0:Y1,X0:X1"``, as the command line takes it.

        Raises
        ------
        SettingsError
            If the text has another form, or holds no pixel.
        """
        found = _PATTERN.match(text)
        if found is None:
            raise SettingsError(
                f"The region {text!r} is not of the form Y0:Y1,X0:X1 in whole pixels, for example 0:512,1024:1536."
            )
        region = cls(*(int(number) for number in found.groups()))
        if min(region.y0, region.x0) < 0:
            raise SettingsError(f"The region {text!r} starts below 0; rows and columns count from 0.")
        if region.is_empty:
            raise SettingsError(
                f"The region {text!r} holds no pixel; each end must be larger than its start (Y0:Y1,X0:X1)."
            )
        return region

    @classmethod
    def whole(cls, shape_yx: Sequence[int]) -> Region:
        """Everything of an image of shape ``(Y, X)``; of a longer shape the last two numbers count."""
        return cls(0, int(shape_yx[-2]), 0, int(shape_yx[-1]))

    @property
    def height(self) -> int:
        """Number of rows, never negative."""
        return max(0, self.y1 - self.y0)

    @property
    def width(self) -> int:
        """Number of columns, never negative."""
        return max(0, self.x1 - self.x0)

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)``."""
        return self.height, self.width

    @property
    def is_empty(self) -> bool:
        """Whether no pixel lies inside."""
        return self.height == 0 or self.width == 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices, for indexing the last two axes of an array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def clip(self, shape_yx: Sequence[int]) -> Region:
        """Give the part inside an image of shape ``(Y, X)``; it is empty when nothing lies inside."""
        height, width = int(shape_yx[-2]), int(shape_yx[-1])
        y0, x0 = min(max(self.y0, 0), height), min(max(self.x0, 0), width)
        return Region(y0, max(y0, min(self.y1, height)), x0, max(x0, min(self.x1, width)))

    def grow(self, px: int) -> Region:
        """Give the region with `px` more pixels on every side (fewer, when negative)."""
        return Region(self.y0 - px, self.y1 + px, self.x0 - px, self.x1 + px)

    def __str__(self) -> str:
        return f"{self.y0}:{self.y1},{self.x0}:{self.x1}"
