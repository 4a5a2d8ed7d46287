"""Small networks, and a shelf of its own for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_dama.nets.encoder import SIZES


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """``tiny`` is two blocks of width 48 here, in float32."""
    monkeypatch.setitem(SIZES, "tiny", (48, 2, 3))
    monkeypatch.setattr("napari_dama.models.model.fastest_precision", lambda device, **_: "float32")


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's shelf, empty."""
    folder = tmp_path / "shelf"
    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(folder))
    return folder
