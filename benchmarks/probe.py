"""What an encoder's features are worth to a logistic regression fitted to the end, and how many directions they fill.

    python benchmarks/probe.py STORE MODEL [MODEL ...] --json probe.json

Beside every model stands the same encoder with random weights. Features are the tokens averaged over the crop, and over its
middle. Slides are parted into four folds; in each the regularisation is chosen on other slides than those it is tested on.
The effective rank is the exponential of the entropy of the standardised features' spectrum (Roy and Vetterli 2007).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from _table import Report
from napari_dama.cells.store import CropStore
from napari_dama.models.model import encoder_spec
from napari_dama.models.shelf import load_model
from napari_dama.nets.encoder import Encoder
from napari_dama.training.crops import CropBatches

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


def features(encoder: Encoder, batches: CropBatches, cells: int) -> np.ndarray:
    """Averaged tokens of the crop and of its middle, (N, 2 D)."""
    grid, found = encoder.spec.grid, []
    low, high = grid // 2 - 1, grid - grid // 2 + 1
    with torch.inference_mode():
        for start in range(0, cells, 256):
            x, _ = batches.batch(np.arange(start, min(start + 256, cells)))
            maps = encoder(x)[:, 1:].transpose(1, 2).unflatten(2, (grid, grid))
            middle = maps[:, :, low:high, low:high]
            found.append(torch.cat([maps.mean(dim=(2, 3)), middle.mean(dim=(2, 3))], dim=1))
    return torch.cat(found).numpy()


def effective_rank(values: np.ndarray) -> float:
    """Number of directions that standardised features fill."""
    scaled = StandardScaler().fit_transform(values)
    share = np.linalg.svd(scaled, compute_uv=False) ** 2
    share = share / share.sum()
    return float(np.exp(-(share * np.log(share + 1e-12)).sum()))


def scores(values: np.ndarray, types: np.ndarray, groups: np.ndarray) -> list[float]:
    """Balanced accuracy on the test slides of each fold."""
    names = np.unique(groups)
    parts = np.array_split(names, 4)
    found = []
    for fold, test in enumerate(parts):
        held = np.isin(groups, parts[(fold + 1) % 4])
        unseen = np.isin(groups, test)
        train = ~(held | unseen)
        best, chosen = -1.0, None
        for strength in STRENGTHS:
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=strength, max_iter=300, class_weight="balanced")
            ).fit(values[train], types[train])
            score = balanced_accuracy_score(types[held], model.predict(values[held]))
            if score > best:
                best, chosen = score, model
        assert chosen is not None
        found.append(float(balanced_accuracy_score(types[unseen], chosen.predict(values[unseen]))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("models", nargs="+", help="names on the shelf, or folders, of pretrained models")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    store = CropStore.open(options.store)
    types, groups = store.table["type"].to_numpy(str), store.groups.astype(str)
    report = Report(
        "probe", ("encoder", "input px", "effective rank", "balanced accuracy", "error", "fold by fold")
    )
    report.facts["cells"] = f"{len(store)} of {options.store}"
    seen: set[int] = set()
    for name in options.models:
        model = load_model(name)
        part = model.parts.get("reconstruct") or model.parts["features"]
        entries = [(model.card.name, part.encoder)]
        if model.card.image_px not in seen:
            torch.manual_seed(0)
            entries.insert(0, ("random weights", Encoder(encoder_spec(model.card)).eval()))
            seen.add(model.card.image_px)
        batches = CropBatches(
            store,
            nuclear=tuple(model.card.nuclear),
            image_px=model.card.image_px,
            device=torch.device("cpu"),
        )
        for label, encoder in entries:
            values = features(encoder, batches, len(store))
            found = scores(values, types, groups)
            report.add(
                label,
                model.card.image_px,
                effective_rank(values),
                float(np.mean(found)),
                float(np.std(found, ddof=1) / 2),
                " ".join(f"{score:.3f}" for score in found),
            )
    report.finish(options.json)


if __name__ == "__main__":
    main()
