"""Accuracy of the bundled model beside its rivals, on data it has not seen.

Part 1, simulated tissue of unseen seeds (the weights were made from seeds 1000 on): segmentation F1 at IoU 0.5 and panoptic
quality; types on the cells that are matched at IoU 0.5, beside the rule "type of the brightest marker" and gradient boosting
on mean intensities and area (trained on other simulated slides), both on the same cells.

Part 2, codex_lymphoid, two experts: F1 at IoU 0.5 against each, beside two automatic masks that come with the image and the
experts against each other. Neither expert is a gold standard, and the pixel size in that file is an assumption.

Example: python benchmarks/accuracy.py --slides 6 --difficulty normal --data ../shared/data --json accuracy.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import tifffile
from sklearn.ensemble import HistGradientBoostingClassifier

from _table import Report
from napari_dama.cells.measure import measure
from napari_dama.evaluate.baselines import mean_intensity_rule
from napari_dama.evaluate.match import iou_table
from napari_dama.evaluate.segments import evaluate_segments
from napari_dama.evaluate.types import type_scores
from napari_dama.predict.analyse import analyse
from napari_dama.simulate import simulate_tissue, write_simulated
from napari_dama.slides.intensity import normalise, stats_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_SEED = 5000
BOOSTING_SEEDS = range(900, 908)
EXPERTS = "codex_lymphoid/R001_X003_Y004"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, default=6)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--difficulty", default="normal", choices=("easy", "normal", "hard"))
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--model", default="dama-brain7")
    parser.add_argument(
        "--data", type=Path, help="folder with the real images; without it part 2 is left out"
    )
    parser.add_argument("--json", type=Path, default=None, help="NAME.json; part 2 goes to NAME_experts.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        simulated(args, Path(folder))
        if args.data is not None:
            experts(args, Path(folder))


def simulated(args: argparse.Namespace, folder: Path) -> None:
    """Part 1."""
    report = Report(
        f"simulated tissue, {args.difficulty}, unseen seeds",
        ("seed", "cells", "found", "F1@0.5", "PQ", "matched", "types", "types_rule", "types_boosting"),
        facts={"model": args.model, "size_px": args.size, "types": "balanced accuracy on matched cells"},
    )
    boosting = fit_boosting(args.difficulty)
    files = write_simulated(
        folder, n=args.slides, size=args.size, seed=args.first_seed, difficulty=args.difficulty
    )
    rows: list[list[float]] = []
    for index, file in enumerate(files):
        stem = file.name.removesuffix(".ome.tif")
        truth = tifffile.imread(folder / f"{stem}_cells.tif")
        truth_table = pd.read_csv(folder / f"{stem}_cells.csv")
        result = analyse(file, folder / f"{stem}_result", model=args.model)
        labels, cells = np.asarray(result.labels), result.cells()
        scores = evaluate_segments(truth, labels)
        table = iou_table(truth, labels)
        in_truth, in_cells, _ = table.matches(0.5)
        types = truth_table.set_index("label").loc[table.truth.ids[in_truth], "type"].tolist()
        matched = cells.set_index("label").loc[table.pred.ids[in_cells]].reset_index()
        pixels = tifffile.imread(file)
        stats = stats_of(pixels, markers_of(cells))
        rivals = [
            matched["type"].tolist(),
            list(mean_intensity_rule(matched, stats=stats)),
            list(boosting.predict(features(matched, stats))),
        ]
        balanced = [type_scores(types, guess).balanced_accuracy for guess in rivals]
        row = [len(truth_table), len(cells), scores.f1_50, scores.pq, len(types), *balanced]
        rows.append(row)
        report.add(str(args.first_seed + index), *row)
    report.add("mean", *np.mean(rows, axis=0).tolist())
    report.finish(args.json)


def markers_of(cells: pd.DataFrame) -> list[str]:
    """Markers that a table has means of."""
    return [name.removeprefix("mean_") for name in cells.columns if name.startswith("mean_")]


def features(cells: pd.DataFrame, stats: Any) -> NDArray[np.float64]:
    """Normalised mean intensities and area, (n, C + 1)."""
    means = cells[[f"mean_{marker}" for marker in stats.markers]].to_numpy(float)
    level = normalise(means.T[:, :, None].astype(np.float32), stats)[:, :, 0].T
    return np.column_stack([level, cells["area_um2"].to_numpy(float)])


def fit_boosting(difficulty: str) -> Any:
    """Gradient boosting on the true cells of other simulated slides."""
    inputs, types = [], []
    for seed in BOOSTING_SEEDS:
        tissue = simulate_tissue(1024, seed=seed, difficulty=difficulty)
        cells = measure(tissue.labels, tissue.image, tissue.markers, tissue.pixel_um)
        inputs.append(features(cells, stats_of(tissue.image, tissue.markers)))
        types += tissue.cells.set_index("label").loc[cells["label"], "type"].tolist()
    return HistGradientBoostingClassifier(random_state=0).fit(np.concatenate(inputs), types)


def experts(args: argparse.Namespace, folder: Path) -> None:
    """Part 2."""
    report = Report(
        "codex_lymphoid, F1 at IoU 0.5 (precision/recall against each expert)",
        ("masks", "cells", "expert1_F1", "expert1_PR", "expert2_F1", "expert2_PR"),
        facts={"model": args.model, "caution": "the experts disagree; neither is a gold standard"},
    )
    base = args.data / EXPERTS
    masks = {
        name: tifffile.imread(f"{base}_{name}.tif")
        for name in ("expert1", "expert2", "deepcell090", "cellpose061")
    }
    result = analyse(Path(f"{base}.ome.tif"), folder / "codex", model=args.model)
    masks = {"napari-dama (nuclear channel only)": np.asarray(result.labels), **masks}
    for name, mask in masks.items():
        row: list[Any] = [name, len(np.unique(mask)) - 1]
        for expert in ("expert1", "expert2"):
            if name == expert:
                row += [float("nan"), "-"]
                continue
            scores = evaluate_segments(masks[expert], mask)
            row += [scores.f1_50, f"{scores.precision_50:.2f}/{scores.recall_50:.2f}"]
        report.add(*row)
    report.finish(None if args.json is None else args.json.with_name(f"{args.json.stem}_experts.json"))


if __name__ == "__main__":
    main()
