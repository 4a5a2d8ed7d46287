"""Precision-recall curves per IoU, as the paper's supplement shows them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_dama.errors import OutputError
from napari_dama.evaluate.coco import IOUS, RECALLS

if TYPE_CHECKING:
    from napari_dama.evaluate.segments import SegmentScores


def plot_curves(scores: SegmentScores, file: str | Path, *, title: str = "", overwrite: bool = False) -> Path:
    """Draw precision over recall per IoU, for masks and boxes side by side.

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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(file)
    if path.suffix.lower() not in {".png", ".pdf", ".svg"}:
        raise OutputError(f"{path}: curves are drawn to .png, .pdf or .svg.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already: choose another file, or allow overwriting.")
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    parts = (("masks", scores.mask_curves, scores.mAP), ("boxes", scores.box_curves, scores.box_mAP))
    for axes, (name, curves, mean) in zip(figure.subplots(1, 2, sharey=True), parts, strict=True):
        for i, (iou, curve) in enumerate(zip(IOUS, curves, strict=True)):
            shade = 0.1 + 0.75 * i / (len(IOUS) - 1)
            axes.plot(
                RECALLS, curve, color=(shade * 0.6, shade * 0.8, 0.35 + shade * 0.6), label=f"{iou:.2f}"
            )
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", title=f"{name}: mAP {mean:.3f}")
        axes.grid(alpha=0.3)
        if np.isnan(curves).all():
            axes.text(0.5, 0.5, "no true cells", ha="center", va="center")
    figure.axes[0].set_ylabel("precision")
    figure.axes[1].legend(title="IoU", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    heading = f"{scores.n_truth} true, {scores.n_pred} predicted cells; detections not limited"
    figure.suptitle(f"{title}\n{heading}" if title else heading, fontsize=10)
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        figure.savefig(part, dpi=150)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return path
