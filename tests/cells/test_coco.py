"""COCO annotations and label images, both ways, against the masks of pycocotools' code in faster_coco_eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as library

from cells.fake import blobs
from napari_dama.cells.coco import coco_fields, coco_to_labels, labels_to_coco, read_coco
from napari_dama.cells.rle import pack, places_of, unpack
from napari_dama.errors import SlideError


def ragged(shape: tuple[int, int] = (60, 83), cells: int = 12, seed: int = 0) -> np.ndarray:
    """Labels with gaps in their numbers; cells in pieces, with holes, of one pixel, and at the border."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for i in range(cells):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        yy, xx = np.ogrid[: shape[0], : shape[1]]
        inside = ((yy - y) ** 2 + (xx - x) ** 2 < rng.integers(2, 90)) & (rng.random(shape) < 0.9)
        labels[inside] = 3 * i + 2
    labels[-1, -1], labels[0, 0] = 100, 101
    return labels


def slow_runs(mask: np.ndarray) -> list[int]:
    runs, value = [0], False
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if bool(mask[y, x]) != value:
                value = not value
                runs.append(0)
            runs[-1] += 1
    return runs


def mask_of(places: np.ndarray, height: int, width: int) -> np.ndarray:
    flat = np.zeros(height * width, bool)
    flat[places] = True
    return flat.reshape(width, height).T


def same_cells(one: np.ndarray, other: np.ndarray) -> None:
    """Compare cells whatever their numbers."""
    assert one.shape == other.shape and np.array_equal(one > 0, other > 0)
    pairs = {(int(a), int(b)) for a, b in zip(one[one > 0], other[one > 0], strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("full", [0.0, 0.1, 0.5, 0.97])
def test_run_lengths_are_those_of_the_library_and_of_a_loop(seed: int, full: float) -> None:
    rng = np.random.default_rng(seed)
    height, width = int(rng.integers(1, 40)), int(rng.integers(1, 40))
    mask = rng.random((height, width)) < full
    mask[rng.integers(height), rng.integers(width)] = True
    expected = library.encode(np.asfortranarray(mask.astype(np.uint8)))
    runs = slow_runs(mask)
    packed = pack(np.flatnonzero(mask.T), height, width)
    assert packed == {"size": [height, width], "counts": expected["counts"].decode()}
    assert unpack(packed["counts"]) == runs
    for counts in (packed["counts"], expected["counts"], runs):
        found = places_of({"size": [height, width], "counts": counts}, height, width)
        assert np.array_equal(mask_of(found, height, width), mask)


@pytest.mark.parametrize("seed", range(25))
def test_polygons_become_the_pixels_that_the_library_draws_on_the_whole_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = 50, 70
    polygons = []
    for _ in range(int(rng.integers(1, 3))):
        y, x, n = rng.uniform(5, 45), rng.uniform(5, 65), int(rng.integers(3, 9))
        turn = np.sort(rng.uniform(0, 2 * np.pi, n))
        points = np.column_stack(
            [x + rng.uniform(2, 18) * np.cos(turn), y + rng.uniform(2, 18) * np.sin(turn)]
        )
        polygons.append(np.clip(points, 0, [width, height]).round(int(rng.integers(0, 3))).ravel().tolist())
    expected = library.decode(library.merge(library.frPyObjects(polygons, height, width))).astype(bool)
    assert np.array_equal(mask_of(places_of(polygons, height, width), height, width), expected)


def test_what_lies_outside_is_cut_off() -> None:
    square = [[-5.0, -1e12, 3.0, -1e12, 3.0, 1e300, -5.0, 1e300]]
    mask = mask_of(places_of(square, 6, 8), 6, 8)
    assert mask[:, :3].all() and not mask[:, 3:].any()
    assert not len(places_of([[100, 100, 120, 100, 120, 120]], 6, 8))


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "neither a list"),
        ("text", "neither a list"),
        ({"size": [4, 4]}, "neither a list"),
        ([], "no polygon"),
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three points"),
        ([[1, 2, 3, 4, 5, float("nan")]], "three points"),
        ([["a", 2, 3, 4, 5, 6]], "three points"),
        ([7], "three points"),
        ({"size": [5, 4], "counts": [20]}, r"image of \[5, 4\]"),
        ({"size": [4, 4], "counts": [3, 4]}, "cover 7 pixels"),
        ({"size": [4, 4], "counts": [20, -8, 4]}, "cover 16 pixels"),
        ({"size": [4, 4], "counts": [1.5, 14.5]}, "no whole numbers"),
        ({"size": [4, 4], "counts": 16}, "no whole numbers"),
        ({"size": [4, 4], "counts": "oooooooooooooooooooo"}, "damaged"),
        ({"size": [4, 4], "counts": "\u00ff"}, "damaged"),
        ({"size": [4, 4], "counts": "o"}, "cut short"),
        ({"size": [4, 4], "counts": "1oooo0"}, "cover"),
    ],
)
def test_damaged_masks_are_refused(segmentation: Any, message: str) -> None:
    with pytest.raises(SlideError, match=message):
        places_of(segmentation, 4, 4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(60, 83), (1, 40), (40, 1), (3, 3)])
def test_labels_survive_the_way_there_and_back(seed: int, shape: tuple[int, int]) -> None:
    labels = ragged(shape, seed=seed)
    document = labels_to_coco(labels, file_name="a.tif")
    field = coco_to_labels(json.loads(json.dumps(document)))
    same_cells(labels, field.labels)
    assert field.notes == ()
    for one in document["annotations"]:
        mask = labels == one["label"]
        assert np.array_equal(
            library.decode({**one["segmentation"], "counts": one["segmentation"]["counts"].encode()}), mask
        )
        ys, xs = np.nonzero(mask)
        assert one["area"] == mask.sum()
        assert one["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]


def test_polygons_outline_cells_through_the_edges_of_their_pixels() -> None:
    image, _ = blobs((200, 200), spacing=40)
    from skimage.measure import label

    labels = label(image[0] > 8000)
    document = labels_to_coco(labels, file_name="a.tif", encoding="polygon")
    assert all(isinstance(one["segmentation"], list) for one in document["annotations"])
    back = coco_to_labels(document).labels
    for one in range(1, labels.max() + 1):
        other = back == np.bincount(back[labels == one]).argmax()
        overlap = ((labels == one) & other).sum() / ((labels == one) | other).sum()
        assert overlap > 0.95
    labels[labels == 1] = 0
    labels[20:30, 20:30] = 1
    labels[24:26, 24:26] = 0
    holed = labels_to_coco(labels, file_name="a.tif", encoding="polygon")["annotations"][0]
    assert isinstance(holed["segmentation"], dict) and holed["area"] == 96


def test_types_scores_and_several_images() -> None:
    labels = np.zeros((5, 6), np.uint32)
    labels[0, 0], labels[2:4, 2:5], labels[4, 5] = 9, 4, 70000
    document = labels_to_coco(
        labels, file_name="a.tif", types={4: "neuron", 9: "glia", 70000: ""}, scores={4: 0.5, 9: float("nan")}
    )
    labels_to_coco(labels[:4], file_name="b.tif", types={4: "glia"}, into=document)
    assert [one["name"] for one in document["categories"]] == ["neuron", "glia", "cell"]
    assert [one["id"] for one in document["annotations"]] == [1, 2, 3, 4, 5]
    assert [one.get("score") for one in document["annotations"]] == [0.5, None, None, None, None]
    first, second = coco_to_labels(document, "a.tif"), coco_to_labels(document, 2)
    same_cells(labels, first.labels)
    same_cells(labels[:4], second.labels)
    assert first.types == {1: "neuron", 2: "glia", 3: "cell"} and second.types == {1: "glia", 2: "cell"}
    with pytest.raises(SlideError, match=r"2 annotated images are called image; there are: a\.tif, b\.tif"):
        coco_to_labels(document)
    with pytest.raises(SlideError, match=r"0 annotated images are called image 'c\.tif'"):
        coco_to_labels(document, "c.tif")
    with pytest.raises(SlideError, match="no label image"):
        labels_to_coco(np.zeros((2, 2)), file_name="x")


def square(side: int, at: int, **facts: object) -> dict[str, Any]:
    corners = [at, at, at + side, at, at + side, at + side, at, at + side]
    return {"id": at + 100 * side, "image_id": 1, "category_id": 1, "segmentation": [corners], **facts}


def document(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.tif", "height": 30, "width": 30}],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "cell"}],
    }


def test_the_smaller_cell_lies_on_top_and_crowds_are_left_out() -> None:
    field = coco_to_labels(document(square(4, 4), square(10, 2), square(20, 0, iscrowd=1), square(1, 20)))
    expected = np.zeros((30, 30), int)
    expected[2:12, 2:12], expected[4:8, 4:8], expected[20, 20] = 2, 1, 3
    np.testing.assert_array_equal(field.labels, expected)
    assert field.notes == (
        "1 crowd regions were left out: they outline no single cell.",
        "Cells overlap: 16 pixels went to the smaller cell.",
    )
    hidden = coco_to_labels(document(square(4, 4), square(4, 4), square(10, 20)))
    assert hidden.notes[-1] == "1 cells lie wholly under smaller ones and are not in the labels."
    assert hidden.types == {2: "cell", 3: "cell"} and set(np.unique(hidden.labels)) == {0, 2, 3}
    outside = coco_to_labels(document(square(4, 4), square(4, 50)))
    assert outside.notes == ("1 annotations cover no pixel and were left out.",)


def test_bad_files_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with pytest.raises(SlideError, match="There is no file"):
        read_coco(file)
    for text, message in (
        ("{", "no readable JSON"),
        ("[" * 100_000, "no readable JSON"),
        ("[]", "must be|JSON object"),
        ("{}", "no list 'images'"),
        ('{"images": 3}', "no list 'images'"),
        ('{"images": []}', "no list 'annotations'"),
        ('{"images": [{"id": 1, "height": 4}], "annotations": []}', r"images\[0\] has no 'width'"),
        ('{"images": [], "annotations": [3]}', r"annotations\[0\] has no 'image_id'"),
        ('{"images": [{"id": 1, "height": 4, "width": -4}], "annotations": []}', "height and width"),
        ('{"images": [{"id": 1, "height": 1e9, "width": 4}], "annotations": []}', "height and width"),
        (
            '{"images": [{"id": 1, "height": 1000000, "width": 1000000}], "annotations": []}',
            "height and width",
        ),
    ):
        file.write_text(text)
        with pytest.raises(SlideError, match=message) as caught:
            read_coco(file)
        assert str(file) in str(caught.value)
    bad = document(square(4, 4), {"id": 7, "image_id": 1, "segmentation": [[1, 2]]})
    with pytest.raises(SlideError, match=r"annotation 7 of a\.tif: a polygon needs"):
        coco_to_labels(bad)


def test_fields_name_their_images(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(document(square(4, 4))))
    with pytest.raises(SlideError, match=r"a\.tif, and there is no such image"):
        coco_fields(file)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.tif").touch()
    (field,) = coco_fields(file, folder=tmp_path / "images")
    assert (
        field.image == tmp_path / "images" / "a.tif"
        and field.labels.sum() == 16
        and field.types == {1: "cell"}
    )
