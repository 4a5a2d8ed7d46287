"""Time simulated tissue by difficulty; print a table and write JSON. All of it runs on one core.

Example: python benchmarks/simulate.py --size 1024 --repeats 5 --json /tmp/simulate.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from napari_dama.simulate import MARKERS, TYPES, SimulatedTissue, simulate_tissue
from napari_dama.simulate.knobs import KNOBS

DECIDING = {"neuron": 2, "astrocyte": 3, "oligodendrocyte": 4, "microglia": 5, "endothelial": 6}


def rule_balanced_accuracy(tissue: SimulatedTissue) -> float:
    """Balanced accuracy of the type whose marker has the highest mean, each marker scaled to its 1 to 99.8 %."""
    area = np.bincount(tissue.labels.ravel())[1:]
    means = []
    for kind in TYPES:
        plane = tissue.image[DECIDING[kind]].astype(np.float32)
        low, high = np.percentile(plane[::4, ::4], (1, 99.8))
        scaled = np.arcsinh(5 * np.clip((plane - low) / max(high - low, 1), 0, 2))
        means.append(np.bincount(tissue.labels.ravel(), weights=scaled.ravel())[1:] / area)
    guess = np.array(TYPES)[np.argmax(means, axis=0)]
    truth = tissue.cells["type"].to_numpy()
    return float(np.mean([np.mean(guess[truth == kind] == kind) for kind in TYPES if (truth == kind).any()]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="side in pixels")
    parser.add_argument("--repeats", type=int, default=5, help="images per difficulty, one seed each")
    parser.add_argument("--json", type=Path, default=Path("simulate.json"), help="where the numbers go")
    arguments = parser.parse_args()
    simulate_tissue(128, seed=0)  # imports and caches
    rows = []
    print(f"{'difficulty':<11}{'s/image':>9}{'Mpx/s':>8}{'slowest':>9}{'cells':>7}{'rule':>7}")
    for difficulty in KNOBS:
        seconds, cells, rule = [], [], []
        for seed in range(arguments.repeats):
            start = time.perf_counter()
            tissue = simulate_tissue(arguments.size, seed=seed, difficulty=difficulty)
            seconds.append(time.perf_counter() - start)
            cells.append(len(tissue.cells))
            rule.append(rule_balanced_accuracy(tissue))
        megapixels = arguments.size**2 / 1e6
        row = {
            "difficulty": difficulty,
            "seconds": statistics.median(seconds),
            "mpx_per_s": megapixels / statistics.median(seconds),
            "mpx_per_s_slowest": megapixels / max(seconds),
            "cells": statistics.median(cells),
            "rule_balanced_accuracy": statistics.median(rule),
            "rule_balanced_accuracy_each": rule,
        }
        rows.append(row)
        print(
            f"{difficulty:<11}{row['seconds']:>9.2f}{row['mpx_per_s']:>8.2f}{row['mpx_per_s_slowest']:>9.2f}"
            f"{row['cells']:>7.0f}{row['rule_balanced_accuracy']:>7.2f}"
        )
    record = {
        "size": arguments.size,
        "repeats": arguments.repeats,
        "markers": len(MARKERS),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "rows": rows,
    }
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
