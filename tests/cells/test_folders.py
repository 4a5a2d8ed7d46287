"""A folder per class, in every way that such crops are written, becomes a store of the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_dama.cells.folders import NO_GROUPS, class_folders, crop_folders, groups_of
from napari_dama.cells.store import CropStore
from napari_dama.errors import Interrupted, SettingsError, SlideError, StoreError
from napari_dama.slides.intensity import stats_of
from napari_dama.slides.panel import BRAIN7

KINDS = ("astrocyte", "neuron")
PATTERN = r"(.+)_\d+"


def crop(seed: int, shape: tuple[int, ...] = (7, 20, 20), dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def write_folders(
    root: Path, *, last: bool = False, dtype: type = np.uint16, **options: object
) -> dict[str, np.ndarray]:
    """Two classes with two cells of each of two slides; crops by ``kind/name``."""
    made = {}
    for kind in KINDS:
        (root / kind).mkdir(parents=True)
        for number in range(4):
            name = f"slide{number % 2}_{number}.tif"
            pixels = crop(hash((kind, number)) % 1000, dtype=dtype)
            made[f"{kind}/{name}"] = pixels
            tifffile.imwrite(root / kind / name, np.moveaxis(pixels, 0, -1) if last else pixels, **options)  # type: ignore[arg-type]
    return made


def same_crops(store: CropStore, made: dict[str, np.ndarray]) -> None:
    """Compare by class and slide, in the order of names."""
    assert len(store) == len(made)
    for kind in KINDS:
        for group in ("slide0", "slide1"):
            rows = (store.table["type"] == kind) & (store.table["group"] == group)
            expected = [made[name] for name in sorted(made) if name.startswith(f"{kind}/{group}")]
            np.testing.assert_array_equal(store.crops[np.flatnonzero(rows)], np.stack(expected))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    ("last", "options"),
    [
        (False, {}),
        (True, {}),
        (False, {"metadata": {"axes": "CYX"}}),
        (True, {"metadata": {"axes": "YXC"}}),
        (True, {"photometric": "minisblack", "planarconfig": "contig"}),
        (False, {"ome": True, "metadata": {"axes": "CYX"}}),
        (False, {"compression": "zlib"}),
    ],
)
def test_the_authors_layout_whichever_axis_comes_first(
    tmp_path: Path, dtype: type, last: bool, options: dict[str, object]
) -> None:
    made = write_folders(tmp_path / "in", last=last, dtype=dtype, **options)
    store = crop_folders(tmp_path / "in", tmp_path / "store", group_pattern=PATTERN)
    same_crops(store, made)
    assert store.markers == BRAIN7.names and store.crops.dtype == dtype
    assert store.crop_px == 20 and store.crop_um == 32.5
    assert [slide.name for slide in store.slides] == ["slide0", "slide1"]
    assert sorted(store.table["label"]) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert all("brain panel are assumed" in slide.notes[0] for slide in store.slides)


def test_statistics_are_those_of_a_group(tmp_path: Path) -> None:
    made = write_folders(tmp_path / "in")
    store = crop_folders(tmp_path / "in", tmp_path / "store", group_pattern=PATTERN)
    for place, slide in enumerate(store.slides):
        own = [made[name] for name in sorted(made) if f"/{slide.name}_" in name]
        expected = stats_of(np.concatenate(own, axis=1))
        np.testing.assert_array_equal(store.stats[place, 0], expected.low)
        np.testing.assert_array_equal(store.stats[place, 1], expected.high)


def test_markers_come_from_the_option_or_from_the_file(tmp_path: Path) -> None:
    names = ["DAPI", "CD3", "CD8"]
    (tmp_path / "in" / "t").mkdir(parents=True)
    ome = {"axes": "CYX", "Channel": {"Name": names}}
    tifffile.imwrite(
        tmp_path / "in/t/a.ome.tif", crop(0, (3, 12, 12)), metadata=ome, photometric="minisblack"
    )
    assert crop_folders(tmp_path / "in", tmp_path / "a").markers == tuple(names)
    other = crop_folders(tmp_path / "in", tmp_path / "b", markers=["x", "y", "z"])
    assert other.markers == ("x", "y", "z")
    with pytest.raises(SettingsError, match="3 channels, and there are 2 markers"):
        crop_folders(tmp_path / "in", tmp_path / "c", markers=["x", "y"])
    with pytest.raises(SettingsError, match="different names, got x, x, z"):
        crop_folders(tmp_path / "in", tmp_path / "c", markers=["x", "x", "z"])
    assert not (tmp_path / "c").exists()


def test_what_decides_no_axis_is_refused_and_the_option_decides(tmp_path: Path) -> None:
    (tmp_path / "in" / "t").mkdir(parents=True)
    pixels = crop(0, (9, 9, 9))
    tifffile.imwrite(tmp_path / "in/t/a.tif", pixels)
    nine = [f"m{i}" for i in range(9)]
    with pytest.raises(SettingsError, match=r"\(9, 9, 9\) and does not name its markers.*--markers"):
        crop_folders(tmp_path / "in", tmp_path / "s")
    with pytest.raises(SettingsError, match="first or last; say which with --channel-axis"):
        crop_folders(tmp_path / "in", tmp_path / "s", markers=nine)
    for axis, expected in (("first", pixels), ("last", np.moveaxis(pixels, 2, 0))):
        store = crop_folders(tmp_path / "in", tmp_path / axis, markers=nine, channel_axis=axis)  # type: ignore[arg-type]
        np.testing.assert_array_equal(store.crops[0], expected)
    with pytest.raises(SettingsError, match="no axis has the length of 4 markers"):
        crop_folders(tmp_path / "in", tmp_path / "s", markers=nine[:4])


def test_without_a_pattern_no_cells_are_known_to_belong_together(tmp_path: Path) -> None:
    write_folders(tmp_path / "in")
    store = crop_folders(tmp_path / "in", tmp_path / "store")
    assert len(set(store.groups)) == 8 and len(store.slides) == 1
    assert NO_GROUPS in store.slides[0].notes and "--group-pattern" in NO_GROUPS


def test_patterns() -> None:
    paths = [Path("a/s1_3.tif"), Path("b/s1_4.tif"), Path("b/s2_1.tif")]
    assert groups_of(paths, r"(.+)_\d+") == ["s1", "s1", "s2"]
    assert groups_of(paths, r"s\d") == ["s1", "s1", "s2"]
    with pytest.raises(SettingsError, match="is no regular expression"):
        groups_of(paths, "(")
    with pytest.raises(SettingsError, match=r"does not fit 's2_1.tif' in b"):
        groups_of(paths, "s1")


def test_sizes_that_differ_are_refused_or_interpolated(tmp_path: Path) -> None:
    write_folders(tmp_path / "in")
    tifffile.imwrite(tmp_path / "in/neuron/slide0_9.tif", crop(5, (7, 30, 30)))
    with pytest.raises(StoreError, match=r"is 20 px wide, .*slide0_9.tif is 30 px; give --crop-px"):
        crop_folders(tmp_path / "in", tmp_path / "store", group_pattern=PATTERN)
    assert not (tmp_path / "store").exists() and not (tmp_path / "store.partial").exists()
    store = crop_folders(tmp_path / "in", tmp_path / "store", group_pattern=PATTERN, crop_px=20)
    assert store.crops.shape == (9, 7, 20, 20) and store.crops.dtype == np.uint16
    assert any("interpolated to 20 px" in note for note in store.slides[0].notes)
    tifffile.imwrite(tmp_path / "in/neuron/slide0_9.tif", crop(5, (7, 30, 20)))
    with pytest.raises(SlideError, match="30 x 20 px: crops must be square"):
        crop_folders(tmp_path / "in", tmp_path / "other", group_pattern=PATTERN, crop_px=20)


def test_interpolation_keeps_a_flat_crop_flat(tmp_path: Path) -> None:
    (tmp_path / "in" / "t").mkdir(parents=True)
    flat = np.broadcast_to(np.arange(7, dtype=np.uint8)[:, None, None] * 30, (7, 16, 16))
    tifffile.imwrite(tmp_path / "in/t/a.tif", flat)
    for size in (8, 40):
        store = crop_folders(tmp_path / "in", tmp_path / f"s{size}", crop_px=size)
        np.testing.assert_array_equal(store.crops[0], np.broadcast_to(flat[:, :1, :1], (7, size, size)))


def test_a_subset_follows_from_the_seed(tmp_path: Path) -> None:
    write_folders(tmp_path / "in")
    stores = [
        crop_folders(tmp_path / "in", tmp_path / f"s{i}", group_pattern=PATTERN, max_cells=5, seed=seed)
        for i, seed in enumerate((1, 1, 2))
    ]
    assert [len(store) for store in stores] == [5, 5, 5]
    np.testing.assert_array_equal(stores[0].crops, stores[1].crops)
    assert not np.array_equal(stores[0].crops, stores[2].crops)


def test_what_is_no_folder_of_crops(tmp_path: Path) -> None:
    (tmp_path / "empty" / "class").mkdir(parents=True)
    assert class_folders(tmp_path / "empty") == {} and class_folders(tmp_path / "none") == {}
    with pytest.raises(StoreError, match=r"holds no crops: there must be a folder for each class"):
        crop_folders(tmp_path / "empty", tmp_path / "s")
    (tmp_path / "slide.zarr" / "0").mkdir(parents=True)
    (tmp_path / "slide.zarr" / "0" / "a.tif").touch()
    (tmp_path / "slide.zarr" / ".zattrs").touch()
    assert class_folders(tmp_path / "slide.zarr") == {}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"no tiff"), "cannot be read as a TIFF"),
        (lambda path: tifffile.imwrite(path, crop(0, (20, 20))), "no picture of one cell"),
        (lambda path: tifffile.imwrite(path, crop(0).astype(np.complex64)), "pixels of complex64"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, write: object, message: str) -> None:
    write_folders(tmp_path / "in")
    bad = tmp_path / "in" / "neuron" / "slide1_8.tif"
    write(bad)  # type: ignore[operator]
    with pytest.raises(SlideError, match=message) as caught:
        crop_folders(tmp_path / "in", tmp_path / "s", group_pattern=PATTERN)
    assert str(bad) in str(caught.value) and not (tmp_path / "s").exists()


def test_pixels_that_are_no_numbers_become_dark_and_are_counted(tmp_path: Path) -> None:
    made = write_folders(tmp_path / "in", dtype=np.float32)
    spoiled = made["neuron/slide1_1.tif"]
    spoiled[2, 3, 4:6] = np.nan
    tifffile.imwrite(tmp_path / "in/neuron/slide1_1.tif", spoiled)
    store = crop_folders(tmp_path / "in", tmp_path / "s", group_pattern=PATTERN)
    assert np.isfinite(store.crops).all() and np.isfinite(store.stats).all()
    assert any("not finite are stored as 0 (2 read)" in note for note in store.slides[1].notes)


def test_a_stop_leaves_nothing(tmp_path: Path) -> None:
    write_folders(tmp_path / "in")
    for stop_at in (2, 11):
        seen: list[int] = []
        with pytest.raises(Interrupted):
            crop_folders(
                tmp_path / "in",
                tmp_path / "s",
                group_pattern=PATTERN,
                progress=lambda done, total: seen.append(done),  # noqa: B023
                stop=lambda: len(seen) >= stop_at,  # noqa: B023
            )
        assert [p.name for p in tmp_path.iterdir()] == ["in"]
