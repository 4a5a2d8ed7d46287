"""A slide: lazy pixels (C, Y, X) of a multiplexed image with marker names and pixel size, whatever the file format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

from napari_dama.errors import SettingsError, SlideError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from dask.array import Array
    from numpy.typing import NDArray

    from napari_dama.slides.region import Region

FORMATS = "OME-TIFF, TIFF, QPTIFF, OME-Zarr and .npy"


@runtime_checkable
class Slide(Protocol):
    """What every format offers.

    Attributes
    ----------
    name
        Short name for titles and tables.
    path
        Where it was opened, None for an array in memory.
    shape
        ``(C, Y, X)`` of level 0.
    dtype
        Of the pixels, in the byte order of this machine.
    markers
        C names, all different.
    pixel_um
        Side of a level-0 pixel in micrometres, None if unknown.
    levels
        ``(Y, X)`` of each level, level 0 first and then ever smaller.
    notes
        What was assumed, a sentence each.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> Path | None: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    def markers(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def pixel_um(self) -> float | None: ...  # noqa: D102
    @property
    def levels(self) -> tuple[tuple[int, int], ...]: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102

    def read(
        self, region: Region | None = None, *, channels: Sequence[int] | None = None, level: int = 0
    ) -> NDArray[Any]:
        """Read pixels (c, h, w) of a region, in pixels of `level`; clipped to the slide, never padded."""
        ...

    def lazy(self, level: int = 0) -> Array:
        """Give a dask array (C, Y, X) that reads when it is computed."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_slide(
    source: str | Path | NDArray[Any],
    *,
    markers: Sequence[str] | None = None,
    pixel_um: float | None = None,
    axes: str | None = None,
    series: int = 0,
    names_file: bool = True,
) -> Slide:
    """Open a slide without reading its pixels.

    Parameters
    ----------
    source
        A file (OME-TIFF, TIFF, QPTIFF, .npy), a folder (OME-Zarr), or an array.
    markers
        One name per channel, instead of those in the names file beside the slide (``NAME.markers.csv``, see
        `napari_dama.slides.name_list`), and instead of those in the slide itself.
    pixel_um
        Side of a pixel in micrometres, instead of that in the file.
    axes
        What each axis is, such as ``"CYX"``, ``"ZCYX"`` or ``"YXC"``, instead of what the file says. Of axes other than
        C, Y and X the first plane is taken.
    series
        Which image, where a file holds several.
    names_file
        Whether the names file beside the slide is looked at.

    Returns
    -------
    Slide
        Its `notes` say what was assumed.

    Raises
    ------
    SlideError
        If it cannot be read as a slide; one sentence that says why.
    SettingsError
        If an argument is out of bounds.

    Examples
    --------
    >>> slide = open_slide(np.zeros((2, 64, 64), np.uint16), markers=["DAPI", "NeuN"], pixel_um=0.325)
    >>> slide.shape, slide.markers
    ((2, 64, 64), ('DAPI', 'NeuN'))
    """
    if series < 0:
        raise SettingsError(f"series is {series}; images of a file are counted from 0.")
    if isinstance(source, str | Path):
        from napari_dama.slides.name_list import named

        path = Path(source).expanduser()
        names = markers if names_file else ()
        if not path.exists():
            raise SlideError(f"There is no file or folder {path}.")
        if path.is_dir():
            from napari_dama.slides.ome_zarr import open_zarr

            return named(
                open_zarr(path, markers=markers, pixel_um=pixel_um, axes=axes, series=series), path, names
            )
        if path.stat().st_size == 0:
            raise SlideError(f"{path} is empty (0 bytes); it was probably not copied or saved completely.")
        if path.name in {".zattrs", ".zgroup", "zarr.json"}:
            return open_slide(
                path.parent,
                markers=markers,
                pixel_um=pixel_um,
                axes=axes,
                series=series,
                names_file=names_file,
            )
        if path.suffix.lower() == ".npy":
            from napari_dama.slides.array import open_npy

            return named(open_npy(path, markers=markers, pixel_um=pixel_um, axes=axes), path, names)
        from napari_dama.slides.ome_tiff import open_tiff

        return named(
            open_tiff(path, markers=markers, pixel_um=pixel_um, axes=axes, series=series), path, names
        )
    if isinstance(source, np.ndarray):
        from napari_dama.slides.array import open_array

        return open_array(source, markers=markers, pixel_um=pixel_um, axes=axes)
    raise SettingsError(f"A slide is opened from a path or a NumPy array, not from {type(source).__name__}.")
