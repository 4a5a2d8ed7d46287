"""Figures of precision over recall, as the paper's supplement shows them: per IoU, and by kind of error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from napari_dama.evaluate.coco import IOUS
from napari_dama.evaluate.errors import TERMS
from napari_dama.evaluate.figures import check_file, new_figure, save_figure
from napari_dama.evaluate.pairs import RECALLS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from numpy.typing import NDArray

    from napari_dama.evaluate.detections import Detections
    from napari_dama.evaluate.errors import ErrorCurves
    from napari_dama.evaluate.recall import RecallCurves
    from napari_dama.evaluate.segments import SegmentScores

ONE_POINT: Final = (
    "Scores do not tell detections apart: each curve is one point, that of all detections together."
)
_PLAIN: Final = {
    "C75": "right at IoU 0.75",
    "C50": "right at IoU 0.5",
    "Loc": "localisation",
    "Sim": "similar type",
    "Oth": "other type",
    "BG": "false, or found twice",
    "FN": "missed",
}
_COLUMNS: Final = {"family": "DejaVu Sans Mono", "size": 8}
"""Letters of one width, for numbers in columns."""
_TERM_COLOURS: Final = {
    "C75": "#ffffff",
    "C50": "#c6dbef",
    "Loc": "#6baed6",
    "Sim": "#2171b5",
    "Oth": "#08306b",
    "BG": "#cc79a7",
    "FN": "#e69f00",
}


def plot_curves(scores: SegmentScores, file: str | Path, *, title: str = "", overwrite: bool = False) -> Path:
    """Draw precision over recall at the IoUs of COCO's AP, 0.50 to 0.95, for masks and boxes side by side.

    Parameters
    ----------
    scores
        What `evaluate_segments` gave.
    file
        PNG, PDF or SVG.
    title
        Above the plots.
    overwrite
        Replace a file that is there.

    Raises
    ------
    OutputError
        The file exists, its ending is not known, or it cannot be written.
    """
    path = check_file(file, what="curves", overwrite=overwrite)
    figure = new_figure(9, 4.2)
    parts = (("masks", scores.mask_curves, scores.mAP), ("boxes", scores.box_curves, scores.box_mAP))
    for axes, (name, curves, mean) in zip(figure.subplots(1, 2, sharey=True), parts, strict=True):
        _draw(axes, curves, [f"{iou:.2f}" for iou in IOUS])
        axes.set_title(f"{name}: mAP {mean:.3f}")
        if np.isnan(curves).all():
            axes.text(0.5, 0.5, "no true cells", ha="center", va="center")
    figure.axes[1].set_ylabel("")
    figure.axes[1].legend(title="IoU", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    counts = f"{scores.n_truth} true, {scores.n_pred} predicted cells"
    _headline(figure, title, [counts, scores.describe_limit()])
    return save_figure(figure, path, overwrite=overwrite)


def plot_recall(
    masks: RecallCurves,
    boxes: RecallCurves,
    detections: Detections,
    file: str | Path,
    *,
    title: str = "",
    overwrite: bool = False,
) -> Path:
    """Draw precision over recall at IoU 0.1 to 0.9, for masks and boxes, with the area under each curve.

    Where scores do not tell detections apart, recall and precision of all of them are drawn as points.

    Parameters
    ----------
    masks, boxes
        What `recall_curves` gave.
    detections
        What they were drawn up from.
    file, title, overwrite
        As in `plot_curves`.

    Raises
    ------
    OutputError
        The file exists, its ending is not known, or it cannot be written.
    """
    path = check_file(file, what="curves", overwrite=overwrite)
    figure = new_figure(11, 4.4)
    for axes, (name, curves) in zip(
        figure.subplots(1, 2, sharey=True), (("masks", masks), ("boxes", boxes)), strict=True
    ):
        if detections.ranked:
            _draw(
                axes,
                curves.precision,
                [f"{iou:.1f}  {area:.3f}" for iou, area in zip(curves.ious, curves.areas, strict=True)],
            )
            heading = "     IoU  AP"
        else:
            _draw_points(axes, curves)
            heading = "     IoU  prec.  recall"
        axes.set_title(name)
        _legend(axes, heading)
    figure.axes[1].set_ylabel("")
    _headline(figure, title, _facts(detections))
    return save_figure(figure, path, overwrite=overwrite)


def plot_errors(
    masks: ErrorCurves,
    boxes: ErrorCurves,
    detections: Detections,
    file: str | Path,
    *,
    title: str = "",
    overwrite: bool = False,
) -> Path:
    """Draw the error breakdown of masks and boxes as stacked areas, with the area under each curve in the legend.

    Parameters
    ----------
    masks, boxes
        What `error_curves` gave.
    detections
        What they were drawn up from.
    file, title, overwrite
        As in `plot_curves`.

    Raises
    ------
    OutputError
        The file exists, its ending is not known, or it cannot be written.
    """
    path = check_file(file, what="error curves", overwrite=overwrite)
    figure = new_figure(13, 4.4)
    for axes, (name, errors) in zip(
        figure.subplots(1, 2, sharey=True), (("masks", masks), ("boxes", boxes)), strict=True
    ):
        below = np.zeros(len(RECALLS))
        for term, curve in zip(TERMS, errors.mean, strict=True):
            top = np.maximum(curve, below)
            axes.fill_between(RECALLS, below, top, color=_TERM_COLOURS[term], linewidth=0)
            axes.plot(RECALLS, top, color="black", linewidth=0.6)
            below = top
        _axes(axes, grid=False)
        axes.set_title(name)
        _legend(axes, "     term  area   step", _term_handles(errors))
    figure.axes[1].set_ylabel("")
    _headline(figure, title, [*_facts(detections), _kinds(masks)])
    return save_figure(figure, path, overwrite=overwrite)


def _kinds(errors: ErrorCurves) -> str:
    """Say which types the curves average over, and what follows for Sim and Oth."""
    if len(errors.types) == 1:
        return "one type: Sim and Oth equal Loc"
    families = (
        "" if errors.areas["Oth"] > errors.areas["Sim"] else "; all of one family, so that Oth equals Sim"
    )
    return f"mean of {len(errors.types)} types: {', '.join(errors.types)}{families}"


def _term_handles(errors: ErrorCurves) -> list[Patch]:
    """One entry per term, the last on top: the area under its curve, and how much it adds to the one below."""
    from matplotlib.patches import Patch

    handles, before = [], 0.0
    for term, area in errors.areas.items():
        step = "      " if term == TERMS[0] else f"{area - before:+.3f}"
        label = f"{term:<4}  {area:.3f}  {step}  {_PLAIN[term]}"
        handles.append(Patch(facecolor=_TERM_COLOURS[term], edgecolor="black", linewidth=0.6, label=label))
        before = area
    return handles[::-1]


def _legend(axes: Axes, heading: str, handles: Sequence[Patch] | None = None) -> None:
    """Put a legend of columns on the right of a plot."""
    axes.legend(
        handles=handles or axes.get_legend_handles_labels()[0],
        title=heading,
        prop=_COLUMNS,
        title_fontproperties=_COLUMNS,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        alignment="left",
    )


def _facts(detections: Detections) -> list[str]:
    facts = [f"{detections.n_truth} true, {detections.n_pred} predicted cells; {detections.describe_limit()}"]
    return facts if detections.ranked else [*facts, ONE_POINT]


def _headline(figure: Figure, title: str, lines: Sequence[str]) -> None:
    figure.suptitle("\n".join([title, *lines] if title else lines), fontsize=9)


def _axes(axes: Axes, *, grid: bool = True) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.02 if grid else 1), xlabel="recall", ylabel="precision")
    if grid:
        axes.grid(alpha=0.3)


def _shade(place: int, count: int) -> tuple[float, float, float, float]:
    """Colour of one of several curves, from dark to bright, that colour-blind people can tell apart too."""
    from matplotlib import colormaps

    red, green, blue, alpha = colormaps["viridis"](0.92 * place / max(count - 1, 1))
    return red, green, blue, alpha


def _draw(axes: Axes, curves: NDArray[np.float64], labels: Sequence[str]) -> None:
    for i, (curve, label) in enumerate(zip(curves, labels, strict=True)):
        axes.plot(RECALLS, curve, color=_shade(i, len(labels)), label=label)
    _axes(axes)


def _draw_points(axes: Axes, curves: RecallCurves) -> None:
    axes.plot(curves.recall, curves.precision_of_all, color="0.7", linewidth=0.8, zorder=1)
    for i, (iou, recall, precision) in enumerate(
        zip(curves.ious, curves.recall, curves.precision_of_all, strict=True)
    ):
        axes.plot(
            recall,
            precision,
            "o",
            color=_shade(i, len(curves.ious)),
            label=f"{iou:.1f}  {precision:.3f}  {recall:.3f}",
            clip_on=False,
        )
    _axes(axes)
