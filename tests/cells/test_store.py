"""CropStore: what was written comes back; what is damaged or unfinished says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_dama.cells.store import CropStore
from napari_dama.cells.writer import CropWriter
from napari_dama.errors import StoreError

MARKERS = ("DAPI", "NeuN", "S100")


def _cells(slide: str, n: int, first: int = 1, kind: str | None = None) -> pd.DataFrame:
    table = pd.DataFrame(
        {"slide": slide, "label": np.arange(first, first + n), "y": np.arange(n) + 0.25, "x": 3.5}
    )
    if kind is not None:
        table["type"] = kind
    return table


def _writer(path: Path, **more: object) -> CropWriter:
    settings = {"markers": MARKERS, "dtype": np.uint16, "crop_um": 32.5, "crop_px": 10} | more
    return CropStore.create(path, **settings)  # type: ignore[arg-type]


def _small_store(path: Path) -> tuple[CropStore, np.ndarray]:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 60000, (7, 3, 10, 10), dtype=np.uint16)
    with _writer(path) as writer:
        writer.add_slide("a", low=[1, 2, 3], high=[10, 20, 30], path="/somewhere/a.tif")
        writer.append(crops[:3], _cells("a", 3, kind="neuron"))
        writer.append(crops[3:4], _cells("a", 1, first=4))
        writer.add_slide("b", low=[0, 0, 0], high=[5, 6, 1], present=[True, True, False], group="field")
        writer.append(crops[4:], _cells("b", 3))
    return CropStore.open(path), crops


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    store, crops = _small_store(tmp_path / "store")
    assert len(store) == 7
    assert isinstance(store.crops, np.memmap) and store.crops.dtype == np.uint16
    np.testing.assert_array_equal(store.crops, crops)
    assert store.markers == MARKERS
    assert (store.crop_um, store.crop_px, store.pixel_um) == (32.5, 10, 3.25)
    np.testing.assert_array_equal(store.slide_index, [0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(store.present, [[True] * 3, [True, True, False]])
    np.testing.assert_array_equal(store.stats[1], [[0, 0, 0], [5, 6, 1]])
    assert list(store.table["type"]) == ["neuron"] * 3 + [""] * 4
    assert list(store.groups) == ["a"] * 4 + ["field"] * 3
    assert store.types == ("neuron",)
    np.testing.assert_allclose(store.table["y"][:3], [0.25, 1.25, 2.25])
    assert {p.name for p in store.path.iterdir()} == {"crops.npy", "cells.csv", "store.json"}
    assert not (tmp_path / "store.partial").exists()


def test_a_store_can_be_moved(tmp_path: Path) -> None:
    _, crops = _small_store(tmp_path / "store")
    shutil.move(tmp_path / "store", tmp_path / "elsewhere")
    np.testing.assert_array_equal(CropStore.open(tmp_path / "elsewhere").crops, crops)


def test_names_that_look_like_missing_values_stay_text(tmp_path: Path) -> None:
    with _writer(tmp_path / "s") as writer:
        writer.add_slide("007", low=[0] * 3, high=[1] * 3, group="NA")
        writer.append(np.zeros((2, 3, 10, 10), np.uint16), _cells("007", 2, kind="NA"))
    store = CropStore.open(tmp_path / "s")
    assert store.types == ("NA",) and store.slides[0].name == "007" and store.groups[0] == "NA"


def test_crash_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "s")
    writer.add_slide("a", low=[0] * 3, high=[1] * 3)
    writer.append(np.zeros((2, 3, 10, 10), np.uint16), _cells("a", 2))
    # As after a power cut: neither finish nor abort was called.
    with pytest.raises(StoreError, match="no such folder"):
        CropStore.open(tmp_path / "s")
    with pytest.raises(StoreError, match="not finished"):
        CropStore.open(tmp_path / "s.partial")
    writer._crops.close()
    writer._table.close()
    store, _ = _small_store(tmp_path / "s")  # what the crash left is not in the way
    assert len(store) == 7


def test_an_error_inside_removes_the_partial_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), _writer(tmp_path / "s"):
        raise RuntimeError("boom")
    assert list(tmp_path.iterdir()) == []


def test_no_cells_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No cells"), _writer(tmp_path / "s"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_overwrite_only_when_asked_and_never_other_folders(tmp_path: Path) -> None:
    _small_store(tmp_path / "s")
    with pytest.raises(StoreError, match="overwrite"):
        _writer(tmp_path / "s")
    with _writer(tmp_path / "s", overwrite=True) as writer:
        assert len(CropStore.open(tmp_path / "s")) == 7  # the old one stands until the other is whole
        writer.add_slide("a", low=[0] * 3, high=[1] * 3)
        writer.append(np.zeros((2, 3, 10, 10), np.uint16), _cells("a", 2))
    assert len(CropStore.open(tmp_path / "s")) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(StoreError, match="no crop store"):
        _writer(tmp_path / "mine", overwrite=True)


def test_append_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with _writer(tmp_path / "s", dtype=np.uint8) as writer:
        writer.add_slide("a", low=[0] * 3, high=[1] * 3)
        with pytest.raises(StoreError, match="precision"):
            writer.append(np.zeros((1, 3, 10, 10), np.uint16), _cells("a", 1))
        with pytest.raises(StoreError, match="shape"):
            writer.append(np.zeros((1, 3, 9, 10), np.uint8), _cells("a", 1))
        with pytest.raises(StoreError, match="not announced"):
            writer.append(np.zeros((1, 3, 10, 10), np.uint8), _cells("b", 1))
        with pytest.raises(StoreError, match="3 markers"):
            writer.add_slide("c", low=[0] * 2, high=[1] * 2)
        writer.append(np.zeros((1, 3, 10, 10), np.uint8), _cells("a", 1))


@pytest.mark.parametrize("damage", ["short", "rows", "json", "card", "version", "slide", "stats", "missing"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    store, _ = _small_store(tmp_path / "s")
    path = store.path
    card = json.loads((path / "store.json").read_text())
    expected = "damaged"
    if damage == "short":
        whole = (path / "crops.npy").read_bytes()
        del store
        (path / "crops.npy").write_bytes(whole[:-100])
    elif damage == "rows":
        lines = (path / "cells.csv").read_text().splitlines(keepends=True)
        (path / "cells.csv").write_text("".join(lines[:-1]))
    elif damage == "json":
        (path / "store.json").write_text('{"format": "nap')
    elif damage == "card":
        (path / "store.json").write_text('{"hello": 1}')
        expected = "does not describe"
    elif damage == "version":
        (path / "store.json").write_text(json.dumps(card | {"version": 9}))
        expected = "version 9"
    elif damage == "slide":
        card["slides"].pop("b")
        (path / "store.json").write_text(json.dumps(card))
        expected = "'b' is not in"
    elif damage == "stats":
        for slide in card["slides"].values():
            slide["low"], slide["high"] = [0.0], [1.0]
        (path / "store.json").write_text(json.dumps(card))
    else:
        (path / "cells.csv").unlink()
        expected = "cannot be read"
    with pytest.raises(StoreError, match=expected):
        CropStore.open(path)
