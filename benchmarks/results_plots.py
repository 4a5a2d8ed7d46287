"""How long the window takes to recolour and to plot many cells.

    xvfb-run -a python benchmarks/results_plots.py --cells 100000 --json results_plots.json

A real napari window with the dock and a drawn result: square cells of 10 x 10 px on a grid, a multiscale labels layer as
`analyse` writes it. Times are from the wish to the window's next picture (Qt's events are run until nothing is due), in ms;
`longest` is the slowest of the repeats. Statement to hold: recolouring by a column under 300 ms, and the map smooth
(a new picture under 100 ms) at 100 000 cells.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from _table import Report

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
COLUMNS = ("what", "cells", "median ms", "longest ms")


def settle() -> None:
    """Let Qt and napari do what is due."""
    from qtpy.QtWidgets import QApplication

    for _ in range(3):
        QApplication.processEvents()


def wait_for(done: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing after {seconds} s")
        settle()
        time.sleep(0.01)


def timed(
    report: Report,
    what: str,
    cells: int,
    deeds: list[Callable[[], Any]],
    before: Callable[[], Any] = settle,
) -> None:
    """Time each deed with the drawing that follows it; what is done before it does not count."""
    spent = []
    for deed in deeds:
        before()
        settle()
        begin = time.perf_counter()
        deed()
        settle()
        spent.append((time.perf_counter() - begin) * 1000)
    report.add(what, cells, statistics.median(spent), max(spent))
    print(f"{what}: {statistics.median(spent):.0f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()

    import napari
    from qtpy.QtCore import QRectF
    from tests.gui.result_folder import grid_labels, make_cells, write_result

    from napari_dama.evaluate.neighbourhoods import neighbourhoods
    from napari_dama.gui.dock import DamaDock

    report = Report("results_plots", COLUMNS)
    side = int(np.ceil(np.sqrt(args.cells)))
    with tempfile.TemporaryDirectory() as folder:
        labels = grid_labels(-(-args.cells // side), side, side=10)
        table = make_cells(labels)
        count = len(table)
        result = write_result(Path(folder) / "many", labels, table)
        viewer = napari.Viewer(show=True)
        dock = DamaDock(viewer)
        viewer.window.add_dock_widget(dock, name="DAMA")
        dock.show_tab(dock.results)
        dock.results.open_folder(str(result))
        wait_for(lambda: dock.results.work is None)
        wait_for(lambda: dock.results.layer is not None)
        settle()
        state, cells = dock.state.results, dock.session.cells

        def by(column: str) -> Callable[[], None]:
            return lambda: setattr(state, "colour_by", column)

        turns = (args.repeats + 1) // 2
        timed(report, "colour by a column", count, [by("mean_DAPI"), by("mean_NeuN")] * turns)
        timed(report, "colour by doubt", count, [by("doubt")] * args.repeats, by("score"))
        timed(report, "colour by type", count, [by("type")] * args.repeats, by("score"))
        state.colour_by = "type"

        def hide(names: frozenset[str]) -> Callable[[], None]:
            return lambda: setattr(state, "hidden", names)

        timed(report, "hide a type", count, [hide(frozenset({"neuron"})), hide(frozenset())] * turns)
        dock.results.plots_button.click()
        panel = dock.results.plots
        assert panel is not None
        page = panel.map
        wait_for(lambda: page.placed is not None and page.work is None)
        settle()
        whole = QRectF(page.plot.view)

        def zoom(step: int) -> Callable[[], None]:
            def deed() -> None:
                page.plot.view = QRectF(whole).adjusted(0, 0, -whole.width() * step / 40, 0)
                page.plot._changed()

            return deed

        timed(report, "map: zoom", count, [zoom(i) for i in range(args.repeats)])
        box = np.array([[40, 40], [240, 40], [240, 240], [40, 240]], float)
        timed(
            report,
            "map: rows in a line drawn around",
            count,
            [lambda: page.plot.rows_within(box)] * args.repeats,
        )
        few, many = cells.labels[:200], cells.labels[: count // 10]
        timed(
            report,
            "select 200 cells",
            count,
            [lambda: cells.select(few), lambda: cells.select(few[::-1])] * turns,
        )
        timed(
            report,
            "select a tenth of the cells",
            count,
            [lambda: cells.select(many), lambda: cells.select(many[1:])] * turns,
        )
        cells.select([])
        timed(report, "colour map and slide by a column", count, [by("mean_DAPI"), by("mean_NeuN")] * turns)
        for title, other in (("heat map", panel.markers), ("violins", panel.spread)):
            panel.tabs.setCurrentIndex(panel.pages.index(other))
            settle()
            timed(report, title, count, [other.freshen] * args.repeats)
        dock.close_down()
        viewer.close()
    frame = table[["y_um", "x_um", "type"]]
    timed(
        report,
        "neighbours within 12 um, 200 deals (in a thread)",
        count,
        [lambda: neighbourhoods(frame, radius_um=12)],
    )
    report.finish(args.json)


if __name__ == "__main__":
    main()
