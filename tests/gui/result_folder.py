"""A result folder that is true to the format, of cells drawn in a moment: for windows that show results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from napari_dama.cells.measure import measure
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import LABELS, PARQUET, RUN_FILE, TABLE
from napari_dama.slides.region import Region

CLASSES = {"neuron": "#e41a1c", "astrocyte": "#377eb8", "microglia": "#4daf4a"}
MARKERS = ("DAPI", "NeuN", "GFAP")
PIXEL_UM = 0.5


def grid_labels(rows: int, columns: int, side: int = 12) -> np.ndarray:
    """Square cells on a grid, numbered from 1 in reading order: uint32, with a border between them."""
    labels = np.zeros((rows * side, columns * side), np.uint32)
    numbers = np.arange(1, rows * columns + 1, dtype=np.uint32).reshape(rows, columns)
    big = np.kron(numbers, np.ones((side, side), np.uint32))
    inner = np.zeros((side, side), bool)
    inner[2:-2, 2:-2] = True
    keep = np.tile(inner, (rows, columns))
    labels[keep] = big[keep]
    return labels


def make_cells(labels: np.ndarray, *, seed: int = 0, typed: bool = True) -> pd.DataFrame:
    """A table as `analyse` writes it: types in vertical stripes, their own marker bright, probabilities to match."""
    random = np.random.default_rng(seed)
    table = measure(labels, None, (), PIXEL_UM)
    names = list(CLASSES)
    kind = np.minimum((table["x"].to_numpy() / labels.shape[1] * 3).astype(int), 2)
    for place, marker in enumerate(MARKERS):
        table[f"mean_{marker}"] = 100 + 400 * (kind == place) + random.normal(0, 30, len(table))
    table["score"] = random.uniform(0.5, 1, len(table))
    if typed:
        logits = random.normal(0, 1, (len(table), 3)) + 3 * np.eye(3)[kind]
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        table["type"] = np.array(names, object)[shares.argmax(axis=1)]
        for place, name in enumerate(names):
            table[f"p_{name}"] = shares[:, place]
    return table


def write_result(
    folder: Path,
    labels: np.ndarray,
    cells: pd.DataFrame,
    *,
    slide: str = "",
    classes: dict[str, str] | None = None,
    pixel_um: float = PIXEL_UM,
) -> Path:
    """Write labels, table and record."""
    folder.mkdir(parents=True)
    height, width = labels.shape
    image = LabelImage.create(folder / LABELS, (height, width), pixel_um=pixel_um, name="cells")
    image.write(Region(0, height, 0, width), labels)
    image.build_pyramid(Region(0, height, 0, width))
    cells.to_csv(folder / TABLE, index=False)
    cells.to_parquet(folder / PARQUET, index=False)
    named = CLASSES if classes is None else classes
    record = {
        "kind": "napari-dama result",
        "state": "done",
        "slide": {"path": slide},
        "model": {"name": "drawn", "classes": list(named), "class_colours": list(named.values())},
        "settings": {"pixel_um": pixel_um, "shape": [len(MARKERS), height, width]},
    }
    (folder / RUN_FILE).write_text(json.dumps(record), encoding="utf-8")
    return folder
