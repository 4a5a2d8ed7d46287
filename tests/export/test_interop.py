"""AnnData and SpatialData, read back by the real libraries; the environment of `make interop` has them."""

from __future__ import annotations

import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.export.fields import COLOURS, MARKERS, PIXEL_UM, TYPES, awkward_labels, make_result

from napari_dama.errors import Interrupted, OutputError
from napari_dama.export import FORMATS, Watch, export
from napari_dama.export.source import need


def test_a_missing_library_is_named_with_the_line_that_installs_it() -> None:
    with pytest.raises(
        OutputError, match=r'nowhere_lib, which is not installed.*pip install "napari-dama\[spatial\]"'
    ):
        need("nowhere_lib", "spatial")


@pytest.mark.skipif(FORMATS["anndata"].available, reason="anndata is installed here")
def test_without_anndata_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="anndata"):
        export(make_result(tmp_path), "anndata", tmp_path / "cells.h5ad")
    with pytest.raises(OutputError, match="spatialdata"):
        export(tmp_path / "out", "spatialdata", tmp_path / "cells.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "tissue.ome.tif"]


def read_h5ad(file: Path) -> Any:
    import anndata

    return anndata.read_h5ad(file)


@pytest.mark.interop
def test_anndata_holds_what_squidpy_expects(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    table = read_h5ad(export(out, "anndata", tmp_path / "cells.h5ad"))
    labels = awkward_labels()
    numbers = [n for n in np.unique(labels).tolist() if n]
    assert table.obs["label"].tolist() == numbers and table.obs_names.tolist() == [str(n) for n in numbers]
    assert table.var_names.tolist() == list(MARKERS)
    assert table.var["model_marker"].tolist() == ["DAPI", "NeuN", "Iba1"]
    assert table.X.dtype == np.float32 and table.X.shape == (len(numbers), 3)
    import tifffile

    pixels = tifffile.imread(tmp_path / "tissue.ome.tif")
    for row, number in enumerate(numbers):  # a slow reference, in loops
        np.testing.assert_allclose(table.X[row], [p[labels == number].mean() for p in pixels], rtol=1e-5)
        y, x = np.nonzero(labels == number)
        centre = table.obsm["spatial"][row]
        np.testing.assert_allclose(centre, [x.mean() * PIXEL_UM, y.mean() * PIXEL_UM], atol=0.002)
    kinds = table.obs["type"]
    assert kinds.cat.ordered and kinds.cat.categories.tolist() == list(TYPES)
    assert kinds.tolist() == [TYPES[n % 3] for n in numbers]
    assert list(table.uns["type_colors"]) == list(COLOURS)
    normalised = table.layers["normalised"]
    assert normalised.min() >= 0 and np.corrcoef(normalised[:, 1], table.X[:, 1])[0, 1] > 0.9
    (library,) = table.uns["spatial"]
    picture = table.uns["spatial"][library]["images"]["hires"]
    factor = table.uns["spatial"][library]["scalefactors"]["tissue_hires_scalef"]
    assert picture.shape == (140, 190, 3) and factor == pytest.approx(1 / PIXEL_UM)
    x, y = (table.obsm["spatial"][0] * factor).round().astype(int)
    assert picture[y, x].max() > 100 > picture[135, 5].max()
    about = table.uns["napari_dama"]
    assert about["spatial_unit"] == "micrometer" and json.loads(about["run"])["slide"]["name"] == "tissue"


@pytest.mark.interop
def test_anndata_without_types_or_slide_or_cells(tmp_path: Path) -> None:
    watch = Watch()
    out = make_result(tmp_path / "a", types=False, slide=False)
    table = read_h5ad(export(out, "anndata", tmp_path / "a.h5ad", watch=watch))
    assert "type" not in table.obs and "type_colors" not in table.uns
    assert any("No picture" in note for note in watch.notes)
    empty = make_result(tmp_path / "b", np.zeros((40, 50), np.uint32))
    assert read_h5ad(export(empty, "anndata", tmp_path / "b.h5ad")).shape == (0, 3)


@pytest.mark.interop
def test_cells_without_a_type_stay_without(tmp_path: Path) -> None:
    import pandas as pd

    out = make_result(tmp_path)
    table = pd.read_parquet(out / "cells.parquet")
    table.loc[table["label"] == 3, "type"] = None
    table.loc[table["label"] == 2, "type"] = "pericyte"
    table.to_parquet(out / "cells.parquet", index=False)
    found = read_h5ad(export(out, "anndata", tmp_path / "c.h5ad", image=False))
    assert found.obs["type"].isna().sum() == 1 and found.obs.loc["2", "type"] == "pericyte"
    assert found.obs["type"].cat.categories.tolist() == [*TYPES, "pericyte"]
    assert len(found.uns["type_colors"]) == 4


@pytest.mark.interop
def test_features_of_the_model_go_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of features is another part's; here its answer is given, in another order and with a cell missing."""
    out = make_result(tmp_path, embeddings={"shape": [9, 4]})
    numbers = [n for n in np.unique(awkward_labels()).tolist() if n]
    labels = np.array(numbers[:0:-1])
    vectors = np.repeat(labels[:, None], 4, axis=1).astype(np.float32)
    module = types.ModuleType("napari_dama.predict.embeddings")
    module.read_embeddings = lambda folder: (labels, vectors)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "napari_dama.predict.embeddings", module)
    watch = Watch()
    table = read_h5ad(export(out, "anndata", tmp_path / "c.h5ad", watch=watch, image=False))
    found = table.obsm["X_dama"]
    assert found.shape == (10, 4) and np.isnan(found[0]).all()
    assert found[1:, 0].tolist() == numbers[1:]
    assert any("1 cells have no features" in note for note in watch.notes)


@pytest.mark.interop
def test_spatialdata_comes_back(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spatialdata
        from spatialdata import get_centroids
        from spatialdata.transformations import get_transformation

        labels = np.zeros((1300, 1100), np.uint32)
        labels[:140, :190] = awkward_labels()
        out = make_result(tmp_path, labels)
        target = export(out, "spatialdata", tmp_path / "t.zarr")
        data = spatialdata.read_zarr(target)
        image, cells = data["slide"], data["cells"]
        assert list(image["scale0"]["image"].coords["c"].values) == list(MARKERS)
        np.testing.assert_array_equal(np.asarray(cells["scale0"]["image"]), labels)
        table = data["table"]
        numbers = [n for n in np.unique(labels).tolist() if n]
        assert table.obs["label"].tolist() == numbers
        assert table.uns["spatialdata_attrs"]["instance_key"] == "label"
        shapes = data["cell_outlines"]
        assert shapes.index.tolist() == numbers and shapes.geometry.is_valid.all()
        matrix = get_transformation(shapes, "global").to_affine_matrix(("x", "y"), ("x", "y"))
        np.testing.assert_allclose(matrix, np.diag([PIXEL_UM, PIXEL_UM, 1]))
        assert sorted(data.coordinate_systems) == ["global", "pixels"]
        middle = get_centroids(data["cells"], coordinate_system="global").compute()
        own = shapes.geometry.centroid
        for number in (2, 5, 17):
            y, x = np.nonzero(labels == number)
            np.testing.assert_allclose(
                [own[number].x, own[number].y], [x.mean() + 0.5, y.mean() + 0.5], atol=0.1
            )
            ours = middle.loc[number, ["x", "y"]].to_numpy(float)
            np.testing.assert_allclose(ours, [own[number].x * PIXEL_UM, own[number].y * PIXEL_UM], atol=0.1)
        with pytest.raises(OutputError, match="exists already"):
            export(out, "spatialdata", target)
        alone = export(out, "spatialdata", target, overwrite=True, image=False, shapes=False)
        again = spatialdata.read_zarr(alone)
        assert "slide" not in again and "cell_outlines" not in again and len(again["table"]) == len(numbers)
        with pytest.raises(Interrupted):
            export(out, "spatialdata", tmp_path / "no.zarr", watch=Watch(stop=lambda: True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "t.zarr", "tissue.ome.tif"]
