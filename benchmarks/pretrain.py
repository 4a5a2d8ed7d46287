"""Images per second of pretraining, end to end, beside a per-image loader with the structure of the published code.

    python benchmarks/pretrain.py --methods dama mae --sizes tiny --json pretrain.json
    python benchmarks/pretrain.py --device cuda --sizes base --batch-size 512 --steps 40      # where a GPU is at hand

Both train the same network on the same crops in the same run, in turns: `ours` through `pretrain` itself (crops as integers
in memory or on the device, batches varied on the device, precision by measurement, losses read every second step); `per
image` as `_per_image.py` says (a TIFF per crop, varied one by one in worker processes, float32, losses read each step).
`ours, float32` tells apart what the precision brings. With `--as-published`, DAMA has a fourth row: the per-image structure
with the published code's second mask too, one list of visible patches for the whole batch, which leaves nearly all patches
visible (`napari_dama.nets.masking.published_mask`), so that network 2 has more to compute. `waits` is the share of a step in
which the network waits for pixels: of ours the reading of raw crops, of the other whatever its workers are late. Medians
over rounds, without the first steps.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from _per_image import per_image_steps, write_crops
from _table import Report
from napari_dama.cells.crops import crop_slides
from napari_dama.nets.encoder import EncoderSpec
from napari_dama.predict.device import pick_device
from napari_dama.simulate import write_simulated
from napari_dama.slides.panel import BRAIN7, match
from napari_dama.slides.slide import open_slide
from napari_dama.training import crops as crops_module
from napari_dama.training.methods import method_module
from napari_dama.training.pretrain import pretrain
from napari_dama.training.settings import PretrainSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dama.cells.store import CropStore
    from napari_dama.training.loop import RunProgress

WARM = 2


class Stopwatch:
    """Adds up the seconds of a method of a class while it is in place."""

    def __init__(self, owner: type, name: str) -> None:
        self.owner, self.name, self.seconds = owner, name, 0.0
        self.real: Callable[..., object] = getattr(owner, name)

    def __enter__(self) -> Stopwatch:
        watch = self

        def timed(*args: object, **options: object) -> object:
            begin = time.perf_counter()
            try:
                return watch.real(*args, **options)
            finally:
                watch.seconds += time.perf_counter() - begin

        setattr(self.owner, self.name, timed)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(self.owner, self.name, self.real)


def make_store(folder: Path, cells: int) -> CropStore:
    """Crops of simulated tissue."""
    slides = [open_slide(file) for file in write_simulated(folder / "tissue", n=2, size=1024, seed=1)]
    pairs = [(slide, match(slide.markers, BRAIN7)) for slide in slides]
    return crop_slides(pairs, folder / "store", max_cells=cells)


def ours(settings: PretrainSettings) -> tuple[float, float, str]:
    """Seconds per step, share of waiting, and precision of a real run."""
    times: list[float] = [0.0]
    fetched: list[float] = [0.0]

    with Stopwatch(crops_module.CropBatches, "raw") as watch:

        def note(now: RunProgress) -> None:
            times.append(time.perf_counter())
            fetched.append(watch.seconds)

        pretrain(settings, overwrite=True, progress=note)
    precision = json.loads((settings.out / "status.json").read_text(encoding="utf-8"))["precision"]
    first = WARM // settings.log_every + 1
    spans = [(b - a) / settings.log_every for a, b in zip(times[first:], times[first + 1 :], strict=False)]
    waits = [
        (b - a) / settings.log_every for a, b in zip(fetched[first:], fetched[first + 1 :], strict=False)
    ]
    step = statistics.median(spans)
    return step, statistics.median(waits) / step, str(precision)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["dama", "mae"])
    parser.add_argument("--sizes", nargs="+", default=["tiny"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="steps of each run, the first ones not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the per-image loader")
    parser.add_argument(
        "--as-published", action="store_true", help="for DAMA, also the published second mask"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    device = torch.device(pick_device(options.device))
    report = Report(
        "pretrain",
        ("method", "size", "what", "precision", "images/s", "ms a step", "waits %", "times per image"),
    )
    report.facts["device"] = (
        f"{device}, {torch.get_num_threads()} threads of torch, batch {options.batch_size}"
    )
    report.facts["per image"] = f"{options.workers} worker processes"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = make_store(folder, options.cells)
        report.facts["data"] = (
            f"{len(store)} crops of 7 x {store.crop_px} x {store.crop_px} {store.crops.dtype}"
        )
        for size in options.sizes:
            for method in options.methods:
                compare(report, store, folder, method, size, device, options)
    report.finish(options.json)


def compare(
    report: Report,
    store: CropStore,
    folder: Path,
    method: str,
    size: str,
    device: torch.device,
    options: argparse.Namespace,
) -> None:
    """Rows of one method and size: in each round every way has its turn."""
    common = {
        "crops": store.path,
        "out": folder / "job",
        "method": method,
        "size": size,
        "batch_size": options.batch_size,
        "max_steps": options.steps,
        "log_every": 2,
        "epochs": 100_000,
        "validate_every": 10**9,
        "validation_share": 0.3,
        "device": options.device,
    }
    loaders = {"per image": common}
    if method == "dama" and options.as_published:
        loaders["per image, mask as published"] = {**common, "mask": "published", "pairing": "published"}
    found: dict[str, list[tuple[float, float, str]]] = {
        what: [] for what in ("ours", "ours, float32", *loaders)
    }
    for _ in range(options.rounds):
        found["ours"].append(ours(PretrainSettings.model_validate(common)))
        found["ours, float32"].append(
            ours(PretrainSettings.model_validate({**common, "precision": "float32"}))
        )
        shutil.rmtree(folder / "job")
        files = write_crops(store, folder / "files", store.table.index.to_numpy())
        for what, given in loaders.items():
            settings = PretrainSettings.model_validate(given)
            seconds, waited = per_image_steps(
                method_module(settings, EncoderSpec(size, len(store.markers), settings.image_px)),
                files,
                steps=options.steps,
                batch_size=options.batch_size,
                workers=options.workers,
                device=device,
            )
            step = statistics.median(seconds[WARM:])
            found[what].append((step, statistics.median(waited[WARM:]) / step, "float32"))
    base = statistics.median(step for step, _, _ in found["per image"])
    for what, rounds in found.items():
        step = statistics.median(step for step, _, _ in rounds)
        waits = statistics.median(share for _, share, _ in rounds)
        rate = options.batch_size / step
        report.add(method, size, what, rounds[0][2], rate, step * 1e3, 100 * waits, base / step)


if __name__ == "__main__":
    main()
