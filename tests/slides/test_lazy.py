"""Slides over lazy arrays, histograms of them, and saving them as OME-TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_dama.errors import Interrupted, OutputError, SlideError
from napari_dama.slides.histogram import marker_histogram, sample_level
from napari_dama.slides.lazy import open_channels, open_planes
from napari_dama.slides.region import Region
from napari_dama.slides.save import level_sizes, save_ome_tiff
from napari_dama.slides.slide import open_slide

PIXELS = np.random.default_rng(0).integers(0, 4000, (2, 3, 5, 70, 90), dtype=np.uint16)  # (T, Z, C, Y, X)


def as_zarr(pixels: np.ndarray[Any, Any]) -> Any:
    array = zarr.create_array({}, shape=pixels.shape, dtype=pixels.dtype, chunks=(1, 1, 2, 32, 32))
    array[:] = pixels
    return array


@pytest.mark.parametrize(
    "kind",
    [lambda p: p, lambda p: da.from_array(p, chunks=(1, 1, 2, 40, 40)), as_zarr],
    ids=["numpy", "dask", "zarr"],
)
def test_channels_of_any_array_with_other_axes(kind: Any) -> None:
    slide = open_channels([kind(PIXELS)], 2, name="x", markers=list("abcde"), pixel_um=0.5, at={0: 1, 1: 2})
    assert slide.shape == (5, 70, 90)
    assert slide.markers == ("a", "b", "c", "d", "e")
    region = Region(10, 45, 20, 90)
    for channels in ([0, 1, 2, 3, 4], [3], [4, 0, 1], [2, 2]):
        expected = PIXELS[1, 2][channels][:, 10:45, 20:90]
        np.testing.assert_array_equal(slide.read(region, channels=channels), expected)
    np.testing.assert_array_equal(np.asarray(slide.lazy()), PIXELS[1, 2])


def test_one_array_per_marker_with_levels() -> None:
    planes = [[PIXELS[0, 0, c], PIXELS[0, 0, c, ::2, ::2]] for c in range(3)]
    slide = open_planes(planes, name="x")
    assert slide.levels == ((70, 90), (35, 45))
    assert slide.markers == ("channel 1", "channel 2", "channel 3")
    np.testing.assert_array_equal(slide.read(channels=[2], level=1)[0], PIXELS[0, 0, 2, ::2, ::2])


def test_nothing_is_read_until_it_is_asked_for() -> None:
    seen: list[int] = []

    def chunk(block_info: Any = None) -> np.ndarray[Any, Any]:
        seen.append(1)
        return np.ones((2, 512, 512), np.uint8)

    pixels = da.map_blocks(
        chunk, chunks=((2,), (512, 512), (512, 512)), dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    slide = open_channels([pixels], 0, name="x")
    assert seen == []
    slide.read(Region(0, 10, 0, 10))
    assert len(seen) == 1  # both channels lie in the same chunk, which is read once


def test_arrays_that_are_no_slide_say_why() -> None:
    with pytest.raises(SlideError, match="rows and columns"):
        open_channels([PIXELS], 3, name="x")
    with pytest.raises(SlideError, match="differ in size"):
        open_planes([[np.zeros((4, 4))], [np.zeros((4, 5))]], name="x")
    with pytest.raises(SlideError, match="complex"):
        open_planes([[np.zeros((4, 4), complex)]], name="x")
    with pytest.raises(SlideError, match="2 marker names"):
        open_channels([PIXELS[0, 0]], 0, name="x", markers=["a", "b"])


def test_histogram_counts_every_pixel_and_folds_hot_ones_in() -> None:
    pixels = np.random.default_rng(1).gamma(2, 100, (2, 300, 300)).astype(np.uint16)
    pixels[1, 0, 0] = 65535
    slide = open_channels([pixels], 0, name="x")
    found = marker_histogram(slide, 1)
    assert found.counts.sum() == found.pixels == 90000
    assert found.edges[-1] < 3000
    whole = np.bincount(pixels[1].ravel())
    first = int(found.edges[1] + 0.5 - (found.edges[0] + 0.5))
    low = int(found.edges[0] + 0.5)
    assert found.counts[0] == whole[low : low + first].sum()


def test_histogram_of_floats_leaves_out_what_is_no_number() -> None:
    pixels = np.random.default_rng(1).normal(size=(1, 50, 50)).astype(np.float32)
    pixels[0, :5] = np.nan
    found = marker_histogram(open_channels([pixels], 0, name="x"), 0)
    assert found.pixels == 45 * 50
    flat = marker_histogram(open_channels([np.full((1, 9, 9), 7.0)], 0, name="x"), 0)
    assert flat.counts.sum() == 81


def test_histogram_reads_a_smaller_level_or_blocks() -> None:
    levels = [np.zeros((1, n, n), np.uint8) for n in (4000, 2000, 1000, 500)]
    slide = open_channels(levels, 0, name="x")
    assert sample_level(slide, 1_000_000) == 2
    alone = open_channels(levels[:1], 0, name="x")
    found = marker_histogram(alone, 0, max_pixels=200_000)
    assert 100_000 < found.pixels <= 200_000


def test_saved_slides_open_with_the_same_pixels_names_and_levels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 60000, (2, 2100, 1300), dtype=np.uint16)
    slide = open_channels(
        [da.from_array(pixels, chunks=(1, 512, 512))], 0, name="x", markers=["DAPI", "NeuN β"], pixel_um=0.4
    )
    shares: list[float] = []
    path = save_ome_tiff(slide, tmp_path / "x.ome.tif", progress=shares.append)
    assert shares[-1] == pytest.approx(1)
    with open_slide(path) as back:
        assert back.markers == ("DAPI", "NeuN β")
        assert back.pixel_um == pytest.approx(0.4)
        assert list(back.levels) == level_sizes((2100, 1300)) == [(2100, 1300), (1050, 650)]
        np.testing.assert_array_equal(back.read(), pixels)
        means = pixels[:, :2100, :1300].reshape(2, 1050, 2, 650, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(back.read(level=1), means, atol=0.5)
    with pytest.raises(OutputError, match="exists already"):
        save_ome_tiff(slide, path)


def test_a_cancelled_save_leaves_nothing(tmp_path: Path) -> None:
    slide = open_channels([np.zeros((2, 50, 50), np.float32)], 0, name="x")
    with pytest.raises(Interrupted):
        save_ome_tiff(slide, tmp_path / "x.ome.tif", stop=lambda: True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match=r"\.ome\.tif"):
        save_ome_tiff(slide, tmp_path / "x.tif")
