"""The bundled model: its size, what its card says, and that it works on unseen simulated slides and on real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_dama.errors import PanelError
from napari_dama.evaluate.segments import evaluate_segments
from napari_dama.evaluate.types import match_types
from napari_dama.models.shelf import BUNDLED, DEFAULT_MODEL, load_card
from napari_dama.predict.analyse import analyse
from napari_dama.simulate import TYPES, simulate_tissue, write_simulated
from napari_dama.slides.panel import BRAIN7

if TYPE_CHECKING:
    from pathlib import Path

REAL = (
    # file, chosen channels, pixel size where the file has none, at least so many cells
    ("codex_lymphoid/R001_X003_Y004.ome.tif", None, None, 500),
    ("mif_breast/ABCM22001_B14_MiniCrop.ome.tif", None, 0.5, 200),
    ("mif_lymphoma/FIHC4_HP_IM3_2.ome.tif", None, None, 80),
    ("codex_lymph/input_500.ome.tif", None, 0.377, 200),
    ("codex_lymph/test_101.ome.tif", None, 0.377, 10),
    ("mibi_lymphoid/Point2.ome.tif", None, 0.5, 200),
    ("mibi_lymphoid/Point7.ome.tif", None, 0.5, 200),
    ("cellpainting/plate1_A14_site1_Ch1.ome.tif", {"DAPI": 0}, None, 40),
)


def test_weights_stay_under_the_limit() -> None:
    total = sum(file.stat().st_size for file in BUNDLED.rglob("*") if file.is_file())
    assert 1e6 < total < 60e6


def test_card_says_what_it_saw() -> None:
    card = load_card(DEFAULT_MODEL)
    assert card.panel == list(BRAIN7.names)
    assert set(card.classes) == set(TYPES)
    assert {"segments", "types", "reconstruct"} == set(card.tasks)
    assert card.training["simulated_slides"] > 0
    assert any("simulated" in limit for limit in card.limits)


def test_unseen_simulated_tissue(tmp_path: Path) -> None:
    """The floor that issue 2 asks for, on one small slide all of whose markers were stained; where the marker of a type has
    failed (one slide in ten), that type falls. benchmarks/accuracy.py measures properly, failed stains included.
    """
    seed = next(s for s in range(7001, 7100) if min(stain_of(s).values()) > 0.5)
    (image,) = write_simulated(tmp_path, n=1, size=640, seed=seed, difficulty="normal")
    stem = image.name.removesuffix(".ome.tif")
    result = analyse(image, tmp_path / "out")
    labels = np.asarray(result.labels)
    truth = tifffile.imread(tmp_path / f"{stem}_cells.tif")
    assert evaluate_segments(truth, labels).f1_50 > 0.9
    types = match_types(truth, labels, pd.read_csv(tmp_path / f"{stem}_cells.csv"), result.cells())
    assert types.balanced_accuracy > 0.85


def stain_of(seed: int) -> dict[str, float]:
    """Strength of each marker's stain on the simulated slide of a seed."""
    return dict(simulate_tissue(64, seed=seed, difficulty="normal").strength)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "chosen", "pixel_um", "least"), REAL, ids=[row[0].split("/")[1] for row in REAL]
)
def test_every_real_image(
    name: str,
    chosen: dict[str, int] | None,
    pixel_um: float | None,
    least: int,
    data_dir: Path,
    tmp_path: Path,
) -> None:
    from napari_dama.slides.slide import open_slide

    with open_slide(data_dir / name) as slide:
        markers = slide.markers
    names = {marker: markers[index] for marker, index in chosen.items()} if chosen else None
    result = analyse(data_dir / name, tmp_path / "out", chosen=names, pixel_um=pixel_um)
    cells = result.cells()
    assert len(cells) >= least
    assert "type" not in cells.columns  # none of these panels has the markers that types rest on
    assert result.run["types_why"]
    assert {f"mean_{marker}" for marker in markers} <= set(cells.columns)


def test_slide_without_nuclei_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PanelError, match="DAPI"):
        from napari_dama.slides.slide import open_slide

        slide = open_slide(np.ones((2, 64, 64), np.uint16), markers=["CD3", "CD8"], pixel_um=0.5)
        analyse(slide, tmp_path / "out")
