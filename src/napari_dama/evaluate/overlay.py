"""Cells drawn over an image: its grey values, outlines, a scale bar, and what the colours mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_dama.slides.region import Region

# Okabe and Ito's colours: apart for every kind of colour vision, and bright on grey.
TRUTH: Final = "#ffffff"
HIT: Final = "#56b4e9"
MISS: Final = "#f0e442"
FALSE: Final = "#d55e00"
_SCALES_UM: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


def stretched(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Grey values 0 to 1 between the first and the 99.7th percentile, the dark ones lifted a little."""
    values = np.nan_to_num(pixels.astype(np.float32))
    low, high = np.percentile(values, (1, 99.7))
    scaled = (values - low) / max(float(high - low), 1e-12)
    return np.asarray(np.clip(scaled, 0, 1) ** 0.7, np.float32)


def draw_outlines(
    axes: Axes, labels: NDArray[Any], chosen: Iterable[int], colour: str, *, dashed: bool = False
) -> None:
    """Draw the outlines of some labels (h, w) as lines through the edges of their pixels."""
    from matplotlib.collections import LineCollection
    from skimage import measure

    regionprops: Any = measure.regionprops
    find_contours: Any = measure.find_contours
    wanted = np.fromiter(chosen, np.int64)
    lines = []
    own = np.where(np.isin(labels, wanted), labels, 0).astype(np.int64)
    numbers, own = np.unique(own, return_inverse=True)
    for cell in regionprops(own.reshape(labels.shape) + (0 if 0 in numbers else 1)):
        contours = find_contours(np.pad(cell.image, 1).astype(np.float32), 0.5)
        top, left = cell.bbox[:2]
        lines += [contour[:, ::-1] + (left - 1, top - 1) for contour in contours]
    style = (0, (3, 1.5)) if dashed else "solid"
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=1.1, linestyles=[style]))


def draw_scale_bar(axes: Axes, view: Region, pixel_um: float) -> None:
    """Draw a bar of a round length, up to a quarter of the view's width, with its length above."""
    fit = [um for um in _SCALES_UM if um / pixel_um <= view.width / 4]
    if not fit:
        return
    length, margin = fit[-1] / pixel_um, 0.04 * view.width
    y, x = view.height - margin, view.width - margin
    axes.plot([x - length, x], [y, y], color="black", linewidth=6, solid_capstyle="butt", zorder=5)
    axes.plot([x - length, x], [y, y], color="white", linewidth=3.5, solid_capstyle="butt", zorder=6)
    axes.text(
        x - length / 2,
        y - 0.02 * view.height,
        f"{fit[-1]} µm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=9,
        zorder=6,
        bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.5, "edgecolor": "none"},
    )


def draw_legend(figure: Figure, marker: str, iou: float) -> None:
    """Say below the pictures what the colours mean."""
    from matplotlib.lines import Line2D

    entries = (
        (TRUTH, "truth"),
        (HIT, f"hit (IoU ≥ {iou:g})"),
        (MISS, "missed true cell"),
        (FALSE, "false find"),
    )
    handles = [
        Line2D([], [], color=colour, linestyle="--" if colour == MISS else "-", label=name)
        for colour, name in entries
    ]
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=4,
        fontsize=9,
        facecolor="#404040",
        labelcolor="white",
        edgecolor="none",
        title=f"outlines over {marker}",
    )
    legend.get_title().set_color("white")
    legend.get_title().set_fontsize(9)
