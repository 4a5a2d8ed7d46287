"""Time the builder of noisy sets (nuclei found by erosion and watershed, crops cut around them) on simulated slides.

One row per step and for the whole: cells per second, megapixels per second, and how long 30 000 and 170 000 cells take at
that rate (the paper's sets II and III). Of a subset all cells are found and few are cut, so its rate says nothing of other
numbers. Peak memory is that of the whole process, the making of the slides included.

Example: python benchmarks/crops.py --slides 2 --size 2048 --json crops.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import psutil

from _table import Report
from napari_dama.cells.crops import crop_slides
from napari_dama.cells.find import find_nuclei
from napari_dama.simulate.write import write_simulated
from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.panel import BRAIN7, match
from napari_dama.slides.slide import Slide, open_slide


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, default=2)
    parser.add_argument("--size", type=int, default=2048, help="side in pixels")
    parser.add_argument("--max-cells", type=int, default=1000, help="of the row with a subset")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    report = Report(
        "noisy sets from slides",
        ("step", "seconds", "cells", "cells_per_s", "Mpx_per_s", "min_for_30k", "min_for_170k"),
        facts={"slides": args.slides, "size_px": args.size, "markers": len(BRAIN7)},
    )
    megapixels = args.slides * args.size**2 / 1e6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_simulated(folder / "slides", n=args.slides, size=args.size, seed=1)
        files = sorted((folder / "slides").glob("*.ome.tif"))
        slides = [open_slide(file) for file in files]

        def row(step: str, began: float, cells: int) -> None:
            seconds = time.perf_counter() - began
            rate = cells / seconds
            minutes = ("", "") if step.startswith("subset") else (30e3 / rate / 60, 170e3 / rate / 60)
            report.add(step, seconds, cells, rate, megapixels / seconds, *minutes)

        began = time.perf_counter()
        stats = [slide_stats(slide) for slide in slides]
        measured = time.perf_counter()
        found = [
            find_nuclei(slide, nuclear_channel=0, pixel_um=_pixel_um(slide), stats=own)
            for slide, own in zip(slides, stats, strict=True)
        ]
        cells = sum(len(each) for each in found)
        row("find nuclei", measured, cells)
        row("statistics, find nuclei", began, cells)
        pairs = [(slide, match(slide.markers, BRAIN7)) for slide in slides]
        began = time.perf_counter()
        store = crop_slides(pairs, folder / "all")
        row("whole store", began, len(store))
        began = time.perf_counter()
        store = crop_slides(pairs, folder / "some", max_cells=args.max_cells)
        row(f"subset of {args.max_cells}", began, len(store))
        for slide in slides:
            slide.close()
        report.facts["peak_memory_MiB"] = round(_peak_mib())
    report.finish(args.json)


def _pixel_um(slide: Slide) -> float:
    return float(slide.pixel_um or 0.325)


def _peak_mib() -> float:
    """Peak resident memory of this process; the present one where the system does not keep the peak."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    except ImportError:
        return float(psutil.Process().memory_info().rss / 2**20)


if __name__ == "__main__":
    main()
