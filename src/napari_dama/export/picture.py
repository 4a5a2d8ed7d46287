"""A picture for the paper or the talk: markers in their colours, cells in those of their types, legend and scale bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from napari_dama.cells.table import UNTYPED_COLOUR
from napari_dama.errors import SettingsError
from napari_dama.export.blend import blend, parse_markers, shown_markers
from napari_dama.export.outlines import cell_outlines
from napari_dama.export.plate import SIDE_IN, canvas, draw_legend, legend_lines, scale_bar
from napari_dama.export.source import ResultSource, rgb
from napari_dama.export.watch import Watch
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

CELLS: Final = ("outlines", "fill", "none")
MAX_PX: Final = 2400
"""Longer side of the picture, unless another is asked for."""
LARGEST_PX: Final = 10_000
_OPACITY: Final = 0.5


def to_picture(
    result_dir: str | Path,
    file: str | Path,
    *,
    overwrite: bool = False,
    watch: Watch | None = None,
    region: Region | str | None = None,
    markers: Mapping[str, str | None] | str | None = None,
    contrast: Mapping[str, tuple[float, float]] | None = None,
    cells: str = "outlines",
    types: Sequence[str] | str | None = None,
    legend: bool = True,
    max_px: int = MAX_PX,
) -> Path:
    """Draw a part of the slide with its cells.

    Parameters
    ----------
    result_dir
        What ``analyse`` left; its slide must be where it was.
    file
        ``.png``, ``.pdf`` or ``.svg``; in the latter two outlines and text stay sharp at every size.
    overwrite
        Replace a file that is there.
    watch
        Told of progress and of the size drawn at.
    region
        In level-0 pixels; by default what was analysed.
    markers
        Names with a colour or None, or text such as ``"DAPI=#4d7cff,NeuN"``; by default those that the model knows.
    contrast
        Values that are black and full, per marker; by default those of the analysis.
    cells
        ``"outlines"``, ``"fill"`` (half transparent) or ``"none"``.
    types
        Only cells of these types, names or text with commas; all by default.
    legend
        Markers, types with their numbers of cells, beside the picture.
    max_px
        Longer side of the picture in pixels; a larger region is drawn smaller, a small one up to four times larger.

    Raises
    ------
    OutputError
        There is no result, its slide cannot be read, or the file exists or cannot be written.
    SettingsError
        An option is out of bounds or names what is not there.
    """
    from napari_dama.evaluate.figures import check_file, save_figure

    target = check_file(file, what="pictures", overwrite=overwrite)
    watch = watch or Watch()
    if cells not in CELLS:
        raise SettingsError(f"Cells are drawn as {', '.join(CELLS)}, not {cells!r}.")
    if not 100 <= max_px <= LARGEST_PX:
        raise SettingsError(f"The longer side can have 100 to {LARGEST_PX} pixels, not {max_px}.")
    source = ResultSource.open(result_dir)
    view = _view(source, region)
    wanted = _types(source, types)
    chosen = parse_markers(markers) if isinstance(markers, str) else markers
    with source.open_slide() as slide:
        shown = shown_markers(source, slide, chosen, contrast)
        watch.step(0, 4)
        picture = blend(slide, view, shown, max_px=max_px)
    watch.step(1, 4)
    labels = _labels(source, view, picture.factor)
    rows = _rows_in_view(source, view, wanted)
    lines = legend_lines(source, shown, cells, wanted) if legend else 0
    figure, axes, dpi = canvas(picture, max_px, lines)
    image = picture.rgb
    if cells == "fill":
        image = _filled(source, image, labels, rows, view)
    axes.imshow(image, extent=(view.x0, view.x1, view.y1, view.y0), interpolation="nearest", aspect="auto")
    watch.step(2, 4)
    if cells == "outlines":
        _draw_outlines(axes, source, labels, rows, view, Watch(stop=watch.stop))
    axes.set_xlim(view.x0, view.x1)
    axes.set_ylim(view.y1, view.y0)
    length = scale_bar(axes, view, source.pixel_um)
    if legend:
        draw_legend(figure, source, shown, rows, cells, wanted)
    watch.step(3, 4)
    um = source.pixel_um * max(view.shape) / max(axes.bbox.size)
    save_figure(figure, target, overwrite=overwrite, dpi=dpi)
    watch.note(f"{um:.3g} µm per pixel of the picture, scale bar {length:g} µm.")
    if picture.factor > 1.01:
        watch.note(
            f"Drawn {picture.factor:.3g} times smaller than the slide, so that no side is longer than {max_px} pixels: "
            "take a smaller region, or allow more (--max-px)."
        )
    watch.step(4, 4)
    return target


def _view(source: ResultSource, region: Region | str | None) -> Region:
    if region is None:
        y0, y1, x0, x1 = source.run["settings"].get("region") or (
            0,
            source.shape_yx[0],
            0,
            source.shape_yx[1],
        )
        return Region(y0, y1, x0, x1).clip(source.shape_yx)
    wanted = Region.parse(region) if isinstance(region, str) else region
    view = wanted.clip(source.shape_yx)
    if view.is_empty:
        raise SettingsError(f"The region {wanted} lies outside of the slide, {source.shape_yx} (Y, X).")
    return view


def _types(source: ResultSource, types: Sequence[str] | str | None) -> set[str] | None:
    if types is None:
        return None
    names = [part.strip() for part in types.split(",")] if isinstance(types, str) else list(types)
    strange = [name for name in names if name not in source.types]
    if strange:
        known = ", ".join(source.types) or "no types"
        raise SettingsError(f"The result has no cells of type {strange[0]!r}; it has {known}.")
    return set(names)


@dataclass(frozen=True)
class _Labels:
    """Labels (h, w) of a view, ``step`` level-0 pixels apart, and of a little around it: outlines run on beyond the edge."""

    pixels: NDArray[np.uint32]
    step: int
    y0: int
    x0: int


def _labels(source: ResultSource, view: Region, factor: float) -> _Labels:
    from napari_dama.predict.labels import LabelImage
    from napari_dama.predict.record import LABELS

    levels = LabelImage.open(source.folder / LABELS, mode="r").levels
    step = 2 ** int(np.log2(max(factor, 1)))
    level = min(int(np.log2(step)), len(levels) - 1) if source.run.get("state") == "done" else 0
    rest, side = step // 2**level, 2**level
    y0, x0 = (max(0, begin // step * step - 2 * step) for begin in (view.y0, view.x0))
    rows = slice(y0 // side, -(-(view.y1 + 2 * step) // side), rest)
    columns = slice(x0 // side, -(-(view.x1 + 2 * step) // side), rest)
    return _Labels(np.asarray(levels[level][rows, columns], np.uint32), step, y0, x0)


def _rows_in_view(source: ResultSource, view: Region, wanted: set[str] | None) -> NDArray[np.bool_]:
    """Which cells of the table are shown: those whose centre lies in view, of the types wanted."""
    table = source.cells
    inside = (
        (table["y"] >= view.y0 - 0.5)
        & (table["y"] < view.y1 - 0.5)
        & (table["x"] >= view.x0 - 0.5)
        & (table["x"] < view.x1 - 0.5)
    ).to_numpy()
    if wanted is not None:
        inside = inside & table["type"].isin(wanted).to_numpy()
    return np.asarray(inside, bool)


def _colour_table(source: ResultSource, rows: NDArray[np.bool_]) -> dict[int, str]:
    """Colour of each label that is drawn."""
    colours = [*source.colours.values(), UNTYPED_COLOUR]
    numbers = source.cells["label"].to_numpy()[rows].tolist()
    return {
        label: colours[code] for label, code in zip(numbers, source.type_codes()[rows].tolist(), strict=True)
    }


def _filled(
    source: ResultSource, image: NDArray[np.uint8], labels: _Labels, rows: NDArray[np.bool_], view: Region
) -> NDArray[np.uint8]:
    """The picture with cells in half transparent colours."""
    height, width = image.shape[:2]
    y = (view.y0 + (np.arange(height) + 0.5) * view.height / height - labels.y0) / labels.step
    x = (view.x0 + (np.arange(width) + 0.5) * view.width / width - labels.x0) / labels.step
    last_y, last_x = labels.pixels.shape[0] - 1, labels.pixels.shape[1] - 1
    own = labels.pixels[np.ix_(np.minimum(y.astype(int), last_y), np.minimum(x.astype(int), last_x))]
    table = _colour_table(source, rows)
    numbers, place = np.unique(own, return_inverse=True)
    paint = np.array([rgb(table.get(int(number), "#000000")) for number in numbers], np.float32)
    known = np.array([int(number) in table for number in numbers])
    place = place.reshape(own.shape)
    mixed = (1 - _OPACITY) * image + _OPACITY * paint[place]
    return np.where(known[place][..., None], mixed, image).astype(np.uint8)


def _draw_outlines(
    axes: Axes,
    source: ResultSource,
    labels: _Labels,
    rows: NDArray[np.bool_],
    view: Region,
    watch: Watch,
) -> None:
    from matplotlib.collections import LineCollection

    table = _colour_table(source, rows)
    lines, colours = [], []
    for outline in cell_outlines(labels.pixels, watch, tile_px=512):
        colour = table.get(outline.label)
        if colour is None:
            continue
        for piece in outline.pieces:
            for ring in (piece.outer, *piece.holes):
                lines.append(ring * labels.step + (labels.x0, labels.y0))
                colours.append(colour)
    if not lines:
        return
    area = np.nanmedian(source.cells["area_um2"].to_numpy(np.float64)[rows])
    across = 2 * np.sqrt(area / np.pi) / source.pixel_um / max(view.shape) * SIDE_IN * 72  # points
    width = float(np.clip(0.07 * across, 0.25, 1.4))
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=width, capstyle="round"))
