"""Label efficiency in a picture: score over label fraction per method, with intervals, baselines as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from napari_dama.evaluate.compare.units import BOOSTING, RULE
from napari_dama.export.atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's, which people with any common colour blindness can tell apart; markers differ too."""
MARKS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY: Final = "#666666"


def plot_summary(table: pd.DataFrame, file: Path, *, title: str, metric: str = "balanced_accuracy") -> None:
    """Draw a summary (`tables.summary_table`): one panel per mode, means over folds with their 95 % t intervals.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    own = table[table["metric"] == metric]
    networks, baselines = own[own["mode"] != "baseline"], own[own["mode"] == "baseline"]
    modes = list(dict.fromkeys(networks["mode"])) or ["baseline"]
    methods = list(dict.fromkeys(networks["method"]))
    shares = sorted(share for share in set(own["label_share"]) if share > 0) or [1.0]
    figure = Figure(figsize=(4.3 * len(modes) + 1.9, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    for axes, mode in zip(panels, modes, strict=True):
        for place, method in enumerate(methods):
            rows = networks[(networks["mode"] == mode) & (networks["method"] == method)].sort_values(
                "label_share"
            )
            # side by side, so that intervals do not hide each other
            shift = 1.06 ** (place - (len(methods) - 1) / 2)
            axes.errorbar(
                rows["label_share"] * shift,
                100 * rows["mean"],
                yerr=100 * rows["ci95"].fillna(0),
                color=COLOURS[place % len(COLOURS)],
                marker=MARKS[place % len(MARKS)],
                markersize=6,
                linewidth=1.6,
                elinewidth=1,
                capsize=3,
                label=method,
            )
        boosted = baselines[baselines["method"] == BOOSTING].sort_values("label_share")
        if len(boosted):
            axes.plot(
                *(boosted["label_share"], 100 * boosted["mean"]),
                color=GREY,
                linestyle="--",
                marker=".",
                label="boosting",
            )
        for level in 100 * baselines[baselines["method"] == RULE]["mean"]:
            axes.axhline(level, color=GREY, linestyle=":", linewidth=1.8, label="brightest marker")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(shares))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        axes.set_xlim(min(shares) / 1.6, max(shares) * 1.6)
        axes.set(xlabel="labels used", title=mode)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"{metric.replace('_', ' ')} on test cells (%)")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(max(low, 0), min(high, 101))  # an interval may reach beyond what a score can be
    named = dict(zip(*reversed(panels[-1].get_legend_handles_labels()), strict=True))
    order = [name for name in methods if name in named] + [name for name in named if name not in methods]
    figure.legend([named[name] for name in order], order, loc="outside right center", frameon=False)
    figure.suptitle(f"{title}; bars: 95 % intervals over folds", fontsize=10)
    with replacing(file, overwrite=True) as part:
        figure.savefig(part, dpi=150)
