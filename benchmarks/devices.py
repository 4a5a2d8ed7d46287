"""Images per second of one process and of several that share the same batches, and how long they wait for each other.

    python benchmarks/devices.py --steps 6 --rounds 2
    python benchmarks/devices.py --device cuda --devices 4 --sizes base --batch-size 1024 --steps 50

Ways take turns within a round, and the table has the medians over rounds. On a CPU all ways together get the same number of
threads (``--threads``), so that several processes are not expected to be quicker: the table then shows what sharing costs.
*exchange* is the time in which torch's DDP exchanges gradients and does not compute, as it logs it itself; *agree* is the
time in which the first process waits for the others before a step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from _table import Report
from napari_dama.cells.crops import crop_slides
from napari_dama.predict.device import pick_device
from napari_dama.simulate import write_simulated
from napari_dama.slides.panel import BRAIN7, match
from napari_dama.slides.slide import open_slide
from napari_dama.training import devices as devices_module
from napari_dama.training.pretrain import pretrain
from napari_dama.training.settings import PretrainSettings
from napari_dama.training.team import Team

WARM = 2


class Watched(devices_module.Devices):
    """Keeps what torch logged of the exchange."""

    last: Watched | None = None

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        Watched.last = self

    def logged(self) -> dict[str, float]:
        """Numbers of `torch.nn.parallel.DistributedDataParallel`, in nanoseconds."""
        for part in self.step.modules():
            if isinstance(part, torch.nn.parallel.DistributedDataParallel):
                return {
                    key: float(value)
                    for key, value in part._get_ddp_logging_data().items()
                    if key.startswith("avg_")
                }
        return {}


def timed(settings: PretrainSettings) -> tuple[float, float | None, float]:
    """Seconds of a step, and of those the seconds of exchange (None if torch says nothing) and of agreeing."""
    stamps: list[float] = []
    agreed = [0.0]
    waits: list[float] = []
    found: dict[str, float] = {}
    real = Team.agreed

    def watched(self: Team, *flags: bool) -> tuple[bool, ...]:
        begin = time.perf_counter()
        try:
            return real(self, *flags)
        finally:
            agreed[0] += time.perf_counter() - begin

    def note(now: object) -> None:
        stamps.append(time.perf_counter())
        waits.append(agreed[0])
        if Watched.last is not None and settings.devices > 1:
            found.update(Watched.last.logged())

    Team.agreed, before = watched, devices_module.Devices
    devices_module.Devices = Watched
    try:
        pretrain(settings, overwrite=True, progress=note)
    finally:
        Team.agreed, devices_module.Devices = real, before
    step = statistics.median(b - a for a, b in zip(stamps[WARM:], stamps[WARM + 1 :], strict=False))
    wait = statistics.median(b - a for a, b in zip(waits[WARM:], waits[WARM + 1 :], strict=False))
    whole, overlap = (found.get(f"avg_backward_{what}_time") for what in ("comm", "compute_comm_overlap"))
    exchange = None if whole is None or overlap is None else max(whole - overlap, 0.0) / 1e9
    return step, exchange, wait


def simulated(folder: Path, cells: int) -> Path:
    """A store of crops of simulated tissue."""
    slides = [open_slide(file) for file in write_simulated(folder / "tissue", n=2, size=512, seed=1)]
    pairs = [(slide, match(slide.markers, BRAIN7)) for slide in slides]
    return crop_slides(pairs, folder / "store", max_cells=cells).path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["dama"])
    parser.add_argument("--sizes", nargs="+", default=["tiny"])
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="on a CPU, of all processes together")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8, help="of each run, the first ones not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cells", type=int, default=600)
    parser.add_argument("--store", type=Path, help="crops to use; simulated ones by default")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kind = torch.device(pick_device(options.device)).type
    report = Report(
        "devices",
        (
            "method",
            "size",
            "processes",
            "threads each",
            "images/s",
            "ms a step",
            "exchange %",
            "agree %",
            "times one",
        ),
    )
    report.facts["device"] = f"{kind}, batch {options.batch_size} in all"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = options.store or simulated(folder, options.cells)
        report.facts["crops"] = str(path) if options.store else f"{options.cells} simulated"
        for size in options.sizes:
            for method in options.methods:
                compare(report, folder, path, method, size, kind, options)
    report.finish(options.json)


def compare(
    report: Report,
    folder: Path,
    store: Path,
    method: str,
    size: str,
    kind: str,
    options: argparse.Namespace,
) -> None:
    """Rows of one method and size: in each round one process has its turn, then several."""
    ways = (1, options.devices)
    found: dict[int, list[tuple[float, float | None, float]]] = {way: [] for way in ways}
    threads = {way: max(1, options.threads // way) if kind == "cpu" else None for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            settings = PretrainSettings.model_validate(
                {
                    **{"crops": store, "out": folder / "job", "method": method, "size": size},
                    **{"batch_size": options.batch_size, "max_steps": options.steps, "log_every": 1},
                    **{"epochs": 100_000, "validate_every": 10**9, "previews": False},
                    **{"validation_share": 0.1, "device": kind, "devices": way, "threads": threads[way]},
                    "precision": "float32" if kind == "cpu" else "auto",
                }
            )
            found[way].append(timed(settings))
    base = statistics.median(step for step, _, _ in found[1])
    for way in ways:
        step = statistics.median(step for step, _, _ in found[way])
        logged = [exchange for _, exchange, _ in found[way] if exchange is not None]
        exchange = f"{100 * statistics.median(logged) / step:.1f}" if logged else "not logged"
        agree = 100 * statistics.median(wait for _, _, wait in found[way]) / step
        report.add(
            *(method, size, way, threads[way] or "", options.batch_size / step, step * 1e3),
            *("" if way == 1 else exchange, "" if way == 1 else agree, base / step),
        )


if __name__ == "__main__":
    main()
