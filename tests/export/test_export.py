"""Exports hold what the result holds, and leave nothing half-written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from napari_dama.errors import OutputError
from napari_dama.export import FORMATS, export, to_csv, to_labels_tiff
from napari_dama.export import labels_tiff as labels_tiff_module


def _result(folder: Path, shape: tuple[int, int] = (1300, 700), version: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2**32, shape, dtype=np.uint32)
    group = zarr.open_group(str(folder / "labels.ome.zarr"), mode="w", zarr_format=version)
    group.create_array("0", data=labels, chunks=(512, 512))
    scale = [{"type": "scale", "scale": [0.325, 0.325]}]
    scales = [{"datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    group.attrs.update({"multiscales": scales} if version == 2 else {"ome": {"multiscales": scales}})
    pd.DataFrame({"label": [1], "y": [2.5], "x": [3.5]}).to_csv(folder / "cells.csv", index=False)
    return labels


@pytest.mark.parametrize("shape", [(1300, 700), (512, 1024), (3, 2)])
@pytest.mark.parametrize("version", [2, 3])
def test_labels_tiff_holds_the_labels(tmp_path: Path, shape: tuple[int, int], version: int) -> None:
    labels = _result(tmp_path / "out", shape, version)
    file = to_labels_tiff(tmp_path / "out", tmp_path / "new" / "labels.tif")
    np.testing.assert_array_equal(tifffile.imread(file), labels)
    with tifffile.TiffFile(file) as tif:
        page = tif.pages.first
        assert page.is_tiled and page.compression == 8 and not tif.is_bigtiff
        assert page.get_resolution("MICROMETER")[0] == pytest.approx(1 / 0.325, rel=1e-4)
    assert [p.name for p in file.parent.iterdir()] == ["labels.tif"]


def test_large_labels_become_a_bigtiff_and_ome_names_get_ome_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = _result(tmp_path / "out")
    monkeypatch.setattr(labels_tiff_module, "CLASSIC_BYTES", 1000)
    file = to_labels_tiff(tmp_path / "out", tmp_path / "l.ome.tif")
    with tifffile.TiffFile(file) as tif:
        assert tif.is_bigtiff and tif.is_ome and 'PhysicalSizeX="0.325"' in (tif.ome_metadata or "")
        np.testing.assert_array_equal(tif.asarray(), labels)


@pytest.mark.parametrize(
    ("largest", "kind"), [(65_535, "uint16"), (65_536, "int32"), (2**31 - 1, "int32"), (2**31, "uint32")]
)
def test_labels_are_of_the_smallest_kind_that_qupath_reads(tmp_path: Path, largest: int, kind: str) -> None:
    labels = np.zeros((1100, 40), np.uint32)
    labels[3:5, 2:9], labels[1090:, 7] = largest, 1
    group = zarr.open_group(str(tmp_path / "out" / "labels.ome.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=labels, chunks=(512, 512))
    found = tifffile.imread(to_labels_tiff(tmp_path / "out", tmp_path / "l.tif"))
    assert found.dtype == kind
    np.testing.assert_array_equal(found, labels)


def test_csv_is_the_table(tmp_path: Path) -> None:
    _result(tmp_path / "out")
    file = to_csv(tmp_path / "out", tmp_path / "t.csv")
    assert file.read_bytes() == (tmp_path / "out" / "cells.csv").read_bytes()
    with pytest.raises(OutputError, match="own table"):
        to_csv(tmp_path / "out", tmp_path / "out" / "cells.csv", overwrite=True)


@pytest.mark.parametrize(("to", "name"), [("csv", "t.csv"), ("labels-tiff", "t.tif")])
def test_nothing_is_overwritten_unasked(tmp_path: Path, to: str, name: str) -> None:
    _result(tmp_path / "out")
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        export(tmp_path / "out", to, tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"
    assert export(tmp_path / "out", to, tmp_path / name, overwrite=True).stat().st_size > 10


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_what_is_no_result_is_named(tmp_path: Path, to: str) -> None:
    with pytest.raises(OutputError, match="no result"):
        export(tmp_path / "nothing", to, tmp_path / f"f{FORMATS[to].ending}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "labels.ome.zarr").mkdir()
    with pytest.raises(OutputError, match="empty"):
        export(tmp_path / "empty", to, tmp_path / f"f{FORMATS[to].ending}")


def test_unknown_formats_and_endings_are_named(tmp_path: Path) -> None:
    _result(tmp_path / "out")
    with pytest.raises(OutputError, match=r"fcs.*csv, parquet"):
        export(tmp_path / "out", "fcs", tmp_path / "f")
    with pytest.raises(OutputError, match=r"\.tif"):
        to_labels_tiff(tmp_path / "out", tmp_path / "f.png")
    with pytest.raises(OutputError, match="folder"):
        to_csv(tmp_path / "out", tmp_path, overwrite=True)


def test_a_failure_half_way_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _result(tmp_path / "out")
    (tmp_path / "l.tif").write_text("old")

    def full(*_: object) -> object:
        yield np.zeros((512, 512), np.uint32)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(labels_tiff_module, "_tiles", full)
    with pytest.raises(OutputError, match="No space left"):
        to_labels_tiff(tmp_path / "out", tmp_path / "l.tif", overwrite=True)
    assert (tmp_path / "l.tif").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.tif", "out"]


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    _result(tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        to_csv(tmp_path / "out", tmp_path / "file" / "t.csv")


def test_coco_holds_every_cell_with_its_type_and_score(tmp_path: Path) -> None:
    from napari_dama.cells.coco import coco_to_labels

    labels = np.zeros((70, 50), np.uint32)
    labels[3:9, 4:20], labels[30:60, 10:12] = 5, 8
    group = zarr.open_group(str(tmp_path / "out" / "labels.ome.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=labels, chunks=(32, 32))
    group.attrs.update({"multiscales": [{"datasets": [{"path": "0"}]}]})
    table = pd.DataFrame({"label": [5, 8], "y": 1.0, "x": 1.0, "type": ["a", "b"], "score": [0.25, 1.0]})
    table.to_csv(tmp_path / "out" / "cells.csv", index=False)
    (tmp_path / "out" / "run.json").write_text('{"slide": {"path": "/data/tissue.ome.tif"}}')
    file = export(tmp_path / "out", "coco", tmp_path / "cells.json")
    field = coco_to_labels(file)
    np.testing.assert_array_equal(field.labels > 0, labels > 0)
    assert field.image == tmp_path / "tissue.ome.tif" and field.types == {1: "a", 2: "b"}
    assert '"score": 0.25' in file.read_text()
    with pytest.raises(OutputError, match=r"written to \.json"):
        export(tmp_path / "out", "coco", tmp_path / "cells.txt")
    with pytest.raises(OutputError, match="exists already"):
        export(tmp_path / "out", "coco", file)
    with pytest.raises(OutputError, match="is no result"):
        export(tmp_path / "none", "coco", tmp_path / "other.json")
    assert not (tmp_path / "other.json").exists()
