"""Areas outlined by hand as fields to learn from and fields to validate on."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from napari_dama.cells.given import open_labels
from napari_dama.errors import SlideError, StoreError
from napari_dama.slides.intensity import normalise, slide_stats
from napari_dama.slides.panel import match
from napari_dama.slides.region import Region
from napari_dama.slides.slide import open_slide
from napari_dama.training.areas import MOST_BYTES, part_area
from napari_dama.training.segments import LabelledField, resampled

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dama.models.card import Card
    from napari_dama.training.areas import AnnotatedArea, Areas

Fields = list[LabelledField]


def area_fields(areas: Areas, folder: Path, card: Card, share: float) -> tuple[Fields, Fields]:
    """Fields to learn from and held-out fields of a run's areas.

    Parameters
    ----------
    areas
    folder
        The job's folder, which holds their label images.
    card
        Of the model: its panel, pixel size and window.
    share
        Of each area's cells to hold out. Where no area is large enough to be parted, whole areas are held out.

    Raises
    ------
    StoreError, SlideError, PanelError
        An area is too small, a slide is gone, or something does not fit.
    """
    training: Fields = []
    held: Fields = []
    for number, area in enumerate(areas.areas, start=1):
        learned, kept = _load(area, f"area {number}", folder, areas.chosen, card, share)
        training.append(learned)
        held += [] if kept is None else [kept]
    if not held:
        if len(training) < 2:
            side = card.image_px * card.pixel_um
            raise StoreError(
                f"the outlined area is too small to hold a part out for validation: one side must be at least "
                f"{2 * side:.0f} um, the other {side:.0f} um. Outline the cells of a larger area, or of a second one"
            )
        count = max(1, round(share * len(training)))
        training, held = training[:-count], training[-count:]
    return training, held


def _load(
    area: AnnotatedArea, name: str, folder: Path, chosen: dict[str, str], card: Card, share: float
) -> tuple[LabelledField, LabelledField | None]:
    region, panel = Region.parse(area.region), card.to_panel()
    with open_slide(area.slide, pixel_um=area.pixel_um) as slide:
        if slide.pixel_um is None:
            raise SlideError(f"{area.slide} has no pixel size; type it in Channels")
        if region.clip(slide.shape) != region:
            raise SlideError(
                f"{name} is {region}, outside of its slide {slide.name} of {slide.shape[1:]} px (Y, X)"
            )
        if 4.0 * slide.shape[0] * region.height * region.width > MOST_BYTES:
            raise StoreError(
                f"{name} of {region.height} x {region.width} px with {slide.shape[0]} markers is too large to be held in "
                "memory: draw a Shapes layer around a part of it"
            )
        channels = match(slide.markers, panel, chosen=chosen or None)
        scale = slide.pixel_um / card.pixel_um
        raw = normalise(slide.read(region), slide_stats(slide))
    truth = open_labels(folder / area.labels).read().astype(np.int32)
    if truth.shape != region.shape:
        raise SlideError(f"{folder / area.labels} is {truth.shape} px, {name} is {region.shape}")
    if area.mask is not None:  # dark and without cells, so that nothing is learned of what nobody annotated
        outside = open_labels(folder / area.mask).read() == 0
        raw[:, outside], truth[outside] = 0, 0
    parts = part_area(truth, share, ceil((card.image_px + 1) / scale))
    learned = resampled(
        f"{slide.name}, {name}", raw[:, *parts.learned], truth[parts.learned], channels, scale
    )
    if parts.held is None:
        return learned, None
    kept = resampled(
        f"{slide.name}, {name}, held out", raw[:, *parts.held], truth[parts.held], channels, scale
    )
    return learned, kept
