"""Simulated tissue as files that the rest of the plugin reads like any slide."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tifffile

from napari_dama.errors import OutputError, SettingsError
from napari_dama.simulate.tissue import SimulatedTissue, simulate_tissue

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dama.simulate.knobs import Difficulty


def write_simulated(
    out_dir: str | Path,
    n: int = 4,
    size: int | tuple[int, int] = 1024,
    seed: int = 1,
    difficulty: Difficulty = "normal",
    bits: Literal[8, 16] = 16,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    *,
    pixel_um: float = 0.325,
) -> list[Path]:
    """Write ``n`` simulated images with seeds ``seed``, ``seed + 1``, ...

    Each gives ``NAME.ome.tif`` (markers, pixel size), ``NAME_cells.tif`` (labels) and ``NAME_cells.csv``
    (label, y, x, type), where NAME is ``sim_{difficulty}_{seed:04d}``.

    Parameters
    ----------
    out_dir
        Folder, made when it is missing.
    n, size, seed, difficulty, bits, pixel_um
        As in ``simulate_tissue``.
    overwrite
        Replace files of the same names.
    progress
        Called with (images done, images in all) before the first and after each image.

    Returns
    -------
    list of Path
        The OME-TIFF files.

    Raises
    ------
    SettingsError
        If a setting is outside its bounds.
    OutputError
        If a file exists and ``overwrite`` is false, or the folder cannot be written.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise SettingsError(f"n is {n!r}: give the number of images, 1 or more.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SettingsError(f"seed is {seed!r}: give a whole number that is not negative.")
    folder = Path(out_dir)
    names = [f"sim_{difficulty}_{s:04d}" for s in range(seed, seed + n)]
    if not overwrite:
        taken = [path for name in names for path in _paths(folder, name) if path.exists()]
        if taken:
            raise OutputError(f"{taken[0]} exists already: choose another folder, or allow overwriting.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error}.") from error
    written: list[Path] = []
    if progress is not None:
        progress(0, n)
    for i, name in enumerate(names):
        tissue = simulate_tissue(size, seed=seed + i, difficulty=difficulty, bits=bits, pixel_um=pixel_um)
        written.append(_write(folder, name, tissue))
        if progress is not None:
            progress(i + 1, n)
    return written


def _paths(folder: Path, name: str) -> tuple[Path, Path, Path]:
    return folder / f"{name}.ome.tif", folder / f"{name}_cells.tif", folder / f"{name}_cells.csv"


def _write(folder: Path, name: str, tissue: SimulatedTissue) -> Path:
    """Write the three files beside their final names, then move them there: the image last."""
    paths = _paths(folder, name)
    # The temporary names end as the final ones do, since tifffile writes OME metadata for .ome.tif only.
    parts = [path.with_name(f".{os.getpid()}.part.{path.name}") for path in paths]
    try:
        _write_image(parts[0], name, tissue)
        tifffile.imwrite(parts[1], tissue.labels, compression="zlib", tile=(256, 256))
        tissue.cells.to_csv(parts[2], index=False, float_format="%.3f", lineterminator="\n")
        for part, path in zip(reversed(parts), reversed(paths), strict=True):
            os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{paths[0]} cannot be written: {error}.") from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return paths[0]


def _write_image(path: Path, name: str, tissue: SimulatedTissue) -> None:
    metadata: dict[str, Any] = {
        "axes": "CYX",
        "Name": name,
        "Description": f"Simulated tissue, seed {tissue.seed}, difficulty {tissue.difficulty}",
        "Channel": {"Name": list(tissue.markers)},
        "PhysicalSizeX": tissue.pixel_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": tissue.pixel_um,
        "PhysicalSizeYUnit": "µm",
    }
    tifffile.imwrite(
        path,
        tissue.image,
        ome=True,
        photometric="minisblack",
        compression="zlib",
        tile=(256, 256),
        resolution=(1e4 / tissue.pixel_um, 1e4 / tissue.pixel_um),
        resolutionunit="CENTIMETER",
        metadata=metadata,
    )
