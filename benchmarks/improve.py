"""Improving a model with corrected cells: on the slide it was wrong on, and on an untouched slide of the old kind.

    OMP_NUM_THREADS=1 python benchmarks/improve.py --seeds 3 --json benchmarks/results/improve.json

Simulated slides are shifted so that the bundled model errs: two markers exchanged, one marker's light in two others,
another intensity scale in each marker. Of each, some cells of the left half are corrected by the truth; balanced accuracy on
the right half (``shifted``) and on another slide of the old kind (``old kind``: what is forgotten) is measured for each way
of learning, on the same features. ``encoder`` trains the whole network. ``job`` rows are whole jobs: corrections read,
parted, learned, and compared, with their seconds. With ``--outlines`` it is outlines that are corrected and learned, see
`_improve_outlines`; both columns are F1 at IoU 0.5 then. Cells of one slide are not independent, and simulated tissue is no
tissue.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _table import Report

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.corrected_slide import SHIFTS, Corrected, correct, make_slide

from _improve_outlines import outlines

WAYS: dict[str, dict[str, float]] = {
    "parent": {},
    **{f"hold {hold:g}": {"hold": hold} for hold in (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)},
    **{f"hold 1, rehearse {w:g}": {"hold": 1.0, "rehearse": w} for w in (0.3, 1.0)},
}
COLUMNS = ("shift", "cells", "way", "shifted", "old kind", "seconds")


def look(made: Corrected, model: Any) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Crops, features, true classes and places of all cells of a slide."""
    from napari_dama.predict.cell_crops import cell_crops
    from napari_dama.predict.result import ResultFolder
    from napari_dama.slides.slide import open_slide

    result = ResultFolder.open(made.result)
    cells = made.truth
    part = model.parts["types"]
    crops_of: list[Any] = [None] * len(cells)
    features: list[Any] = [None] * len(cells)
    with open_slide(made.slide) as slide, torch.no_grad():
        for rows, crops in cell_crops(result, slide, model, cells, batch=32):
            pooled = part.pooled(torch.from_numpy(crops)).float()
            for place, row in enumerate(rows):
                crops_of[row], features[row] = torch.from_numpy(crops[place]).half(), pooled[place]
    names = {name: i for i, name in enumerate(model.card.classes)}
    classes = np.array([names[name] for name in cells["type"]])
    return torch.stack(crops_of), torch.stack(features), classes, cells[["y", "x"]].to_numpy(float)


def balanced(logits: torch.Tensor, truth: np.ndarray) -> float:  # type: ignore[type-arg]
    right = logits.argmax(dim=1).numpy() == truth
    return float(np.mean([right[truth == k].mean() for k in np.unique(truth)]))


def quiet(*_: object) -> None:
    pass


def never() -> bool:
    return False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--cells", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--encoder", action="store_true", help="the whole network, too")
    parser.add_argument("--outlines", action="store_true", help="corrected outlines, in place of types")
    parser.add_argument("--shifts", nargs="+", help="of these kinds of slides only")
    parser.add_argument("--model", default="dama-brain7")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from napari_dama.models.shelf import load_model

    model = load_model(options.model)
    report = Report("improve", columns=COLUMNS)
    found: dict[tuple[str, int | str, str], list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.outlines:
            outlines(place, model, options, found)
        for seed in range(0 if options.outlines else options.seeds):
            old = look(make_slide(place, model, seed=900 + seed, size=options.size), model)
            for shift in options.shifts or SHIFTS[1:]:
                made = make_slide(place, model, seed=500 + seed, size=options.size, shift=shift)
                one(model, look(made, model), old, shift, seed, options, found)
                jobs(made, options, shift, seed, found)
    for (shift, cells, way), values in sorted(found.items()):
        new, kept, seconds = np.mean(np.array(values), axis=0)
        old = "" if np.isnan(kept) else round(kept, 3)  # a job measures its own held-out part only
        report.add(shift, cells, way, round(new, 3), old, round(seconds, 2))
    report.finish(options.json)


def one(
    model: Any, new: Any, old: Any, shift: str, seed: int, options: Any, found: dict[Any, list[Any]]
) -> None:
    """Every way of learning on one slide."""
    from napari_dama.models.model import build_part
    from napari_dama.training.improve_fit import Lessons, class_weights, fit_all, fit_head, in_blocks

    own = model.parts["types"]
    crops, features, truth, places = new
    middle = np.median(places[:, 1])
    left = np.flatnonzero(places[:, 1] < middle - 32)
    right = np.flatnonzero(places[:, 1] > middle + 32)
    said = own.classify(features).softmax(dim=1)
    k = len(model.card.classes)
    for count in options.cells:
        order = np.random.default_rng(seed).permutation(left)
        some, rest = order[:count], order[count : count + 200]
        for way, how in WAYS.items():
            part = build_part(model.card, "types")
            part.load_state_dict(own.state_dict())
            part.eval()
            begun = time.perf_counter()
            rehearse = how.get("rehearse", 0.0)
            rows = np.concatenate([some, rest]) if rehearse else some
            targets = np.concatenate([truth[some], np.full(len(rows) - len(some), -1)])
            weight = class_weights(targets, k)
            weight[targets < 0] = rehearse / max((targets < 0).sum(), 1)
            lessons = Lessons(
                features[rows],
                torch.from_numpy(targets),
                torch.from_numpy(weight),
                said[rows],
                torch.ones(k, dtype=torch.bool),
            )
            if how:
                fit_head(part, lessons, hold=how["hold"], tell=quiet, stop=never)
            seconds = time.perf_counter() - begun
            scores = [
                balanced(in_blocks(f, part.classify), t)
                for f, t in ((features[right], truth[right]), old[1:3])
            ]
            found.setdefault((shift, count, way), []).append((*scores, seconds))
            if options.encoder and way == "hold 1":
                begun = time.perf_counter()
                whole = Lessons(crops[rows], lessons.targets, lessons.weight, lessons.said, lessons.known)
                fit_all(part, whole, epochs=12, batch=32, lr=1e-3, seed=seed, tell=quiet, stop=never)
                seconds = time.perf_counter() - begun
                scores = [
                    balanced(in_blocks(c, part), t)
                    for c, t in ((crops[right], truth[right]), (old[0], old[2]))
                ]
                found.setdefault((shift, count, "hold 1, encoder"), []).append((*scores, seconds))


def jobs(made: Corrected, options: Any, shift: str, seed: int, found: dict[Any, list[Any]]) -> None:
    """Whole jobs, as people start them; the held-out part is theirs."""
    from napari_dama.training.improve import improve
    from napari_dama.training.improve_data import find_corrected, prepare

    for count in options.cells:
        order = np.random.default_rng(seed).permutation(made.truth["label"].to_numpy())
        correct(made, order[:count])
        out = made.result.parent / f"job_{shift.replace(' ', '_')}_{seed}_{count}"
        begun = time.perf_counter()
        settings = prepare(
            [find_corrected(made.slide)], out, model=options.model, learn=["types"], device="cpu"
        )
        outcome = improve(settings).types
        assert outcome is not None
        seconds = time.perf_counter() - begun
        for way, value in (("before", outcome.before), ("after", outcome.after)):
            found.setdefault((shift, count, f"job, {way}"), []).append(
                (value.balanced_accuracy, float("nan"), seconds)
            )


if __name__ == "__main__":
    main()
