"""Nuclei are found once each, whatever the blocks, and none where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.spatial import cKDTree

from cells.fake import FakeSlide, blobs
from napari_dama.cells.find import find_nuclei
from napari_dama.errors import Interrupted, SettingsError


def _centroid_f1(found: np.ndarray, truth: np.ndarray, radius_px: float) -> float:
    distance, nearest = cKDTree(truth).query(found, distance_upper_bound=radius_px)
    hits = len(set(nearest[np.isfinite(distance)]))
    return 2 * hits / (len(found) + len(truth))


def test_every_blob_is_found_once() -> None:
    image, centres = blobs((600, 700))
    table = find_nuclei(FakeSlide(image, ["DAPI"]), nuclear_channel=0, pixel_um=0.325)
    assert list(table.columns) == ["label", "y", "x", "area_um2"]
    assert list(table["label"]) == list(range(1, len(table) + 1))
    assert len(table) == len(centres)
    distance, nearest = cKDTree(centres).query(table[["y", "x"]].to_numpy())
    assert len(set(nearest)) == len(centres) and distance.max() < 2


@pytest.mark.parametrize("block_px", [100, 137, 260])
def test_blocks_neither_lose_nor_double_nuclei(block_px: int) -> None:
    image, centres = blobs((500, 560))
    slide = FakeSlide(image, ["DAPI"])
    table = find_nuclei(slide, nuclear_channel=0, pixel_um=0.325, block_px=block_px)
    assert len(table) == len(centres)
    assert _centroid_f1(table[["y", "x"]].to_numpy(), centres, 3) == 1


def test_reads_are_no_larger_than_a_block_with_its_halo() -> None:
    image, _ = blobs((1500, 1500))
    slide = FakeSlide(image, ["DAPI"])
    from napari_dama.slides.intensity import stats_of

    stats = stats_of(image[:, :500, :500], ["DAPI"])
    find_nuclei(slide, nuclear_channel=0, pixel_um=0.325, stats=stats, block_px=300)
    assert slide.largest_read <= max((300 + 2 * 77) ** 2, 512**2)


@pytest.mark.parametrize("kind", ["zeros", "noise", "constant", "nan"])
def test_no_nuclei_where_there_are_none(kind: str) -> None:
    rng = np.random.default_rng(0)
    image = {
        "zeros": np.zeros((1, 300, 300), np.uint16),
        "noise": rng.normal(800, 100, (1, 300, 300)).astype(np.uint16),
        "constant": np.full((1, 300, 300), 500, np.uint16),
        "nan": np.full((1, 300, 300), np.nan, np.float32),
    }[kind]
    assert len(find_nuclei(FakeSlide(image, ["DAPI"]), nuclear_channel=0, pixel_um=0.325)) == 0


def test_pixels_that_are_not_finite_do_no_harm() -> None:
    image, centres = blobs((300, 300))
    pixels = image.astype(np.float32)
    pixels[0, 140:145] = np.nan
    found = find_nuclei(FakeSlide(pixels, ["DAPI"]), nuclear_channel=0, pixel_um=0.325)
    assert _centroid_f1(found[["y", "x"]].to_numpy(), centres, 5) > 0.85


def test_progress_stop_and_settings() -> None:
    image, _ = blobs((300, 300))
    slide = FakeSlide(image, ["DAPI"])
    seen: list[tuple[int, int]] = []
    find_nuclei(
        slide, nuclear_channel=0, pixel_um=0.325, block_px=200, progress=lambda a, b: seen.append((a, b))
    )
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(Interrupted):
        find_nuclei(slide, nuclear_channel=0, pixel_um=0.325, stop=lambda: True)
    with pytest.raises(SettingsError, match="does not exist"):
        find_nuclei(slide, nuclear_channel=1, pixel_um=0.325)
    with pytest.raises(SettingsError, match="above 0"):
        find_nuclei(slide, nuclear_channel=0, pixel_um=0.0)


@pytest.mark.parametrize(
    ("image", "truth", "channel", "pixel_um", "at_least"),
    [
        ("mif_lymphoma/FIHC4_HP_IM3_2", "nuclei", 3, 0.497, 0.65),
        ("cellpainting/plate1_A14_site1_Ch1", "nuclei_auto", 0, 0.656, 0.75),
        ("codex_lymphoid/R001_X003_Y004", "expert2", 0, 0.377, 0.65),
    ],
)  # fmt: skip
def test_nuclei_of_real_images(
    data_dir: Path, image: str, truth: str, channel: int, pixel_um: float, at_least: float
) -> None:
    from napari_dama.cells.measure import measure

    pixels = tifffile.imread(data_dir / f"{image}.ome.tif")
    slide = FakeSlide(pixels, [str(i) for i in range(len(pixels))])
    found = find_nuclei(slide, nuclear_channel=channel, pixel_um=pixel_um)
    centres = measure(tifffile.imread(data_dir / f"{image}_{truth}.tif"), None, (), pixel_um)[
        ["y", "x"]
    ].to_numpy()
    assert _centroid_f1(found[["y", "x"]].to_numpy(), centres, 4 / pixel_um) > at_least
