"""What a run over a slide rests on, settled and checked before anything is computed or written."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import SettingsError
from napari_dama.models.card import WEIGHTS, Card
from napari_dama.models.shelf import load_card, load_model
from napari_dama.predict.device import pick_device
from napari_dama.predict.grid import ModelGrid, WorkTile
from napari_dama.slides.panel import match
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from napari_dama.models.model import Model
    from napari_dama.slides.panel import ChannelMap
    from napari_dama.slides.slide import Slide

HALO_PX: Final = 128
"""Context around a tile, in model pixels: more than the reach of the convolutions and half a crop."""

TILE_BYTES: Final = 256e6
"""Pixels of one tile, all markers as stored, stay below this; slides with many markers get smaller tiles."""


@dataclass(frozen=True)
class Plan:
    """A checked run: slide, model, channels, place and tiles."""

    slide: Slide
    card: Card
    model: Model | None
    channels: ChannelMap
    pixel_um: float
    region: Region
    types: bool
    types_why: str
    tile_px: int
    grid: ModelGrid
    tiles: list[WorkTile]

    def settings(self) -> dict[str, Any]:
        """What must be the same when a result is continued."""
        return {
            "slide": self.slide.name,
            "shape": [int(size) for size in self.slide.shape],
            "markers": list(self.slide.markers),
            "model": self.card.name,
            "model_version": self.card.version,
            "model_weights": fingerprint(self.card),
            "map": {match.marker: match.slide_marker for match in self.channels.matches},
            "pixel_um": self.pixel_um,
            "region": [self.region.y0, self.region.y1, self.region.x0, self.region.x1],
            "types": self.types,
            "tile_px": self.tile_px,
        }

    def columns(self) -> list[str]:
        """Columns of the table, in order."""
        types = ["type", *(f"p_{name}" for name in self.card.classes)] if self.types else []
        means = [f"mean_{marker}" for marker in self.slide.markers]
        return ["label", "y", "x", "y_um", "x_um", "area_um2", "score", *types, *means]

    def load_model(self, device: str) -> Model:
        """The model on a device (``"auto"`` too), or the one that was given already loaded."""
        if self.model is not None:
            return self.model
        return load_model(self.card.path or self.card.name, device=pick_device(device))


@contextmanager
def opened(slide: Slide | str | Path | NDArray[Any], **options: Any) -> Iterator[Slide]:
    """A slide as it is, or opened from a path or an array and closed at the end."""
    if isinstance(slide, str | Path | np.ndarray):
        from napari_dama.slides.slide import open_slide

        with open_slide(slide, **options) as found:
            yield found
    else:
        yield slide


def pixel_size(slide: Slide, pixel_um: float | None) -> float:
    """Pixel size to work with: the one given, else the slide's.

    Raises
    ------
    SettingsError
        Neither is known, or the one given is absurd.
    """
    if pixel_um is not None:
        if not 0.01 <= pixel_um <= 50:
            raise SettingsError(f"pixel size {pixel_um:g} um is outside 0.01 to 50; give micrometres")
        return float(pixel_um)
    if slide.pixel_um is None:
        raise SettingsError(
            f"{slide.name} does not say how large a pixel is: give --pixel-um (pixel_um=), "
            "for example 0.325 for a 20x objective"
        )
    return float(slide.pixel_um)


def make_plan(
    slide: Slide,
    *,
    model: str | Path | Model,
    chosen: Mapping[str, str] | None,
    pixel_um: float | None,
    region: Region | None,
    types: bool,
    tile_px: int,
    task: str = "segments",
) -> Plan:
    """Settle everything about a run, without torch and without reading pixels.

    Raises
    ------
    SettingsError, PanelError, ModelError
        Something does not fit; the sentence says what and what to give instead.
    """
    loaded = None if isinstance(model, str | Path) else model
    card = load_card(model) if isinstance(model, str | Path) else model.card
    if task not in card.tasks:
        raise SettingsError(f"model {card.name!r} cannot do {task}: it was made for {', '.join(card.tasks)}")
    um = pixel_size(slide, pixel_um)
    channels = match(slide.markers, card.to_panel(), chosen=chosen)
    shape_yx = (int(slide.shape[1]), int(slide.shape[2]))
    place = _place(region, shape_yx)
    wanted, why = type_gate(card, channels, types=types)
    if tile_px < card.image_px:
        raise SettingsError(f"tile_px must be at least {card.image_px}, got {tile_px}")
    grid = ModelGrid(shape_yx, um, card.pixel_um, card.image_px)
    side = _affordable(tile_px, slide, grid)
    tiles = grid.plan(place, tile_px=side, halo_px=HALO_PX)
    return Plan(slide, card, loaded, channels, um, place, wanted, why, tile_px, grid, tiles)


def _place(region: Region | None, shape_yx: tuple[int, int]) -> Region:
    whole = Region.whole(shape_yx)
    if region is None:
        return whole
    place = region.clip(shape_yx)
    if place.is_empty:
        raise SettingsError(
            f"region {region.y0}:{region.y1},{region.x0}:{region.x1} lies outside the slide of "
            f"{shape_yx[0]} x {shape_yx[1]} px (Y x X)"
        )
    return place


def _affordable(tile_px: int, slide: Slide, grid: ModelGrid) -> int:
    """Side of tiles, in model pixels, that keeps a tile's pixels within bounds."""
    per_pixel = int(slide.shape[0]) * slide.dtype.itemsize / grid.scale**2
    side = tile_px
    while side > grid.window_px and (side + 2 * HALO_PX) ** 2 * per_pixel > TILE_BYTES:
        side -= grid.window_px
    return max(side, grid.window_px)


def type_gate(card: Card, channels: ChannelMap, *, types: bool) -> tuple[bool, str]:
    """Whether types are named, and otherwise why not, in one sentence.

    The markers that types rest on must be on the slide: without them a network still answers, and is wrong.
    """
    if not types:
        return False, "types were not asked for"
    if "types" not in card.tasks:
        return False, f"model {card.name} does not name types"
    present = {match.marker for match in channels.matches if match.slide_index is not None}
    if not present & set(card.nuclear):
        return False, f"no nuclear marker ({', '.join(card.nuclear)}) is on the slide"
    found = [marker for marker in card.type_markers if marker in present]
    if len(found) < card.type_markers_min:
        absent = ", ".join(marker for marker in card.type_markers if marker not in present)
        return False, (
            f"types need at least {card.type_markers_min} of {', '.join(card.type_markers)}: "
            f"the slide lacks {absent}; map them if they go by other names"
        )
    return True, ""


def fingerprint(card: Card) -> str | None:
    """Short digest of a model's weights; None for a model in memory."""
    if card.path is None:
        return None
    digest = hashlib.blake2b(digest_size=8)
    try:
        with (card.path / WEIGHTS).open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()
