"""How long until a large slide shows its first picture: open, read the metadata, read what fills the window.

A 20 000 x 20 000 px slide of seven 16-bit markers is written once (pyramidal, tiled OME-TIFF, zlib). Its
content is one simulated piece of tissue repeated over the slide, so that tiles compress as real ones do while
writing takes minutes, not hours. Each way of opening it then runs in a fresh process, with the file dropped
from the page cache; times exclude the import of the libraries, which is a column of its own.

    python benchmarks/open_slide.py --dir /big/disk --json open_slide.json
    python benchmarks/open_slide.py --size 4000          # a quick look
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from _table import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

TILE_PX = 512
PERIOD_PX = 2048
SMALLEST_LEVEL_PX = 512
PIXEL_UM = 0.325
WINDOW = (1000, 1600)  # (height, width) px


def level_shapes(size: int) -> list[tuple[int, int]]:
    """Shapes of the levels, each half of the one before it, down to about a tile."""
    shapes = [(size, size)]
    while shapes[-1][0] // 2 >= SMALLEST_LEVEL_PX:
        shapes.append((shapes[-1][0] // 2, shapes[-1][1] // 2))
    return shapes


def level_that_fills(levels: tuple[tuple[int, int], ...]) -> int:
    """Return the coarsest level that fills every pixel of the window when the whole slide is shown."""
    height, width = levels[0]
    zoom = min(WINDOW[0] / height, WINDOW[1] / width)
    fitting = [i for i, (h, _) in enumerate(levels) if h >= min(height * zoom, height) - 1]
    return fitting[-1]


def write_slide(path: Path, size: int) -> None:
    """Write the slide, streaming encoded tiles: memory stays that of one period."""
    import tifffile

    from napari_dama.simulate.tissue import simulate_tissue
    from napari_dama.slides.panel import BRAIN7

    period = simulate_tissue(PERIOD_PX, seed=1, pixel_um=PIXEL_UM).image  # (7, 2048, 2048) uint16
    markers = [marker.name for marker in BRAIN7.markers]
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": markers},
        "PhysicalSizeX": PIXEL_UM,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": PIXEL_UM,
        "PhysicalSizeYUnit": "µm",
    }
    shapes = level_shapes(size)
    partial = path.with_suffix(".partial")
    with tifffile.TiffWriter(partial, bigtiff=True, ome=True) as tif:
        for level, shape in enumerate(shapes):
            tif.write(
                encoded_tiles(period, shape),
                shape=(len(markers), *shape),
                dtype=period.dtype,
                tile=(TILE_PX, TILE_PX),
                photometric="minisblack",
                compression="zlib",
                metadata=metadata if level == 0 else None,
                subifds=len(shapes) - 1 if level == 0 else None,
                subfiletype=1 if level else 0,
            )
            period = shrink(period)
    partial.rename(path)


def shrink(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Halve (C, Y, X) by the mean of 2 x 2 px."""
    channels, height, width = pixels.shape
    blocks = pixels.reshape(channels, height // 2, 2, width // 2, 2)
    return blocks.mean(axis=(2, 4)).astype(pixels.dtype)


def encoded_tiles(period: NDArray[np.uint16], shape: tuple[int, int]) -> Iterator[bytes]:
    """Yield every tile of one level, channel by channel, encoded; a tile seen before is not encoded again."""
    side = period.shape[-1]
    seen: dict[tuple[int, int, int], bytes] = {}
    for channel in range(len(period)):
        for y in range(0, shape[0], TILE_PX):
            for x in range(0, shape[1], TILE_PX):
                key = (channel, y % side, x % side)
                if key not in seen:
                    rows = np.arange(y, y + TILE_PX) % side
                    columns = np.arange(x, x + TILE_PX) % side
                    seen[key] = zlib.compress(period[channel][np.ix_(rows, columns)].tobytes(), level=6)
                yield seen[key]


def with_open_slide(path: Path) -> tuple[str, Callable[[], object]]:
    """Open it as napari-dama does: lazily, with the level that the window needs."""
    import napari_dama.slides.ome_tiff  # noqa: F401 - loaded with the first TIFF otherwise
    from napari_dama.slides.slide import open_slide

    def first_picture() -> object:
        with open_slide(path) as slide:
            assert slide.markers and slide.pixel_um
            return slide.read(level=level_that_fills(slide.levels))

    return "napari-dama: open_slide, all channels of the level that fills the window", first_picture


def with_tifffile_level(path: Path) -> tuple[str, Callable[[], object]]:
    """Read the same level by hand: the least that anything built on tifffile can take."""
    import tifffile

    def first_picture() -> object:
        with tifffile.TiffFile(path) as tif:
            levels = tif.series[0].levels
            shapes = tuple((level.shape[-2], level.shape[-1]) for level in levels)
            return levels[level_that_fills(shapes)].asarray()

    return "tifffile by hand: the same level, no metadata", first_picture


def with_tifffile_whole(path: Path) -> tuple[str, Callable[[], object]]:
    """Read one whole channel, as a reader without pyramids has to before it can show anything."""
    import tifffile

    def first_picture() -> object:
        return tifffile.imread(path, key=0)

    return "tifffile.imread: one whole channel of level 0", first_picture


def with_dask_strided(path: Path) -> tuple[str, Callable[[], object]]:
    """Thin out level 0 of one channel through dask and zarr: lazy, but every tile is decoded."""
    import dask.array
    import tifffile
    import zarr

    def first_picture() -> object:
        store = tifffile.imread(path, aszarr=True, level=0)
        array = dask.array.from_zarr(zarr.open(store, mode="r"))
        step = max(1, array.shape[-1] // WINDOW[1])
        return array[0, ::step, ::step].compute()

    return "dask over zarr: one channel of level 0, thinned out", first_picture


WAYS = {
    "open_slide": with_open_slide,
    "tifffile_level": with_tifffile_level,
    "tifffile_whole": with_tifffile_whole,
    "dask_strided": with_dask_strided,
}


def run_once(way: str, path: Path) -> None:
    """Measure one way in this process and print what came out as one line of JSON."""
    started = time.perf_counter()
    label, first_picture = WAYS[way](path)
    imported = time.perf_counter()
    picture = np.asarray(first_picture())
    done = time.perf_counter()
    print(
        json.dumps(
            {
                "label": label,
                "import_s": imported - started,
                "seconds": done - imported,
                "peak_mib": peak_mib(),
                "picture": " x ".join(map(str, picture.shape)),
            }
        )
    )


def peak_mib() -> float:
    """Return the most memory that this process has held, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux's ru_maxrss is that of the parent when the parent is larger
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def drop_from_cache(path: Path) -> None:
    """Ask the system to forget the file's pages, so that the next reading comes from the disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def measure(way: str, path: Path, repeats: int) -> list[dict[str, float | str]]:
    """Run one way several times, each in a fresh process on a file that is not in the page cache."""
    found = []
    for _ in range(repeats):
        drop_from_cache(path)
        command = [sys.executable, __file__, "--way", way, "--slide", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{way} failed:\n{done.stderr}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def main() -> None:
    """Write the slide when it is not there, measure every way, and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(tempfile.gettempdir()) / "napari-dama-benchmarks",
        help="keeps the slide",
    )
    parser.add_argument("--size", type=int, default=20_000, help="px a side")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--way", choices=sorted(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--slide", type=Path, help="measure this slide instead of the simulated one")
    args = parser.parse_args()
    if args.way:
        run_once(args.way, args.slide)
        return

    path = args.slide or args.dir / f"brain7_{args.size}_v1.ome.tif"
    if not path.exists():
        args.dir.mkdir(parents=True, exist_ok=True)
        needed = 7 * args.size**2 * 2 * 4 // 3
        free = shutil.disk_usage(args.dir).free
        if free < needed:
            raise SystemExit(
                f"{args.dir} has {free / 1e9:.1f} GB free and the slide may take {needed / 1e9:.1f}: "
                "choose another --dir or a smaller --size"
            )
        print(f"writing {path} ...", file=sys.stderr)
        started = time.perf_counter()
        write_slide(path, args.size)
        print(f"written in {time.perf_counter() - started:.0f} s", file=sys.stderr)

    report = Report(
        "Time to the first picture of a large slide",
        columns=("way", "picture", "seconds (median)", "fastest", "slowest", "peak MiB", "import s"),
        facts={
            "slide": path.name,
            "file": f"{path.stat().st_size / 1e9:.2f} GB",
            "window": f"{WINDOW[1]} x {WINDOW[0]} px",
            "runs": f"{args.repeats} fresh processes each, file dropped from the page cache",
        },
    )
    for way in WAYS:
        runs = measure(way, path, args.repeats)
        seconds = [float(run["seconds"]) for run in runs]
        report.add(
            runs[0]["label"],
            runs[0]["picture"],
            statistics.median(seconds),
            min(seconds),
            max(seconds),
            statistics.median(float(run["peak_mib"]) for run in runs),
            statistics.median(float(run["import_s"]) for run in runs),
        )
    report.finish(args.json)


if __name__ == "__main__":
    main()
