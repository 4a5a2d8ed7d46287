"""Slides as layers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gui.conftest import small_slide

from napari_dama.gui.layers import about
from napari_dama.gui.reader import get_reader


def test_each_marker_is_a_lazy_scaled_layer(tmp_path: Path) -> None:
    import dask.array as da

    path = small_slide(tmp_path)
    reader = get_reader(str(path))
    assert reader is not None
    layers = reader(str(path))
    assert [kwargs["name"] for _, kwargs, _ in layers][:3] == ["DAPI", "Histones", "NeuN"]
    for index, (data, kwargs, kind) in enumerate(layers):
        assert kind == "image"
        assert isinstance(data, da.Array)
        assert data.shape == (192, 224)
        assert kwargs["scale"] == (0.5, 0.5)
        assert kwargs["units"] == ("um", "um")
        assert kwargs["blending"] == "additive"
        assert kwargs["contrast_limits"][0] < kwargs["contrast_limits"][1]
        assert kwargs["metadata"]["napari_dama"]["index"] == index
        assert kwargs["metadata"]["napari_dama"]["slide"] == str(path)


def test_arrays_and_strangers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 99, (3, 40, 50)).astype(np.uint16))
    reader = get_reader(str(tmp_path / "a.npy"))
    assert reader is not None
    (_, kwargs, _), *_ = reader(str(tmp_path / "a.npy"))
    assert kwargs["units"] == ("pixel", "pixel")
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader(str(tmp_path)) is None
    assert get_reader([]) is None


def test_sample_is_written_once_with_its_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_dama.gui import sample_data

    monkeypatch.setenv("NAPARI_DAMA_CACHE", str(tmp_path))
    monkeypatch.setattr(sample_data, "SIZE_PX", 256)
    path = sample_data.write_sample(sample_data.cache_folder() / sample_data.NAME, size=256)
    written = path.stat().st_mtime_ns
    layers = sample_data.simulated_brain_tissue()
    assert path.stat().st_mtime_ns == written
    assert len(layers) == 8
    labels, kwargs, kind = layers[-1]
    assert kind == "labels"
    assert labels.shape == (256, 256)
    assert set(kwargs["features"]["index"]) == set(np.unique(labels)) - {0}


@pytest.mark.gui
def test_opening_slide_and_dock_imports_no_torch(tmp_path: Path) -> None:
    path = small_slide(tmp_path)
    code = f"""
import sys, napari
viewer = napari.Viewer(show=False)
viewer.open({str(path)!r}, plugin="napari-dama")
_, dock = viewer.window.add_plugin_dock_widget("napari-dama", "DAMA")
assert len(viewer.layers) == 7, viewer.layers
assert "torch" not in sys.modules
dock.close_down()
viewer.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.gui
def test_layers_know_their_slide(dock: Any) -> None:
    assert {about(layer)["role"] for layer in dock.viewer.layers} == {"marker"}
