"""Result folders made without a model: round cells on a grid, with types and probabilities, on a slide that shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_dama.cells.measure import measure
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import LABELS, RUN_FILE, TABLE, write_json, write_rows
from napari_dama.predict.writer import write_parquet
from napari_dama.slides.region import Region

CLASSES = ("neuron", "astrocyte", "microglia")
COLOURS = ("#e6194b", "#3cb44b", "#4363d8")
MARKERS = ("DAPI", "Histones", "NeuN", "S100", "Olig2", "Iba1", "RECA1")


def draw(rows: int, columns: int, pitch: int = 24, radius: int = 8) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Labels (Y, X) of discs on a grid, and a slide (7, Y, X) uint16 on which they are bright."""
    y, x = np.mgrid[:pitch, :pitch]
    disc = (y - pitch // 2) ** 2 + (x - pitch // 2) ** 2 <= radius**2
    numbers = np.arange(1, rows * columns + 1, dtype=np.uint32).reshape(rows, columns)
    labels = np.kron(numbers, np.ones((pitch, pitch), np.uint32)) * np.tile(disc, (rows, columns))
    random = np.random.default_rng(0)
    image = random.integers(100, 140, (len(MARKERS), *labels.shape)).astype(np.uint16)
    image[:2, labels > 0] += 2000
    for kind in range(3):
        image[2 + kind, (labels > 0) & (labels % 3 == kind)] += 1500
    return labels.astype(np.uint32), image


def table_of(labels: np.ndarray, image: np.ndarray, pixel_um: float) -> pd.DataFrame:  # type: ignore[type-arg]
    """Cells as `analyse` writes them; the type goes by the label, and every seventh cell is doubtful."""
    cells = measure(labels, image, MARKERS, pixel_um)
    number = cells["label"].to_numpy()
    cells.insert(6, "score", 0.9)
    cells.insert(7, "type", np.array(CLASSES, dtype=object)[number % 3])
    sure = np.where(number % 7 == 0, 0.4, 0.9)
    for kind, name in enumerate(CLASSES):
        cells.insert(8 + kind, f"p_{name}", np.where(number % 3 == kind, sure, (1 - sure) / 2))
    return cells


def make_result(
    folder: Path, rows: int = 8, columns: int = 10, *, pixel_um: float = 0.5, name: str = "tissue"
) -> tuple[Path, Path]:
    """Write a slide and a result of it; returns both."""
    import tifffile

    labels, image = draw(rows, columns)
    slide = folder / f"{name}.ome.tif"
    meta: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": list(MARKERS)}}
    meta |= {"PhysicalSizeX": pixel_um, "PhysicalSizeY": pixel_um}
    if not slide.exists():
        tifffile.imwrite(slide, image, ome=True, metadata=meta)
    out = folder / f"{name}_dama"
    write_result(out, slide, labels, table_of(labels, image, pixel_um), pixel_um)
    return slide, out


def write_result(out: Path, slide: Path, labels: np.ndarray, cells: pd.DataFrame, pixel_um: float) -> None:  # type: ignore[type-arg]
    """Write a result folder."""
    out.mkdir()
    picture = LabelImage.create(out / LABELS, labels.shape, pixel_um=pixel_um, name=slide.name)
    whole = Region.whole(labels.shape)
    picture.write(whole, labels)
    picture.build_pyramid(whole)
    write_rows(out / TABLE, cells, header=True)
    write_json(
        out / RUN_FILE,
        {
            "kind": "napari-dama result",
            "format": 1,
            "state": "done",
            "created": "2026-01-01T00:00:00+00:00",
            "slide": {"name": slide.name, "path": str(slide), "markers": list(MARKERS), "pixel_um": pixel_um},
            "model": {"name": "made", "classes": list(CLASSES), "class_colours": list(COLOURS)},
            "settings": {"pixel_um": pixel_um},
            "types": True,
            "types_why": "",
            "cells": len(cells),
            "notes": [],
        },
    )
    write_parquet(out)
