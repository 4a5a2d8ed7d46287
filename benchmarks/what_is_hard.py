"""What DAMA's adaptive mask takes for hard: the error of hidden patches against how much there is to see in them.

    python benchmarks/what_is_hard.py STORE MODEL [MODEL ...] --json what_is_hard.json

Cells of a crop store are hidden and rebuilt once by each model. Hidden patches are parted into fifths by their own standard
deviation of intensity, and the mean error of each fifth is printed, where 1 is as wrong as plain grey: that of patches
normalised each by itself, by which the published method ranks them, and that in intensity (times the patch's variance, in
units of its mean). Last, the mean deviation of the patches that the adaptive mask shows anew and of those it keeps hidden.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from _table import Report
from napari_dama.cells.store import CropStore
from napari_dama.models.shelf import load_model
from napari_dama.nets.autoencoder import patch_moments
from napari_dama.nets.encoder import patchify
from napari_dama.training.crops import CropBatches


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("models", nargs="+", help="names on the shelf, or folders")
    parser.add_argument("--cells", type=int, default=256)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    store = CropStore.open(options.store)
    rows = np.random.default_rng(0).permutation(len(store))[: options.cells]
    report = Report(
        "what is hard",
        ("model", "patches", "their deviation", "normalised error", "error in intensity", "rank correlation"),
    )
    report.facts["crops"] = f"{len(rows)} of {options.store}"
    for name in options.models:
        model = load_model(name)
        card = model.card
        batches = CropBatches(
            store, nuclear=tuple(card.nuclear), image_px=card.image_px, device=torch.device("cpu")
        )
        x, present = batches.batch(rows)
        found = model.reconstruct(x)
        spread = patch_moments(patchify(x, card.patch_px), present.float())[1][..., 0]
        hidden, error = found.hidden_random, found.error_random
        intensity = error * spread.square()
        intensity = intensity / intensity[hidden].mean()
        ranks = float(spearmanr(error[hidden].numpy(), spread[hidden].numpy())[0])
        edges = torch.quantile(spread[hidden], torch.linspace(0, 1, 6))
        for index in range(5):
            inside = hidden & (spread >= edges[index]) & (spread <= edges[index + 1])
            report.add(
                card.name,
                f"fifth {index + 1} of 5",
                float(spread[inside].mean()),
                float(error[inside].mean()),
                float(intensity[inside].mean()),
                ranks,
            )
        shown = hidden & ~found.hidden_adaptive
        for what, inside in (("shown anew", shown), ("hidden again", hidden & found.hidden_adaptive)):
            values = (float(part[inside].mean()) for part in (spread, error, intensity))
            report.add(card.name, what, *values, ranks)
    report.finish(options.json)


if __name__ == "__main__":
    main()
