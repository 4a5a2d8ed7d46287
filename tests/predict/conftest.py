"""Slides and a model for tests of prediction."""

from __future__ import annotations

from pathlib import Path

import pytest

from stand_in import MARKERS, NucleusModel, draw_cells


@pytest.fixture
def nucleus_model() -> NucleusModel:
    return NucleusModel()


@pytest.fixture(scope="session")
def cells_tiff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """700 x 900 px of drawn cells as OME-TIFF with marker names and pixel size."""
    import tifffile

    path = tmp_path_factory.mktemp("slides") / "drawn.ome.tif"
    tifffile.imwrite(
        path,
        draw_cells(700, 900),
        ome=True,
        photometric="minisblack",
        tile=(256, 256),
        metadata={
            "axes": "CYX",
            "Channel": {"Name": list(MARKERS)},
            "PhysicalSizeX": 0.325,
            "PhysicalSizeY": 0.325,
        },
    )
    return path
