"""Labels lie in an image as NGFF wants it, in the colours of types, and somebody's image keeps what it had."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tests.export.fields import MARKERS, PIXEL_UM, awkward_labels, make_result

from napari_dama.errors import Interrupted, OutputError, SettingsError
from napari_dama.export import FORMATS, Watch, export
from napari_dama.slides.slide import open_slide


def nodes_of(path: Path) -> dict[str, Any]:
    """What ome-zarr's own reader finds, by the last name of its path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        found = list(Reader(parse_url(str(path)))())
    return {str(node.zarr).rstrip("/ ").split("/")[-1].split(" ")[0]: node for node in found}


def test_a_new_image_has_markers_and_labels(tmp_path: Path) -> None:
    labels = np.zeros((1400, 1100), np.uint32)
    labels[:140, :190] = awkward_labels()
    labels[1200:1300, 900:1000] = 18
    out = make_result(tmp_path, labels)
    steps: list[int] = []
    target = export(
        out, "ome-zarr", tmp_path / "t.ome.zarr", watch=Watch(lambda done, total: steps.append(done))
    )
    assert steps == sorted(steps) and steps[-1] == 1000
    nodes = nodes_of(target)
    image, cells = nodes["t.ome.zarr"], nodes["cells"]
    assert image.metadata["channel_names"] == list(MARKERS)
    assert [level.shape for level in image.data] == [(3, 1400, 1100), (3, 700, 550)]
    assert image.metadata["coordinateTransformations"][0][0]["scale"] == [1, PIXEL_UM, PIXEL_UM]
    assert [level.shape for level in cells.data] == [(1400, 1100), (700, 550)]
    np.testing.assert_array_equal(np.asarray(cells.data[0]), labels)
    np.testing.assert_array_equal(np.asarray(cells.data[1]), labels[::2, ::2])
    np.testing.assert_allclose(cells.metadata["color"][3], [0xE6 / 255, 0x9F / 255, 0, 1], atol=0.003)
    about = dict(zarr.open_group(str(target / "labels" / "cells"), mode="r").attrs)["image-label"]
    assert {"label-value": 3, "type": "neuron"} in about["properties"]
    with open_slide(target) as copy, open_slide(tmp_path / "tissue.ome.tif") as slide:
        np.testing.assert_array_equal(copy.read(), slide.read())
        assert copy.markers == slide.markers and copy.pixel_um == slide.pixel_um
        mean = slide.read().reshape(3, 700, 2, 550, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(copy.read(level=1), mean, atol=0.51)


def test_the_metadata_are_valid(tmp_path: Path) -> None:
    models = pytest.importorskip("ome_zarr_models")
    target = export(make_result(tmp_path), "ome-zarr", tmp_path / "t.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = [
            type(models.open_ome_zarr(str(target / part))).__name__ for part in ("", "labels", "labels/cells")
        ]
    assert kinds == ["Image", "Labels", "ImageLabel"]


def test_the_labels_alone(tmp_path: Path) -> None:
    out = make_result(tmp_path, slide=False)
    target = export(out, "ome-zarr", tmp_path / "cells.zarr", image=False)
    assert sorted(nodes_of(target)) == ["cells.zarr"]
    np.testing.assert_array_equal(zarr.open_group(str(target), mode="r")["0"][...], awkward_labels())
    with pytest.raises(OutputError, match="slide"):
        export(out, "ome-zarr", tmp_path / "with.zarr")
    assert not (tmp_path / "with.zarr").exists()


@pytest.mark.parametrize("version", [2, 3])
def test_labels_are_added_to_an_image_that_is_there(tmp_path: Path, version: int) -> None:
    out = make_result(tmp_path)
    target = tmp_path / "mine.zarr"
    group = zarr.open_group(str(target), mode="w", zarr_format=version)
    pixels = np.arange(140 * 190, dtype=np.uint16).reshape(140, 190)
    group.create_array("0", data=pixels)
    scales = [
        {
            "axes": [{"name": axis, "type": "space"} for axis in "yx"],
            "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}],
            "version": "0.4",
        }
    ]
    mine = {"multiscales": scales, "note": "mine"}
    group.attrs.update(mine if version == 2 else {"ome": {**mine, "version": "0.5"}})
    export(out, "ome-zarr", target)
    export(out, "ome-zarr", target, name="again")
    with pytest.raises(OutputError, match="has labels 'cells' already"):
        export(out, "ome-zarr", target)
    export(out, "ome-zarr", target, overwrite=True)
    nodes = nodes_of(target)
    np.testing.assert_array_equal(np.asarray(nodes["cells"].data[0]), awkward_labels())
    np.testing.assert_array_equal(zarr.open_group(str(target), mode="r")["0"][...], pixels)
    attributes = dict(zarr.open_group(str(target), mode="r").attrs)
    assert (attributes if version == 2 else attributes["ome"])["note"] == "mine"
    assert {"again", "cells"} <= set(nodes)
    assert sorted(p.name for p in (target / "labels").iterdir() if p.is_dir()) == ["again", "cells"]


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    first = export(make_result(tmp_path / "a"), "ome-zarr", tmp_path / "a.zarr")
    del zarr.open_group(str(first), mode="r+").attrs["napari_dama"]
    other = make_result(tmp_path / "b", awkward_labels((150, 200)))
    with pytest.raises(OutputError, match=r"\(140, 190\).*\(150, 200\)"):
        export(other, "ome-zarr", first)


def test_the_slide_itself_gets_the_labels_and_is_never_replaced(tmp_path: Path) -> None:
    """An image that an export wrote was analysed in its turn: it is the slide now."""
    first = export(make_result(tmp_path / "a"), "ome-zarr", tmp_path / "slide.zarr")
    out = make_result(tmp_path / "b", slide=False)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    record["slide"]["path"] = str(first)
    (out / "run.json").write_text(json.dumps(record), encoding="utf-8")
    before = zarr.open_group(str(first), mode="r")["0"][...]
    export(out, "ome-zarr", first, overwrite=True, name="anew")
    assert {"cells", "anew"} <= set(nodes_of(first))
    np.testing.assert_array_equal(zarr.open_group(str(first), mode="r")["0"][...], before)


def test_nobody_elses_folder_is_replaced(tmp_path: Path) -> None:
    out = make_result(tmp_path)
    folder = tmp_path / "photos.zarr"
    folder.mkdir()
    (folder / "cat.jpg").write_text("cat")
    with pytest.raises(OutputError, match="left alone"):
        export(out, "ome-zarr", folder, overwrite=True)
    assert (folder / "cat.jpg").read_text() == "cat"
    with pytest.raises(OutputError, match="own folder"):
        export(out, "ome-zarr", out / "new.zarr")
    with pytest.raises(OutputError, match=r"\.zarr"):
        export(out, "ome-zarr", tmp_path / "new.tif")
    with pytest.raises(SettingsError, match="name of a folder"):
        export(out, "ome-zarr", tmp_path / "new.zarr", name="a/b")
    if FORMATS["spatialdata"].available:  # an image is no SpatialData, and is not replaced by one
        zarr.open_group(str(tmp_path / "image.zarr"), mode="w").attrs["precious"] = True
        with pytest.raises(OutputError, match="left alone"):
            export(out, "spatialdata", tmp_path / "image.zarr", overwrite=True)
    target = export(out, "ome-zarr", tmp_path / "ours.zarr")
    with pytest.raises(OutputError, match="exists already"):
        export(out, "ome-zarr", target)
    steps = iter([False] * 3)
    with pytest.raises(Interrupted):
        export(out, "ome-zarr", target, overwrite=True, watch=Watch(stop=lambda: next(steps, True)))
    assert "cells" in nodes_of(target)
    export(out, "ome-zarr", target, overwrite=True)
    left = {".zgroup", "cells"}
    assert left <= {p.name for p in (target / "labels").iterdir()}
    assert not [p for p in tmp_path.iterdir() if "part" in p.name or "old" in p.name]
