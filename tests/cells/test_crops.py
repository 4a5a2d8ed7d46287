"""Crops hold the pixels around their cells, whatever the slide's size, scale, channels and dtype."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from cells.fake import FakeSlide, blobs
from napari_dama.cells import crops as crops_module
from napari_dama.cells.crops import common_dtype, crop_slides, spread
from napari_dama.cells.given import centroids, given_cells, open_labels, read_table
from napari_dama.cells.store import CropStore
from napari_dama.errors import Interrupted, PanelError, SettingsError, SlideError, StoreError
from napari_dama.slides.panel import BRAIN7, ChannelMap, match


def _map(slide: FakeSlide) -> ChannelMap:
    return match(slide.markers, BRAIN7)


def _csv(path: Path, rows: list[tuple[int, float, float, str]]) -> Path:
    pd.DataFrame(rows, columns=["label", "y", "x", "type"]).to_csv(path, index=False)
    return path


def _noise(shape: tuple[int, ...], dtype: type = np.uint16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def test_a_crop_is_the_slice_around_its_cell_in_the_models_order(tmp_path: Path) -> None:
    pixels = _noise((3, 200, 300))
    slide = FakeSlide(pixels, ["Iba1", "junk", "DAPI"])
    given = _csv(tmp_path / "c.csv", [(7, 100.0, 150.4, "microglia"), (9, 80.6, 60.0, "")])
    store = crop_slides([(slide, _map(slide))], tmp_path / "s", labels=[given])
    assert store.markers == BRAIN7.names and store.crops.shape == (2, 7, 100, 100)
    assert store.crops.dtype == np.uint16 and list(store.table["label"]) == [7, 9]
    assert list(store.table["type"]) == ["microglia", ""]
    # Of 100 pixels the middle is between the 50th and the 51st: centre 100 is reached by 51..150 or 50..149.
    np.testing.assert_array_equal(store.crops[0, 0], pixels[2, 51:151, 101:201])
    np.testing.assert_array_equal(store.crops[0, 5], pixels[0, 51:151, 101:201])
    assert not store.crops[:, [1, 2, 3, 4, 6]].any()
    np.testing.assert_array_equal(store.present, [[True, False, False, False, False, True, False]])
    np.testing.assert_allclose(store.stats[0, :, 1], [0, 1])
    assert store.stats[0, 1, 0] > 200
    assert store.table["y_um"][0] == pytest.approx(32.5) and store.table["x_um"][0] == pytest.approx(48.88)


@pytest.mark.parametrize("shape", [(160, 180), (40, 130), (1, 120), (60, 60)])
def test_crops_at_the_border_are_mirrored(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = _noise((1, *shape))
    slide = FakeSlide(pixels, ["DAPI"])
    centres = [(0.0, 0.0), (shape[0] - 1.0, shape[1] - 1.0), (shape[0] // 2, 3.0)]
    given = _csv(tmp_path / "c.csv", [(i + 1, y, x, "") for i, (y, x) in enumerate(centres)])
    store = crop_slides([(slide, _map(slide))], tmp_path / "s", labels=[given])
    padded = np.pad(pixels[0], 100, mode="reflect")
    for crop, (y, x) in zip(store.crops[:, 0], centres, strict=True):
        y0, x0 = int(np.floor(y - 49.5 + 0.5)) + 100, int(np.floor(x - 49.5 + 0.5)) + 100
        np.testing.assert_array_equal(crop, padded[y0 : y0 + 100, x0 : x0 + 100])


@pytest.mark.parametrize("pixel_um", [0.5, 0.25, 0.13, 0.9])
def test_other_pixel_sizes_are_interpolated_to_the_same_width(tmp_path: Path, pixel_um: float) -> None:
    rng = np.random.default_rng(0)
    pixels = ndimage.gaussian_filter(rng.normal(0, 1, (1, 400, 420)), (0, 6, 6))
    pixels = ((pixels - pixels.min()) * 20000).astype(np.uint16)
    slide = FakeSlide(pixels, ["DAPI"], pixel_um=pixel_um)
    centres = [(200.3, 210.8), (5.0, 410.0)]
    given = _csv(tmp_path / "c.csv", [(i + 1, y, x, "") for i, (y, x) in enumerate(centres)])
    store = crop_slides([(slide, _map(slide))], tmp_path / "s", labels=[given])
    step = 0.325 / pixel_um
    smooth = pixels[0].astype(float)
    if step > 1:
        smooth = ndimage.gaussian_filter(smooth, (step - 1) / 2, mode="mirror")
    for crop, (y, x) in zip(store.crops[:, 0], centres, strict=True):
        grid = np.meshgrid(*(c + (np.arange(100) - 49.5) * step for c in (y, x)), indexing="ij")
        expected = ndimage.map_coordinates(smooth, grid, order=1, mode="mirror")
        assert np.abs(crop - expected).max() <= 2


def test_tiles_and_chunks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, centres = blobs((300, 340))
    slide = FakeSlide(image, ["DAPI"], pixel_um=0.4)
    given = _csv(tmp_path / "c.csv", [(i + 1, y, x, "") for i, (y, x) in enumerate(centres)])
    whole = crop_slides([(slide, _map(slide))], tmp_path / "a", labels=[given])
    monkeypatch.setattr(crops_module, "TILE_PX", 64)
    monkeypatch.setattr(crops_module, "CHUNK_BYTES", 3 * 7 * 100 * 100 * 2)
    slide.largest_read = 0
    tiled = crop_slides([(slide, _map(slide))], tmp_path / "b", labels=[given])
    one, other = np.argsort(whole.table["label"]), np.argsort(tiled.table["label"])
    np.testing.assert_array_equal(whole.crops[one], tiled.crops[other])


def test_slides_of_different_dtypes_and_channels_share_a_store(tmp_path: Path) -> None:
    small = FakeSlide(_noise((1, 150, 150), np.uint8), ["DAPI"], name="a")
    large = FakeSlide(_noise((2, 150, 150)) * 200, ["NeuN", "DAPI"], name="a")
    given = [_csv(tmp_path / f"{i}.csv", [(1, 75, 75, "")]) for i in range(2)]
    store = crop_slides([(s, _map(s)) for s in (small, large)], tmp_path / "s", labels=given)
    assert store.crops.dtype == np.uint16 and [s.name for s in store.slides] == ["a", "a (2)"]
    np.testing.assert_array_equal(store.crops[0, 0], small.pixels[0, 26:126, 26:126])
    np.testing.assert_array_equal(store.crops[1, 2], large.pixels[0, 26:126, 26:126])
    assert list(store.groups) == ["a", "a (2)"]


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (["u1", "u1"], "u1"),
        (["u2", "u1"], "u2"),
        ([">u2", "<u2"], "u2"),
        (["u1", "i2"], "f4"),
        (["u2", "f4"], "f4"),
        (["i4", "u1"], "f4"),
        (["f8"], "f8"),
        (["?", "u1"], "u1"),
    ],
)
def test_common_dtype(dtypes: list[str], expected: str) -> None:
    assert common_dtype([np.dtype(d) for d in dtypes]) == np.dtype(expected)


def test_rounding_and_missing_pixels_are_noted(tmp_path: Path) -> None:
    counts = FakeSlide(_noise((1, 150, 150), np.int32) + 2**25, ["DAPI"], name="counts")
    counts.pixels |= 1
    holes = FakeSlide(_noise((1, 150, 150), np.float32), ["DAPI"], name="holes")
    holes.pixels[0, 70:72, 70:72] = [[np.nan, np.inf], [-np.inf, np.nan]]
    given = [_csv(tmp_path / f"{i}.csv", [(1, 75, 75, "")]) for i in range(2)]
    store = crop_slides([(s, _map(s)) for s in (counts, holes)], tmp_path / "s", labels=given)
    assert store.crops.dtype == np.float32
    assert "rounded" in " ".join(store.slides[0].notes)
    assert "not finite" in " ".join(store.slides[1].notes) and "4" in store.slides[1].notes[-1]
    assert np.isfinite(store.crops).all() and not store.crops[1, 0, 70 - 26, 70 - 26]


def test_nuclei_are_found_when_none_are_given(tmp_path: Path) -> None:
    image, centres = blobs((300, 300))
    slide = FakeSlide(image, ["DAPI"])
    seen: list[tuple[int, int]] = []
    store = crop_slides([(slide, _map(slide))], tmp_path / "s", progress=lambda a, b: seen.append((a, b)))
    assert len(store) == len(centres)
    assert seen == sorted(seen) and seen[-1] == (1000, 1000)


def test_no_cells_and_stops_leave_nothing(tmp_path: Path) -> None:
    empty = FakeSlide(np.zeros((1, 200, 200), np.uint16), ["DAPI"])
    with pytest.raises(StoreError, match="No cells"):
        crop_slides([(empty, _map(empty))], tmp_path / "s")
    image, _ = blobs((200, 200))
    slide = FakeSlide(image, ["DAPI"])
    with pytest.raises(Interrupted):
        crop_slides([(slide, _map(slide))], tmp_path / "s", stop=lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    slide = FakeSlide(_noise((1, 120, 120)), ["DAPI"])
    with pytest.raises(SlideError, match=r"\(120, 121\).*\(120, 120\)"):
        crop_slides([(slide, _map(slide))], tmp_path / "s", labels=[np.ones((120, 121), int)])
    with pytest.raises(SlideError, match="outside"):
        crop_slides(
            [(slide, _map(slide))], tmp_path / "s", labels=[_csv(tmp_path / "c.csv", [(1, 5, 300, "")])]
        )
    with pytest.raises(SettingsError, match="1 slides and 2"):
        crop_slides([(slide, _map(slide))], tmp_path / "s", labels=[None, None])
    unknown = FakeSlide(slide.pixels, ["DAPI"], pixel_um=None)
    with pytest.raises(SettingsError, match="--pixel-um"):
        crop_slides([(unknown, _map(unknown))], tmp_path / "s")
    with pytest.raises(PanelError, match="Ghost"):
        crop_slides([(slide, _map(slide))], tmp_path / "s", nuclear=["Ghost"])
    assert not (tmp_path / "s").exists() and not (tmp_path / "s.partial").exists()


def test_label_image_with_types_as_simulate_writes_them(tmp_path: Path) -> None:
    labels = np.zeros((90, 130), np.int32)
    labels[10:20, 30:45] = 3
    labels[50:61, 80:95] = 5
    tifffile.imwrite(tmp_path / "n_cells.tif", labels, compression="zlib", tile=(32, 32))
    _csv(tmp_path / "n_cells.csv", [(3, 0, 0, "neuron")])
    cells = given_cells(tmp_path / "n_cells.tif", (90, 130))
    assert list(cells["type"]) == ["neuron", ""]
    np.testing.assert_allclose(cells[["y", "x"]], [[14.5, 37], [55, 87]])
    slide = FakeSlide(_noise((1, 90, 130)), ["DAPI"])
    store = crop_slides([(slide, _map(slide))], tmp_path / "s", labels=[str(tmp_path / "n_cells.tif")])
    assert store.types == ("neuron",) and list(store.table["label"]) == [3, 5]


def test_labels_of_a_result_folder(tmp_path: Path) -> None:
    import zarr

    labels = np.zeros((70, 80), np.uint32)
    labels[5:9, 5:9] = 2
    for version, folder in ((2, "two"), (3, "three")):
        group = zarr.open_group(str(tmp_path / folder / "labels.ome.zarr"), mode="w", zarr_format=version)
        group.create_array("0", data=labels, chunks=(32, 32))
        scales = [{"datasets": [{"path": "0"}]}]
        group.attrs.update({"multiscales": scales} if version == 2 else {"ome": {"multiscales": scales}})
        _csv(tmp_path / folder / "cells.csv", [(2, 6, 6, "neuron")])
        cells = given_cells(tmp_path / folder, (70, 80))
        assert cells.iloc[0].to_list() == [2, 6.5, 6.5, "neuron"]
        np.testing.assert_array_equal(open_labels(tmp_path / folder / "labels.ome.zarr").read(), labels)


def test_strips_do_not_change_centroids(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.kron(np.arange(30).reshape(5, 6), np.ones((7, 9), int))
    whole = centroids(open_labels(labels))
    monkeypatch.setattr("napari_dama.cells.given._STRIP_PX", 4)
    pd.testing.assert_frame_equal(centroids(open_labels(labels)), whole)
    assert whole["area_px"].eq(63).all() and len(whole) == 29


def test_bad_labels_and_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="fractions"):
        open_labels(np.full((3, 3), 0.5)).read()
    with pytest.raises(SlideError, match="below 0"):
        open_labels(np.full((3, 3), -1)).read()
    with pytest.raises(SlideError, match=r"\(2, 3, 3\)"):
        open_labels(np.zeros((2, 3, 3), int))
    with pytest.raises(SlideError, match="no label image"):
        open_labels(tmp_path / "nothing.tif")
    (tmp_path / "broken.tif").write_bytes(b"not a tiff")
    with pytest.raises(SlideError, match="cannot be read"):
        open_labels(tmp_path / "broken.tif")
    _csv(tmp_path / "twice.csv", [(1, 0, 0, ""), (1, 2, 2, "")])
    with pytest.raises(SlideError, match="more than one row"):
        read_table(tmp_path / "twice.csv")


def test_tables_of_other_tools(data_dir: Path) -> None:
    lymphoma = read_table(data_dir / "mif_lymphoma" / "FIHC4_HP_IM3_2_cells.csv")
    assert {"label", "type"} <= set(lymphoma) and lymphoma["type"].eq("B").sum() == 249
    breast = read_table(data_dir / "mif_breast" / "ABCM22001_B14_MiniCrop_cells.csv")
    assert {"label", "y", "x", "type"} <= set(breast) and len(breast) == 818
    cells = given_cells(data_dir / "codex_lymph" / "test_101_cells.tif", (101, 101))
    assert len(cells) == 56 and set(cells["type"]) > {"B"}


def test_store_opens_again(tmp_path: Path) -> None:
    image, _ = blobs((200, 200))
    slide = FakeSlide(image, ["DAPI"])
    made = crop_slides([(slide, _map(slide))], tmp_path / "s")
    np.testing.assert_array_equal(CropStore.open(tmp_path / "s").crops, made.crops)


@pytest.mark.parametrize(
    ("counts", "total", "shares"),
    [
        ([10, 10, 10], 9, [3, 3, 3]),
        ([10, 2, 10], 12, [5, 2, 5]),
        ([10, 0, 3], 100, [10, 0, 3]),
        ([1, 1, 1, 40], 10, [1, 1, 1, 7]),
        ([5, 5], 1, [0, 1]),
        ([], 4, []),
    ],
)
def test_a_subset_is_spread_over_the_slides(counts: list[int], total: int, shares: list[int]) -> None:
    rows = spread(counts, total, seed=3)
    assert sorted(len(each) for each in rows) == sorted(shares)
    assert [len(each) for each in rows] == shares
    for each, count in zip(rows, counts, strict=True):
        assert len(set(each.tolist())) == len(each) and list(each) == sorted(each)
        assert not len(each) or (each.min() >= 0 and each.max() < count)
    assert all(np.array_equal(a, b) for a, b in zip(rows, spread(counts, total, seed=3), strict=True))


def test_a_random_subset_of_found_cells_is_a_part_of_all(tmp_path: Path) -> None:
    slides = [FakeSlide(blobs((200, 260), seed=i)[0], ["DAPI"], name=f"s{i}") for i in range(2)]
    pairs = [(slide, _map(slide)) for slide in slides]
    seen: list[int] = []
    whole = crop_slides(pairs, tmp_path / "all", progress=lambda done, total: seen.append(done))
    assert seen == sorted(seen) and seen[-1] == 2000
    some = [crop_slides(pairs, tmp_path / f"some{i}", max_cells=11, seed=i // 2) for i in range(3)]
    assert [len(store) for store in some] == [11, 11, 11]
    np.testing.assert_array_equal(some[0].crops, some[1].crops)
    assert not np.array_equal(some[0].table["y"], some[2].table["y"])
    place = {
        (s, label): i
        for i, (s, label) in enumerate(zip(whole.table["slide"], whole.table["label"], strict=True))
    }
    rows = [place[key] for key in zip(some[0].table["slide"], some[0].table["label"], strict=True)]
    np.testing.assert_array_equal(some[0].crops, whole.crops[rows])
    np.testing.assert_array_equal(some[0].stats, whole.stats)
    assert sorted(some[0].table["slide"].value_counts()) == [5, 6]
    with pytest.raises(SettingsError, match="max_cells is 0"):
        crop_slides(pairs, tmp_path / "none", max_cells=0)


def test_a_store_says_what_each_marker_looks_like_and_models_take_it_over(tmp_path: Path) -> None:
    from napari_dama.training.pretrain import typical_statistics

    slide = FakeSlide(_noise((2, 200, 200)), ["DAPI", "NeuN"])
    given = _csv(tmp_path / "c.csv", [(1, 100.0, 100.0, "")])
    store = CropStore.open(crop_slides([(slide, _map(slide))], tmp_path / "s", labels=[given]).path)
    assert set(store.slides[0].profile) == {"DAPI", "NeuN"}
    assert set(store.slides[0].profile["NeuN"]) == {"filled", "nuclear", "fine"}
    assert "nuclear" not in store.slides[0].profile["DAPI"]  # it is what the others are compared with
    found = typical_statistics(store)
    assert found["NeuN"]["fine"] == pytest.approx(store.slides[0].profile["NeuN"]["fine"], abs=1e-3)
    assert {"low", "high", "fine_spread"} <= set(found["DAPI"])
