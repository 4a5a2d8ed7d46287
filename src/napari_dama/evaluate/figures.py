"""Figures without a screen: made, and written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_dama.errors import OutputError
from napari_dama.export.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS: Final = (".png", ".pdf", ".svg")
DPI: Final = 150


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure, size in inches, that lays itself out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def check_file(file: str | Path, *, what: str, overwrite: bool) -> Path:
    """Raise OutputError, before any work is done, unless a PNG, PDF or SVG may be written there."""
    path = Path(file)
    if path.suffix.lower() not in ENDINGS:
        raise OutputError(f"{path}: {what} are drawn to .png, .pdf or .svg.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already: choose another file, or allow overwriting (--overwrite).")
    return path


def save_figure(
    figure: Figure, file: str | Path, *, overwrite: bool, dpi: int = DPI, tight: bool = False
) -> Path:
    """Write a figure, the same bytes for the same figure; ``tight`` cuts empty margins away.

    Raises
    ------
    OutputError
        The file exists and ``overwrite`` is false, or it cannot be written.
    """
    from matplotlib import rc_context

    path = Path(file)
    undated: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    metadata, box = undated.get(path.suffix.lower()), "tight" if tight else None
    with (
        replacing(path, overwrite=overwrite) as part,
        rc_context({"svg.fonttype": "none", "svg.hashsalt": "napari-dama", "pdf.fonttype": 42}),
    ):
        figure.savefig(part, dpi=dpi, metadata=metadata, bbox_inches=box)
    return path
