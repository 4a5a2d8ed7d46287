"""Cut every cell of many slides out into a CropStore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.cells.cut import Cutter
from napari_dama.cells.find import find_nuclei
from napari_dama.cells.given import given_cells
from napari_dama.cells.repairs import Repairs
from napari_dama.cells.store import CropStore
from napari_dama.errors import Interrupted, PanelError, SettingsError
from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.panel import BRAIN7
from napari_dama.slides.profile import slide_profiles
from napari_dama.slides.tiles import tile_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.cells.given import LabelInput
    from napari_dama.cells.writer import CropWriter
    from napari_dama.slides.intensity import IntensityStats
    from napari_dama.slides.panel import ChannelMap
    from napari_dama.slides.slide import Slide
    from napari_dama.slides.tiles import Tile

TILE_PX: Final = 1024
CHUNK_BYTES: Final = 64 * 2**20


def crop_slides(
    slides: Sequence[tuple[Slide, ChannelMap]],
    out: str | Path,
    *,
    crop_um: float = 32.5,
    crop_px: int = 100,
    labels: Sequence[LabelInput | None] | None = None,
    nuclear: Sequence[str] | None = None,
    max_cells: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> CropStore:
    """Find the cells of slides, or take those given, and cut them out.

    A crop is ``crop_um`` wide around the centre of a nucleus, ``crop_px`` pixels, in the model's marker order; markers
    that a slide lacks are zeros. Slides keep their pixels as they are where these are ``crop_um / crop_px`` wide, and
    are interpolated otherwise. Beyond a slide's edge it is mirrored. Pixels that are not finite become 0. All slides
    share one dtype: theirs if it is one, else the smallest of uint16 and float32 that holds all; what was repaired or
    rounded stands in the store's notes. Memory is that of a tile and a chunk of crops.

    Parameters
    ----------
    slides
        Slides, each with its channel map to the same model.
    out
        The store's folder.
    crop_um, crop_px
        Width of a crop in micrometres and in pixels.
    labels
        One per slide: a label image, a result folder or a table (see `napari_dama.cells.given.given_cells`); None
        finds the nuclei.
    nuclear
        Markers of the model that show nuclei, the best first; by default those of the brain panel.
    max_cells
        Keep at most so many cells, drawn at random in shares as equal as the slides allow (the paper's noisy sets hold
        30 000 and 170 000); None keeps all.
    seed
        Of that draw: the same slides, settings and seed give the same store.
    overwrite
        Replace a store that is there.
    progress
        Called with (slides done x 1000 + parts of the present one, 1000 x slides in all). All slides are looked through
        first, which is the first half, and then cut.
    stop
        Asked now and then; nothing is left behind.

    Raises
    ------
    StoreError
        There are no cells, or the store cannot be written.
    SettingsError
        A setting is out of bounds, or a slide does not say how large its pixels are.
    SlideError
        A slide or what is given with it cannot be read.
    Interrupted
        ``stop`` said so.
    """
    if not slides:
        raise SettingsError("There are no slides to crop.")
    given = [None] * len(slides) if labels is None else list(labels)
    if len(given) != len(slides):
        raise SettingsError(
            f"There are {len(slides)} slides and {len(given)} label images; give one for each."
        )
    if max_cells is not None and max_cells < 1:
        raise SettingsError(f"max_cells is {max_cells}; at least 1 is needed.")
    if not 1 <= crop_um <= 1000 or not 8 <= crop_px <= 2048:
        raise SettingsError(f"Crops of {crop_um} um and {crop_px} px: give 1 to 1000 um and 8 to 2048 px.")
    markers = _markers_of_all(slides)
    for slide, _ in slides:
        if slide.pixel_um is None:
            raise SettingsError(
                f"{slide.name} does not say how large a pixel is: give --pixel-um, for example 0.325 for 20x."
            )
    dtype = common_dtype([slide.dtype for slide, _ in slides])
    nuclear = [m.name for m in BRAIN7.markers if m.nuclear] if nuclear is None else list(nuclear)
    names = _unique_names([slide.name for slide, _ in slides])
    writer = CropStore.create(
        out, markers=markers, dtype=dtype, crop_um=crop_um, crop_px=crop_px, overwrite=overwrite
    )
    with writer:
        found = []
        for done, ((slide, channels), source) in enumerate(zip(slides, given, strict=True)):
            part = _Part(done, len(slides), progress, stop)
            found.append(_find_cells(slide, channels, given=source, nuclear=nuclear, part=part))
        if max_cells is not None:
            chosen = spread([len(cells) for cells, _ in found], max_cells, seed)
            found = [(cells.iloc[rows], stats) for (cells, stats), rows in zip(found, chosen, strict=True)]
        for done, ((slide, channels), name, (cells, stats)) in enumerate(
            zip(slides, names, found, strict=True)
        ):
            part = _Part(done + len(slides), len(slides), progress, stop)
            _crop_slide(
                writer, slide, channels, name=name, cells=cells, stats=stats, nuclear=nuclear, part=part
            )
        return writer.finish()


def spread(counts: Sequence[int], total: int, seed: int) -> list[NDArray[np.int64]]:
    """Choose rows of several tables, ``total`` in all where they hold so many, in shares as equal as their lengths allow.

    Parameters
    ----------
    counts
        Length of each table.
    total
        Rows to keep.
    seed
        The draw from a table depends on it, on the table's place and on how many are drawn.

    Returns
    -------
    list
        One ascending array of rows per table.
    """
    share, left = [0] * len(counts), min(total, sum(counts))
    order = sorted(
        range(len(counts)), key=lambda index: counts[index]
    )  # those that hold few give all they have
    for place, index in enumerate(order):
        share[index] = min(counts[index], left // (len(counts) - place))
        left -= share[index]
    return [
        np.sort(np.random.default_rng((seed, index)).permutation(count)[:kept])
        for index, (count, kept) in enumerate(zip(counts, share, strict=True))
    ]


def common_dtype(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """Dtype that crops of all these slides are kept in: their own, else uint16 if it holds all, else float32."""
    distinct = {np.dtype(np.uint8) if d.kind == "b" else d.newbyteorder("=") for d in dtypes}
    if len(distinct) == 1:
        return distinct.pop()
    if all(np.can_cast(d, np.uint16, "safe") for d in distinct):
        return np.dtype(np.uint16)
    return np.dtype(np.float32)


@dataclass
class _Part:
    """Progress of one slide among several that are gone through twice."""

    index: int
    total: int
    progress: Callable[[int, int], None] | None
    stop: Callable[[], bool] | None

    def report(self, share: float) -> None:
        if self.progress is not None:
            self.progress(round(500 * (self.index + share)), 1000 * self.total)
        if self.stop is not None and self.stop():
            raise Interrupted("Stopped while cropping; no store was written.")


def _markers_of_all(slides: Sequence[tuple[Slide, ChannelMap]]) -> tuple[str, ...]:
    markers = tuple(m.marker for m in slides[0][1].matches)
    for slide, channels in slides:
        other = tuple(m.marker for m in channels.matches)
        if other != markers:
            raise SettingsError(
                f"{slide.name} is matched to {', '.join(other)}, {slides[0][0].name} to {', '.join(markers)}; "
                "all slides of a store need the same model."
            )
    return markers


def _unique_names(names: Sequence[str]) -> list[str]:
    """Tell slides of the same name apart: "a", "a (2)"."""
    taken: list[str] = []
    for name in names:
        unique, n = name, 1
        while unique in taken:
            n += 1
            unique = f"{name} ({n})"
        taken.append(unique)
    return taken


def _find_cells(
    slide: Slide,
    channels: ChannelMap,
    *,
    given: LabelInput | None,
    nuclear: Sequence[str],
    part: _Part,
) -> tuple[pd.DataFrame, IntensityStats]:
    """Cells of one slide (``label, y, x, type``), found or given, and the intensities of all its channels."""
    part.report(0)
    stats = slide_stats(slide)
    if given is None:
        cells = find_nuclei(
            slide,
            nuclear_channel=_nuclear_channel(slide, channels, nuclear),
            pixel_um=float(slide.pixel_um or 0),
            stats=stats,
            progress=lambda done, total: part.report(done / total),
        ).assign(type="")
    else:
        cells = given_cells(given, (slide.shape[1], slide.shape[2]))
    return cells, stats


def _crop_slide(
    writer: CropWriter,
    slide: Slide,
    channels: ChannelMap,
    *,
    name: str,
    cells: pd.DataFrame,
    stats: IntensityStats,
    nuclear: Sequence[str],
    part: _Part,
) -> None:
    """Append the crops of one slide."""
    part.report(0)
    pixel_um = float(slide.pixel_um or 0)
    chosen = stats.select(channels.indices)
    repairs = Repairs()
    places = [i for i, marker in enumerate(writer.markers) if marker in nuclear]
    found = slide_profiles(slide, stats, channels.indices, places, pixel_um=pixel_um)
    profile = {m: p.to_json() for m, p in zip(writer.markers, found, strict=True) if p is not None}

    def announce() -> None:
        writer.add_slide(
            name,
            low=chosen.low,
            high=chosen.high,
            present=channels.present,
            path=slide.path or "",
            notes=[*slide.notes, *repairs.notes(slide.dtype, writer.dtype)],
            profile=profile,
        )

    announce()
    cells = cells.assign(slide=name, y_um=cells["y"] * pixel_um, x_um=cells["x"] * pixel_um)
    cutter = Cutter.for_slide(
        crop_um=writer.crop_um,
        crop_px=writer.crop_px,
        pixel_um=pixel_um,
        shape_yx=(slide.shape[1], slide.shape[2]),
    )
    tiles = _tiles_with_cells(cells, cutter)
    for done, (tile, rows) in enumerate(tiles, start=1):
        _crop_tile(writer, slide, channels.indices, cutter, tile, rows, repairs)
        part.report(done / len(tiles))
    announce()  # again, with what was repaired


def _nuclear_channel(slide: Slide, channels: ChannelMap, nuclear: Sequence[str]) -> int:
    """Index of the slide's channel that shows nuclei."""
    served = {m.marker: m.slide_index for m in channels.matches}
    for marker in nuclear:
        index = served.get(marker)
        if index is not None:
            return index
    raise PanelError(
        f"{slide.name} has no channel for {' or '.join(nuclear)}, so its nuclei cannot be found; "
        "map a channel to it (--map), or give its cells (--labels)."
    )


def _tiles_with_cells(cells: pd.DataFrame, cutter: Cutter) -> list[tuple[Tile, pd.DataFrame]]:
    """Pair every tile that holds centres with the rows of its cells."""
    if not len(cells):
        return []
    height, width = cutter.shape_yx
    tiles = tile_grid((height, width), tile_px=TILE_PX, halo_px=cutter.reach_px)
    per_row = -(-width // TILE_PX)
    row = np.clip(cells["y"].to_numpy().round().astype(int), 0, height - 1) // TILE_PX
    column = np.clip(cells["x"].to_numpy().round().astype(int), 0, width - 1) // TILE_PX
    return [(tiles[int(i)], rows) for i, rows in cells.groupby(row * per_row + column, sort=True)]


def _crop_tile(
    writer: CropWriter,
    slide: Slide,
    indices: Sequence[int | None],
    cutter: Cutter,
    tile: Tile,
    cells: pd.DataFrame,
    repairs: Repairs,
) -> None:
    """Append the crops of one tile, a chunk at a time."""
    places = [place for place, index in enumerate(indices) if index is not None]
    into = slice(None) if len(places) == len(indices) else places  # a list of places costs another copy
    block = slide.read(tile.outer, channels=[index for index in indices if index is not None])
    block = cutter.prepare(repairs.finite(block))
    shape = (len(indices), cutter.crop_px, cutter.crop_px)
    chunk = max(1, CHUNK_BYTES // (int(np.prod(shape)) * writer.dtype.itemsize))
    for start in range(0, len(cells), chunk):
        rows = cells.iloc[start : start + chunk]
        crops = np.zeros((len(rows), *shape), writer.dtype)
        for crop, y, x in zip(crops, rows["y"], rows["x"], strict=True):
            crop[into] = repairs.cast(cutter.cut(block, tile.outer, y, x), slide.dtype, writer.dtype)
        writer.append(crops, rows)
