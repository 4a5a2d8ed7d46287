"""Crops that lie in one folder per class, as the authors of DAMA keep theirs: ``class/xxx.tif``, one TIFF per cell.

Each TIFF holds all markers of one cell, with channels first or last. The class is the folder's name; the field of view that
splits must not cut apart is told from the file's name by a regular expression, since the layout has no other place for it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from skimage.transform import resize

from napari_dama.cells.crop_file import CropFile, markers_of
from napari_dama.cells.crops import CHUNK_BYTES, common_dtype
from napari_dama.cells.repairs import Repairs
from napari_dama.cells.store import CropStore
from napari_dama.errors import Interrupted, SettingsError, StoreError
from napari_dama.slides.intensity import stats_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_dama.cells.crop_file import Axis
    from napari_dama.cells.writer import CropWriter

ENDINGS: Final = (".tif", ".tiff")
SAMPLED_PIXELS: Final = 4_000_000
"""Pixels per marker and group that its intensity statistics are measured on."""
NO_GROUPS: Final = (
    "No --group-pattern was given, so nothing says which cells come from the same slide: every cell counts as a field of "
    "view of its own, and cells of one slide may stand on both sides of a split, which flatters every score."
)


def class_folders(folder: str | Path) -> dict[str, list[Path]]:
    """TIFFs of each class folder, both sorted; empty where ``folder`` is not laid out so. Hidden files are left out."""
    root = Path(folder)
    if not root.is_dir() or (root / "zarr.json").exists() or (root / ".zattrs").exists():
        return {}
    found = {
        each.name: sorted(
            p for p in each.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith(".")
        )
        for each in sorted(root.iterdir())
        if each.is_dir() and not each.name.startswith(".")
    }
    return {name: files for name, files in found.items() if files}


def crop_folders(
    folder: str | Path,
    out: str | Path,
    *,
    markers: Sequence[str] | None = None,
    group_pattern: str | None = None,
    channel_axis: Axis | None = None,
    crop_um: float = 32.5,
    crop_px: int | None = None,
    max_cells: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> CropStore:
    """Read crops that lie in one folder per class into a store, pixels as they are.

    Crops keep their size; crops of different sizes are refused unless ``crop_px`` says which one all get, since a file does
    not tell whether a larger one shows more or the same at a finer scale. With ``crop_px`` all are taken to be ``crop_um``
    wide and are interpolated. Statistics of intensities are those of a group; memory is that of a chunk of crops.

    Parameters
    ----------
    folder
        Holds a folder per class with ``.tif`` or ``.tiff`` files of (C, H, W) or (H, W, C).
    out
        The store's folder.
    markers
        Names of the C channels; by default those in the files' metadata, else the brain panel where C is 7.
    group_pattern
        Regular expression that is searched in the file's name without its ending; its first group (or all of it) names the
        field of view. Without one no two cells are known to belong together, and the store's notes say so.
    channel_axis
        Which axis holds channels, where neither metadata nor C tell.
    crop_um
        Width of a crop in micrometres.
    crop_px
        Pixels that all crops get.
    max_cells, seed
        Keep a random subset of so many; the same seed gives the same.
    overwrite, progress, stop
        As in :func:`napari_dama.cells.crops.crop_slides`; progress is (files, files in all).

    Raises
    ------
    StoreError
        There are no crops, they differ in size or channels, or the store cannot be written.
    SettingsError
        The pattern is no regular expression or fits not every name, or markers and channels differ in number.
    SlideError
        A file is no image of one cell.
    Interrupted
        ``stop`` said so; nothing is left behind.
    """
    kinds = class_folders(folder)
    if not kinds:
        raise StoreError(
            f"{folder} holds no crops: there must be a folder for each class with .tif files in it."
        )
    paths = [(path, kind) for kind, files in kinds.items() for path in files]
    if max_cells is not None:
        if max_cells < 1:
            raise SettingsError(f"max_cells is {max_cells}; at least 1 is needed.")
        kept = np.sort(np.random.default_rng(seed).permutation(len(paths))[:max_cells])
        paths = [paths[row] for row in kept]
    groups = groups_of([path for path, _ in paths], group_pattern)
    report = _Progress(2 * len(paths), progress, stop)
    files = []
    for path, _ in paths:
        files.append(CropFile.open(path))
        report.step()
    names, guessed = markers_of(files[0], markers, channel_axis)
    axes = [file.channel_axis(len(names), channel_axis) for file in files]
    side = _one_side(files, axes) if crop_px is None else crop_px
    notes = [] if group_pattern is not None else [NO_GROUPS]
    if guessed:
        notes.append(
            f"Nothing names the markers: the seven of the brain panel are assumed, {', '.join(names)}."
        )
    if crop_px is not None:
        notes.append(f"Crops of other sizes were interpolated to {crop_px} px.")
    table = pd.DataFrame({"file": range(len(files)), "type": [kind for _, kind in paths], "group": groups})
    table["slide"] = groups if group_pattern is not None else Path(folder).resolve().name
    dtype = common_dtype([file.dtype for file in files])
    writer = CropStore.create(
        out, markers=names, dtype=dtype, crop_um=crop_um, crop_px=side, overwrite=overwrite
    )
    with writer:
        for slide, rows in table.groupby("slide", sort=True):
            some = [(files[i], axes[i]) for i in rows["file"]]
            _append(writer, str(slide), some, rows, notes, report)
        return writer.finish()


def groups_of(paths: Sequence[Path], pattern: str | None) -> list[str]:
    """Field of view of each file: what ``pattern`` finds in its name; without a pattern each file's own name.

    Raises
    ------
    SettingsError
        If the pattern is no regular expression, or does not fit a name.
    """
    if pattern is None:
        return [f"{path.parent.name}/{path.name}" for path in paths]
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise SettingsError(f"--group-pattern {pattern!r} is no regular expression: {error}.") from error
    groups = []
    for path in paths:
        found = search(path.stem)
        if found is None or not (found[1] if found.re.groups else found[0]):
            raise SettingsError(f"--group-pattern {pattern!r} does not fit {path.name!r} in {path.parent}.")
        groups.append(found[1] if found.re.groups else found[0])
    return groups


class _Progress:
    """Counts files that were looked into or read."""

    def __init__(
        self, total: int, progress: Callable[[int, int], None] | None, stop: Callable[[], bool] | None
    ) -> None:
        self.done, self.total, self.progress, self.asked = 0, total, progress, stop

    def step(self) -> None:
        """Report one more, and leave if that was asked for."""
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)
        if self.asked is not None and self.asked():
            raise Interrupted("Stopped while reading crops; no store was written.")


def _one_side(files: Sequence[CropFile], axes: Sequence[int]) -> int:
    sides = [file.side(axis) for file, axis in zip(files, axes, strict=True)]
    odd = next((i for i, side in enumerate(sides) if side != sides[0]), None)
    if odd is not None:
        raise StoreError(
            f"{files[0].path} is {sides[0]} px wide, {files[odd].path} is {sides[odd]} px; "
            "give --crop-px to interpolate all to one size."
        )
    return sides[0]


def _append(
    writer: CropWriter,
    name: str,
    files: Sequence[tuple[CropFile, int]],
    rows: pd.DataFrame,
    notes: Sequence[str],
    report: _Progress,
) -> None:
    """Append the crops of one group: statistics of a sample first, then all, a chunk at a time."""
    repairs = Repairs()
    count = max(1, min(len(files), SAMPLED_PIXELS // writer.crop_px**2))
    sample = np.unique(np.linspace(0, len(files) - 1, count).round().astype(int))
    # one below the other: along rows, where noise is measured, crops stay whole
    some = [files[i] for i in sample]
    looked = np.concatenate([_sized(file, axis, writer.crop_px, Repairs()) for file, axis in some], axis=1)
    stats = stats_of(looked, writer.markers)
    sources = {file.dtype for file, _ in files}

    def announce() -> None:
        said = [line for source in sources for line in repairs.notes(source, writer.dtype)]
        writer.add_slide(
            name,
            low=stats.low,
            high=stats.high,
            path=str(files[0][0].path.parent.parent),
            notes=[*notes, *said],
        )

    announce()
    shape = (len(writer.markers), writer.crop_px, writer.crop_px)
    chunk = max(1, CHUNK_BYTES // (int(np.prod(shape)) * writer.dtype.itemsize))
    middle = (writer.crop_px - 1) / 2
    for start in range(0, len(files), chunk):
        part = files[start : start + chunk]
        crops = np.empty((len(part), *shape), writer.dtype)
        for crop, (file, axis) in zip(crops, part, strict=True):
            crop[...] = repairs.cast(_sized(file, axis, writer.crop_px, repairs), file.dtype, writer.dtype)
            report.step()
        cells = rows.iloc[start : start + chunk].assign(
            label=np.arange(start + 1, start + 1 + len(part)), y=middle, x=middle
        )
        writer.append(crops, cells)
    announce()  # again, with what was repaired


def _sized(file: CropFile, axis: int, crop_px: int, repairs: Repairs) -> NDArray[Any]:
    """Finite pixels (C, crop_px, crop_px) of a file, interpolated where its size differs."""
    pixels = repairs.finite(file.read(axis))
    if file.side(axis) == crop_px:
        return pixels
    shape = (len(pixels), crop_px, crop_px)
    scaled: NDArray[Any] = resize(  # type: ignore[no-untyped-call]
        pixels.astype(np.float32), shape, order=1, mode="reflect", anti_aliasing=crop_px < pixels.shape[1]
    )
    return scaled
