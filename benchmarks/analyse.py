"""How long `analyse` takes, stage by stage, for a simulated slide of seven markers: float32 beside bfloat16.

    python benchmarks/analyse.py --size 2048 --json analyse.json

`read` and `resample` run in a thread of their own and overlap with the rest, so that stages may add up to more than
the whole. `cpu seconds` are those of all threads: where other work goes on beside, they say more than `seconds`.
The statement to hold: 2048 x 2048 x 7 in less than 60 s on two cores, types included.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from _table import Report

STAGES = (
    "statistics",
    "read",
    "resample",
    "segment",
    "instances",
    "stitch",
    "measure",
    "types",
    "write",
    "finish",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2048, help="side of the slide, px")
    parser.add_argument("--model", default="dama-brain7")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tile-px", type=int, default=1024)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    import torch

    from napari_dama.models.model import Model
    from napari_dama.models.shelf import load_card
    from napari_dama.predict.analyse import analyse
    from napari_dama.simulate.write import write_simulated

    if options.threads:
        torch.set_num_threads(options.threads)
    report = Report("analyse", ("precision", "seconds", "cpu seconds", "Mpx/s", "cells", *STAGES))
    card = load_card(options.model)
    report.facts["slide"] = f"{options.size} x {options.size} px, 7 markers, uint16, simulated"
    report.facts["model"] = f"{card.name} {card.version} ({card.architecture.size})"
    report.facts["device"] = f"{options.device}, {torch.get_num_threads()} threads of torch"
    with tempfile.TemporaryDirectory() as folder:
        (slide,) = write_simulated(folder, n=1, size=options.size, seed=1)
        for precision in options.precisions:
            model = Model.load(card, device=options.device, precision=precision)
            begin, cpu = time.perf_counter(), time.process_time()
            result = analyse(slide, Path(folder) / precision, model=model, tile_px=options.tile_px)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
            stages = [result.run["stages"].get(stage, 0.0) for stage in STAGES]
            area = options.size**2 / 1e6
            report.add(precision, seconds, cpu, area / seconds, result.run["cells"], *stages)
    report.finish(options.json)


if __name__ == "__main__":
    main()
