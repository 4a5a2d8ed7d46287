"""Marker names and pixel size from what TIFF writers leave: OME-XML, ImageJ, Vectra (QPTIFF), resolution tags."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from napari_dama.slides.axes import square_pixel_um, to_um

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAUSIBLE_TAG_UM = (0.05, 20.0)


@dataclass(slots=True)
class TiffFacts:
    """What a file says about its channels."""

    names: list[str | None] = field(default_factory=list)
    pixel_um: float | None = None
    notes: list[str] = field(default_factory=list)
    image_name: str | None = None


def read_facts(tif: Any, series_index: int, pages: Sequence[Any], channel_planes: Sequence[int]) -> TiffFacts:
    """Collect names and pixel size of one series.

    Parameters
    ----------
    tif
        An open `tifffile.TiffFile`.
    series_index
        Which image.
    pages
        The page of each channel.
    channel_planes
        The number of each channel's plane among all planes of the series.
    """
    facts = TiffFacts()
    if tif.is_ome and tif.ome_metadata:
        _from_ome(tif.ome_metadata, series_index, facts)
    elif tif.is_imagej and tif.imagej_metadata:
        _from_imagej(tif, channel_planes, facts)
    elif tif.is_qpi or "PerkinElmer-QPI" in str(tif.pages[0].description)[:200]:
        _from_qpi(pages, facts)
    elif tif.is_shaped and tif.shaped_metadata:
        _from_shaped(tif.shaped_metadata, series_index, facts)
    if facts.pixel_um is None and not tif.is_ome and not tif.is_imagej:
        _from_tags(tif.pages[0], facts)
    return facts


def _local(element: Any) -> str:
    """Tag without namespace."""
    return str(element.tag).rsplit("}", 1)[-1]


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _from_ome(xml: str, index: int, facts: TiffFacts) -> None:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        facts.notes.append(f"The OME description of the file is damaged and not used ({error}).")
        return
    images = [element for element in root if _local(element) == "Image"]
    if index >= len(images):
        return
    facts.image_name = images[index].get("Name")
    pixels = next((element for element in images[index] if _local(element) == "Pixels"), None)
    if pixels is None:
        return
    for channel in pixels:
        if _local(channel) == "Channel":
            samples = int(_number(channel.get("SamplesPerPixel")) or 1)
            facts.names += [channel.get("Name") or channel.get("Fluor")] + [None] * (samples - 1)
    sizes = []
    for axis in "XY":
        size, unit = _number(pixels.get(f"PhysicalSize{axis}")), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        sizes.append(None if size is None else to_um(size, unit))
        if size is not None and sizes[-1] is None:
            note = f"The file gives its pixel size in '{unit}', which is no length; it is not used."
            if note not in facts.notes:
                facts.notes.append(note)
    facts.pixel_um = square_pixel_um(sizes[0], sizes[1], facts.notes)


def _from_imagej(tif: Any, channel_planes: Sequence[int], facts: TiffFacts) -> None:
    meta = tif.imagej_metadata
    labels = meta.get("Labels")
    if isinstance(labels, str):
        labels = [labels]
    if labels:
        if len(labels) > max(channel_planes):
            facts.names = [labels[plane] for plane in channel_planes]
        elif len(labels) == len(channel_planes):
            facts.names = list(labels)
    unit = meta.get("unit")
    sizes = []
    for tag in ("XResolution", "YResolution"):
        density = _ratio(tif.pages[0], tag)
        sizes.append(None if not density or unit is None else to_um(1.0 / density, str(unit)))
    facts.pixel_um = square_pixel_um(sizes[0], sizes[1], facts.notes)


def _from_qpi(pages: Sequence[Any], facts: TiffFacts) -> None:
    for page in pages:
        description = getattr(page, "description", None) or _description_of_frame(page)
        name = size = None
        try:
            root = ElementTree.fromstring(description) if description else None
        except ElementTree.ParseError:
            root = None
        if root is not None:
            name = _text(root, "Biomarker") or _text(root, "Name")
            size = _number(_text(root, "PixelSizeMicrons"))
        facts.names.append(name)
        if facts.pixel_um is None:
            facts.pixel_um = size


def _description_of_frame(page: Any) -> str | None:
    """Load the description of a page that was read as a mere frame."""
    try:
        full = page.aspage()
    except (AttributeError, ValueError):
        return None
    return str(full.description)


def _text(root: Any, tag: str) -> str | None:
    for element in root.iter():
        if _local(element) == tag and element.text and element.text.strip():
            return str(element.text).strip()
    return None


def _from_shaped(metadata: Sequence[dict[str, Any]], index: int, facts: TiffFacts) -> None:
    """Read tifffile's own JSON, where a script may have left names."""
    meta = metadata[index] if index < len(metadata) else {}
    channel = meta.get("Channel")
    names = channel.get("Name") if isinstance(channel, dict) else None
    for key in ("markers", "channel_names", "Labels"):
        names = names or meta.get(key)
    if isinstance(names, list | tuple):
        facts.names = [str(name) for name in names]
    size = meta.get("PhysicalSizeX")
    if isinstance(size, int | float):
        facts.pixel_um = to_um(float(size), str(meta.get("PhysicalSizeXUnit", "µm")))


def _ratio(page: Any, tag: str) -> float | None:
    """Give a resolution tag in pixels per unit."""
    found = page.tags.get(tag)
    value = None if found is None else found.value
    if not isinstance(value, tuple | list) or len(value) < 2 or not value[0] or not value[1]:
        return None
    density = float(value[0]) / float(value[1])
    return density if math.isfinite(density) and density > 0 else None


def _from_tags(page: Any, facts: TiffFacts) -> None:
    """Believe resolution tags in pixels per centimetre if they can be a microscope's; per inch is for printers."""
    unit = page.tags.get("ResolutionUnit")
    if unit is None or int(unit.value) != 3:
        return
    sizes = [
        None if not density else 1e4 / density
        for density in (_ratio(page, "XResolution"), _ratio(page, "YResolution"))
    ]
    size = square_pixel_um(sizes[0], sizes[1], facts.notes)
    if size is not None and _PLAUSIBLE_TAG_UM[0] <= size <= _PLAUSIBLE_TAG_UM[1]:
        facts.pixel_um = size
        facts.notes.append(f"The pixel size, {size:.4g} um, comes from the file's resolution tags; check it.")
