"""The gallery: the right pictures in the right order, corrected where they are seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.gui.conftest import add_slide
from tests.gui.made_result import draw, make_result

from napari_dama.cells.corrections import read_corrections
from napari_dama.gui.gallery_crops import ShownMarker, crop_pictures, level_for, paint
from napari_dama.slides.slide import open_slide

Wait = Callable[[Callable[[], bool]], None]


def slow_crop(image: np.ndarray, markers: list[ShownMarker], y: float, x: float, side: int) -> np.ndarray:  # type: ignore[type-arg]
    """One crop, pixel by pixel."""
    top, left = round(y - side / 2), round(x - side / 2)
    out = np.zeros((side, side, 3))
    for i in range(side):
        for j in range(side):
            if 0 <= top + i < image.shape[1] and 0 <= left + j < image.shape[2]:
                for marker in markers:
                    value = float(image[marker.index, top + i, left + j])
                    share = min(max((value - marker.low) / (marker.high - marker.low), 0), 1)
                    for place in range(3):
                        out[i, j, place] += share * int(marker.colour[1 + 2 * place : 3 + 2 * place], 16)
    return np.minimum(out, 255).astype(np.uint8)


def test_pictures_are_what_a_slow_cut_gives() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 1000, (3, 70, 90)).astype(np.uint16)
    markers = [ShownMarker(2, "#ff8000", 100, 800), ShownMarker(0, "#0040ff", 0, 1200)]
    centres = np.array([[35.2, 40.0], [2.0, 3.0], [69.0, 89.0], [36.0, 41.0], [-5.0, 200.0]])
    slide = open_slide(image, markers=["a", "b", "c"], pixel_um=0.5)
    got: dict[int, Any] = {}
    for rows, pictures in crop_pictures(slide, centres, markers, side_px=16, wanted_px=16):
        got.update(zip(rows.tolist(), pictures, strict=True))
    assert sorted(got) == [0, 1, 2, 3, 4]
    for row, (y, x) in enumerate(centres):
        wanted = slow_crop(image, markers, y, x, 16)
        assert np.abs(got[row].astype(int) - wanted).max() <= 1, row


def test_the_edge_of_the_own_cell_is_drawn_and_no_other() -> None:
    labels, image = draw(2, 2)
    slide = open_slide(image, pixel_um=0.5)
    marker = [ShownMarker(0, "#000080", 0, 5000)]
    centre = np.array([[12.0, 12.0]])
    (_, (picture,)), = crop_pictures(
        slide, centre, marker, side_px=40, wanted_px=40, outlines=lambda region: labels[region.slices],
        numbers=np.array([1]),
    )  # fmt: skip
    bright = np.argwhere(picture[..., 0] > 100) - 8
    assert len(bright) > 30
    assert all(labels[y, x] == 1 for y, x in bright)
    assert not any(((y - 12) ** 2 + (x - 12) ** 2) < 25 for y, x in bright)


def test_a_coarser_level_is_taken_only_where_it_shows_as_much() -> None:
    class Levels:
        levels = ((4000, 4000), (2000, 2000), (1000, 1000))

    assert level_for(Levels(), 130, 64) == (1, 2.0)  # type: ignore[arg-type]
    assert level_for(Levels(), 65, 64) == (0, 1.0)  # type: ignore[arg-type]
    assert level_for(Levels(), 300, 64) == (2, 4.0)  # type: ignore[arg-type]


def test_missing_pixels_are_black() -> None:
    pixels = np.array([[[np.nan, 5.0]]])
    assert paint(pixels, [ShownMarker(0, "#ffffff", 0, 5)]).tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.fixture
def window(make_napari_viewer: Any, on_shelf: Path, tmp_path: Path, wait_for: Wait) -> Iterator[Any]:
    from napari_dama.gui.dock import DamaDock

    slide, out = make_result(tmp_path)
    viewer = make_napari_viewer(show=True)
    add_slide(viewer, slide)
    dock = DamaDock(viewer)
    viewer.window.add_dock_widget(dock, name="DAMA")
    dock.results.open_folder(str(out))
    wait_for(lambda: dock.results.work is None and dock.annotate.work is None)
    dock.slide = slide
    yield dock
    dock.close_down()


@pytest.mark.gui
def test_doubts_come_first_and_are_corrected_in_place(window: Any, qtbot: Any, wait_for: Wait) -> None:
    dock = window
    gallery = dock.show_gallery()
    wait_for(lambda: gallery.work is None and len(gallery.model.pictures) == 80)
    assert [label % 7 for label in gallery.model.labels[:11]] == [0] * 11
    gallery.show_type("astrocyte")
    wait_for(lambda: gallery.work is None and len(gallery.model.pictures) == 27)
    assert all(label % 3 == 1 for label in gallery.model.labels)
    assert "27 of 27 cells" in gallery.note.text()
    first, second = gallery.model.labels[:2]
    gallery.select([first, second])
    qtbot.keyClick(gallery.list, Qt.Key.Key_3)
    cells = dock.session.cells
    assert cells.type_of(first) == cells.type_of(second) == "microglia"
    assert dock.results.layer.colormap.map(first)[2] > 0.8
    gallery.select([gallery.model.labels[2]])
    qtbot.keyClick(gallery.list, Qt.Key.Key_Return)
    qtbot.keyClick(gallery.list, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not dock.session.annotator.is_reviewed(gallery.model.labels[2])
    assert dock.session.annotator.journal.flush(5)
    found = read_corrections(dock.slide)
    assert sorted(found.cells["label"]) == sorted([first, second])
    assert set(found.cells["who"]) == {"gallery"}
    gallery.unseen.setChecked(True)
    wait_for(lambda: gallery.work is None and len(gallery.model.pictures) == 25)
    gallery.list.doubleClicked.emit(gallery.model.index(0))
    assert cells.selected.tolist() == [gallery.model.labels[0]]


@pytest.mark.gui
def test_it_fits_320_px_and_survives_its_own_closing(window: Any, qtbot: Any, wait_for: Wait) -> None:
    dock = window
    gallery = dock.show_gallery()
    assert gallery.minimumSizeHint().width() <= 320 - 26
    wait_for(lambda: gallery.work is None)
    dock.viewer.window.remove_dock_widget(gallery)
    assert gallery.closed
    again = dock.show_gallery()
    assert again is not gallery
    wait_for(lambda: again.work is None and len(again.model.pictures) == 80)
    dock.viewer.layers.remove(dock.results.layer)
    wait_for(lambda: again.model.labels == [])
    assert "Open a result" in again.note.text()
