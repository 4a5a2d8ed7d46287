"""Outlines in the viewer's Labels layers, brought to pixels of their slide as areas that training reads. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.cells.given import LabelSource
from napari_dama.errors import OutputError, SettingsError
from napari_dama.gui.layers import about, layers_of
from napari_dama.gui.resolve import region_of_box
from napari_dama.slides.region import Region
from napari_dama.training.areas import AnnotatedArea, Areas
from napari_dama.training.files import ANNOTATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Shape = tuple[Region, NDArray[np.bool_] | None]

LEAST_CELLS: Final = 10
"""Fewer outlines than this teach nothing, and a held-out part of them tests nothing."""
STRIP_PX: Final = 1024
MOST_PX: Final = 2e8
ELLIPSE_POINTS: Final = 64


@dataclass(frozen=True, slots=True)
class Outlines:
    """A Labels layer whose objects can be learned from.

    Attributes
    ----------
    layer : str
        Its name.
    slide : str
        Path of the slide that it lies on.
    """

    layer: str
    slide: str

    @property
    def problem(self) -> str:
        """Why nothing can be learned from it, else nothing."""
        return (
            "" if self.slide else f"Open the slide that {self.layer!r} lies on: its pixels are learned from."
        )


@dataclass(frozen=True, slots=True)
class OutlinedArea:
    """One area: ``labels`` (h, w) int32 in a region of the slide; ``mask`` (h, w) bool, or None where all of it counts."""

    region: Region
    labels: NDArray[np.int32]
    mask: NDArray[np.bool_] | None


def find_outlines(layers: Iterable[Any], slide: str) -> list[Outlines]:
    """Return the Labels layers that hold outlines; ``slide`` is the open one, for layers that say nothing of a slide."""
    return [
        Outlines(layer.name, str(about(layer).get("slide") or slide))
        for layer in layers
        if _type(layer) == "labels" and about(layer).get("role") not in ("live", "explain")
    ]


def find_areas(layers: Iterable[Any]) -> list[str]:
    """Return the names of the Shapes layers, each of which may say what was outlined completely."""
    return [layer.name for layer in layers if _type(layer) == "shapes"]


def outlined_areas(layers: Sequence[Any], name: str, area: str, slide: str) -> list[OutlinedArea]:
    """Read the outlines of a layer in pixels of its slide; slow for large layers, so use a thread.

    Parameters
    ----------
    layers
        Of the viewer.
    name
        Of the Labels layer.
    area
        Of the Shapes layer around what was outlined completely; empty for the box around all outlines.
    slide
        Path of the slide, which is open.

    Raises
    ------
    SettingsError
        When a layer is gone, is turned against the slide, lies beside it, or has hardly any cell in the areas.
    """
    layer = _named(layers, name, "labels")
    markers = layers_of(layers, "marker", slide)
    if not markers:
        raise SettingsError(f"Open the slide that {name!r} lies on: {slide or 'it is not known'}.")
    first = markers[0].data[0] if markers[0].multiscale else markers[0].data
    shape = (int(first.shape[-2]), int(first.shape[-1]))
    grid = _Grid(layer, markers[0])
    if area:
        regions = _regions_of_shapes(_named(layers, area, "shapes"), markers[0], shape)
    else:
        regions = [(grid.box(shape), None)]
    found = [OutlinedArea(region, grid.read(region), mask) for region, mask in regions]
    cells = sum(
        len(np.unique(each.labels if each.mask is None else each.labels[each.mask])) - 1 for each in found
    )
    if cells < LEAST_CELLS:
        where = f"the areas of {area!r}" if area else f"{name!r}"
        raise SettingsError(
            f"Only {max(cells, 0)} outlined cells lie in {where}: outline at least {LEAST_CELLS}, better a hundred."
        )
    return found


def write_areas(
    areas: Sequence[OutlinedArea], job: Path, slide: str, pixel_um: float | None, chosen: Mapping[str, str]
) -> Areas:
    """Write the label images of areas into a job's folder and return the settings that name them.

    Raises
    ------
    OutputError
        When they cannot be written.
    """
    import tifffile

    folder = job / ANNOTATIONS
    made = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, area in enumerate(areas, start=1):
            labels, mask = f"{ANNOTATIONS}/area_{number}.tif", None
            tifffile.imwrite(job / labels, area.labels, compression="zlib")
            if area.mask is not None:
                mask = f"{ANNOTATIONS}/area_{number}_mask.tif"
                tifffile.imwrite(job / mask, area.mask.astype(np.uint8), compression="zlib")
            made.append(
                AnnotatedArea(
                    slide=Path(slide), labels=labels, region=str(area.region), mask=mask, pixel_um=pixel_um
                )
            )
    except OSError as error:
        raise OutputError(f"The outlines cannot be written to {folder}: {error}") from error
    return Areas(areas=made, chosen=dict(chosen))


class _Grid:
    """Where the pixels of a Labels layer lie on a slide: row of the layer = ``start + step * row of the slide``."""

    def __init__(self, layer: Any, marker: Any) -> None:
        self.name = layer.name
        self.source = LabelSource(layer.data[0] if layer.multiscale else layer.data, repr(layer.name), None)

        def place(y: float, x: float) -> NDArray[np.float64]:
            return np.asarray(layer.world_to_data(marker.data_to_world((y, x))), float)[-2:]

        self.start = place(0, 0)
        down, right = place(1, 0) - self.start, place(0, 1) - self.start
        self.step = np.array([down[0], right[1]])
        if max(abs(down[1]), abs(right[0])) > 1e-6 or self.step.min() <= 0:
            raise SettingsError(
                f"{self.name!r} is turned or mirrored against its slide: outlines must lie as the slide does."
            )

    def box(self, shape: tuple[int, int]) -> Region:
        """Region of the slide around all labels."""
        rows: list[int] = []
        columns: list[int] = []
        for y0 in range(0, self.source.shape[0], STRIP_PX):
            strip = self.source.read(y0, min(y0 + STRIP_PX, self.source.shape[0])) != 0
            there = np.flatnonzero(strip.any(axis=1))
            if len(there):
                across = np.flatnonzero(strip.any(axis=0))
                rows += [y0 + int(there[0]), y0 + int(there[-1])]
                columns += [int(across[0]), int(across[-1])]
        if not rows:
            raise SettingsError(f"There is no outline in {self.name!r}: draw some, or choose another layer.")
        ends = [
            tuple((np.array([min(each) - 0.5, max(each) + 0.5]) - start) / step)
            for each, start, step in zip((rows, columns), self.start, self.step, strict=True)
        ]
        (y0, y1), (x0, x1) = ends
        box = ((y0 + 0.5, y1 - 0.5), (x0 + 0.5, x1 - 0.5))
        return _limited(region_of_box(box, shape, f"What is outlined in {self.name!r}"), self.name)

    def read(self, region: Region) -> NDArray[np.int32]:
        """Labels (h, w) of a region of the slide; 0 where the layer does not reach."""
        rows, columns = (
            np.floor(start + step * np.arange(first, last) + 0.5).astype(np.int64)
            for start, step, first, last in zip(
                self.start, self.step, (region.y0, region.x0), (region.y1, region.x1), strict=True
            )
        )
        height, width = self.source.shape
        out = np.zeros(region.shape, np.int32)
        inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        if inside[0].any() and inside[1].any():
            rows, columns = rows[inside[0]], columns[inside[1]]
            part = self.source.read(int(rows[0]), int(rows[-1]) + 1)
            out[np.ix_(*inside)] = part[np.ix_(rows - rows[0], columns)]
        return out


def _regions_of_shapes(layer: Any, marker: Any, shape: tuple[int, int]) -> list[Shape]:
    """Regions of the slide with what of them lies in the shape."""
    from skimage import draw

    polygon_mask: Any = draw.polygon2mask
    found: list[Shape] = []
    for data, kind in zip(layer.data, layer.shape_type, strict=True):
        if kind in ("line", "path"):
            continue
        corners = np.array([marker.world_to_data(layer.data_to_world(point))[-2:] for point in data], float)
        if kind == "ellipse":
            corners = _ellipse(corners)
        (y0, x0), (y1, x1) = corners.min(axis=0), corners.max(axis=0)
        region = _limited(
            region_of_box(((y0, y1), (x0, x1)), shape, f"A shape of {layer.name!r}"), layer.name
        )
        mask = None
        if kind != "rectangle" or not _upright(corners):
            mask = np.asarray(polygon_mask(region.shape, corners - (region.y0, region.x0)), np.bool_)
        found.append((region, mask))
    if not found:
        raise SettingsError(
            f"There is no area in {layer.name!r}: draw a rectangle, an ellipse or a polygon around what you outlined."
        )
    for index, one in enumerate(found):
        if any(_overlap(one, other) for other in found[:index]):
            raise SettingsError(
                f"Two areas of {layer.name!r} overlap: move them apart, or draw one around both."
            )
    return found


def _overlap(one: Shape, other: Shape) -> bool:
    """Whether a pixel lies in both shapes."""
    (a, _), (b, _) = one, other
    both = Region(max(a.y0, b.y0), min(a.y1, b.y1), max(a.x0, b.x0), min(a.x1, b.x1))
    if both.is_empty:
        return False
    inside = np.ones(both.shape, bool)
    for region, mask in (one, other):
        if mask is not None:
            rows, columns = (
                slice(both.y0 - region.y0, both.y1 - region.y0),
                slice(both.x0 - region.x0, both.x1 - region.x0),
            )
            inside &= mask[rows, columns]
    return bool(inside.any())


def _ellipse(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of the ellipse in a box (4, 2), as a polygon."""
    middle = corners.mean(axis=0)
    one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_POINTS, endpoint=False)[:, None]
    points: NDArray[np.float64] = middle + np.cos(angle) * one + np.sin(angle) * other
    return points


def _upright(corners: NDArray[np.float64]) -> bool:
    return all(len(np.unique(np.round(corners[:, axis], 6))) == 2 for axis in (0, 1))


def _limited(region: Region, name: str) -> Region:
    if region.height * region.width > MOST_PX:
        raise SettingsError(
            f"{name!r} covers {region.height} x {region.width} px, too many to learn from at once: draw a Shapes layer "
            "around the part that you outlined completely."
        )
    return region


def _named(layers: Iterable[Any], name: str, kind: str) -> Any:
    found = next((layer for layer in layers if layer.name == name and _type(layer) == kind), None)
    if found is None:
        raise SettingsError(f"The layer {name!r} is not there any more: choose another.")
    return found


def _type(layer: Any) -> str:
    return str(getattr(layer, "_type_string", "")).lower()
