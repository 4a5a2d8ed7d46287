"""Time each export of a result with many cells, each in a process of its own, with peak memory and size of what it writes.

The cells are disks with ragged edges on a grid, with types and seven markers; there is no slide, so formats that copy its
pixels are measured without them. Imports count. Formats whose library is missing are left out and named.

Example: python benchmarks/export.py --cells 100000 --json export.json
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from _table import Report
from napari_dama.export import FORMATS
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import LABELS, RUN_FILE, TABLE, peak_memory_bytes, write_json, write_rows
from napari_dama.predict.writer import write_parquet
from napari_dama.slides.panel import BRAIN7
from napari_dama.slides.region import Region

STEP_PX = 34
RADIUS_PX = (9, 16)
PIXEL_UM = 0.325
TYPES = {"neuron": "#e69f00", "astrocyte": "#56b4e9", "microglia": "#009e73"}
OPTIONS = {"anndata": {"image": False}, "spatialdata": {"image": False}, "ome-zarr": {"image": False}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument(
        "--formats", nargs="*", default=[name for name in FORMATS if name not in ("picture", "methods")]
    )
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        side = make_result(folder / "result", args.cells)
        report = Report(
            f"exports of {args.cells} cells",
            ("format", "seconds", "cpu_s", "cells_per_s", "peak_MiB", "MB"),
            facts={"cells": args.cells, "side_px": side, "markers": len(BRAIN7)},
        )
        missing = [each for each in args.formats if not FORMATS[each].available]
        for each in args.formats:
            if each not in missing:
                seconds, cpu, peak, size = in_process(folder, each)
                report.add(each, seconds, cpu, args.cells / seconds, peak / 2**20, size / 1e6)
        if missing:
            report.facts["missing"] = ", ".join(missing)
        report.finish(args.json)


def make_result(folder: Path, cells: int) -> int:
    """Write labels, table and record; returns the side of the slide in pixels."""
    random = np.random.default_rng(1)
    columns = int(np.ceil(np.sqrt(cells)))
    side = columns * STEP_PX
    folder.mkdir()
    image = LabelImage.create(folder / LABELS, (side, side), pixel_um=PIXEL_UM, name="benchmark")
    y, x = np.mgrid[:STEP_PX, :STEP_PX]
    angle, away = np.arctan2(y - 17, x - 17), np.hypot(y - 17, x - 17)
    for row in range(columns):
        band = np.zeros((STEP_PX, side), np.uint32)
        for column in range(min(columns, cells - row * columns)):
            waves = sum(
                random.normal(0, 0.06) * np.sin(k * angle + random.uniform(0, 6)) for k in range(2, 6)
            )
            inside = away <= random.uniform(*RADIUS_PX) * (1 + waves)
            number = row * columns + column + 1
            band[:, column * STEP_PX : (column + 1) * STEP_PX][inside] = number
        image.write(Region(row * STEP_PX, (row + 1) * STEP_PX, 0, side), band)
    image.build_pyramid(Region.whole((side, side)))
    numbers = np.arange(cells)
    kind = random.integers(0, len(TYPES), cells)
    centre = {"y": numbers // columns * STEP_PX + 17.0, "x": numbers % columns * STEP_PX + 17.0}
    um = {f"{axis}_um": values * PIXEL_UM for axis, values in centre.items()}
    table = pd.DataFrame({"label": numbers + 1, **centre, **um, "area_um2": 50.0, "score": 0.9})
    table["type"] = np.array(list(TYPES), object)[kind]
    for index, name in enumerate(TYPES):
        table[f"p_{name}"] = np.where(kind == index, 0.8, 0.1)
    for marker in BRAIN7.names:
        table[f"mean_{marker}"] = random.uniform(200, 60_000, cells)
    write_rows(folder / TABLE, table, header=True)
    write_parquet(folder)
    record = {
        "kind": "napari-dama result",
        "state": "done",
        "slide": {"name": "benchmark", "path": None},
        "model": {"name": "none", "classes": list(TYPES), "class_colours": list(TYPES.values())},
        "settings": {"pixel_um": PIXEL_UM, "region": [0, side, 0, side]},
    }
    write_json(folder / RUN_FILE, record)
    return side


def in_process(folder: Path, name: str) -> tuple[float, float, int, int]:
    """Seconds, processor seconds, peak bytes and bytes written of one export in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_export, (folder, name))


def _export(folder: Path, name: str) -> tuple[float, float, int, int]:
    target = folder / f"out{FORMATS[name].ending}"
    began, before = time.perf_counter(), psutil.Process().cpu_times()
    FORMATS[name](folder / "result", target, **OPTIONS.get(name, {}))
    seconds, after = time.perf_counter() - began, psutil.Process().cpu_times()
    files = [file for file in target.rglob("*") if file.is_file()] if target.is_dir() else [target]
    cpu = after.user + after.system - before.user - before.system
    return seconds, cpu, _peak(), sum(file.stat().st_size for file in files)


def _peak() -> int:
    """Peak memory of this process in bytes; Linux's own count of the process would begin with that of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return peak_memory_bytes()


if __name__ == "__main__":
    main()
