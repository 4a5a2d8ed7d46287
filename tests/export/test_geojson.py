"""GeoJSON as QuPath reads it: one feature per cell, types in colours, measurements by QuPath's names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.export.fields import COLOURS, MARKERS, TYPES, awkward_labels, make_result

from napari_dama.errors import Interrupted, OutputError, SettingsError
from napari_dama.export import Watch, export
from napari_dama.export.geojson import classification


def features(file: Path) -> list[dict[str, Any]]:
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["type"] == "FeatureCollection"
    found: list[dict[str, Any]] = document["features"]
    return found


def test_every_cell_is_a_feature(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    found = features(export(out, "geojson", tmp_path / "cells.geojson"))
    by_name = {int(feature["properties"]["name"]): feature for feature in found}
    assert sorted(by_name) == [n for n in np.unique(awkward_labels()).tolist() if n]
    assert len({feature["id"] for feature in found}) == len(found)
    neuron = by_name[3]["properties"]
    assert neuron["objectType"] == "cell"
    assert neuron["classification"] == {"name": TYPES[0], "color": [0xE6, 0x9F, 0x00]}
    measured = neuron["measurements"]
    area = (awkward_labels() == 3).sum() * 0.25
    assert measured["Cell: Area µm^2"] == pytest.approx(area, rel=1e-6)
    assert measured["Probability: neuron"] == 0.8
    assert measured["NeuN: Cell: Mean"] == pytest.approx(6300, rel=0.02)
    assert set(measured) >= {f"{marker}: Cell: Mean" for marker in MARKERS} | {"Outline score", "Label"}
    assert by_name[11]["geometry"]["type"] == "MultiPolygon"
    assert len(by_name[7]["geometry"]["coordinates"]) == 2  # an outline and a hole
    assert by_name[13]["geometry"]["coordinates"][0][0] == by_name[13]["geometry"]["coordinates"][0][-1]


def test_without_types_there_is_no_classification(tmp_path: Path) -> None:
    out = make_result(tmp_path, types=False)
    file = export(out, "geojson", tmp_path / "cells.json", object_type="detection")
    assert all(
        "classification" not in f["properties"] and f["properties"]["objectType"] == "detection"
        for f in features(file)
    )


def test_a_type_that_the_model_does_not_know_gets_a_colour_of_its_own(tmp_path: Path) -> None:
    import pandas as pd

    out = make_result(tmp_path)
    table = pd.read_parquet(out / "cells.parquet")
    table.loc[table["label"] == 2, "type"] = "pericyte"
    table.loc[table["label"] == 5, "mean_CD68"] = np.nan
    table.to_parquet(out / "cells.parquet", index=False)
    found = {
        f["properties"]["name"]: f["properties"]
        for f in features(export(out, "geojson", tmp_path / "c.json"))
    }
    assert found["2"]["classification"]["name"] == "pericyte"
    known = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS]
    assert found["2"]["classification"]["color"] not in known
    assert (
        "CD68: Cell: Mean" not in found["5"]["measurements"]
        and "CD68: Cell: Mean" in found["2"]["measurements"]
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("T cell", {"name": "T cell"}),
        ("T cell: CD8+", {"names": ["T cell", "CD8+"]}),  # so QuPath 0.5.1 and 0.7.0 write it after reading
        ("CD4:FOXP3", {"names": ["CD4", "FOXP3"]}),
        (" B \n cell", {"name": "B cell"}),
        (":", {"name": "unnamed"}),  # QuPath refuses a whole file for one class without a name
    ],
)
def test_types_are_written_as_qupath_writes_its_classes(name: str, said: dict[str, Any]) -> None:
    assert classification(name, (1, 2, 3)) == {**said, "color": [1, 2, 3]}


def test_a_stopped_export_leaves_what_was_there(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    file = tmp_path / "cells.geojson"
    file.write_text("old")
    steps = iter([False, True])
    with pytest.raises(Interrupted):
        export(out, "geojson", file, overwrite=True, watch=Watch(stop=lambda: next(steps)))
    assert file.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.geojson", "out", "tissue.ome.tif"]


def test_wrong_wishes_are_named(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    with pytest.raises(OutputError, match=r"\.geojson"):
        export(out, "geojson", tmp_path / "cells.txt")
    with pytest.raises(SettingsError, match="tumour"):
        export(out, "geojson", tmp_path / "cells.geojson", object_type="tumour")
    with pytest.raises(SettingsError, match="no option 'region'"):
        export(out, "geojson", tmp_path / "cells.geojson", region="0:1,0:1")


def test_an_empty_result_is_an_empty_collection(tmp_path: Path) -> None:
    out = make_result(tmp_path, np.zeros((40, 50), np.uint32))
    assert features(export(out, "geojson", tmp_path / "cells.geojson")) == []


@pytest.mark.interop
def test_polygons_are_valid_for_jts_and_shapely(tmp_path: Path) -> None:
    import shapely
    from shapely.geometry import shape

    labels = awkward_labels()
    found = features(export(make_result(tmp_path), "geojson", tmp_path / "cells.geojson"))
    geometries = [shape(feature["geometry"]) for feature in found]
    assert all(geometry.is_valid for geometry in geometries)
    for feature, geometry in zip(found, geometries, strict=True):
        pixels = (labels == int(feature["properties"]["name"])).sum()
        pieces = len(getattr(geometry, "geoms", [geometry]))
        assert abs(geometry.area - pixels) <= 0.5 * pieces + 0.5  # half a pixel per outline, and per hole
    overlaps = [a.intersection(b).area for i, a in enumerate(geometries) for b in geometries[:i]]
    assert max(overlaps) == 0
    assert (
        shapely.get_num_interior_rings(geometries[[f["properties"]["name"] for f in found].index("7")]) == 1
    )
