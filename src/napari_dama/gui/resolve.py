"""What the user wants and what the slide has, resolved into plain facts for the widgets: no Qt, no napari, nothing read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dama.errors import PanelError, SettingsError
from napari_dama.predict.prepare import type_gate
from napari_dama.slides.panel import ChannelMap, Panel, match
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_dama.models.card import Card

NOT_USED = "not used"
HOW_WORDS = {"exact": "same name", "alias": "known alias", "chosen": "your choice"}


@dataclass(frozen=True, slots=True)
class MarkerRow:
    """One marker of the slide: the model's channel that it feeds (None: none) and how that came about, in plain words."""

    index: int
    marker: str
    feeds: str | None
    how: str


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """How the slide's markers feed the model.

    Attributes
    ----------
    rows : tuple of MarkerRow
        One per marker of the slide.
    absent : tuple of str
        The model's markers that nothing feeds.
    problem : str
        Why the model cannot work with this map, empty when it can.
    channels : ChannelMap or None
        The map itself, None when there is a problem.
    """

    rows: tuple[MarkerRow, ...]
    absent: tuple[str, ...]
    problem: str
    channels: ChannelMap | None

    @property
    def absent_sentence(self) -> str:
        """Say what the model goes without, empty when nothing is absent."""
        if not self.absent:
            return ""
        names = join_words(self.absent)
        return f"Not on this slide: {names}. The model works without them, less surely."


def join_words(words: Sequence[str]) -> str:
    """Join words as a sentence does: ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def resolve_channels(markers: Sequence[str], panel: Panel, chosen: Mapping[str, str]) -> ChannelPlan:
    """Match the slide's markers to a model's panel, with the user's choices on top."""
    names = tuple(marker.name for marker in panel.markers)
    valid = {
        model: mine for model, mine in chosen.items() if model in names and (not mine or mine in markers)
    }
    try:
        channels = match(markers, panel, chosen=valid)
    except PanelError as error:
        fed = {mine: model for model, mine in valid.items() if mine}
        rows = tuple(
            MarkerRow(index, marker, fed.get(marker), HOW_WORDS["chosen"] if marker in fed else "")
            for index, marker in enumerate(markers)
        )
        absent = tuple(name for name in names if name not in fed.values())
        return ChannelPlan(rows, absent, str(error), None)
    by_index = {entry.slide_index: entry for entry in channels.matches if entry.slide_index is not None}
    rows = tuple(
        MarkerRow(
            index,
            marker,
            by_index[index].marker if index in by_index else None,
            HOW_WORDS.get(by_index[index].how, "") if index in by_index else "",
        )
        for index, marker in enumerate(markers)
    )
    return ChannelPlan(rows, tuple(m.marker for m in channels.matches if m.slide_index is None), "", channels)


def choose(plan: ChannelPlan, chosen: Mapping[str, str], marker: str, feeds: str | None) -> dict[str, str]:
    """Return the choices after the user said that a slide marker feeds a model channel (None: no channel)."""
    out = {model: mine for model, mine in chosen.items() if mine != marker}
    before = next((row.feeds for row in plan.rows if row.marker == marker), None)
    if before is not None and before != feeds:
        out[before] = ""
    if feeds is not None:
        out[feeds] = marker
    return out


@dataclass(frozen=True, slots=True)
class PixelPlan:
    """The pixel size that counts (None: not known yet), and a sentence saying where it comes from."""

    pixel_um: float | None
    sentence: str


def resolve_pixel(of_file: float | None, typed: float | None) -> PixelPlan:
    """Return the pixel size to use: what the user typed, else the file's."""
    if typed is not None:
        if not 0.01 <= typed <= 50:
            return PixelPlan(
                None, f"{typed:g} µm is no pixel size of a microscope: type a value between 0.01 and 50."
            )
        if of_file is not None and not math.isclose(of_file, typed, rel_tol=1e-3):
            return PixelPlan(typed, f"Typed by you; the file says {of_file:.4g} µm.")
        return PixelPlan(typed, "Typed by you." if of_file is None else "As in the file.")
    if of_file is None:
        return PixelPlan(
            None,
            "The file does not say how large a pixel is. Type it here (ask your microscope's software): "
            "without it cells cannot be brought to the size that the model knows.",
        )
    return PixelPlan(of_file, "As in the file.")


@dataclass(frozen=True, slots=True)
class TypesPlan:
    """Whether cell types can be told, and the reason in a sentence when they cannot."""

    possible: bool
    reason: str


def resolve_types(card: Card | None, channels: ChannelMap | None) -> TypesPlan:
    """Say whether a model can tell types from the markers that are mapped."""
    if card is None or channels is None:
        return TypesPlan(False, "Types can be told once the markers are matched.")
    possible, why = type_gate(card, channels, types=True)
    return TypesPlan(possible, "" if possible else f"Cell types cannot be told here: {why}.")


def default_out(slide: Path, exists: Callable[[Path], bool] = Path.exists) -> Path:
    """Return a result folder beside the slide that does not exist yet: ``NAME_dama``, ``NAME_dama_2``, ..."""
    name = slide.name
    for suffix in (".ome.zarr", ".zarr", ".ome.tiff", ".ome.tif", ".qptiff", ".tiff", ".tif", ".npy"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return unused(slide.with_name(f"{name}_dama"), exists)


def unused(folder: Path, exists: Callable[[Path], bool] = Path.exists) -> Path:
    """Return the folder itself, or its name with the first free number behind it."""
    out, number = folder, 1
    while exists(out):
        number += 1
        out = folder.with_name(f"{folder.name}_{number}")
    return out


Box = tuple[tuple[float, float], tuple[float, float]]


def region_of_box(box: Box, shape_yx: tuple[int, int], what: str) -> Region:
    """Return the region of a slide inside a box.

    Parameters
    ----------
    box : ((y0, y1), (x0, x1))
        Corners in level-0 pixels; pixel centres lie at whole numbers, as in napari.
    shape_yx : (int, int)
        Size of the slide.
    what : str
        What the box is, for the error message.

    Raises
    ------
    SettingsError
        When the box lies outside the slide.
    """
    (y0, y1), (x0, x1) = box
    region = Region(math.floor(y0 + 0.5), math.ceil(y1 + 0.5), math.floor(x0 + 0.5), math.ceil(x1 + 0.5))
    clipped = region.clip(shape_yx)
    if clipped.is_empty:
        raise SettingsError(
            f"{what} lies outside the slide: move it onto the slide, or analyse the whole slide."
        )
    return clipped


def area_sentence(region: Region, pixel_um: float | None) -> str:
    """Say how large a region is."""
    pixels = f"{region.height} x {region.width} px, {region.height * region.width / 1e6:.3g} Mpx"
    if pixel_um is None:
        return pixels
    height, width = region.height * pixel_um, region.width * pixel_um
    if max(height, width) >= 2000:
        return f"{pixels}, {height / 1000:.2f} x {width / 1000:.2f} mm"
    return f"{pixels}, {height:.0f} x {width:.0f} µm"


def duration(seconds: float) -> str:
    """Say a time as a person would: ``40 s``, ``3 min``, ``2 h 10 min``."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 90:
        return f"{max(round(seconds), 0)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
