"""Methods side by side on one field: which true cells each one hit, missed and invented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.cells.given import open_labels
from napari_dama.errors import PanelError, SettingsError, SlideError
from napari_dama.evaluate.figures import DPI, check_file, new_figure, save_figure
from napari_dama.evaluate.outcomes import Outcomes, method_names, outcomes, read_view
from napari_dama.evaluate.overlay import (
    FALSE,
    HIT,
    MISS,
    TRUTH,
    draw_legend,
    draw_outlines,
    draw_scale_bar,
    stretched,
)
from napari_dama.slides.panel import BRAIN7, match
from napari_dama.slides.region import Region
from napari_dama.slides.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_dama.cells.given import LabelInput
    from napari_dama.slides.slide import Slide

VIEW_PX: Final = 512
"""Side of the view where none is chosen and the image is larger."""
LARGEST_VIEW_PX: Final = 4096
COLUMNS: Final = 3
_PANEL_IN: Final = 4.2


@dataclass(frozen=True)
class PictureReport:
    """What a picture shows.

    Attributes
    ----------
    region
        The view.
    channel
        Marker that is shown in grey.
    n_truth
        True cells in view.
    methods
        What each method did.
    iou
        Least overlap of a hit.
    notes
        What was assumed, a sentence each.
    """

    region: Region
    channel: str
    n_truth: int
    methods: tuple[Outcomes, ...]
    iou: float
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "region": str(self.region),
            "channel": self.channel,
            "iou": self.iou,
            "n_truth": self.n_truth,
            "methods": [method.to_json() for method in self.methods],
            "notes": list(self.notes),
        }

    def describe(self) -> list[str]:
        """Lines for a terminal."""
        width = max(len(method.name) for method in self.methods)
        lines = [
            f"view {self.region}, {self.channel}: {self.n_truth} true cells; a hit has an IoU of {self.iou:g}"
        ]
        for one in self.methods:
            counts = f"hits {one.n_hits}  misses {len(one.misses)}  false {len(one.false_finds)}"
            lines.append(f"{one.name:<{width}}  {counts}  F1 {one.f1:.3f}")
        return [*lines, *self.notes]


def draw_pictures(
    image: str | Path | NDArray[Any],
    truth: LabelInput,
    preds: Sequence[LabelInput],
    file: str | Path,
    *,
    names: Sequence[str] | None = None,
    iou: float = 0.75,
    region: Region | None = None,
    channel: str | None = None,
    pixel_um: float | None = None,
    title: str = "",
    overwrite: bool = False,
    dpi: int = DPI,
) -> PictureReport:
    """Draw outlines of truth and of several methods over one field, hits, misses and false finds coloured.

    Parameters
    ----------
    image
        Slide that is shown in grey, see `open_slide`.
    truth, preds
        Label images of the slide's shape: files, result folders or arrays.
    file
        PNG, PDF or SVG; in the latter two outlines stay lines.
    names
        Of the methods; by default those of their files.
    iou
        Least overlap of a hit.
    region
        View; by default all of a small image, else the middle 512 x 512 px.
    channel
        Marker to show; by default the nuclear one, else the first.
    pixel_um
        Side of a pixel, instead of the slide's, for the scale bar. Without either there is none.
    title
        Above the pictures.
    overwrite
        Replace a file that is there.
    dpi
        Dots per inch of a PNG; a picture is 4.2 inches wide.

    Raises
    ------
    SlideError
        An image cannot be read, or shapes differ.
    SettingsError
        No prediction, names that do not go with them, or a region, channel or IoU that does not fit.
    OutputError
        The file exists, its ending is not known, or it cannot be written.
    """
    path = check_file(file, what="pictures", overwrite=overwrite)
    if not preds:
        raise SettingsError("There is no prediction to draw; give one label image per method.")
    called = list(names) if names is not None else method_names(preds)
    if len(called) != len(preds):
        raise SettingsError(
            f"There are {len(called)} names and {len(preds)} predictions; give as many of each."
        )
    with open_slide(image, pixel_um=pixel_um) as slide:
        _check_shapes(slide, truth, preds)
        view, notes = _view(slide, region)
        index, note = _channel(slide, channel)
        grey = stretched(slide.read(view, channels=[index])[0])
        marker, size_um = slide.markers[index], slide.pixel_um
    methods = [
        outcomes(truth, pred, view, name=name, iou=iou) for pred, name in zip(preds, called, strict=True)
    ]
    true_view = read_view(truth, view)
    cells = np.unique(true_view[true_view > 0]).astype(np.int64)
    if size_um is None:
        notes.append("The pixel size is not known, so there is no scale bar (give --pixel-um).")
    report = PictureReport(view, marker, len(cells), tuple(methods), iou, (*notes, *note))
    panels = len(methods) + 1
    columns = min(COLUMNS, panels) if panels != 4 else 2
    rows = -(-panels // columns)
    share = view.height / view.width
    figure = new_figure(_PANEL_IN * columns, (_PANEL_IN * share + 0.5) * rows + 0.9)
    every = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in every:
        axes.set_axis_off()
    for axes in every[:panels]:
        axes.imshow(grey, cmap="gray", vmin=0, vmax=1.25, interpolation="nearest")
    draw_outlines(every[0], true_view, cells, TRUTH)
    every[0].set_title(f"truth\n{len(cells)} cells", fontsize=10)
    for axes, one in zip(every[1:panels], methods, strict=True):
        draw_outlines(axes, true_view, one.misses, MISS, dashed=True)
        draw_outlines(axes, one.pred, one.false_finds, FALSE)
        draw_outlines(axes, one.pred, one.hits, HIT)
        counts = f"{one.n_hits} hits, {len(one.misses)} missed, {len(one.false_finds)} false"
        axes.set_title(f"{one.name}\n{counts}, F1 {one.f1:.2f}", fontsize=10)
    if size_um is not None:
        draw_scale_bar(every[0], view, size_um)
    draw_legend(figure, marker, iou)
    if title:
        figure.suptitle(title, fontsize=11)
    save_figure(figure, path, overwrite=overwrite, dpi=dpi, tight=True)
    return report


def _check_shapes(slide: Slide, truth: LabelInput, preds: Sequence[LabelInput]) -> None:
    for source, what in ((truth, "truth"), *((pred, "prediction") for pred in preds)):
        labels = open_labels(source)
        if labels.shape != slide.shape[1:]:
            name = labels.name if labels.path is not None else f"the {what}"
            raise SlideError(
                f"{name} is {labels.shape} and the slide {slide.name} is {tuple(slide.shape[1:])} (Y, X); "
                "they must be of one shape."
            )


def _view(slide: Slide, region: Region | None) -> tuple[Region, list[str]]:
    whole = Region.whole(slide.shape)
    if region is None:
        if max(whole.shape) <= VIEW_PX * 5 // 4:
            return whole, []
        y0, x0 = max(0, (whole.height - VIEW_PX) // 2), max(0, (whole.width - VIEW_PX) // 2)
        middle = Region(y0, y0 + VIEW_PX, x0, x0 + VIEW_PX).clip(whole.shape)
        return middle, [
            "No region was chosen, so the middle of the image is shown (give --region Y0:Y1,X0:X1)."
        ]
    view = region.clip(whole.shape)
    if view.is_empty:
        raise SettingsError(
            f"The region {region} lies outside of the slide {slide.name}, which is {whole.shape} (Y, X)."
        )
    if max(view.shape) > LARGEST_VIEW_PX:
        raise SettingsError(
            f"The region {region} is larger than {LARGEST_VIEW_PX} px a side, in which no cell could be seen; "
            "choose a smaller one."
        )
    return view, [] if view == region else [f"The region was cut to the image: {view}."]


def _channel(slide: Slide, wanted: str | None) -> tuple[int, list[str]]:
    """Find the channel to show, and what is to be said about it."""
    if wanted is not None:
        for index, marker in enumerate(slide.markers):
            if marker.casefold() == wanted.strip().casefold():
                return index, []
        raise SettingsError(
            f"The slide {slide.name} has no channel {wanted!r}; it has {', '.join(slide.markers)}."
        )
    try:
        found = match(slide.markers, BRAIN7).matches
    except PanelError:
        return 0, [
            f"No channel is known to be nuclear, so the first, {slide.markers[0]}, is shown (--channel)."
        ]
    nuclear = [
        one.slide_index
        for one, marker in zip(found, BRAIN7.markers, strict=True)
        if marker.nuclear and one.slide_index is not None
    ]
    return nuclear[0], []
