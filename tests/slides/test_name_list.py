"""Lists of marker names: what people paste, what other programs write, and the file beside a slide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_dama.errors import OutputError, SettingsError
from napari_dama.slides.name_list import forget_names, names_file, parse_names, read_names, save_names
from napari_dama.slides.slide import open_slide


def write(folder: Path, names: list[str] | None = None) -> Path:
    path = folder / "a.ome.tif"
    meta = {"axes": "CYX"} | ({} if names is None else {"Channel": {"Name": names}})
    tifffile.imwrite(path, np.zeros((3, 32, 40), np.uint16), ome=True, metadata=meta)
    return path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("DAPI\nNeuN\nIba1\n", ["DAPI", "NeuN", "Iba1"]),
        ("DAPI\r\n\r\nIba1\r\n\r\n", ["DAPI", "", "Iba1"]),
        ("DAPI, NeuN,Iba1", ["DAPI", "NeuN", "Iba1"]),
        ("DAPI\tNeuN\tIba1\n", ["DAPI", "NeuN", "Iba1"]),
        ("DAPI; NeuN; Iba1", ["DAPI", "NeuN", "Iba1"]),
        ('"CD3, clone 2",NeuN', ["CD3, clone 2", "NeuN"]),
        ("channel,marker\n2,NeuN\n1,DAPI\n", ["DAPI", "NeuN"]),
        (
            "channel_number,cycle_number,marker_name\n1,1,DAPI_1\n2,1,CD3\n3,2,DAPI_2\n",
            ["DAPI_1", "CD3", "DAPI_2"],
        ),
        ("marker_name\nDAPI\nCD3\n", ["DAPI", "CD3"]),
        ("channel\tmarker\nCy3\tNeuN\nDAPI\tDAPI\n", ["NeuN", "DAPI"]),
        ("1,DAPI\n2,NeuN\n", ["DAPI", "NeuN"]),
        ("\ufeffDAPI\n  S100   beta \n", ["DAPI", "S100 beta"]),
    ],
)
def test_lists_as_people_have_them(text: str, names: list[str]) -> None:
    assert parse_names(text) == names


@pytest.mark.parametrize("text", ["", "  \n \n", "channel,marker\n1,DAPI\n1,NeuN\n"])
def test_lists_that_are_none_say_why(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_names(text)


def test_files_that_are_no_lists_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00DAPI")
    with pytest.raises(SettingsError, match="no text file"):
        read_names(tmp_path / "a.csv")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_names(tmp_path / "none.csv")


def test_names_beside_a_slide_count_until_they_are_forgotten(tmp_path: Path) -> None:
    path = write(tmp_path, ["CH_1", "CH_2", "CH_3"])
    save_names(path, ["DAPI", "NeuN, nuclear", "Iba1"])
    with open_slide(path) as slide:
        assert slide.markers == ("DAPI", "NeuN, nuclear", "Iba1")
        assert any("a.ome.tif.markers.csv" in note for note in slide.notes)
    with open_slide(path, markers=["x", "y", "z"]) as slide:
        assert slide.markers == ("x", "y", "z")
    forget_names(path)
    with open_slide(path) as slide:
        assert slide.markers == ("CH_1", "CH_2", "CH_3")
        assert not any("markers.csv" in note for note in slide.notes)


def test_names_that_do_not_fit_are_left_out_and_said(tmp_path: Path) -> None:
    path = write(tmp_path)
    names_file(path).write_text("channel_number,marker_name\n1,DAPI\n", encoding="utf-8")
    with open_slide(path) as slide:
        assert slide.markers == ("channel 1", "channel 2", "channel 3")
        assert any("left out" in note and "1 channel" in note for note in slide.notes)
    names_file(path).write_bytes(b"\xff\x00")
    with open_slide(path) as slide:
        assert any("left out" in note for note in slide.notes)


def test_names_replace_what_was_said_of_missing_ones(tmp_path: Path) -> None:
    path = write(tmp_path)
    save_names(path, ["DAPI", "NeuN", "NeuN"])
    with open_slide(path) as slide:
        assert slide.markers == ("DAPI", "NeuN", "NeuN (2)")
        assert not any("gives no marker names" in note for note in slide.notes)


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="beside the slide"):
        save_names(tmp_path / "gone" / "a.ome.tif", ["DAPI"])
