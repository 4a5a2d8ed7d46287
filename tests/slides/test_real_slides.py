"""The real images, where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_dama.errors import PanelError
from napari_dama.slides.intensity import normalise, slide_stats
from napari_dama.slides.panel import BRAIN7, match
from napari_dama.slides.slide import open_slide
from napari_dama.slides.tiles import is_empty

DATA = Path(os.environ.get("NAPARI_DAMA_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
IMAGES = {  # shape, dtype, um per pixel, channel that serves as nucleus
    "cellpainting/plate1_A14_site1_Ch1": ((5, 520, 696), "u2", 0.656, None),
    "codex_lymph/input_500": ((5, 500, 500), "u2", None, "DAPI"),
    "codex_lymph/test_101": ((5, 101, 101), "u1", None, "DAPI"),
    "codex_lymphoid/R001_X003_Y004": ((8, 1008, 1344), "u2", 0.37745, "nucleus"),
    "mibi_lymphoid/Point2": ((39, 1024, 1024), "u1", None, "dsDNA"),
    "mibi_lymphoid/Point7": ((39, 1024, 1024), "u1", None, "dsDNA"),
    "mif_breast/ABCM22001_B14_MiniCrop": ((7, 500, 500), "u1", None, "DAPI"),
    "mif_lymphoma/FIHC4_HP_IM3_2": ((5, 260, 348), "f4", 0.497, "DAPI"),
}

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the real images are not in {DATA}; point NAPARI_DAMA_DATA at them"
)


@pytest.mark.parametrize("name", IMAGES)
def test_opens_with_sensible_markers_and_statistics(name: str) -> None:
    shape, dtype, pixel_um, nucleus = IMAGES[name]
    path = DATA / f"{name}.ome.tif"
    with open_slide(path) as slide:
        assert slide.shape == shape
        assert slide.dtype == np.dtype(dtype)
        assert slide.pixel_um == (None if pixel_um is None else pytest.approx(pixel_um))
        assert len(set(slide.markers)) == shape[0] and not any("channel " in m for m in slide.markers)
        pixels = slide.read()
        np.testing.assert_array_equal(pixels, tifffile.imread(path))
        if nucleus is None:
            with pytest.raises(PanelError, match="ch0"):
                match(slide.markers, BRAIN7)
            nucleus = "ch0"
            match(slide.markers, BRAIN7, chosen={"DAPI": "ch0"})
        else:
            assert match(slide.markers, BRAIN7).matches[0].slide_marker == nucleus
        stats = slide_stats(slide)
        scaled = normalise(pixels, stats)
        assert np.isfinite(scaled).all()
        assert not is_empty(pixels, stats)
        seen = scaled[slide.markers.index(nucleus)]
        assert 0.05 < seen.mean() < 0.7
        assert np.percentile(seen, 99) > 0.7
        assert seen.std() > 0.1


def test_the_saturated_channel_keeps_contrast_elsewhere() -> None:
    with open_slide(DATA / "codex_lymphoid" / "R001_X003_Y004.ome.tif") as slide:
        channel = slide.markers.index("CH_19")
        pixels = slide.read()
        stats = slide_stats(slide)
    assert (pixels[channel] == 47649).mean() > 0.07
    scaled = normalise(pixels, stats)[channel]
    rest = scaled[pixels[channel] < 47649]
    assert stats.high[channel] < 47649
    assert np.percentile(rest, 95) - np.percentile(rest, 50) > 0.4
    assert rest.std() > 0.15
