"""OME-TIFF, ImageJ, QPTIFF and plain TIFF, written by the test and read back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_dama.errors import SettingsError, SlideError
from napari_dama.slides.region import Region
from napari_dama.slides.slide import Slide, open_slide

MARKERS = ["DAPI", "Histones", "NeuN", "S100", "Olig2", "Iba1", "RECA1"]


def _pixels(shape: tuple[int, ...] = (7, 300, 420), dtype: str = "u2", seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random.normal(0, 100, shape).astype(dtype)
    return random.integers(0, min(np.iinfo(dtype).max, 60000), shape).astype(dtype)


def _write_pyramid(path: Path, pixels: np.ndarray, *, ome: bool = True, **options: Any) -> None:
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": MARKERS[: len(pixels)]},
        "PhysicalSizeX": 0.325,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.325,
        "PhysicalSizeYUnit": "µm",
    }
    with tifffile.TiffWriter(path, ome=ome, bigtiff=True) as tif:
        tif.write(pixels, subifds=2, metadata=metadata, photometric="minisblack", **options)
        tif.write(pixels[:, ::2, ::2], subfiletype=1, photometric="minisblack", **options)
        tif.write(pixels[:, ::4, ::4], subfiletype=1, photometric="minisblack", **options)


def _check_regions(slide: Slide, pixels: np.ndarray) -> None:
    c, h, w = pixels.shape
    assert slide.shape == pixels.shape
    assert slide.dtype == pixels.dtype.newbyteorder("=")
    np.testing.assert_array_equal(slide.read(), pixels)
    random = np.random.default_rng(1)
    for _ in range(12):
        y0, x0 = int(random.integers(0, h)), int(random.integers(0, w))
        region = Region(y0, y0 + int(random.integers(1, h)), x0, x0 + int(random.integers(1, w)))
        channels = [int(i) for i in random.integers(0, c, 3)]
        got = slide.read(region, channels=channels)
        assert got.dtype.isnative and got.flags.writeable
        np.testing.assert_array_equal(got, pixels[channels][:, y0 : region.y1, x0 : region.x1])
    np.testing.assert_array_equal(slide.lazy()[:, 17:90, 5:].compute(), pixels[:, 17:90, 5:])


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
@pytest.mark.parametrize(
    "options",
    [
        {"tile": (64, 96), "compression": "zlib"},
        {"tile": (64, 64)},
        {"rowsperstrip": 50, "compression": "lzw", "predictor": True},
        {"rowsperstrip": 7},
        {},
    ],
    ids=["tiled-zlib", "tiled", "striped-lzw", "striped", "plain"],
)
def test_ome_pyramid_is_read_region_by_region(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    pixels = _pixels(dtype=dtype)
    if np.dtype(dtype).itemsize > 2 and "predictor" in options:
        options = {**options, "predictor": None}
    _write_pyramid(tmp_path / "slide.ome.tif", pixels, **options)
    with open_slide(tmp_path / "slide.ome.tif") as slide:
        assert isinstance(slide, Slide)
        assert slide.name == "slide"
        assert slide.markers == tuple(MARKERS)
        assert slide.pixel_um == pytest.approx(0.325)
        assert slide.levels == ((300, 420), (150, 210), (75, 105))
        assert slide.notes == ()
        _check_regions(slide, pixels)
        np.testing.assert_array_equal(slide.read(level=1), pixels[:, ::2, ::2])
        np.testing.assert_array_equal(slide.lazy(2).compute(), pixels[:, ::4, ::4])
        region = Region(10, 60, 20, 1000)
        np.testing.assert_array_equal(slide.read(region, level=2), pixels[:, ::4, ::4][:, 10:60, 20:])


@pytest.mark.parametrize("options", [{"tile": (64, 64), "compression": "zlib"}, {}, {"tile": (64, 64)}])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_big_endian_comes_out_native(tmp_path: Path, options: dict[str, Any], dtype: str) -> None:
    pixels = _pixels((3, 200, 250), dtype)
    path = tmp_path / "big.ome.tif"
    tifffile.imwrite(
        path, pixels, byteorder=">", photometric="minisblack", metadata={"axes": "CYX"}, **options
    )
    with open_slide(path) as slide:
        _check_regions(slide, pixels)


def test_set_of_linked_files_is_one_slide(tmp_path: Path) -> None:
    pixels = _pixels((3, 130, 170))
    xml, uuids = [], [f"urn:uuid:0000000{i}-0000-0000-0000-000000000000" for i in range(3)]
    for i in range(3):
        xml.append(
            f'<TiffData IFD="0" FirstC="{i}" PlaneCount="1"><UUID FileName="part{i}.ome.tif">{uuids[i]}</UUID></TiffData>'
        )
    for i in range(3):
        text = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{uuids[i]}"><Image ID="Image:0" Name="set"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
            'Type="uint16" SizeX="170" SizeY="130" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="500" '
            'PhysicalSizeXUnit="nm" PhysicalSizeY="500" PhysicalSizeYUnit="nm">'
            + "".join(
                f'<Channel ID="Channel:0:{k}" SamplesPerPixel="1" Name="{MARKERS[k]}"/>' for k in range(3)
            )
            + "".join(xml)
            + "</Pixels></Image></OME>"
        )
        tifffile.imwrite(
            tmp_path / f"part{i}.ome.tif",
            pixels[i],
            description=text,
            metadata=None,
            tile=(64, 64),
            compression="zlib",
        )
    with open_slide(tmp_path / "part1.ome.tif") as slide:
        assert slide.markers == ("DAPI", "Histones", "NeuN")
        assert slide.pixel_um == pytest.approx(0.5)
        _check_regions(slide, pixels)
        slide.read()
    (tmp_path / "part2.ome.tif").unlink()
    with pytest.raises(SlideError, match=r"set of files.* 1 of its 3"):
        open_slide(tmp_path / "part0.ome.tif")


def test_companion_describes_a_file_that_only_holds_pixels(tmp_path: Path) -> None:
    pixels = _pixels((2, 64, 80))
    body = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:a">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="80" SizeY="64" '
        'SizeC="2" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0" Name="DAPI"/><Channel ID="Channel:0:1" Name="GFAP"/>'
        '<TiffData IFD="0" FirstC="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:b</UUID></TiffData>'
        '<TiffData IFD="1" FirstC="1" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:b</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    (tmp_path / "set.companion.ome").write_text(body, encoding="utf-8")
    link = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:b">'
        '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:a"/></OME>'
    )
    tifffile.imwrite(
        tmp_path / "a.ome.tif", pixels, description=link, metadata=None, photometric="minisblack"
    )
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.markers == ("DAPI", "GFAP")
        np.testing.assert_array_equal(slide.read(), pixels)
    (tmp_path / "set.companion.ome").unlink()
    with pytest.raises(SlideError, match=r"set\.companion\.ome"):
        open_slide(tmp_path / "a.ome.tif")


def test_imagej_stack_with_names_and_microns(tmp_path: Path) -> None:
    pixels = _pixels((5, 90, 110))
    path = tmp_path / "fiji.tif"
    tifffile.imwrite(
        path,
        pixels,
        imagej=True,
        resolution=(1 / 0.65, 1 / 0.65),
        metadata={
            "axes": "CYX",
            "unit": "um",
            "spacing": 2.0,
            "Labels": ["DAPI", "GFAP", "", "DAPI", "Iba1"],
        },
    )
    with open_slide(path) as slide:
        assert slide.markers == ("DAPI", "GFAP", "channel 3", "DAPI (2)", "Iba1")
        assert slide.pixel_um == pytest.approx(0.65, rel=1e-4)
        assert any("channel 3" in note for note in slide.notes)
        assert any("DAPI (2)" in note for note in slide.notes)
        _check_regions(slide, pixels)


def test_imagej_hyperstack_takes_the_first_plane_with_a_note(tmp_path: Path) -> None:
    pixels = _pixels((2, 4, 3, 60, 70))  # T Z C Y X
    path = tmp_path / "hyper.tif"
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TZCYX"})
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(), pixels[0, 0])
        assert any("4 Z planes" in note for note in slide.notes)
        assert any("2 time points" in note for note in slide.notes)
    with open_slide(path, axes="TCZYX") as slide:
        np.testing.assert_array_equal(slide.read(), pixels[0, :, 0])


def test_z_stack_is_no_panel_unless_you_say_so(tmp_path: Path) -> None:
    pixels = _pixels((7, 60, 70))
    path = tmp_path / "z.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "ZYX"}, photometric="minisblack")
    with open_slide(path) as slide:
        assert slide.shape == (1, 60, 70)
        assert any("7 Z planes" in note and "axes='CYX'" in note for note in slide.notes)
    with open_slide(path, axes="CYX", markers=MARKERS) as slide:
        assert slide.markers == tuple(MARKERS)
        np.testing.assert_array_equal(slide.read(), pixels)


def test_pages_without_metadata_are_channels_with_a_note(tmp_path: Path) -> None:
    pixels = _pixels((7, 60, 70))
    path = tmp_path / "plain.tif"
    with tifffile.TiffWriter(path) as tif:
        for page in pixels:
            tif.write(page, metadata=None, compression="zlib", contiguous=False)
    with open_slide(path) as slide:
        assert slide.shape == (7, 60, 70)
        assert slide.markers[0] == "channel 1"
        assert slide.pixel_um is None
        assert any("7 planes" in note and "axes=" in note for note in slide.notes)
        _check_regions(slide, pixels)
    with open_slide(path, markers=MARKERS, pixel_um=0.5) as slide:
        assert slide.notes == ()
        assert slide.pixel_um == 0.5


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("options", [{"tile": (32, 32), "compression": "zlib"}, {}])
def test_channels_as_samples_of_a_pixel(tmp_path: Path, planar: str, options: dict[str, Any]) -> None:
    pixels = _pixels((7, 60, 70))
    path = tmp_path / "samples.tif"
    data = np.moveaxis(pixels, 0, -1) if planar == "contig" else pixels
    tifffile.imwrite(
        path,
        data,
        photometric="minisblack",
        planarconfig=planar,
        extrasamples=[0] * 6,
        metadata=None,
        **options,
    )
    with open_slide(path) as slide:
        _check_regions(slide, pixels)


def test_channels_last_without_metadata(tmp_path: Path) -> None:
    pixels = _pixels((7, 90, 80))
    path = tmp_path / "last.tif"
    tifffile.imwrite(path, np.ascontiguousarray(np.moveaxis(pixels, 0, -1)), photometric="minisblack")
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(), pixels)
        assert any("last" in note for note in slide.notes)
    with open_slide(path, axes="YXC") as slide:
        np.testing.assert_array_equal(slide.read(Region(3, 9, 4, 20)), pixels[:, 3:9, 4:20])


def _qpi(name: str, biomarker: str = "") -> str:
    return (
        '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription>'
        "<ImageType>FullResolution</ImageType><ScanProfile><root/></ScanProfile>"
        f"<Name>{name}</Name>{biomarker and f'<Biomarker>{biomarker}</Biomarker>'}"
        "</PerkinElmer-QPI-ImageDescription>"
    )


def test_qptiff_names_come_from_each_page(tmp_path: Path) -> None:
    pixels = _pixels((3, 256, 320), "u1")
    path = tmp_path / "scan.qptiff"
    names = [("DAPI", ""), ("Opal 520", "NeuN"), ("Opal 690", "")]
    with tifffile.TiffWriter(path) as tif:
        options: dict[str, Any] = {
            "tile": (64, 64),
            "compression": "lzw",
            "metadata": None,
            "software": "PerkinElmer-QPI",
            "resolution": (20000, 20000),
            "resolutionunit": "CENTIMETER",
        }
        for page, (name, biomarker) in zip(pixels, names, strict=True):
            tif.write(page, description=_qpi(name, biomarker), **options)
        tif.write(np.zeros((40, 50, 3), "u1"), photometric="rgb", metadata=None, description=_qpi("thumb"))
        for page, (name, biomarker) in zip(pixels[:, ::2, ::2], names, strict=True):
            tif.write(page, description=_qpi(name, biomarker), subfiletype=1, **options)
    with open_slide(path) as slide:
        assert slide.markers == ("DAPI", "NeuN", "Opal 690")
        assert slide.pixel_um == pytest.approx(0.5)
        assert slide.levels == ((256, 320), (128, 160))
        _check_regions(slide, pixels)


@pytest.mark.parametrize(
    ("unit", "density", "expected"),
    [("CENTIMETER", 20000, 0.5), ("INCH", 72, None), ("CENTIMETER", 100, None), ("NONE", 1, None)],
)
def test_resolution_tags_count_only_when_they_can_be_true(
    tmp_path: Path, unit: str, density: float, expected: float | None
) -> None:
    path = tmp_path / "tags.tif"
    tifffile.imwrite(
        path, _pixels((3, 40, 50)), photometric="minisblack", metadata=None, resolution=(density, density),
        resolutionunit=unit,
    )  # fmt: skip
    with open_slide(path) as slide:
        assert slide.pixel_um == (None if expected is None else pytest.approx(expected))
        assert any("pixel size" in note for note in slide.notes)


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [(0.000325, "mm", 0.325), (325, "nm", 0.325), (0.0, "µm", None), (9000, "µm", None), (1, "pixel", None)],
)
def test_ome_pixel_size_units_and_nonsense(
    tmp_path: Path, size: float, unit: str, expected: float | None
) -> None:
    path = tmp_path / "size.ome.tif"
    metadata = {
        "axes": "CYX",
        "PhysicalSizeX": size,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": size,
        "PhysicalSizeYUnit": unit,
    }
    tifffile.imwrite(path, _pixels((3, 40, 50)), photometric="minisblack", metadata=metadata)
    with open_slide(path) as slide:
        assert slide.pixel_um == (None if expected is None else pytest.approx(expected))
        assert expected is not None or any("pixel size" in note for note in slide.notes)
    with open_slide(path, pixel_um=0.4) as slide:
        assert slide.pixel_um == 0.4


def test_several_images_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    first, second = _pixels((3, 50, 60)), _pixels((2, 70, 80), seed=5)
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(first, metadata={"axes": "CYX"}, photometric="minisblack")
        tif.write(second, metadata={"axes": "CYX", "Channel": {"Name": ["a", "b"]}}, photometric="minisblack")
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(), first)
        assert any("2 images" in note for note in slide.notes)
    with open_slide(path, series=1) as slide:
        assert slide.markers == ("a", "b")
        np.testing.assert_array_equal(slide.read(), second)
    with pytest.raises(SettingsError, match="2 image"):
        open_slide(path, series=2)


def test_one_channel_is_allowed_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "one.ome.tif"
    tifffile.imwrite(path, _pixels((40, 50)), metadata={"axes": "YX", "Channel": {"Name": "DAPI"}})
    with open_slide(path) as slide:
        assert slide.shape == (1, 40, 50)
        assert slide.markers == ("DAPI",)
        assert any("one channel" in note for note in slide.notes)
    shutil.copy(path, tmp_path / "copy.tif")
    with open_slide(tmp_path / "copy.tif", axes="CYX") as slide:
        assert slide.shape == (1, 40, 50)


def test_only_the_tiles_of_a_region_are_decoded(tmp_path: Path) -> None:
    from napari_dama.slides.tiff_pixels import TiffFiles

    counted: list[TiffFiles] = []
    original = TiffFiles.__init__

    def spy(self: TiffFiles, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        counted.append(self)

    path = tmp_path / "tiles.ome.tif"
    tifffile.imwrite(
        path, _pixels((7, 1024, 1024)), metadata={"axes": "CYX"}, photometric="minisblack", tile=(64, 64),
        compression="zlib",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TiffFiles, "__init__", spy)
        slide = open_slide(path)
    slide.read(Region(64, 192, 128, 256))
    assert counted[0].decoded == 7 * 2 * 2
    slide.read(Region(64, 192, 128, 256), channels=[3])
    assert counted[0].decoded == 7 * 2 * 2
    slide.close()


def test_missing_tiles_are_dark(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    tiles = [np.full((64, 64), 5, "u2"), None, None, np.full((64, 64), 9, "u2")]
    with tifffile.TiffWriter(path) as tif:
        encoded = [b"" if tile is None else tile.tobytes() for tile in tiles]
        tif.write(
            iter(encoded), shape=(128, 128), dtype="u2", tile=(64, 64), metadata=None, compression="none"
        )
    with open_slide(path) as slide:
        pixels = slide.read()[0]
    assert pixels[0, 0] == 5 and pixels[0, 100] == 0 and pixels[127, 127] == 9


def test_reading_from_a_closed_slide(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    _write_pyramid(path, _pixels((2, 64, 64)))
    slide = open_slide(path)
    slide.close()
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        slide.read()


def test_reading_from_many_threads(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    pixels = _pixels((4, 512, 512))
    path = tmp_path / "slide.ome.tif"
    _write_pyramid(path, pixels, tile=(64, 64), compression="zlib")
    with open_slide(path) as slide, ThreadPoolExecutor(6) as pool:
        regions = [Region(y, y + 150, x, x + 130) for y in range(0, 400, 90) for x in range(0, 400, 90)]
        for region, got in zip(regions, pool.map(slide.read, regions), strict=True):
            np.testing.assert_array_equal(got, pixels[:, region.y0 : region.y1, region.x0 : region.x1])


@pytest.mark.parametrize("region", [Region(64, 80, 0, 5), Region(-9, 0, 0, 5), Region(5, 5, 0, 5)])
def test_a_region_outside_is_an_error(tmp_path: Path, region: Region) -> None:
    path = tmp_path / "slide.ome.tif"
    _write_pyramid(path, _pixels((2, 64, 64)))
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match="64 rows"):
            slide.read(region)
        with pytest.raises(SlideError, match="no channel 2"):
            slide.read(channels=[2])
        with pytest.raises(SlideError, match="no level 3"):
            slide.read(level=3)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_run_of_planes_with_one_page_only(tmp_path: Path, byteorder: Any) -> None:
    """As ImageJ writes above 4 GB: the first page's description stands for all planes behind it."""
    pixels = _pixels((5, 61, 83))
    path = tmp_path / "run.tif"
    tifffile.imwrite(path, pixels, truncate=True, byteorder=byteorder, metadata={"axes": "CYX"})
    with tifffile.TiffFile(path) as tif:
        assert len(tif.pages) == 1
    with open_slide(path) as slide:
        _check_regions(slide, pixels)
    data = path.read_bytes()
    path.write_bytes(data[:-200])
    with pytest.raises(SlideError, match="cut off"):
        open_slide(path)


def test_z_beside_channels_takes_the_first_plane(tmp_path: Path) -> None:
    pixels = _pixels((3, 4, 50, 60))  # C Z Y X
    path = tmp_path / "cz.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CZYX"}, photometric="minisblack")
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(), pixels[:, 0])
        assert any("4 Z planes" in note and "axes='ZCYX'" in note for note in slide.notes)
    with open_slide(path, axes="ZCYX") as slide:
        np.testing.assert_array_equal(slide.read(), pixels[0])
