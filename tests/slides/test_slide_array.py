"""NumPy arrays, and bad input of every kind."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_dama.errors import SettingsError, SlideError
from napari_dama.slides.region import Region
from napari_dama.slides.slide import Slide, open_slide
from napari_dama.slides.tiff_pixels import TiffFiles

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "f2", ">f4", "f8", "?"])
def test_arrays_in_memory_and_on_disk(tmp_path: Path, dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 2, (3, 50, 60)).astype(dtype)
    np.save(tmp_path / "slide.npy", pixels)
    for source in (pixels, tmp_path / "slide.npy", str(tmp_path / "slide.npy")):
        with open_slide(source, markers=["a", "b", "c"], pixel_um=0.5) as slide:
            assert isinstance(slide, Slide)
            assert slide.notes == ()
            assert slide.dtype.isnative
            np.testing.assert_array_equal(slide.read(Region(5, 20, 7, 90)), pixels[:, 5:20, 7:])
            np.testing.assert_array_equal(slide.lazy().compute(), pixels)


def test_axes_of_an_array_are_assumed_with_a_note_or_given() -> None:
    pixels = np.zeros((7, 80, 90), np.uint16)
    assert any("axes=" in note for note in open_slide(pixels).notes)
    last = np.zeros((80, 90, 7), np.uint16)
    assert open_slide(last).shape == (7, 80, 90)
    assert any("last" in note for note in open_slide(last).notes)
    assert open_slide(last, axes="YXC").shape == (7, 80, 90)
    assert open_slide(last, markers=list("abcdefg")).shape == (7, 80, 90)
    assert open_slide(pixels, axes="ZYX").shape == (1, 80, 90)
    deep = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype("u2")
    np.testing.assert_array_equal(open_slide(deep, axes="ZYXC").read(), deep[0].transpose(2, 0, 1))
    np.testing.assert_array_equal(open_slide(deep[0, 0], axes="XY").read()[0], deep[0, 0].T)


@pytest.mark.parametrize("axes", ["CY", "CYXX", "C Y X", "C1X", ""])
def test_axes_that_are_none(axes: str) -> None:
    with pytest.raises(SettingsError, match="axes="):
        open_slide(np.zeros((2, 9, 9)), axes=axes)


def test_axes_of_the_wrong_number_name_both() -> None:
    with pytest.raises(SlideError, match=r"4 axes.* has 3"):
        open_slide(np.zeros((2, 9, 9)), axes="QCYX")


def test_wrong_number_of_markers_names_both() -> None:
    with pytest.raises(SlideError, match=r"2 marker names .*has 3 channels"):
        open_slide(np.zeros((3, 9, 9)), markers=["DAPI", "NeuN"])
    with pytest.raises(SettingsError, match="list"):
        open_slide(np.zeros((3, 9, 9)), markers="DAPI")


def test_double_and_missing_markers_are_made_unique() -> None:
    slide = open_slide(np.zeros((4, 9, 9)), markers=["DAPI", "DAPI", " ", "DAPI"])
    assert slide.markers == ("DAPI", "DAPI (2)", "channel 3", "DAPI (3)")
    assert any("DAPI (2)" in note for note in slide.notes)
    assert any("channel 3" in note for note in slide.notes)


@pytest.mark.parametrize("pixel_um", [0.0, -1.0, 1e-6, 900.0, float("nan"), float("inf")])
def test_absurd_pixel_size_from_the_caller(pixel_um: float) -> None:
    with pytest.raises(SettingsError, match="pixel size"):
        open_slide(np.zeros((3, 9, 9)), pixel_um=pixel_um)


def test_bad_arrays() -> None:
    with pytest.raises(SlideError, match="colour"):
        open_slide(np.zeros((50, 60, 3), np.uint8))
    assert open_slide(np.zeros((50, 60, 3), np.uint8), axes="YXC").shape == (3, 50, 60)
    with pytest.raises(SlideError, match="complex"):
        open_slide(np.zeros((3, 9, 9), complex))
    with pytest.raises(SlideError, match="no pixels"):
        open_slide(np.zeros((3, 0, 9)))
    with pytest.raises(SlideError, match="no image"):
        open_slide(np.zeros(9))
    with pytest.raises(SettingsError, match="list"):
        open_slide([[1]])  # type: ignore[arg-type]


def _one_sentence(error: pytest.ExceptionInfo[SlideError], path: Path) -> None:
    text = str(error.value)
    assert path.name in text and "\n" not in text and text.endswith(".") and len(text) < 400


def test_files_that_are_no_slides(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("this is not a picture")
    (tmp_path / "word.docx").write_bytes(b"PK\x03\x04" + b"\0" * 200)
    (tmp_path / "head.tif").write_bytes(b"II*\0")
    (tmp_path / "zeros.tif").write_bytes(b"II*\0\x08\0\0\0" + b"\0" * 64)
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY nonsense")
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in (
        "empty.tif",
        "text.tif",
        "word.docx",
        "head.tif",
        "zeros.tif",
        "bad.npy",
        "object.npy",
        "missing.tif",
    ):
        with pytest.raises(SlideError) as error:
            open_slide(tmp_path / name)
        _one_sentence(error, tmp_path / name)


@pytest.mark.parametrize("kind", ["ome", "plain", "imagej", "tiled", "pages"])
@pytest.mark.parametrize("part", [0.001, 0.3, 0.6, 0.95])
def test_truncated_tiff(tmp_path: Path, kind: str, part: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 999, (7, 200, 200)).astype("u2")
    path = tmp_path / ("cut.ome.tif" if kind == "ome" else "cut.tif")
    if kind == "ome":
        tifffile.imwrite(path, pixels, metadata={"axes": "CYX"}, photometric="minisblack", compression="zlib")
    elif kind == "imagej":
        tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX"})
    elif kind == "tiled":
        tifffile.imwrite(path, pixels, tile=(64, 64), compression="zlib", photometric="minisblack")
    elif kind == "pages":
        with tifffile.TiffWriter(path) as tif:
            for page in pixels:
                tif.write(page, metadata=None, contiguous=False, compression="zlib")
    else:
        tifffile.imwrite(path, pixels, photometric="minisblack")
    data = path.read_bytes()
    path.write_bytes(data[: max(10, int(part * len(data)))])
    with pytest.raises(SlideError) as error:
        open_slide(path).read()
    _one_sentence(error, path)


def _with_damaged_tile(path: Path, tile: int) -> tuple[NDArray[Any], int]:
    """Write a slide of two channels and spoil one tile of the first: its pixels, and where the tile lies in the file."""
    pixels = np.random.default_rng(0).integers(0, 999, (2, 128, 128)).astype("u2")
    tifffile.imwrite(path, pixels, photometric="minisblack", tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        offset = int(tif.pages[0].dataoffsets[tile])
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 64)
    return pixels, offset


def test_damaged_tile_says_where(tmp_path: Path) -> None:
    path = tmp_path / "torn.ome.tif"
    pixels, _ = _with_damaged_tile(path, 3)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(Region(0, 64, 0, 64)), pixels[:, :64, :64])
        with pytest.raises(SlideError, match=r"torn.*damaged"):
            slide.read()


def test_colour_pictures(tmp_path: Path) -> None:
    path = tmp_path / "rgb.tif"
    picture = np.zeros((40, 50, 3), np.uint8)
    tifffile.imwrite(path, picture, photometric="rgb")
    with pytest.raises(SlideError, match=r"colour .*axes='YXC'") as error:
        open_slide(path)
    _one_sentence(error, path)
    assert open_slide(path, axes="YXC").shape == (3, 40, 50)
    tifffile.imwrite(tmp_path / "h.ome.tif", picture, photometric="rgb", tile=(16, 16))
    with pytest.raises(SlideError, match="colour"):
        open_slide(tmp_path / "h.ome.tif")


def test_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="series"):
        open_slide(np.zeros((2, 9, 9)), series=-1)


def test_closing_while_tiles_are_decoded_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that still decode need the same lock that closing needs."""
    path = tmp_path / "torn.ome.tif"
    _, offset = _with_damaged_tile(path, 0)
    read_bytes = TiffFiles.read_bytes

    def slowly(self: TiffFiles, page: Any, at: int, count: int) -> bytes:
        if at != offset:
            time.sleep(0.2)
        return read_bytes(self, page, at, count)

    monkeypatch.setattr(TiffFiles, "read_bytes", slowly)

    def read_and_close() -> None:
        with open_slide(path) as slide, pytest.raises(SlideError, match="damaged"):
            slide.read()

    reader = threading.Thread(target=read_and_close, daemon=True)
    reader.start()
    reader.join(timeout=20)
    assert not reader.is_alive()
