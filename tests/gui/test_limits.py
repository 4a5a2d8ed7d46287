"""A large slide appears at once; what is measured follows, and touches nothing that was changed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_dama.gui import limits, measured
from napari_dama.gui.layers import about, shaded
from napari_dama.gui.reader import get_reader, read_slides
from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.slide import open_slide

Wait = Callable[[Callable[[], bool]], None]
MARKERS = ["DAPI", "NeuN", "S100"]


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A slide of over a million values whose bright cells lie where no block of the guess does."""
    random = np.random.default_rng(0)
    image = random.normal(300, 20, (3, 700, 640))
    image[:, 190:250] += 4000
    path = tmp_path / "tissue.ome.tif"
    meta: dict[str, Any] = {
        "axes": "CYX",
        "Channel": {"Name": MARKERS},
        "PhysicalSizeX": 0.5,
        "PhysicalSizeY": 0.5,
    }
    tifffile.imwrite(path, image.astype(np.uint16), ome=True, metadata=meta)
    return path


def ends(path: Path) -> list[tuple[float, float]]:
    with open_slide(path) as slide:
        stats = slide_stats(slide)
    return [shaded(float(low), float(high)) for low, high in zip(stats.low, stats.high, strict=True)]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold measuring up until the test lets it go on; it must not run in the window's thread."""
    event = threading.Event()

    def slow(slide: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        assert event.wait(60)
        return slide_stats(slide)

    monkeypatch.setattr(measured, "slide_stats", slow)
    return event


def test_without_a_window_all_is_measured(slide: Path) -> None:
    reader = get_reader(str(slide))
    assert reader is read_slides
    found = read_slides(str(slide))
    assert [kwargs["contrast_limits"] for _, kwargs, _ in found] == ends(slide)
    assert all("guess" not in kwargs["metadata"]["napari_dama"] for _, kwargs, _ in found)


@pytest.mark.gui
def test_measured_limits_follow_but_not_where_the_user_was(
    make_napari_viewer: Any, slide: Path, gate: threading.Event, wait_for: Wait, on_shelf: Path
) -> None:
    from napari_dama.gui.dock import DamaDock

    viewer = make_napari_viewer()
    dock = DamaDock(viewer)
    viewer.window.add_dock_widget(dock, name="DAMA")
    layers = viewer.open(str(slide), plugin="napari-dama")
    assert [layer.name for layer in layers] == MARKERS
    true = ends(slide)
    assert layers[0].contrast_limits[1] < 0.5 * true[0][1]  # a guess: the bright part lies elsewhere
    assert all("guess" in about(layer) and "low" not in about(layer) for layer in layers)
    wait_for(lambda: dock.channels.markers is not None)
    marker = dock.channels.markers[1]
    marker.contrast = (111.0, 2222.0)  # the user, in the window's own list
    layers[2].contrast_limits = (5.0, 500.0)  # and in napari's
    gate.set()
    wait_for(lambda: "guess" not in about(layers[2]))
    assert np.allclose(layers[0].contrast_limits, true[0])
    assert np.allclose(dock.channels.markers[0].contrast, true[0])
    assert tuple(layers[1].contrast_limits) == (111.0, 2222.0) == marker.contrast
    assert tuple(layers[2].contrast_limits) == (5.0, 500.0)
    for layer, marker in zip(layers, dock.channels.markers.all, strict=True):
        low, high = about(layer)["low"], about(layer)["high"]
        assert (marker.low, marker.high) == (low, high)
        assert np.allclose(shaded(low, high), true[marker.index])
    wait_for(lambda: not limits._following)
    dock.close_down()


@pytest.mark.gui
def test_a_slide_that_is_closed_meanwhile_is_no_trouble(
    make_napari_viewer: Any, slide: Path, gate: threading.Event, wait_for: Wait
) -> None:
    viewer = make_napari_viewer()
    viewer.open(str(slide), plugin="napari-dama")
    viewer.layers.clear()
    gate.set()
    wait_for(lambda: not limits._following)
    assert not len(viewer.layers)


def test_a_slide_is_measured_once_however_many_ask(slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(slide: Any) -> Any:
        calls.append(slide.name)
        return slide_stats(slide)

    monkeypatch.setattr(measured, "slide_stats", counted)
    monkeypatch.setattr(measured, "_known", {})
    found = []

    def ask(names: list[str] | None) -> None:
        with open_slide(slide, markers=names) as one:
            found.append(measured.measured_stats(one))

    threads = [threading.Thread(target=ask, args=(names,)) for names in (None, ["a", "b", "c"], None)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and len(found) == 3
    assert sorted({stats.markers for stats in found}) == [("DAPI", "NeuN", "S100"), ("a", "b", "c")]
    with open_slide(slide) as one:
        assert measured.measured_stats(one) == slide_stats(one)
