"""A result's files after outlines were changed by hand: label image with its levels, table, and a note in its record.

Nothing here is an original: the journal of corrections has every change with its before and after, and is on the disk first
(`napari_dama.cells.corrections`). What was cut off in between is made good from there by `catch_up`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_dama.cells.corrections import journal_path, read_sections, result_key
from napari_dama.cells.kept import OUTDATED
from napari_dama.cells.measure import measure
from napari_dama.cells.outlines import apply_changes
from napari_dama.cells.table import read_csv, replace_table
from napari_dama.errors import OutputError
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import (
    LABELS,
    TABLE,
    changing_table,
    clear_disk_errors,
    read_run,
    slide_path,
    update_run,
)
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_dama.cells.corrections import Section
    from napari_dama.slides.slide import Slide

FARTHEST_PX = 4096


@dataclass(frozen=True, slots=True)
class Amendment:
    """A change of outlines as it is to be on the disk.

    Attributes
    ----------
    n : int
        Number of the journal's line that asks for it.
    record : dict
        The journal's ``outline`` record.
    back : bool
        Put what was before.
    """

    n: int
    record: dict[str, Any]
    back: bool


def amend(folder: Path, changes: Sequence[Amendment]) -> None:
    """Bring a result's files to the state after changes, in their order; doing it twice does no harm.

    Raises
    ------
    OutputError
        The folder is no result, or cannot be written.
    SlideError
        A change is damaged or does not fit the image.
    """
    if not changes:
        return
    with changing_table, clear_disk_errors(folder):
        picture = LabelImage.open(folder / LABELS)
        for change in changes:
            write_pixels(picture, change.record["box"], change.record["changes"], back=change.back)
        _amend_table(folder, changes)


def catch_up(folder: Path, section: Section) -> bool:
    """Make good what a killed program had in the journal but not in the result's files; whether there was anything.

    Raises
    ------
    OutputError, SlideError
        As `amend`.
    """
    done = int(read_run(folder).get("corrections", {}).get("applied", 0))
    missing = [Amendment(n, edit.record, back) for n, edit, back in section.marks if n > done]
    amend(folder, missing)
    return bool(missing)


def catch_up_outlines(folder: Path) -> bool:
    """Do so for a result whose journal is where the record says; whether there was anything.

    Raises
    ------
    OutputError, SlideError
        As `amend`, or the journal cannot be read.
    """
    run = read_run(folder)
    path = journal_path(slide_path(run), folder)
    if not path.is_file() or run.get("state") != "done":
        return False
    key = result_key(path, folder, str(run.get("created") or ""))
    return any(catch_up(folder, section) for section in read_sections(path)[0] if section.key == key)


def write_pixels(
    picture: LabelImage, box: Sequence[int], changes: list[dict[str, Any]], *, back: bool = False
) -> None:
    """Write changed pixels into a label image and all its levels."""
    region = Region(*(int(v) for v in box))
    if region.clip(picture.shape) != region or region.is_empty:
        raise OutputError(f"{picture.path} has no pixels {region}: the corrections are of another image")
    labels = picture.read(region)
    apply_changes(labels, changes, back=back)
    picture.write(region, labels)
    for level in range(1, len(picture.levels)):
        factor = 2**level
        y0, x0 = -(-region.y0 // factor), -(-region.x0 // factor)
        part = labels[y0 * factor - region.y0 :: factor, x0 * factor - region.x0 :: factor]
        if part.size:
            picture.levels[level][y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part


def _amend_table(folder: Path, changes: Sequence[Amendment]) -> None:
    """Write the table anew, then the note that says so: a program that is cut off in between does it again."""
    table = read_csv(folder / TABLE)
    rows: dict[int, dict[str, Any]] = {}
    gone: set[int] = set()
    for change in changes:
        key = ("come", "gone") if change.back else ("gone", "come")
        for entry in change.record[key[0]]:
            rows.pop(int(entry["label"]), None)
            gone.add(int(entry["label"]))
        for entry in change.record[key[1]]:
            rows[int(entry["label"])] = {**entry.get("row", {}), "label": int(entry["label"])}
    kept = table[~table["label"].isin(gone | set(rows))]
    if rows:
        new = pd.DataFrame(list(rows.values()))
        late = {
            name: f"{name}{OUTDATED}" for name in new if name not in table.columns
        }  # kept columns of plots
        new = new.rename(columns=late).reindex(columns=table.columns)
        kept = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    kept = kept.sort_values("label")
    replace_table(folder, kept)

    def note(record: dict[str, Any]) -> None:
        before = record.get("corrections", {})
        drawn = {label for label in before.get("drawn", []) if label not in gone} | set(rows)
        record["cells"] = len(kept)
        record["corrections"] = {
            **before,
            "applied": max(change.n for change in changes),
            "drawn": sorted(drawn),
            "note": f"outlines of {len(drawn)} cells were corrected by hand",
        }

    update_run(folder, note)


def measure_cells(
    picture: NDArray[np.uint32], region: Region, labels: Iterable[int], slide: Slide | None, pixel_um: float
) -> pd.DataFrame:
    """Measure some cells of a part of a slide.

    Parameters
    ----------
    picture
        Labels (h, w) of ``region``.
    labels
        The cells.
    slide
        Where the markers are read; None measures shapes only.

    Returns
    -------
    DataFrame
        As `napari_dama.cells.measure.measure`.
    """
    own = np.where(np.isin(picture, list(labels)), picture, 0)
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    if not len(rows):
        return measure(own[:0, :0], None, (), pixel_um)
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    box = Region(region.y0 + y0, region.y0 + y1, region.x0 + x0, region.x0 + x1)
    pixels = None if slide is None else slide.read(box)
    markers = () if slide is None else slide.markers
    return measure(own[y0:y1, x0:x1], pixels, markers, pixel_um, offset=(box.y0, box.x0))


def whole_cells(
    picture: LabelImage, region: Region, labels: NDArray[np.integer[Any]]
) -> tuple[Region, NDArray[np.uint32]]:
    """Read a region, grown until none of some cells is cut by its border (but by the slide's)."""
    wanted = labels[labels > 0]
    grown = region
    step = 64
    while True:
        pixels = picture.read(grown)
        sides = {
            "y0": grown.y0 > 0 and np.isin(pixels[0], wanted).any(),
            "y1": grown.y1 < picture.shape[0] and np.isin(pixels[-1], wanted).any(),
            "x0": grown.x0 > 0 and np.isin(pixels[:, 0], wanted).any(),
            "x1": grown.x1 < picture.shape[1] and np.isin(pixels[:, -1], wanted).any(),
        }
        if not any(sides.values()) or step > FARTHEST_PX:
            return grown, pixels
        grown = grown.grow(step).clip(picture.shape)
        step *= 2
