"""A window with a simulated slide and a model of random weights on a shelf of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shelf with one model, ``random``: real networks, random weights."""
    from napari_dama.gui.work import keep_triton_out

    keep_triton_out()  # an earlier test may have drawn a window
    from napari_dama.models.build import brain_card, new_model, save_model

    folder = tmp_path_factory.mktemp("shelf")
    save_model(new_model(brain_card("random", summary="Random weights, for tests.")), folder / "random")
    return folder


@pytest.fixture
def on_shelf(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(shelf))
    return shelf


@pytest.fixture(autouse=True)
def own_list_of_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the jobs of a test off the user's list, and the user's out of the test."""
    monkeypatch.setenv("NAPARI_DAMA_JOBS", str(tmp_path / "list of jobs"))


@pytest.fixture(autouse=True)
def own_presets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep the user's presets of colours out of the test, and the test's off the user's."""
    monkeypatch.setenv("NAPARI_DAMA_PRESETS", str(tmp_path / "presets"))
    return tmp_path / "presets"


def add_slide(viewer: Any, path: Path) -> list[Any]:
    """Open a slide as napari does with the plugin's reader."""
    from napari.layers import Layer

    from napari_dama.gui.reader import get_reader

    reader = get_reader(str(path))
    assert reader is not None
    return [viewer.add_layer(Layer.create(*data)) for data in reader(str(path))]


def small_slide(
    folder: Path,
    name: str = "tissue",
    *,
    markers: list[str] | None = None,
    pixel_um: float | None = 0.5,
    seed: int = 3,
) -> Path:
    """Write an OME-TIFF of blobs, 192 x 224 px."""
    import numpy as np
    import tifffile

    names = markers or ["DAPI", "Histones", "NeuN", "S100", "Olig2", "Iba1", "RECA1"]
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:192, :224]
    image = random.normal(200, 20, (len(names), 192, 224))
    for cy, cx in random.uniform(10, 180, (40, 2)):
        for channel in range(len(names)):
            image[channel] += 3000 * random.random() * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 60)
    meta: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": names}}
    if pixel_um is not None:
        meta |= {"PhysicalSizeX": pixel_um, "PhysicalSizeY": pixel_um}
    path = folder / f"{name}.ome.tif"
    tifffile.imwrite(path, np.clip(image, 0, 65535).astype(np.uint16), ome=True, metadata=meta)
    return path


@pytest.fixture
def wait_for(qtbot: Any) -> Callable[[Callable[[], bool]], None]:
    """Let the window work until something is done."""

    def wait(done: Callable[[], bool], seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, "the window did not get there in time"
            qtbot.wait(30)

    return wait


@pytest.fixture
def dock(make_napari_viewer: Any, on_shelf: Path, tmp_path: Path) -> Iterator[Any]:
    """The dock in a window with a small slide of known pixel size."""
    from napari_dama.gui.dock import DamaDock

    viewer = make_napari_viewer()
    add_slide(viewer, small_slide(tmp_path))
    widget = DamaDock(viewer)
    viewer.window.add_dock_widget(widget, name="DAMA")
    yield widget
    widget.close_down()
