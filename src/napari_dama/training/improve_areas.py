"""From outlines that people corrected to areas that a model learns from and is tested on. No torch.

Around each corrected outline lies a *zone*: what is within a few micrometres of it, with every cell that reaches in, whole.
What stands there is taken as right; outside of it nothing is said. Corrections whose surroundings meet are one *area*, and
an area is learned from or held out as a whole; no pixel of a held-out zone is ever shown to the network that learns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_dama.cells.corrected_outlines import CorrectedOutline, corrected_outlines
from napari_dama.cells.corrections import read_sections, result_key
from napari_dama.cells.outlines import apply_changes
from napari_dama.errors import OutputError, SettingsError, StoreError
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import LABELS
from napari_dama.slides.region import Region
from napari_dama.training.areas import MOST_BYTES
from napari_dama.training.files import ANNOTATIONS
from napari_dama.training.held_out import BETWEEN, HELD, LEARN, hold_out
from napari_dama.training.improve_settings import CorrectedArea

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_dama.cells.corrections import Section
    from napari_dama.models.card import Card
    from napari_dama.predict.result import ResultFolder
    from napari_dama.training.improve_data import Corrected

LEAST_OUTLINES: Final = 12
"""Fewer corrected outlines are too few to learn from and to test with."""
NEAR_UM: Final = 8.0
OUTLINES: Final = "outlines.csv"
OWN, HIDDEN = 1, 2
"""Pixels of a zone image: checked, and held out, so that the network must not see them."""
_LOOK_UM: Final = 40.0
_TOGETHER: Final = (
    "The corrected outlines lie so close together that none can be held out: correct some elsewhere, too."
)


def outlines_ready(count: int, *, where: str = "") -> str:
    """Say how many corrected outlines are still needed; empty where there are enough."""
    if count >= LEAST_OUTLINES:
        return ""
    more = LEAST_OUTLINES - count
    return (
        f"{more} more corrected outline{'s' * (more != 1)}{where} ({count} of at least {LEAST_OUTLINES}: drawn, changed, "
        "split, merged or deleted)"
    )


def near_words(near_um: float = NEAR_UM) -> str:
    """What is taken as right, to be read before anything is learned."""
    return f"Outlines within {near_um:g} µm of the ones you corrected are taken as right."


@dataclass(slots=True)
class OutlineParts:
    """Corrected outlines with their sides, ready to be written.

    Attributes
    ----------
    table : DataFrame
        One row per corrected outline: ``slide, label, y, x, deleted, part, area`` (number of the area, -1 for none).
    areas : list of CorrectedArea
    images : dict of str to array
        Label and zone images (h, w) of the areas, by their names in the job's folder.
    how : str
        How the sides were parted, in words.
    """

    table: pd.DataFrame
    areas: list[CorrectedArea] = field(default_factory=list)
    images: dict[str, NDArray[Any]] = field(default_factory=dict)
    how: str = ""

    def write(self, job: Path) -> None:
        """Write table and images into a job's folder.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        import tifffile

        folder = job / ANNOTATIONS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, image in self.images.items():
                tifffile.imwrite(job / name, image, compression="zlib")
            self.table.to_csv(folder / OUTLINES, index=False)
        except OSError as error:
            raise OutputError(f"The corrected outlines cannot be written to {folder}: {error}") from error


def section_of(corrected: Corrected) -> Section | None:
    """The part of a slide's journal that is about its result."""
    path = corrected.corrections.path
    key = result_key(path, corrected.result.path, str(corrected.result.run.get("created") or ""))
    return next((section for section in read_sections(path)[0] if section.key == key), None)


def outlines_of(corrected: Corrected) -> list[CorrectedOutline]:
    """Outlines of a slide's result that people corrected."""
    section = section_of(corrected)
    return [] if section is None else corrected_outlines(edit.record for edit in section.live)


def part_outlines(
    corrected: Sequence[Corrected],
    card: Card,
    *,
    near_um: float = NEAR_UM,
    share: float = 0.3,
    seed: int = 0,
) -> OutlineParts:
    """Part the corrected outlines of slides into areas to learn from and areas that are held out.

    Parameters
    ----------
    corrected
        One or several slides.
    card
        Of the model to be improved: how far around a cell it looks.
    near_um
        How far from a corrected outline others are taken as right, edge to edge.
    share, seed
        As in `napari_dama.training.held_out.hold_out`, which parts the corrections by place.

    Raises
    ------
    SettingsError
        There are too few corrections.
    StoreError
        They lie so close together that none can be held out, or an area is too large.
    SlideError, OutputError
        A journal or a result is damaged.
    """
    found = [_Slide(number, each, near_um) for number, each in enumerate(corrected)]
    table = pd.concat([slide.table() for slide in found], ignore_index=True)
    if blocker := outlines_ready(len(table)):
        raise SettingsError(f"These are too few corrections to improve outlines. Still needed: {blocker}.")
    scale = table["pixel_um"].to_numpy()
    extents = (table[["y1", "x1"]].to_numpy() - table[["y0", "x0"]].to_numpy()) * scale[:, None]
    try:
        held = hold_out(
            table[["y", "x"]].to_numpy(float) * scale[:, None],
            np.full(len(table), "outline"),
            table["slide"],
            field_um=float(np.quantile(extents.max(axis=1), 0.9)) + near_um,
            share=share,
            seed=seed,
        )
    except StoreError as error:
        raise StoreError(_TOGETHER) from error
    table["part"], table["area"] = held.part, -1
    parts = OutlineParts(table, how=held.how)
    for slide in found:
        _areas_of(slide, parts, round(card.crop_um / slide.pixel_um))
    if not {LEARN, HELD} <= {area.part for area in parts.areas}:
        raise StoreError(_TOGETHER)
    parts.table = table.drop(columns=["y0", "y1", "x0", "x1", "pixel_um"])
    return parts


class _Slide:
    """Labels of a result as its journal leaves them, and the corrections of its outlines."""

    def __init__(self, number: int, corrected: Corrected, near_um: float) -> None:
        self.number = number
        self.result: ResultFolder = corrected.result
        self.markers = max(1, len(self.result.run.get("slide", {}).get("markers") or []))
        self.pixel_um = self.result.pixel_um
        self.near_px = near_um / self.pixel_um
        self.picture = LabelImage.open(self.result.path / LABELS, mode="r")
        self.outlines = outlines_of(corrected)
        self._pending: list[tuple[Region, dict[str, Any], bool]] = []
        section = section_of(corrected)
        if section is not None:  # the window may not have written the latest edits into the result yet
            done = int(self.result.run.get("corrections", {}).get("applied", 0))
            self._pending = [
                (Region(*(int(v) for v in edit.record["box"])), edit.record, back)
                for n, edit, back in section.marks
                if n > done
            ]

    def read(self, region: Region) -> NDArray[np.uint32]:
        """Labels (h, w) of a region, with every edit of the journal."""
        touching = [each for each in self._pending if not _common(each[0], region).is_empty]
        around = region
        for box, _, _ in touching:
            around = _around(around, box)
        labels = self.picture.read(around)
        for box, record, back in touching:
            part = labels[_within(box, around)].copy()
            apply_changes(part, record["changes"], back=back)
            labels[_within(box, around)] = part
        return labels[_within(region, around)]

    def table(self) -> pd.DataFrame:
        """One row per correction: ``slide, label, y, x, deleted, y0, y1, x0, x1`` (px, half open), ``pixel_um``."""
        rows = []
        for outline in self.outlines:
            places = outline.places() if outline.deleted else self._places(outline)
            if not len(places):
                continue
            (y0, x0), (y1, x1) = places.min(axis=0), places.max(axis=0) + 1
            box = {"y0": y0, "y1": y1, "x0": x0, "x1": x1, "pixel_um": self.pixel_um}
            here = {"slide": self.number, "label": outline.label, "y": outline.y, "x": outline.x}
            rows.append({**here, "deleted": outline.deleted, **box})
        columns = ["slide", "label", "y", "x", "deleted", "y0", "y1", "x0", "x1", "pixel_um"]
        return pd.DataFrame(rows, columns=columns)

    def _places(self, outline: CorrectedOutline) -> NDArray[np.int64]:
        """Pixels (n, 2) of a cell, looked for around its centre."""
        reach = round(_LOOK_UM / self.pixel_um)
        y, x = int(outline.y), int(outline.x)
        region = Region(y - reach, y + reach, x - reach, x + reach).clip(self.picture.shape)
        found = np.argwhere(self.read(region) == outline.label)
        return np.asarray(found + np.array([region.y0, region.x0]), np.int64)

    def zone(self, region: Region, labels: NDArray[np.uint32], own: set[int]) -> NDArray[np.bool_]:
        """What counts as checked of a region (h, w) around corrections ``own``: near them, and cells that reach in."""
        seeds = np.isin(
            labels, [each.label for each in self.outlines if each.label in own and not each.deleted]
        )
        for outline in self.outlines:
            if outline.deleted and outline.label in own:
                places = outline.places() - np.array([region.y0, region.x0])
                inside = ((places >= 0) & (places < region.shape)).all(axis=1)
                seeds[tuple(places[inside].T)] = True
        if not seeds.any():
            return seeds
        distance: Any = ndimage.distance_transform_edt(~seeds)
        near: NDArray[np.bool_] = distance <= self.near_px
        reaching = np.unique(labels[near])
        zone = near | np.isin(labels, reaching[reaching > 0])
        return zone & ~np.isin(labels, self._cut(region, labels))

    def _cut(self, region: Region, labels: NDArray[np.uint32]) -> list[int]:
        """Cells that the border of a region cuts, where that is not the slide's own border."""
        height, width = self.picture.shape
        sides = [
            (region.y0 > 0, labels[:1]),
            (region.y1 < height, labels[-1:]),
            (region.x0 > 0, labels[:, :1]),
            (region.x1 < width, labels[:, -1:]),
        ]
        cut = {int(v) for inner, edge in sides if inner for v in np.unique(edge)}
        return sorted(cut - {0})


def _areas_of(slide: _Slide, parts: OutlineParts, context_px: int) -> None:
    """Make the areas of one slide, held-out ones first, so that the others can be kept from seeing them."""
    table: Any = parts.table
    near = int(np.ceil(slide.near_px))
    mine = table.index[table["slide"] == slide.number]
    boxes = {row: Region(*(int(table.at[row, side]) for side in ("y0", "y1", "x0", "x1"))) for row in mine}
    held_rows = [row for row in mine if table.at[row, "part"] == HELD]
    for row in mine:  # what the width of most cells did not keep apart
        if table.at[row, "part"] == LEARN and any(
            not _common(boxes[row].grow(near), boxes[other].grow(near)).is_empty for other in held_rows
        ):
            table.at[row, "part"] = BETWEEN
    hidden: list[tuple[Region, NDArray[np.bool_]]] = []
    for part in (HELD, LEARN):
        rows = [row for row in mine if table.at[row, "part"] == part]
        grown = {row: boxes[row].grow(near + context_px).clip(slide.picture.shape) for row in rows}
        for region, members in _joined(grown):
            if 4.0 * slide.markers * region.height * region.width > MOST_BYTES:
                raise StoreError(
                    f"The corrected outlines of {slide.result.path.name} hang together over {region.height} x "
                    f"{region.width} px, which is too much to be held in memory: undo some, or learn from fewer."
                )
            labels = slide.read(region)
            zone = slide.zone(region, labels, {int(table.at[row, "label"]) for row in members})
            image = zone.astype(np.uint8) * OWN
            if part == HELD:
                hidden.append((region, zone))
            else:
                for other, there in hidden:
                    common = _common(region, other)
                    if not common.is_empty:
                        image[_within(common, region)][there[_within(common, other)]] = HIDDEN
            if not (image == OWN).any():
                table.loc[members, "part"] = BETWEEN
                continue
            number = len(parts.areas)
            table.loc[members, "area"] = number
            names = [f"{ANNOTATIONS}/outlines_{number + 1}{what}.tif" for what in ("", "_zone")]
            parts.images[names[0]], parts.images[names[1]] = labels, image
            parts.areas.append(
                CorrectedArea(
                    slide=slide.number, region=str(region), labels=names[0], zone=names[1], part=part
                )
            )


def _joined(regions: dict[int, Region]) -> list[tuple[Region, list[int]]]:
    """Put regions that overlap together, with the box around each group, until no box overlaps another."""
    groups = [(region, [row]) for row, region in regions.items()]
    done: list[tuple[Region, list[int]]] = []
    while groups:
        region, rows = groups.pop()
        at = next((i for i, (other, _) in enumerate(done) if not _common(region, other).is_empty), None)
        if at is None:
            done.append((region, rows))
        else:
            other, more = done.pop(at)
            groups.append((_around(region, other), [*more, *rows]))
    return sorted(((region, sorted(rows)) for region, rows in done), key=lambda each: each[1])


def _common(one: Region, other: Region) -> Region:
    return Region(max(one.y0, other.y0), min(one.y1, other.y1), max(one.x0, other.x0), min(one.x1, other.x1))


def _around(one: Region, other: Region) -> Region:
    return Region(min(one.y0, other.y0), max(one.y1, other.y1), min(one.x0, other.x0), max(one.x1, other.x1))


def _within(inner: Region, outer: Region) -> tuple[slice, slice]:
    """Where a region lies in the image of another."""
    return (
        slice(inner.y0 - outer.y0, inner.y1 - outer.y0),
        slice(inner.x0 - outer.x0, inner.x1 - outer.x0),
    )
