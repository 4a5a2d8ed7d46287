"""The outlines of `improve.py`: whole jobs from corrected outlines, on slides whose cells the model draws wrongly.

Of a simulated slide of each kind (another intensity scale; cells 2.3 times as large, which are split; 0.55 times, which are
joined) the model's own analysis is corrected by the truth: every act of a person puts one knot of wrong and missed cells
right. A whole job learns from them; F1 at IoU 0.5 against all true outlines is measured on another slide of that kind
(``shifted``) and on one of the old kind (``old kind``), and on the job's own held-out areas (``job``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from tests.corrected_outlines import OUTLINE_SHIFTS, correct_outlines, make_outlined, mistakes, read_labels

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {"dim": 448, "large": 288, "small": 512}


def outlines(place: Path, model: Any, options: Any, found: dict[Any, list[Any]]) -> None:
    """Every kind of slide with every seed; adds (F1 on another slide, on the old kind, seconds) to ``found``."""
    for seed in range(options.seeds):
        old = whole(place, model, 900 + seed, "none", 320)
        for shift in options.shifts or OUTLINE_SHIFTS:
            one(place, model, shift, seed, old, options, found)


def whole(place: Path, model: Any, seed: int, shift: str, size: int) -> Any:
    """A slide with all its true outlines, as an area that is checked from edge to edge."""
    from napari_dama.training.improve_outlines import AreaField
    from napari_dama.training.segments import load_field

    folder = place / f"whole_{shift}_{seed}"
    folder.mkdir()
    made = make_outlined(folder, model, seed=seed, size=size, shift=shift, run=False)
    field = load_field(made.slide, made.truth.astype(np.int32), model.card.to_panel(), model.card.pixel_um)
    zone = np.ones(field.labels.shape, np.uint8)
    return AreaField("held", field.pixels, field.labels, field.distance, zone, field.present, frozenset())


def one(
    place: Path, model: Any, shift: str, seed: int, old: Any, options: Any, found: dict[Any, list[Any]]
) -> None:
    """One slide: its job, and parent and improved network on other slides."""
    from napari_dama.evaluate.outline_change import compare_outlines
    from napari_dama.models.shelf import load_model
    from napari_dama.training.improve import improve
    from napari_dama.training.improve_data import find_corrected, prepare
    from napari_dama.training.improve_outlines import find_cells

    made = make_outlined(place, model, seed=500 + seed, size=SIZES[shift], shift=shift)
    acts = mistakes(read_labels(made.result), made.truth)
    correct_outlines(made, acts)
    begun = time.perf_counter()
    settings = prepare(
        [find_corrected(made.slide)],
        place / f"outlines_{shift}_{seed}",
        model=options.model,
        learn=["outlines"],
        device="cpu",
        encoder=options.encoder,
    )
    change = improve(settings).outlines
    assert change is not None
    seconds = time.perf_counter() - begun
    improved = load_model(settings.out / "model")
    new = whole(place, model, 700 + seed, shift, round(0.7 * SIZES[shift]))
    parts = [each.parts["segments"] for each in (model, improved)]
    rows = []
    for field in (new, old):
        images = [find_cells(part, field, model.card) for part in parts]
        rows.append(compare_outlines([field.checked], [images[0]], [images[1]]))
    for way in ("before", "after"):
        scores = [getattr(each, way).f1 for each in rows]
        found.setdefault((shift, "outlines", f"outlines, {way}"), []).append(
            (*scores, seconds if way == "after" else 0.0)
        )
        held = getattr(change, way).f1
        found.setdefault((shift, "outlines", f"outlines, job, {way}"), []).append(
            (held, float("nan"), seconds)
        )
    said = [f"{each.before.f1:.3f} to {each.after.f1:.3f}" for each in (change, *rows)]
    words = f"held out {said[0]}, another slide {said[1]}, old kind {said[2]}"
    print(f"{shift} {seed}: {len(acts)} acts; {words}; {seconds:.0f} s", flush=True)
