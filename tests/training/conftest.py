"""Small networks and small stores, so that real runs take seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from napari_dama.cells.store import CropStore
from napari_dama.nets.encoder import SIZES
from napari_dama.simulate import MARKERS, TYPES


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``tiny`` is two blocks of width 48 here, in float32 and in one thread."""
    monkeypatch.setitem(SIZES, "tiny", (48, 2, 3))
    monkeypatch.setattr("napari_dama.models.model.fastest_precision", lambda device, **_: "float32")
    monkeypatch.setattr("napari_dama.training.loop.fastest_precision", lambda device, **_: "float32")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_shelves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Models and jobs of this test alone."""
    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(tmp_path / "shelf"))
    monkeypatch.setenv("NAPARI_DAMA_JOBS", str(tmp_path / "jobs"))
    return tmp_path / "shelf"


def write_store(
    path: Path,
    *,
    groups: int = 3,
    per_group: int = 16,
    crop_um: float = 32.5,
    crop_px: int = 32,
    typed: bool = True,
    markers: tuple[str, ...] = MARKERS,
    types: tuple[str, ...] = TYPES[:2],
) -> Path:
    """A store of noisy crops in which a type is one bright marker in the middle."""
    rng = np.random.default_rng(0)
    with CropStore.create(path, markers=markers, dtype=np.uint16, crop_um=crop_um, crop_px=crop_px) as store:
        for group in range(groups):
            present = np.ones(len(markers), bool)
            present[-1] = group != 0  # the first slide lacks the last marker
            low, high = np.zeros(len(markers)), np.full(len(markers), 1000.0 + group)
            store.add_slide(f"slide{group}", low=low, high=high, present=present, group=f"field{group}")
            crops = rng.integers(0, 300, (per_group, len(markers), crop_px, crop_px))
            kinds = rng.permutation(np.arange(per_group) % len(types))
            third = crop_px // 3
            for row, kind in enumerate(kinds):
                crops[row, 2 + kind, third : 2 * third, third : 2 * third] += 900
            crops[:, ~present] = 0
            table = pd.DataFrame(
                {
                    "slide": f"slide{group}",
                    "label": np.arange(1, per_group + 1),
                    "y": rng.uniform(0, 500, per_group),
                    "x": rng.uniform(0, 1000, per_group),
                    "type": [types[kind] for kind in kinds] if typed else "",
                }
            )
            store.append(crops.astype(np.uint16), table)
    return path


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 typed crops of three fields; do not write into it."""
    return write_store(tmp_path_factory.mktemp("store") / "crops")
