"""Simulated slides on which a model errs, with a result of it (outlines by the truth) and a journal of corrections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from napari_dama.cells.correction_records import header, type_record
from napari_dama.cells.corrections import journal_path, result_key
from napari_dama.cells.measure import measure
from napari_dama.models.model import Model
from napari_dama.predict.cell_crops import tell_types
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.prepare import make_plan
from napari_dama.predict.record import LABELS, RUN_FILE, TABLE, write_json, write_rows
from napari_dama.predict.result import ResultFolder
from napari_dama.predict.writer import write_parquet
from napari_dama.simulate import simulate_tissue
from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.region import Region
from napari_dama.slides.slide import open_slide

MADE = "2026-01-01T00:00:00+00:00"
SHIFTS = ("none", "exchanged", "bleeding", "other scale")


class Corrected(NamedTuple):
    """A slide, its result, and the true types by label."""

    slide: Path
    result: Path
    truth: pd.DataFrame


def shifted(image: np.ndarray, markers: tuple[str, ...], shift: str) -> np.ndarray:  # type: ignore[type-arg]
    """Pixels (C, Y, X) as another laboratory might deliver them."""
    at = {name: index for index, name in enumerate(markers)}
    out = image.astype(np.float32)
    if shift == "exchanged":
        out[[at["S100"], at["Iba1"]]] = out[[at["Iba1"], at["S100"]]]
    elif shift == "bleeding":
        for name in ("Olig2", "S100"):
            out[at[name]] += (
                0.8 * out[at["NeuN"]] * np.percentile(out[at[name]], 99) / np.percentile(out[at["NeuN"]], 99)
            )
    elif shift == "other scale":
        top = np.percentile(out, 99.9, axis=(1, 2), keepdims=True)
        power = np.array([1, 1, 0.35, 2.2, 0.4, 2.0, 1.8], np.float32)[:, None, None]
        out = np.clip(out / top, 0, 1.3) ** power * top
    return np.clip(out, 0, 65535).astype(np.uint16)


def make_slide(folder: Path, model: Model, *, seed: int, size: int = 512, shift: str = "none") -> Corrected:
    """Write a slide of a kind, and the result that the model makes of its cells."""
    import tifffile

    tissue = simulate_tissue(size, seed=seed)
    image = shifted(tissue.image, tissue.markers, shift)
    name = f"{shift.replace(' ', '_')}_{seed}"
    path, out = folder / f"{name}.ome.tif", folder / f"{name}_dama"
    meta: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": list(tissue.markers)}}
    meta |= {"PhysicalSizeX": tissue.pixel_um, "PhysicalSizeY": tissue.pixel_um}
    tifffile.imwrite(path, image, ome=True, metadata=meta)
    labels = tissue.labels.astype(np.uint32)
    with open_slide(path) as slide:
        plan = make_plan(
            slide,
            model=model,
            chosen=None,
            pixel_um=None,
            region=None,
            types=True,
            tile_px=1024,
            task="types",
        )
        cells = measure(labels, image, tissue.markers, tissue.pixel_um)
        cells.insert(6, "score", 0.9)
        out.mkdir()
        record = {
            "kind": "napari-dama result", "format": 1, "state": "done", "created": MADE,
            "slide": {"name": path.name, "path": str(path), "markers": list(tissue.markers), "pixel_um": tissue.pixel_um},
            "model": {"name": model.card.name, "path": str(model.card.path), "classes": list(model.card.classes),
                      "class_colours": list(model.card.class_colours)},
            "settings": plan.settings(), "intensity": slide_stats(slide).to_json(), "types": True, "types_why": "",
            "cells": len(cells), "notes": [],
        }  # fmt: skip
        write_json(out / RUN_FILE, record)
        told = tell_types(ResultFolder(out, record), slide, model, cells)
    cells.insert(7, "type", np.array(model.card.classes, dtype=object)[told.argmax(axis=1)])
    for k, kind in enumerate(model.card.classes):
        cells.insert(8 + k, f"p_{kind}", told[:, k].round(4))
    picture = LabelImage.create(out / LABELS, labels.shape, pixel_um=tissue.pixel_um, name=path.name)
    picture.write(Region.whole(labels.shape), labels)
    picture.build_pyramid(Region.whole(labels.shape))
    write_rows(out / TABLE, cells, header=True)
    write_parquet(out)
    truth = tissue.cells[["label", "y", "x", "type"]].reset_index(drop=True)
    return Corrected(path, out, truth[truth["label"].isin(cells["label"])].reset_index(drop=True))


def correct(made: Corrected, labels: Any, *, who: str = "click", types: Any = None) -> Path:
    """Write a journal in which cells are corrected to the truth (or to other ``types``); returns it."""
    journal = journal_path(made.slide)
    rows = made.truth.set_index("label").loc[list(labels)].reset_index()
    names = rows["type"].tolist() if types is None else list(types)
    before = rows.assign(type="cell", reviewed=False)
    records = [
        header(made.slide.name, result_key(journal, made.result, MADE)),
        type_record(1, before, names, who),  # type: ignore[arg-type]
    ]
    journal.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return journal
