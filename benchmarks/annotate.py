"""How quick annotation is with a hundred thousand cells: keys, clicks, the next cell, the gallery, and the longest stall.

    xvfb-run -a python benchmarks/annotate.py --cells 100000 --json annotate.json

A real napari window with the dock at its tab *Annotate*, a slide of three markers and a result with a multiscale labels
layer. Keys are sent to the canvas as Qt sends them. `colours ready`: from the key press until the cell's new colour is in
the texture; `drawn`: until the canvas has painted the frame. `gaps`: between ticks of a 10 ms timer of Qt's thread, what
follows a key (legend, features) included. The statements to hold: a key press to a recoloured cell under 50 ms, the next
cell under 200 ms, 500 pictures under 1 s, no gap over 100 ms.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from _table import Report
from _ticks import Ticks, spin

if TYPE_CHECKING:
    from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
COLUMNS = ("what", "times", "median ms", "95 % ms", "longest ms")


def make_slide(folder: Path, cells: int) -> tuple[Path, Path, NDArray[Any]]:
    """Write a slide of three markers and its result; returns both and the labels."""
    import tifffile
    from tests.gui.made_result import draw, table_of, write_result

    side = int(np.ceil(np.sqrt(cells)))
    labels, image = draw(side, side, pitch=16, radius=6)
    slide = folder / "many.ome.tif"
    names = ["DAPI", "NeuN", "S100"]
    image = image[[0, 2, 3]]
    meta = {"axes": "CYX", "Channel": {"Name": names}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(slide, bigtiff=True, ome=True) as file:
        file.write(image, tile=(256, 256), subifds=2, metadata=meta)
        for level in (2, 4):
            file.write(image[:, ::level, ::level], tile=(256, 256), subfiletype=1)
    padded = np.repeat(image[:1], 7, axis=0)
    padded[2:4] = image[1:]
    out = folder / "many_dama"
    write_result(out, slide, labels, table_of(labels, padded, 0.5), 0.5)
    return slide, out, labels


def row_of(report: Report, what: str, times: list[float]) -> None:
    values = np.array(times)
    report.add(what, len(values), *(float(np.percentile(values, share)) for share in (50, 95, 100)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=60, help="key presses that are timed")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["NAPARI_DAMA_JOBS"] = str(Path(name) / "jobs")
        measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    import napari
    from qtpy.QtTest import QTest

    from napari_dama.gui.dock import DamaDock
    from napari_dama.gui.place import bare

    slide, out, _ = make_slide(folder, options.cells)
    viewer = napari.Viewer(show=True)
    viewer.open(str(slide), plugin="napari-dama")
    _, dock = viewer.window.add_plugin_dock_widget("napari-dama", "DAMA")
    if not isinstance(dock, DamaDock):
        raise TypeError(f"the dock is a {type(dock).__name__}")
    viewer.window._qt_window.resize(1500, 950)
    dock.results.open_folder(str(out))
    spin(600, lambda: dock.results.work is None and dock.annotate.work is None)
    dock.show_tab(dock.annotate)
    spin(3)
    cells = dock.session.cells
    report = Report("annotate", COLUMNS)
    report.facts["cells"] = len(cells.labels)
    report.facts["window"] = "1500 x 950 px, drawn by " + os.environ.get(
        "GALLIUM_DRIVER", "the machine's OpenGL"
    )
    canvas = viewer.window._qt_viewer.canvas
    native, scene = canvas.native, canvas._scene_canvas
    random = np.random.default_rng(0)
    drawn: list[float] = []
    scene.events.draw.connect(lambda event: drawn.append(time.perf_counter()), position="last")

    def key(text: str) -> tuple[float, float]:
        drawn.clear()
        begin = time.perf_counter()
        QTest.keyClick(native, text)
        ready = time.perf_counter()
        spin(2, lambda: bool(drawn))
        return (ready - begin) * 1000, ((drawn[0] if drawn else time.perf_counter()) - begin) * 1000

    for where, zoom in (("the whole slide in view", None), ("a few hundred cells in view", 3.0)):
        if zoom is not None:
            dock.annotate.show_cell(int(cells.labels[len(cells.labels) // 2]))
            spin(2)
        ready, seen = [], []
        for place in range(options.keys):
            label = int(random.choice(cells.labels))
            cells.select([label])
            spin(0.4)
            kind = list(cells.classes).index(cells.type_of(label))
            one, two = key(str(1 + (kind + 1 + place % 2) % 3))
            ready.append(one)
            seen.append(two)
        row_of(report, f"key press, colours ready, {where}", ready)
        row_of(report, f"key press, drawn, {where}", seen)
    box = random.choice(cells.labels, min(2000, len(cells.labels)), replace=False)
    times = []
    for place in range(10):
        cells.select(box)
        spin(0.5)
        times.append(key(str(1 + place % 3))[0])
    row_of(report, "key press for 2000 cells at once", times)
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        dock.session.annotator.undo()
        times.append((time.perf_counter() - begin) * 1000)
        spin(0.4)
    row_of(report, "undo", times)

    ticks = Ticks()
    gaps: list[float] = []
    for place in range(30):
        cells.select([int(random.choice(cells.labels))])
        QTest.keyClick(native, str(1 + place % 3))
        gaps += ticks.watch(0.2).tolist()
    gaps += ticks.watch(1.0).tolist()
    row_of(report, "gaps of a 10 ms timer, five keys a second", gaps)

    begin = time.perf_counter()
    gaps = next_cells(dock, ticks, first=True)[0]
    report.facts["seconds until the first next cell"] = round(time.perf_counter() - begin, 2)
    row_of(report, "gaps while the first next cell is looked for", gaps)
    gaps, times = next_cells(dock, ticks, first=False)
    row_of(report, "next cell", times)

    gallery = dock.show_gallery()
    spin(60, lambda: gallery.work is None)
    spin(1)
    times = []
    for place in range(6):
        begin = time.perf_counter()
        gallery.show_type(list(cells.classes)[place % 3])
        while gallery.work is not None:
            spin(0.02)
        times.append((time.perf_counter() - begin) * 1000)
        if len(gallery.model.pictures) != min(500, len(gallery.model.labels)):
            raise RuntimeError("pictures are missing")
        spin(0.5)
    row_of(report, f"gallery of {len(gallery.model.pictures)} pictures", times)
    gallery.reload()
    gaps = ticks.watch(2.0).tolist()
    row_of(report, "gaps while the gallery loads", gaps)
    if not dock.session.annotator.journal or not dock.session.annotator.journal.flush(10):
        raise RuntimeError("not saved")
    bare(viewer).close()
    report.finish(options.json)


def next_cells(dock: Any, ticks: Ticks, *, first: bool) -> tuple[list[float], list[float]]:
    """Ask for next cells; gaps of the timer, and how long each took (ms)."""
    gaps: list[float] = []
    times = []
    for _ in range(1 if first else 10):
        before, begin = dock.annotate.suggested, time.perf_counter()
        arrived: list[float] = []

        def note(_: Any, arrived: list[float] = arrived) -> None:
            arrived.append(time.perf_counter())

        dock.annotate.next.found.connect(note)
        dock.annotate.go_on()
        for _ in range(600):
            gaps += ticks.watch(0.1).tolist()
            if arrived and dock.annotate.suggested != before:
                break
        dock.annotate.next.found.disconnect(note)
        times.append((arrived[0] - begin) * 1000)
    return gaps, times


if __name__ == "__main__":
    main()
