"""Slides from NumPy arrays, in memory or as .npy files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.errors import SlideError
from napari_dama.slides.axes import AxesPlan, plan_axes, tidy_markers, tidy_pixel_um
from napari_dama.slides.levels import LeveledSlide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_dama.slides.region import Region


class ArrayLevel:
    """A level over an array or a memory map; implements `napari_dama.slides.levels.Level`."""

    def __init__(self, pixels: NDArray[Any], plan: AxesPlan) -> None:
        order = [plan.axes.index(letter) for letter in "CYX" if letter in plan.axes]
        rest = [i for i in range(pixels.ndim) if i not in order]
        view = np.transpose(pixels, rest + order)[(0,) * len(rest)]
        self._pixels = view if "C" in plan.axes else view[np.newaxis]
        self.shape = plan.czyx
        self.dtype = native(pixels.dtype)
        self.tile = self.shape[1:]

    def read(self, channels: Sequence[int], region: Region) -> NDArray[Any]:
        """Copy (c, h, w)."""
        out = np.empty((len(channels), *region.shape), self.dtype)
        for i, channel in enumerate(channels):
            out[i] = self._pixels[channel][region.slices]
        return out


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Give the dtype in this machine's byte order; yes-or-no pixels become 0 and 1."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return dtype.newbyteorder("=")


def check_dtype(dtype: np.dtype[Any], what: str) -> None:
    """Refuse pixels that are no real numbers."""
    if dtype.kind not in "uifb":
        raise SlideError(f"{what} has pixels of type {dtype}; whole numbers or floating point are needed.")


def open_npy(
    path: Path, *, markers: Sequence[str] | None, pixel_um: float | None, axes: str | None
) -> LeveledSlide:
    """Open a .npy file as a memory map; see `napari_dama.slides.slide.open_slide`."""
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SlideError(f"{path} cannot be read as a NumPy .npy file: {error}.") from error
    return _open(pixels, path.stem, path, markers, pixel_um, axes)


def open_array(
    pixels: NDArray[Any], *, markers: Sequence[str] | None, pixel_um: float | None, axes: str | None
) -> LeveledSlide:
    """Open an array in memory; see `napari_dama.slides.slide.open_slide`."""
    return _open(pixels, "array", None, markers, pixel_um, axes)


def _open(
    pixels: NDArray[Any],
    name: str,
    path: Path | None,
    markers: Sequence[str] | None,
    pixel_um: float | None,
    axes: str | None,
) -> LeveledSlide:
    what = "The array" if path is None else str(path)
    check_dtype(pixels.dtype, what)
    if axes is None and pixels.ndim == 3 and pixels.shape[-1] in (3, 4) and pixels.dtype == np.uint8:
        if pixels.shape[0] > 4 and (markers is None or len(markers) != pixels.shape[0]):
            raise SlideError(
                f"{what} of shape {pixels.shape} looks like a colour (RGB) picture, not like markers; "
                "if its last axis holds markers, say so with axes='YXC'."
            )
    if axes is None and pixels.ndim > 4:
        raise SlideError(
            f"{what} has {pixels.ndim} axes of lengths {pixels.shape}; say which is which with axes, such as 'TZCYX'."
        )
    guess = "Q" * (pixels.ndim - 2) + "YX"
    plan = plan_axes(
        guess, pixels.shape, what=what, chosen=axes, n_given=None if markers is None else len(markers)
    )
    notes = list(plan.notes)
    names = tidy_markers([], plan.czyx[0], what=what, given=markers, notes=notes)
    size = tidy_pixel_um(None, given=pixel_um, notes=notes)
    return LeveledSlide(
        [ArrayLevel(pixels, plan)], name=name, path=path, markers=names, pixel_um=size, notes=notes
    )
