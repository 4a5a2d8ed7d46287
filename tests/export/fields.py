"""A small slide with cells of awkward shapes, and the result folder that an analysis of it would leave; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile

from napari_dama.cells.measure import measure
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import LABELS, PARQUET, RUN_FILE, TABLE, write_json, write_rows
from napari_dama.slides.intensity import stats_of
from napari_dama.slides.region import Region

TYPES = ("neuron", "microglia", "astrocyte")
COLOURS = ("#e69f00", "#009e73", "#56b4e9")
MARKERS = ("DAPI", "NeuN", "CD68")
PIXEL_UM = 0.5


def awkward_labels(shape: tuple[int, int] = (140, 190)) -> np.ndarray:
    """Touching cells, a ring, a cell in two pieces, one in a hole, one pixel, one on the border; numbers with gaps."""
    labels = np.zeros(shape, np.uint32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for number, cy, cx, radius in ((2, 30, 30, 14), (3, 30, 52, 13), (5, 55, 40, 12), (900, 0, 100, 15)):
        labels[((y - cy) ** 2 + (x - cx) ** 2 <= radius**2) & (labels == 0)] = number
    ring = (y - 90) ** 2 + (x - 40) ** 2
    labels[(ring <= 20**2) & (ring > 9**2)] = 7
    labels[ring <= 4**2] = 8
    labels[100:106, 100:112] = 11
    labels[108:112, 116:120] = 11
    labels[60, 150] = 13
    labels[70:90, 140:141] = 14
    labels[120:140, 170:190] = 17
    return labels


def write_slide(path: Path, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Write pixels (3, Y, X) uint16 under the cells, and return them."""
    random = np.random.default_rng(seed)
    pixels = random.normal(300, 20, (3, *labels.shape))
    pixels[0] += 4000 * (labels > 0)
    pixels[1] += 6000 * (labels % 2 == 1)
    pixels[2] += 3000 * (labels % 3 == 2)
    image = np.clip(pixels, 0, 65535).astype(np.uint16)
    metadata: dict[str, Any] = {
        "axes": "CYX",
        "Channel": {"Name": list(MARKERS)},
        "PhysicalSizeX": PIXEL_UM,
        "PhysicalSizeY": PIXEL_UM,
    }
    tifffile.imwrite(path, image, ome=True, metadata=metadata)
    return image


def make_result(
    folder: Path, labels: np.ndarray | None = None, *, types: bool = True, slide: bool = True, **changes: Any
) -> Path:
    """Leave ``folder/out`` as `analyse` does, and ``folder/tissue.ome.tif``; ``changes`` go into the record."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = awkward_labels() if labels is None else labels
    file, out = folder / "tissue.ome.tif", folder / "out"
    pixels = write_slide(file, labels)
    out.mkdir()
    image = LabelImage.create(out / LABELS, labels.shape, pixel_um=PIXEL_UM, name="tissue")
    image.write(Region.whole(labels.shape), labels)
    image.build_pyramid(Region.whole(labels.shape))
    means = measure(labels, pixels, MARKERS, PIXEL_UM)
    shape = means[["label", "y", "x", "y_um", "x_um", "area_um2"]].copy()
    shape["score"] = np.linspace(0.5, 0.9, len(shape))
    if types:
        kind = (shape["label"] % 3).to_numpy()
        shape["type"] = np.array(TYPES, object)[kind]
        for index, name in enumerate(TYPES):
            shape[f"p_{name}"] = np.where(kind == index, 0.8, 0.1)
    table = pd.concat([shape, means[[f"mean_{marker}" for marker in MARKERS]]], axis=1)
    write_rows(out / TABLE, table, header=True)
    pd.read_csv(out / TABLE).to_parquet(out / PARQUET, index=False)
    record = {
        "kind": "napari-dama result",
        "format": 1,
        "state": "done",
        "versions": {"python": "3.11.7", "napari-dama": "0.1.0", "torch": "2.14.1", "scikit-image": "0.26.0"},
        "slide": {
            "name": "tissue",
            "path": str(file),
            "shape": [3, *labels.shape],
            "dtype": "uint16",
            "markers": list(MARKERS),
            "pixel_um": PIXEL_UM,
        },
        "model": {
            "name": "dama-brain7",
            "version": "1",
            "path": None,
            "classes": list(TYPES) if types else [],
            "class_colours": list(COLOURS) if types else [],
        },
        "channel_map": {
            "channels": [
                {"marker": "DAPI", "slide_index": 0, "slide_marker": "DAPI", "how": "exact"},
                {"marker": "NeuN", "slide_index": 1, "slide_marker": "NeuN", "how": "exact"},
                {"marker": "Iba1", "slide_index": 2, "slide_marker": "CD68", "how": "chosen"},
                {"marker": "RECA1", "slide_index": None, "slide_marker": None, "how": "absent"},
            ]
        },
        "settings": {"pixel_um": PIXEL_UM, "region": [0, labels.shape[0], 0, labels.shape[1]]},
        "types": types,
        "types_why": "" if types else "types were not asked for",
        "intensity": stats_of(pixels, MARKERS).to_json(),
        "device": "cpu",
        "precision": "float32",
        "tiles": 1,
        "tiles_done": 1,
        "notes": [],
        "cells": len(table),
    }
    write_json(out / RUN_FILE, {**record, **changes})
    if not slide:
        file.unlink()
    return out
