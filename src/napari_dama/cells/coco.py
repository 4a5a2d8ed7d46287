"""Label images as COCO annotations, and annotations as label images.

A label image gives each pixel to one cell, COCO does not: where annotated cells overlap, the smaller lies on top, and how
much was hidden is said. Crowds (``iscrowd``) are regions without outlines of single cells and are left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

from napari_dama.cells.rle import pack, places_of
from napari_dama.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

CELL = "cell"
"""Category of cells whose type is not known."""
MAX_PIXELS = 2**33


@dataclass(frozen=True, slots=True)
class CocoField:
    """One annotated image.

    Attributes
    ----------
    image
        Where it lies: its ``file_name`` beside the annotations.
    labels
        (H, W) int32; 0 is background, cells are numbered in the order of their annotations.
    types
        Name of the category of each label.
    notes
        What was left out or hidden, one sentence each.
    """

    image: Path
    labels: NDArray[np.int32]
    types: dict[int, str]
    notes: tuple[str, ...] = ()


def labels_to_coco(
    labels: NDArray[np.integer[Any]],
    *,
    file_name: str,
    types: Mapping[int, str] | None = None,
    scores: Mapping[int, float] | None = None,
    encoding: Literal["rle", "polygon"] = "rle",
    into: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Annotations of a label image, as a document for ``json.dump``.

    Parameters
    ----------
    labels
        (H, W), 0 is background; numbers may have gaps.
    file_name
        Of the image, as it stands beside the annotations.
    types
        Category by label; cells without one are of category ``cell``.
    scores
        Score by label, written beside the mask where it is known.
    encoding
        ``rle`` keeps every pixel; ``polygon`` outlines cells through the edges of their pixels, but for cells with holes,
        which polygons cannot say and which stay run lengths.
    into
        A document that gets this image as well; it is changed.

    Returns
    -------
    dict
        ``images``, ``annotations`` (with ``area``, ``bbox`` as x, y, width, height, and ``label``), ``categories``.

    Raises
    ------
    SlideError
        If labels are not two-dimensional whole numbers.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or not labels.size:
        raise SlideError(f"labels of shape {labels.shape} and {labels.dtype} are no label image (H, W)")
    document = {"images": [], "annotations": [], "categories": []} if into is None else into
    height, width = labels.shape
    image = 1 + max((one["id"] for one in document["images"]), default=0)
    document["images"].append({"id": image, "file_name": file_name, "height": height, "width": width})
    category = {one["name"]: one["id"] for one in document["categories"]}
    number = 1 + max((one["id"] for one in document["annotations"]), default=0)
    for label, places in _places_of_labels(labels):
        name = (types or {}).get(label) or CELL
        if name not in category:
            category[name] = 1 + max(category.values(), default=0)
            document["categories"].append({"id": category[name], "name": name})
        one = {"id": number, "image_id": image, "category_id": category[name], "label": label}
        one |= annotation(places, height, width, encoding)
        if scores is not None and np.isfinite(scores.get(label, np.nan)):
            one["score"] = round(float(scores[label]), 6)
        document["annotations"].append(one)
        number += 1
    return document


def annotation(
    places: NDArray[np.int64], height: int, width: int, encoding: Literal["rle", "polygon"] = "rle"
) -> dict[str, Any]:
    """Mask, box and area of a cell, whose pixels have the ``places`` (ascending, see `cells.rle`) in an image."""
    x, y = places // height, places % height
    x0, y0 = int(x.min()), int(y.min())
    outline = _polygons(y - y0, x - x0, y0, x0) if encoding == "polygon" else None
    return {
        "iscrowd": 0,
        "area": len(places),
        "bbox": [x0, y0, int(x.max()) - x0 + 1, int(y.max()) - y0 + 1],
        "segmentation": pack(places, height, width) if outline is None else outline,
    }


def _places_of_labels(labels: NDArray[np.integer[Any]]) -> list[tuple[int, NDArray[np.int64]]]:
    """Each label, ascending, with the places of its pixels."""
    flat = labels.T.ravel()
    places = np.flatnonzero(flat)
    values = flat[places]
    order = np.argsort(values, kind="stable")
    places, values = places[order], values[order]
    first = np.flatnonzero(np.append(True, values[1:] != values[:-1])) if len(values) else values.astype(int)
    return list(zip(values[first].tolist(), np.split(places, first[1:]), strict=True)) if len(values) else []


def _polygons(y: NDArray[np.int64], x: NDArray[np.int64], y0: int, x0: int) -> list[list[float]] | None:
    """Outlines of a cell's pixels in its box, or None where it has holes."""
    mask = np.zeros((int(y.max()) + 3, int(x.max()) + 3), bool)
    mask[y + 1, x + 1] = True
    if not np.array_equal(ndimage.binary_fill_holes(mask), mask):
        return None
    found = []
    for line in find_contours(mask.astype(float), 0.5):  # type: ignore[no-untyped-call]
        points = line[:-1, ::-1] + [x0 - 0.5, y0 - 0.5]  # from pixel centres to edges, less the margin of 1
        found.append(points.ravel().tolist())
    return found


def read_coco(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Read annotations and check what every reader relies on.

    Raises
    ------
    SlideError
        If the file is missing, no JSON, or no COCO annotations; the message says what is missing.
    """
    where = "the annotations"
    document: Any = source
    if isinstance(source, str | Path):
        where = str(source)
        try:
            document = json.loads(Path(source).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SlideError(f"There is no file {source}.") from error
        except (OSError, ValueError, RecursionError) as error:
            raise SlideError(f"{source} is no readable JSON: {error}") from error
    if not isinstance(document, dict):
        raise SlideError(f"{where}: COCO annotations are a JSON object, and this is none.")
    for key, needed in (
        ("images", {"id", "height", "width"}),
        ("annotations", {"image_id"}),
        ("categories", {"id"}),
    ):
        rows = document.get(key, [] if key == "categories" else None)
        if not isinstance(rows, list):
            raise SlideError(f"{where} has no list {key!r}: it holds no COCO annotations.")
        for place, row in enumerate(rows):
            missing = needed - set(row) if isinstance(row, dict) else needed
            if missing:
                raise SlideError(f"{where}: {key}[{place}] has no {sorted(missing)[0]!r}.")
    for one in document["images"]:
        sides = (one["height"], one["width"])
        if not all(isinstance(n, int) and n > 0 for n in sides) or sides[0] * sides[1] > MAX_PIXELS:
            raise SlideError(f"{where}: image {one['id']!r} has height and width {sides}.")
    return dict(document)


def coco_to_labels(
    source: str | Path | Mapping[str, Any],
    image: int | str | None = None,
    *,
    folder: str | Path | None = None,
) -> CocoField:
    """Label image of one annotated image.

    Parameters
    ----------
    source
        A file of COCO annotations, or its content.
    image
        Its id or its ``file_name``; None takes the only one.
    folder
        Where images lie; by default beside the file.

    Raises
    ------
    SlideError
        If annotations cannot be read, there is no such image, or a mask is damaged; the message names the annotation.
    """
    document = read_coco(source)
    rows = document["images"]
    found = rows if image is None else [one for one in rows if image in (one["id"], one.get("file_name"))]
    if len(found) != 1:
        names = ", ".join(str(one.get("file_name", one["id"])) for one in rows[:5]) or "none"
        wanted = "image" if image is None else f"image {image!r}"
        raise SlideError(f"{len(found)} annotated images are called {wanted}; there are: {names}")
    return _field(document, found[0], _home(source, folder))


def coco_fields(source: str | Path, *, folder: str | Path | None = None) -> list[CocoField]:
    """All annotated images of a file, as training takes them.

    Parameters
    ----------
    source
        A file of COCO annotations.
    folder
        Where images lie; by default beside the file.

    Raises
    ------
    SlideError
        As in `coco_to_labels`, and if an image is not where its ``file_name`` says.
    """
    document, home = read_coco(source), _home(source, folder)
    by_image: dict[Any, list[Any]] = {}
    for one in document["annotations"]:
        by_image.setdefault(one["image_id"], []).append(one)
    fields = []
    for row in document["images"]:
        field = _field({**document, "annotations": by_image.get(row["id"], [])}, row, home)
        if not field.image.exists():
            raise SlideError(f"{source} is about {field.image}, and there is no such image.")
        fields.append(field)
    return fields


def _home(source: str | Path | Mapping[str, Any], folder: str | Path | None) -> Path:
    if folder is not None:
        return Path(folder)
    return Path(source).parent if isinstance(source, str | Path) else Path()


def _field(document: dict[str, Any], row: dict[str, Any], home: Path) -> CocoField:
    height, width = row["height"], row["width"]
    names = {one["id"]: str(one.get("name", one["id"])) for one in document.get("categories", [])}
    cells: list[tuple[str, NDArray[np.int64]]] = []
    crowds = empty = 0
    for one in document["annotations"]:
        if one["image_id"] != row["id"]:
            continue
        if one.get("iscrowd"):
            crowds += 1
            continue
        try:
            places = places_of(one.get("segmentation"), height, width)
        except SlideError as error:
            raise SlideError(
                f"annotation {one.get('id', '?')} of {row.get('file_name', row['id'])}: {error}."
            ) from error
        if len(places):
            cells.append((names.get(one.get("category_id"), CELL), places))
        else:
            empty += 1
    flat = np.zeros(height * width, np.int32)
    for index in sorted(range(len(cells)), key=lambda i: -len(cells[i][1])):  # the smaller on top
        flat[cells[index][1]] = index + 1
    seen = np.bincount(flat, minlength=len(cells) + 1)[1:]
    hidden = sum(len(places) for _, places in cells) - int(seen.sum())
    gone = int((seen == 0).sum())
    notes = []
    if crowds:
        notes.append(f"{crowds} crowd regions were left out: they outline no single cell.")
    if empty:
        notes.append(f"{empty} annotations cover no pixel and were left out.")
    if hidden:
        notes.append(f"Cells overlap: {hidden} pixels went to the smaller cell.")
    if gone:
        notes.append(f"{gone} cells lie wholly under smaller ones and are not in the labels.")
    types = {i + 1: name for i, (name, _) in enumerate(cells) if seen[i]}
    labels = np.ascontiguousarray(flat.reshape(width, height).T)
    return CocoField(home / str(row.get("file_name", row["id"])), labels, types, tuple(notes))
