from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_dama.errors import OutputError, SettingsError
from napari_dama.simulate import MARKERS, simulate_tissue, write_simulated


def test_files_hold_what_was_simulated(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "new" / "folder"
    paths = write_simulated(
        out,
        n=2,
        size=(96, 140),
        seed=7,
        difficulty="easy",
        progress=lambda done, all_: seen.append((done, all_)),
    )
    assert [path.name for path in paths] == ["sim_easy_0007.ome.tif", "sim_easy_0008.ome.tif"]
    assert sorted(path.name for path in out.iterdir()) == [
        f"sim_easy_{seed:04d}{end}" for seed in (7, 8) for end in (".ome.tif", "_cells.csv", "_cells.tif")
    ]
    assert seen == [(0, 2), (1, 2), (2, 2)]
    tissue = simulate_tissue((96, 140), seed=7, difficulty="easy")
    with tifffile.TiffFile(paths[0]) as tif:
        series = tif.series[0]
        assert series.axes == "CYX"
        assert tif.pages[0].is_tiled
        assert tif.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert np.array_equal(series.asarray(), tissue.image)
        meta = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
    assert meta["PhysicalSizeX"] == meta["PhysicalSizeY"] == pytest.approx(0.325)
    assert meta["PhysicalSizeXUnit"] == "µm"
    assert tuple(channel["Name"] for channel in meta["Channel"]) == MARKERS
    labels = tifffile.imread(out / "sim_easy_0007_cells.tif")
    assert labels.dtype == np.int32
    assert np.array_equal(labels, tissue.labels)
    table = pd.read_csv(out / "sim_easy_0007_cells.csv")
    assert list(table.columns) == ["label", "y", "x", "type"]
    np.testing.assert_allclose(table["y"], tissue.cells["y"], atol=1e-3)
    assert table["type"].tolist() == tissue.cells["type"].tolist()


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    write_simulated(tmp_path, n=1, size=48, seed=1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OutputError, match="exists"):
        write_simulated(tmp_path, n=3, size=64, seed=0)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    write_simulated(tmp_path, n=1, size=64, seed=1, overwrite=True)
    assert tifffile.imread(tmp_path / "sim_normal_0001_cells.tif").shape == (64, 64)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full_disk)
    with pytest.raises(OutputError, match="No space"):
        write_simulated(tmp_path, n=1, size=48, seed=1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="taken"):
        write_simulated(tmp_path / "taken", n=1, size=48, seed=1)


@pytest.mark.parametrize("settings", [{"n": 0}, {"n": 1.5}, {"seed": -2}, {"difficulty": "x"}, {"bits": 7}])
def test_bad_settings_leave_nothing(tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        write_simulated(tmp_path / "out", **{"n": 1, "size": 48, "seed": 1, **settings})  # type: ignore[arg-type]
    assert not list(tmp_path.rglob("*.tif"))
