"""One cell in one TIFF: how its channels lie, what they are called, and its pixels with channels first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tifffile

from napari_dama.errors import SettingsError, SlideError
from napari_dama.slides.panel import BRAIN7
from napari_dama.slides.tiff_metadata import read_facts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

Axis = Literal["first", "last"]


@dataclass(frozen=True, slots=True)
class CropFile:
    """What the header of a TIFF of one cell says.

    Attributes
    ----------
    shape
        Three lengths, as they lie in the file.
    axis
        Which of the three holds channels, as the file's metadata say; None where they do not.
    names
        Names of the channels in the metadata; empty where there are none.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    axis: int | None
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> CropFile:
        """Read a header.

        Raises
        ------
        SlideError
            If the file cannot be read, or holds no picture of one cell with several markers.
        """
        try:
            with tifffile.TiffFile(path) as file:
                series = file.series[0]
                shape, letters, dtype = tuple(series.shape), str(series.axes), np.dtype(series.dtype)
                kept = [i for i, n in enumerate(shape) if n > 1 or len(shape) <= 3]
                shape, letters = tuple(shape[i] for i in kept), "".join(letters[i] for i in kept)
                axis = next((letters.index(letter) for letter in "CS" if letter in letters), None)
                names: tuple[str, ...] = ()
                if axis is not None or len(shape) == 3:
                    planes = range(shape[axis or 0])
                    facts = read_facts(file, 0, list(file.pages)[: len(planes)], planes)
                    if facts.names and all(facts.names):
                        names = tuple(str(name) for name in facts.names)
        except (OSError, ValueError, IndexError, KeyError, TypeError, tifffile.TiffFileError) as error:
            raise SlideError(f"{path} cannot be read as a TIFF: {error}") from error
        if len(shape) != 3:
            raise SlideError(
                f"{path} is no picture of one cell: its shape is {shape}, and height, width and channels are needed."
            )
        if dtype.kind not in "uifb":
            raise SlideError(f"{path} holds pixels of {dtype}; whole or floating-point numbers are needed.")
        return cls(path, (shape[0], shape[1], shape[2]), dtype, axis, names)

    def channel_axis(self, channels: int, chosen: Axis | None = None) -> int:
        """Which axis holds the channels: the one ``chosen``, else as metadata say, else the one of that length.

        Raises
        ------
        SettingsError
            If the first and the last axis could both be it, or none, or the axis has another length.
        """
        axis = self.axis
        if chosen is not None:
            axis = 0 if chosen == "first" else 2
        if axis is None:
            fits = [place for place in (0, 2) if self.shape[place] == channels]
            if len(fits) == 2:
                raise SettingsError(
                    f"{self.path} is {self.shape}: channels may come first or last; say which with "
                    "--channel-axis first or --channel-axis last."
                )
            if not fits:
                raise SettingsError(
                    f"{self.path} is {self.shape}: no axis has the length of {channels} markers; name its markers "
                    "with --markers A,B,..."
                )
            axis = fits[0]
        if self.shape[axis] != channels:
            raise SettingsError(
                f"{self.path} is {self.shape} with {self.shape[axis]} channels, and there are {channels} markers; "
                "name its markers with --markers A,B,... or say where channels lie with --channel-axis."
            )
        return axis

    def side(self, axis: int) -> int:
        """Width of the square crop in pixels.

        Raises
        ------
        SlideError
            If it is not square.
        """
        height, width = (n for place, n in enumerate(self.shape) if place != axis)
        if height != width:
            raise SlideError(f"{self.path} is {height} x {width} px: crops must be square.")
        return height

    def read(self, axis: int) -> NDArray[Any]:
        """Pixels (C, P, P).

        Raises
        ------
        SlideError
            If they cannot be read.
        """
        try:
            with tifffile.TiffFile(self.path) as file:
                pixels = np.asarray(file.series[0].asarray())
        except (OSError, ValueError, IndexError, KeyError, TypeError, tifffile.TiffFileError) as error:
            raise SlideError(f"{self.path} cannot be read: {error}") from error
        pixels = np.moveaxis(pixels.reshape(self.shape), axis, 0)
        return pixels.view(np.uint8) if pixels.dtype.kind == "b" else pixels


def markers_of(
    file: CropFile, given: Sequence[str] | None, axis: Axis | None
) -> tuple[tuple[str, ...], bool]:
    """Names of the markers, and whether they are a guess.

    Those given, else those in the file, else the brain panel where its seven fit.

    Raises
    ------
    SettingsError
        If a name stands twice, or nothing tells the names.
    """
    names = tuple(given) if given is not None else file.names
    if given is None and names and file.axis is not None and len(names) != file.shape[file.axis]:
        names = ()
    if len(set(names)) != len(names) or any(not name.strip() for name in names):
        raise SettingsError(f"Markers must have different names, got {', '.join(names)}.")
    if names:
        return names, False
    places = (0, 2) if axis is None else ((0,) if axis == "first" else (2,))
    if file.axis is not None and axis is None:
        places = (file.axis,)
    if len(BRAIN7) not in [file.shape[place] for place in places]:
        raise SettingsError(
            f"{file.path} is {file.shape} and does not name its markers; give them with --markers A,B,..."
        )
    return BRAIN7.names, True
