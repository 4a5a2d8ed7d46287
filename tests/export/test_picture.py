"""A picture shows the markers in their colours, the cells in those of their types, and a bar that is as long as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.export.fields import awkward_labels, make_result

from napari_dama.errors import OutputError, SettingsError
from napari_dama.export import Watch, export
from napari_dama.export.blend import parse_markers


def pixels_of(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def bright_run(line: np.ndarray) -> int:
    """Length of the longest run of white pixels."""
    white = (line > 250).all(axis=-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], white.astype(int), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def test_the_scale_bar_is_as_long_as_it_says(tmp_path: Path) -> None:
    watch = Watch()
    out = make_result(tmp_path)
    dark = {"markers": "DAPI", "contrast": {"DAPI": (1e6, 2e6)}, "cells": "none", "legend": False}
    file = export(out, "picture", tmp_path / "p.png", max_px=760, watch=watch, **dark)
    picture = pixels_of(file)
    assert abs(picture.shape[1] - 760) <= 2 and abs(picture.shape[0] - 560) <= 2
    um = 190 * 0.5 / picture.shape[1]
    assert any("scale bar 20 µm" in note for note in watch.notes)  # a quarter of 95 um holds 20, not 50
    longest = max(bright_run(row) for row in picture[-80:])
    assert longest * um == pytest.approx(20, abs=4 * um)


def test_markers_have_their_colours(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    markers = {"NeuN": "#ff0000", "DAPI": "#0000ff"}
    contrast = {"NeuN": (300.0, 6300.0), "DAPI": (300.0, 4300.0)}
    file = export(
        out,
        "picture",
        tmp_path / "p.png",
        cells="none",
        legend=False,
        max_px=760,
        markers=markers,
        contrast=contrast,
    )
    picture = pixels_of(file)
    scale = picture.shape[1] / 190
    y, x = (int(v * scale) for v in (60.5, 150.5))  # the cell of one pixel, number 13: DAPI and NeuN
    assert picture[y, x, 0] > 200 and picture[y, x, 2] > 200 and picture[y, x, 1] == 0
    y, x = int(30 * scale), int(25 * scale)  # number 2: DAPI alone
    assert picture[y, x, 2] > 200 and picture[y, x, 0] < 30


def test_filled_cells_have_the_colours_of_their_types(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    black = {"contrast": {"DAPI": (1e6, 2e6)}, "markers": "DAPI", "legend": False, "max_px": 190}
    picture = pixels_of(export(out, "picture", tmp_path / "p.png", cells="fill", **black))
    assert picture[30, 55].tolist() == pytest.approx([0xE6 / 2, 0x9F / 2, 0], abs=2)  # number 3: neuron
    assert picture[30, 25].tolist() == pytest.approx([0x56 / 2, 0xB4 / 2, 0xE9 / 2], abs=2)
    some = pixels_of(export(out, "picture", tmp_path / "q.png", cells="fill", types="neuron", **black))
    assert some[30, 55].tolist() == picture[30, 55].tolist() and some[30, 25].tolist() == [0, 0, 0]


def test_outlines_lie_on_the_edges(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    file = export(
        out, "picture", tmp_path / "p.png", markers="DAPI", contrast={"DAPI": (1e6, 2e6)}, legend=False, max_px=760,
        region="50:140,10:130",
    )  # fmt: skip
    picture = pixels_of(file)
    coloured = picture.max(axis=-1) > 100
    scale = picture.shape[1] / 120
    labels = awkward_labels()[50:140, 10:130]
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    rows, columns = np.nonzero(coloured[: int(80 * scale)])  # above the scale bar
    near = np.zeros(len(rows), bool)
    y, x = (rows + 0.5) / scale, (columns + 0.5) / scale
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            r, c = np.clip(y + dy, 0, 89).astype(int), np.clip(x + dx, 0, 119).astype(int)
            near |= edge[r, c]
    assert near.mean() > 0.99 and len(rows) > 500


def test_a_large_region_is_drawn_smaller_and_says_so(tmp_path: Path) -> None:
    labels = np.zeros((700, 900), np.uint32)
    labels[:140, :190] = awkward_labels()
    watch = Watch()
    out = make_result(tmp_path, labels)
    file = export(out, "picture", tmp_path / "p.png", max_px=300, legend=False, watch=watch)
    assert max(pixels_of(file).shape) <= 301
    assert any("3 times smaller" in note and "--max-px" in note for note in watch.notes)


def test_legend_and_formats(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    wide = export(out, "picture", tmp_path / "p.svg", region="0:60,0:80")
    text = wide.read_text(encoding="utf-8")
    for word in ("DAPI", "NeuN", "CD68", "neuron (", "microglia (", "astrocyte ("):
        assert word in text
    untyped = export(make_result(tmp_path / "u", types=False), "picture", tmp_path / "u.svg")
    assert "cell (10)" in untyped.read_text(encoding="utf-8")
    assert export(out, "picture", tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")


def test_wrong_wishes_are_named(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    file = tmp_path / "p.png"
    for wish, why in (
        ({"markers": "CD3"}, "no marker 'CD3'"),
        ({"markers": "DAPI=blue"}, "#rrggbb"),
        ({"markers": ","}, "No marker"),
        ({"cells": "dots"}, "dots"),
        ({"types": "tumour"}, "tumour"),
        ({"max_px": 20}, "100 to 10000"),
        ({"region": "500:600,0:10"}, "outside"),
    ):
        with pytest.raises(SettingsError, match=why):
            export(out, "picture", file, **wish)
    with pytest.raises(OutputError, match=r"\.png"):
        export(out, "picture", tmp_path / "p.jpg")
    assert not file.exists()
    with pytest.raises(OutputError, match="no file or folder"):
        export(make_result(tmp_path / "gone", slide=False), "picture", file)


def test_markers_are_read_from_text() -> None:
    assert parse_markers("DAPI=#4D7CFF, NeuN") == {"DAPI": "#4d7cff", "NeuN": None}
