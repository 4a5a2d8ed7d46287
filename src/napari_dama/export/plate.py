"""What a picture is made of beside its pixels: canvas, scale bar, and legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from napari_dama.cells.table import UNTYPED_COLOUR
from napari_dama.export.source import UNTYPED, ResultSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_dama.export.blend import Blend, Shown
    from napari_dama.slides.region import Region

SIDE_IN: Final = 7.0
"""Longer side of a picture in inches, from which lines and text have their size."""
_LEGEND_IN: Final = 1.9
_LINE_IN: Final = 0.19
_SCALES_UM: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


def canvas(picture: Blend, max_px: int, lines: int) -> tuple[Figure, Axes, int]:
    """A figure whose axes hold the picture pixel by pixel, with room for lines of a legend; and its dots per inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    height, width = picture.rgb.shape[:2]
    enlarge = max(1, min(4, max_px // max(height, width)))
    dpi = max(20, round(max(height, width) * enlarge / SIDE_IN))
    size = (width * enlarge / dpi, height * enlarge / dpi)
    strip = _LEGEND_IN if lines else 0.0
    tall = max(size[1], (lines + 1) * _LINE_IN if lines else 0.0)
    figure = NewFigure(figsize=(size[0] + strip, tall), facecolor="white")
    FigureCanvasAgg(figure)
    whole = size[0] + strip
    axes = figure.add_axes((0, 1 - size[1] / tall, size[0] / whole, size[1] / tall))
    axes.set_axis_off()
    return figure, axes, dpi


def scale_bar(axes: Axes, view: Region, pixel_um: float) -> float:
    """A bar of a round length, up to a quarter of the view's width; returns its length in micrometres, 0 for none."""
    fit = [um for um in _SCALES_UM if um / pixel_um <= view.width / 4]
    if not fit:
        return 0.0
    length, margin = fit[-1] / pixel_um, 0.035 * max(view.shape)
    y, x = view.y1 - margin, view.x1 - margin
    for colour, width in (("black", 5.5), ("white", 3.0)):
        axes.plot([x - length, x], [y, y], color=colour, linewidth=width, solid_capstyle="butt", zorder=5)
    text = f"{fit[-1] / 1000:g} mm" if fit[-1] >= 1000 else f"{fit[-1]:g} µm"
    label = axes.annotate(
        text,
        (x - length / 2, y),
        xytext=(0, 4),
        textcoords="offset points",
        color="white",
        ha="center",
        va="bottom",
        fontsize=10,
        zorder=6,
    )
    from matplotlib.patheffects import withStroke

    label.set_path_effects([withStroke(linewidth=2.5, foreground="black")])
    return float(fit[-1])


def legend_lines(source: ResultSource, shown: Sequence[Shown], cells: str, wanted: set[str] | None) -> int:
    """How many lines the legend may take, titles included."""
    types = 0 if cells == "none" else len(source.types if wanted is None else wanted) + 3
    return len(shown) + 2 + types


def draw_legend(
    figure: Figure,
    source: ResultSource,
    shown: Sequence[Shown],
    rows: NDArray[np.bool_],
    cells: str,
    wanted: set[str] | None,
) -> None:
    """Markers and types, right of the picture."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    width = float(figure.get_figwidth())
    left = (width - _LEGEND_IN + 0.12) / width
    style: dict[str, Any] = {
        "fontsize": 9, "frameon": False, "alignment": "left", "borderaxespad": 0, "handletextpad": 0.5,
        "title_fontproperties": {"size": 9, "weight": "bold"}, "loc": "upper left",
    }  # fmt: skip
    swatches = [Patch(facecolor=m.colour, edgecolor="#606060", linewidth=0.5, label=m.name) for m in shown]
    figure.legend(handles=swatches, title="Markers", bbox_to_anchor=(left, 0.985), handlelength=1.0, **style)
    if cells == "none":
        return
    codes = source.type_codes()[rows]
    names = [name for name in source.types if wanted is None or name in wanted]
    place = {name: index for index, name in enumerate(source.types)}
    entries = [(source.colours[name], name, int((codes == place[name]).sum())) for name in names]
    untyped = int((codes < 0).sum())
    if untyped or not entries:
        entries.append((UNTYPED_COLOUR, "no type" if names else UNTYPED, untyped))
    lines = [
        (Line2D([], [], color=colour, linewidth=2.2) if cells == "outlines" else Patch(facecolor=colour))
        for colour, _, _ in entries
    ]
    texts = [f"{name} ({count})" for _, name, count in entries]
    # below the markers
    below = 0.985 - (len(shown) + 1.9) * _LINE_IN / float(figure.get_figheight())
    figure.legend(
        lines, texts, title="Cells in view", bbox_to_anchor=(left, below), handlelength=1.2, **style
    )
