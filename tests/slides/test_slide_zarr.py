"""OME-Zarr of versions 2 and 3, written by the test and read back."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from napari_dama.errors import SettingsError, SlideError
from napari_dama.slides.region import Region
from napari_dama.slides.slide import Slide, open_slide

if TYPE_CHECKING:
    from pathlib import Path


def _pixels(shape: tuple[int, ...] = (3, 200, 260)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60000, shape).astype("u2")


def _write(
    path: Path,
    pixels: np.ndarray,
    *,
    zarr_format: Any = 2,
    axes: str = "cyx",
    scale: float = 0.5,
    unit: str | None = "micrometer",
    chunks: tuple[int, ...] | None = None,
    names: list[str] | None = None,
) -> None:
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    step = (slice(None),) * (pixels.ndim - 2) + (slice(None, None, 2),) * 2
    datasets = []
    for i, level in enumerate((pixels, pixels[step])):
        array = group.create_array(
            str(i), shape=level.shape, dtype=level.dtype, chunks=chunks or (1,) * (level.ndim - 2) + (64, 64)
        )
        array[:] = level
        factors = [scale * 2**i if letter in "yx" else 1.0 for letter in axes]
        datasets.append({"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": factors}]})
    kinds = {"c": "channel", "t": "time"}
    listed = []
    for letter in axes:
        axis = {"name": letter, "type": kinds.get(letter, "space")}
        if unit and letter in "zyx":
            axis["unit"] = unit
        listed.append(axis)
    meta: dict[str, Any] = {"multiscales": [{"axes": listed, "datasets": datasets, "version": "0.4"}]}
    if names:
        meta["omero"] = {"channels": [{"label": name, "color": "FFFFFF"} for name in names]}
    group.attrs.update(meta if zarr_format == 2 else {"ome": {"version": "0.5", **meta}})


def _check(slide: Slide, pixels: np.ndarray) -> None:
    assert slide.shape == pixels.shape
    np.testing.assert_array_equal(slide.read(), pixels)
    np.testing.assert_array_equal(
        slide.read(Region(10, 150, 60, 70), channels=[2, 0]), pixels[[2, 0], 10:150, 60:70]
    )
    np.testing.assert_array_equal(slide.lazy()[1:, 5:180].compute(), pixels[1:, 5:180])


@pytest.mark.parametrize("chunks", [(1, 64, 64), (3, 50, 50), (2, 200, 260)])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_names_scale_and_levels(tmp_path: Path, zarr_format: int, chunks: tuple[int, ...]) -> None:
    pixels = _pixels()
    path = tmp_path / "slide.ome.zarr"
    _write(path, pixels, zarr_format=zarr_format, chunks=chunks, names=["DAPI", "NeuN", "Iba1"])
    with open_slide(path) as slide:
        assert isinstance(slide, Slide)
        assert slide.name == "slide"
        assert slide.markers == ("DAPI", "NeuN", "Iba1")
        assert slide.pixel_um == pytest.approx(0.5)
        assert slide.levels == ((200, 260), (100, 130))
        assert slide.notes == ()
        _check(slide, pixels)
        np.testing.assert_array_equal(slide.read(level=1), pixels[:, ::2, ::2])


@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler:DeprecationWarning")
def test_written_by_ome_zarr(tmp_path: Path) -> None:
    from ome_zarr.writer import write_image

    pixels = _pixels((2, 128, 128))
    path = tmp_path / "written.zarr"
    group = zarr.open_group(str(path), mode="w")
    write_image(pixels, group, axes="cyx", scale_factors=[2])
    with open_slide(path, markers=["DAPI", "GFAP"]) as slide:
        np.testing.assert_array_equal(slide.read(), pixels)
        assert slide.pixel_um is None or slide.pixel_um == 1.0


def test_five_axes_take_the_first_plane(tmp_path: Path) -> None:
    pixels = _pixels((2, 3, 4, 70, 80))
    path = tmp_path / "five.zarr"
    _write(path, pixels, axes="tczyx", names=["a", "b", "c"])
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(), pixels[0, :, 0])
        assert any("4 Z planes" in note for note in slide.notes)
        assert any("2 time points" in note for note in slide.notes)
    with open_slide(path, axes="TZCYX") as slide:
        np.testing.assert_array_equal(slide.read(), pixels[0, 0])


@pytest.mark.parametrize(
    ("scale", "unit", "expected"),
    [(325.0, "nanometer", 0.325), (0.5, None, None), (0.0, "micrometer", None), (700.0, "micrometer", None)],
)
def test_units_and_nonsense(tmp_path: Path, scale: float, unit: str | None, expected: float | None) -> None:
    path = tmp_path / "unit.zarr"
    _write(path, _pixels(), scale=scale, unit=unit)
    with open_slide(path) as slide:
        assert slide.pixel_um == (None if expected is None else pytest.approx(expected))
        assert expected is not None or any("pixel size" in note for note in slide.notes)


def test_bioformats2raw_layout(tmp_path: Path) -> None:
    path = tmp_path / "raw.zarr"
    outer = zarr.open_group(str(path), mode="w", zarr_format=2)
    outer.attrs["bioformats2raw.layout"] = 3
    pixels = _pixels((1, 3, 1, 50, 60))
    _write(path / "0", pixels, axes="tczyx", names=["x", "y", "z"])
    _write(path / "1", pixels[..., ::2], axes="tczyx")
    with open_slide(path) as slide:
        assert slide.markers == ("x", "y", "z")
        np.testing.assert_array_equal(slide.read(), pixels[0, :, 0])
        assert any("2 images" in note for note in slide.notes)
    with open_slide(path, series=1) as slide:
        assert slide.shape == (3, 50, 30)
    with pytest.raises(SettingsError, match="2 image"):
        open_slide(path, series=2)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_bare_array_is_opened_with_a_note(tmp_path: Path, zarr_format: Any) -> None:
    pixels = _pixels()
    path = tmp_path / "bare.zarr"
    array = zarr.create_array(
        str(path), shape=pixels.shape, dtype=pixels.dtype, chunks=(1, 64, 64), zarr_format=zarr_format
    )
    array[:] = pixels
    with open_slide(path) as slide:
        _check(slide, pixels)
        assert any("does not say" in note for note in slide.notes)


def test_damaged_and_foreign_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SlideError, match="no OME-Zarr"):
        open_slide(tmp_path / "folder")
    group = zarr.open_group(str(tmp_path / "empty.zarr"), mode="w")
    with pytest.raises(SlideError, match="multiscales"):
        open_slide(tmp_path / "empty.zarr")
    group.attrs["ome"] = {"plate": {}}
    with pytest.raises(SlideError, match="plate"):
        open_slide(tmp_path / "empty.zarr")
    _write(tmp_path / "lost.zarr", _pixels())
    shutil.rmtree(tmp_path / "lost.zarr" / "1")
    with pytest.raises(SlideError, match="level '1' is missing"):
        open_slide(tmp_path / "lost.zarr")
    _write(tmp_path / "torn.zarr", _pixels())
    (tmp_path / "torn.zarr" / "0" / ".zarray").write_text("{ not json")
    with pytest.raises(SlideError, match=r"torn\.zarr"):
        open_slide(tmp_path / "torn.zarr")
    _write(tmp_path / "chunk.zarr", _pixels())
    (tmp_path / "chunk.zarr" / "0" / "0" / "0" / "0").write_bytes(b"xx") if (
        tmp_path / "chunk.zarr" / "0" / "0" / "0"
    ).is_dir() else (tmp_path / "chunk.zarr" / "0" / "0.0.0").write_bytes(b"xx")
    with open_slide(tmp_path / "chunk.zarr") as slide, pytest.raises(SlideError, match="damaged"):
        slide.read()
