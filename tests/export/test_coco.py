"""COCO annotations written cell by cell are those of the whole label image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.export.fields import TYPES, awkward_labels, make_result
from tests.export.test_corrected import correct

from napari_dama.cells.coco import coco_to_labels, labels_to_coco
from napari_dama.errors import Interrupted
from napari_dama.export import Watch, export, outlines


@pytest.mark.parametrize("tile_px", [32, 2048])
def test_written_in_pieces_is_the_same_as_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tile_px: int
) -> None:
    labels = awkward_labels()
    monkeypatch.setitem(outlines.cell_masks.__kwdefaults__, "tile_px", tile_px)
    written = json.loads(export(make_result(tmp_path), "coco", tmp_path / "c.json").read_text("utf-8"))
    whole = labels_to_coco(labels, file_name="tissue.ome.tif")
    assert written["images"] == whole["images"]
    ours = {one["label"]: one for one in written["annotations"]}
    assert sorted(one["id"] for one in written["annotations"]) == list(range(1, len(ours) + 1))
    for one in whole["annotations"]:
        for key in ("segmentation", "area", "bbox", "iscrowd", "image_id"):
            assert ours[one["label"]][key] == one[key], (one["label"], key)
    assert len(ours) == len(whole["annotations"]) == len(written["annotations"])


def test_categories_are_the_types_in_the_models_order(tmp_path: Path) -> None:
    file = export(make_result(tmp_path), "coco", tmp_path / "c.json")
    document = json.loads(file.read_text("utf-8"))
    assert document["categories"] == [{"id": n, "name": name} for n, name in enumerate(TYPES, 1)]
    labels = awkward_labels()
    field = coco_to_labels(file)
    for number, name in field.types.items():
        inside = labels[field.labels == number]
        assert (inside == inside[0]).all() and name == TYPES[inside[0] % 3]
    assert np.array_equal(field.labels > 0, labels > 0)


def test_types_given_by_hand_are_written(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    changed, _ = correct(out, tmp_path / "tissue.ome.tif")
    document = json.loads(export(out, "coco", tmp_path / "c.json").read_text("utf-8"))
    names = {one["id"]: one["name"] for one in document["categories"]}
    assert {names[one["category_id"]] for one in document["annotations"] if one["label"] == changed} == {
        "Tumour"
    }


def test_without_types_cells_are_cells(tmp_path: Path) -> None:
    file = export(make_result(tmp_path, types=False), "coco", tmp_path / "c.json")
    assert json.loads(file.read_text("utf-8"))["categories"] == [{"id": 1, "name": "cell"}]
    empty = make_result(tmp_path / "empty", np.zeros((40, 50), np.uint32))
    nothing = json.loads(export(empty, "coco", tmp_path / "e.json").read_text("utf-8"))
    assert nothing["annotations"] == [] and nothing["images"][0]["width"] == 50


def test_a_stopped_export_leaves_what_was_there(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    (tmp_path / "c.json").write_text("old")
    steps = iter([False, True])
    with pytest.raises(Interrupted):
        export(out, "coco", tmp_path / "c.json", overwrite=True, watch=Watch(stop=lambda: next(steps)))
    assert (tmp_path / "c.json").read_text() == "old"
    assert not [p for p in tmp_path.iterdir() if "part" in p.name]
