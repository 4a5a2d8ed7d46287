"""Curves and errors of detections as a folder of figures and tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_dama.errors import OutputError
from napari_dama.evaluate.curves import ONE_POINT, plot_errors, plot_recall
from napari_dama.evaluate.errors import TERMS, ErrorCurves, error_curves
from napari_dama.evaluate.recall import RecallCurves, recall_curves
from napari_dama.export.atomic import replacing

if TYPE_CHECKING:
    from napari_dama.evaluate.detections import Detections

FILES = (
    *("pr_masks.csv", "pr_boxes.csv", "pr.png"),
    *("errors_masks.csv", "errors_boxes.csv", "errors.png", "error_areas.csv"),
)
"""What `write_curves` leaves."""


@dataclass(frozen=True)
class CurveReport:
    """Curves and errors of masks and of boxes, and what they rest on.

    Attributes
    ----------
    pr_masks, pr_boxes
        Precision over recall per IoU.
    errors_masks, errors_boxes
        The error breakdown.
    limit
        A line that says how many detections per image were looked at.
    ranked
        Whether scores tell detections apart; else each curve is a single point.
    """

    pr_masks: RecallCurves
    pr_boxes: RecallCurves
    errors_masks: ErrorCurves
    errors_boxes: ErrorCurves
    limit: str
    ranked: bool

    def to_json(self) -> dict[str, Any]:
        """Areas under all curves as plain values."""
        parts: dict[str, dict[str, Any]] = {}
        for name, curves, errors in self._parts():
            by_iou = {f"{i:g}": float(a) for i, a in zip(curves.ious, curves.areas, strict=True)}
            parts[name] = {"ap_by_iou": by_iou, "errors": errors.areas}
            if len(errors.types) > 1:
                parts[name]["errors_by_type"] = errors.areas_by_type
        return {**parts, "detections": self.limit, "one_point": not self.ranked}

    def describe(self) -> list[str]:
        """Lines for a terminal."""
        lines = []
        for name, curves, errors in self._parts():
            at = "  ".join(f"{i:g} {a:.3f}" for i, a in zip(curves.ious, curves.areas, strict=True))
            lines.append(f"{name}      AP by IoU  {at}")
            lines.append(
                f"           errors     {'  '.join(f'{t} {a:.3f}' for t, a in errors.areas.items())}"
            )
        return lines if self.ranked else [*lines, f"curves     {ONE_POINT}"]

    def _parts(self) -> tuple[tuple[str, RecallCurves, ErrorCurves], ...]:
        return ("masks", self.pr_masks, self.errors_masks), ("boxes", self.pr_boxes, self.errors_boxes)


def write_curves(
    detections: Detections,
    folder: str | Path,
    *,
    by_type: bool = False,
    title: str = "",
    overwrite: bool = False,
) -> CurveReport:
    """Write precision-recall curves per IoU and the error breakdown, of masks and boxes, as CSV and PNG.

    Parameters
    ----------
    detections
        What `read_detections` gave.
    folder
        Made where it is not there. It gets the files of `FILES`.
    by_type
        Break errors down by cell type, see `error_curves`.
    title
        Above the figures.
    overwrite
        Replace such files that are there.

    Raises
    ------
    OutputError
        One of the files exists and ``overwrite`` is false, or the folder cannot be written; nothing is written then.
    SettingsError
        There are no true or no predicted cells, or types are wanted and not known.
    """
    place = check_folder(folder, overwrite=overwrite)
    report = CurveReport(
        recall_curves(detections),
        recall_curves(detections, boxes=True),
        error_curves(detections, by_type=by_type),
        error_curves(detections, boxes=True, by_type=by_type),
        detections.describe_limit(),
        detections.ranked,
    )
    areas = []
    for name, curves, errors in report._parts():
        _write_table(pd.DataFrame(curves.rows()), place / f"pr_{name}.csv", overwrite)
        _write_table(pd.DataFrame(errors.rows()), place / f"errors_{name}.csv", overwrite)
        areas += [
            {"of": name, "type": kind, "n_truth": int(n), **own}
            for (kind, own), n in zip(errors.areas_by_type.items(), errors.n_truth, strict=True)
        ]
        if len(errors.types) > 1:
            areas.append(
                {"of": name, "type": "all types", "n_truth": int(errors.n_truth.sum()), **errors.areas}
            )
    _write_table(
        pd.DataFrame(areas, columns=["of", "type", "n_truth", *TERMS]), place / "error_areas.csv", overwrite
    )
    parts: Any = {"title": title, "overwrite": overwrite}
    plot_recall(report.pr_masks, report.pr_boxes, detections, place / "pr.png", **parts)
    plot_errors(report.errors_masks, report.errors_boxes, detections, place / "errors.png", **parts)
    return report


def check_folder(folder: str | Path, *, overwrite: bool) -> Path:
    """Raise OutputError where the files of `FILES` cannot be written or stand already; give the folder."""
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise OutputError(f"{place} is a file; curves go into a folder.")
    there = [name for name in FILES if (place / name).exists()]
    if there and not overwrite:
        raise OutputError(
            f"{place} holds {', '.join(there)} already: choose another folder, or allow overwriting (--overwrite)."
        )
    return place


def _write_table(table: pd.DataFrame, file: Path, overwrite: bool) -> None:
    with replacing(file, overwrite=overwrite) as part:
        table.to_csv(part, index=False, float_format="%.6g")
