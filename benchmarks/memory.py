"""How much memory `analyse` takes on a slide that is larger than any memory it should take.

    python benchmarks/memory.py --dir /big/disk --json memory.json
    python benchmarks/memory.py --size 3000          # a part of the same slide: minutes less, memory alike

A slide of 12 000 x 12 000 px, seven 16-bit markers (2 GB), is written once: a simulated piece of tissue repeated.
`napari-dama analyse` then runs in a process of its own, whose resident memory is read ten times a second. The
statement to hold: less than 3 GB at the peak, however large the slide.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from _table import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PIECE_PX = 1024
TILE_PX = 512


def write_slide(path: Path, side: int) -> None:
    """Write the slide tile by tile, so that this process stays small too."""
    import tifffile

    from napari_dama.simulate.tissue import simulate_tissue

    tissue = simulate_tissue(PIECE_PX, seed=1)
    piece: NDArray[Any] = np.asarray(tissue.image)

    def tiles() -> Iterator[bytes]:
        packed: dict[tuple[int, int, int], bytes] = {}
        for channel in range(len(piece)):
            for y in range(0, side, TILE_PX):
                for x in range(0, side, TILE_PX):
                    rows, columns = y % PIECE_PX, x % PIECE_PX
                    key = channel, rows, columns
                    if key not in packed:
                        part = piece[channel, rows : rows + TILE_PX, columns : columns + TILE_PX]
                        packed[key] = zlib.compress(part.tobytes(), level=6)
                    yield packed[key]

    draft = path.with_name(path.name + ".part")
    tifffile.imwrite(
        draft,
        tiles(),
        shape=(len(piece), side, side),
        dtype=piece.dtype,
        tile=(TILE_PX, TILE_PX),
        compression="zlib",
        photometric="minisblack",
        bigtiff=True,
        ome=True,
        metadata={
            "axes": "CYX",
            "Channel": {"Name": list(tissue.markers)},
            "PhysicalSizeX": tissue.pixel_um,
            "PhysicalSizeY": tissue.pixel_um,
        },
    )
    draft.replace(path)


def run_and_watch(words: list[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of a command."""
    begin = time.perf_counter()
    process = subprocess.Popen(words)
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.1)
    if process.wait():
        raise SystemExit(process.returncode)
    return time.perf_counter() - begin, peak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()) / "napari-dama-memory")
    parser.add_argument("--slide", type=int, default=12_000, help="side of the slide, px")
    parser.add_argument("--size", type=int, help="side of the part that is analysed, px; all by default")
    parser.add_argument("--model", default="dama-brain7")
    parser.add_argument("--no-types", action="store_true")
    parser.add_argument("--tile-px", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    options.dir.mkdir(parents=True, exist_ok=True)
    slide = options.dir / f"slide_{options.slide}.ome.tif"
    if not slide.exists():
        print(f"writing {slide}", file=sys.stderr)
        write_slide(slide, options.slide)
    out = Path(tempfile.mkdtemp(dir=options.dir)) / "result"
    side = min(options.size or options.slide, options.slide)
    words = [
        sys.executable,
        "-m",
        "napari_dama",
        "analyse",
        str(slide),
        "-o",
        str(out),
        "--model",
        options.model,
    ]
    words += ["--tile-px", str(options.tile_px), "--device", "cpu", "--json"]
    if side < options.slide:
        words += ["--region", f"0:{side},0:{side}"]
    if options.no_types:
        words.append("--no-types")
    try:
        seconds, peak = run_and_watch(words)
        run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(out.parent, ignore_errors=True)
    report = Report("memory", ("analysed px", "cells", "seconds", "Mpx/s", "peak GB", "peak GB by run.json"))
    report.facts["slide"] = (
        f"{options.slide} x {options.slide} px, 7 markers, uint16, {slide.stat().st_size / 1e9:.2f} GB"
    )
    report.facts["model"] = options.model
    own = run["peak_memory_bytes"] / 1e9
    report.add(f"{side} x {side}", run["cells"], seconds, side**2 / 1e6 / seconds, peak / 1e9, own)
    report.finish(options.json)


if __name__ == "__main__":
    main()
