"""The cells of a result as COCO annotations, which detection and annotation tools read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from napari_dama.cells.coco import CELL, annotation
from napari_dama.cells.given import LABELS, open_level, read_table
from napari_dama.cells.table import TABLE
from napari_dama.errors import OutputError, SlideError
from napari_dama.export.atomic import replacing
from napari_dama.export.outlines import cell_masks
from napari_dama.export.source import ResultSource
from napari_dama.export.watch import Watch

if TYPE_CHECKING:
    import pandas as pd


def to_coco(
    result_dir: str | Path, file: str | Path, *, overwrite: bool = False, watch: Watch | None = None
) -> Path:
    """Write every cell with its mask (packed run lengths), box, area, type and score.

    The image's name is that of the analysed slide, so that the file can be put beside it and trained from. Cells are written
    one by one, in the order in which they lie on the slide; memory is that of a tile and of the table. Categories are the
    types in the model's order, and ``cell`` where a cell has none.

    Parameters
    ----------
    result_dir
        What ``analyse`` left.
    file
        ``.json``.
    overwrite
        Replace a file that is there.
    watch
        Told of progress, asked whether to stop.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        There are no labels, or the file exists or cannot be written.
    Interrupted
        ``watch`` said so.
    """
    target, folder = Path(file), Path(result_dir)
    if not (folder / LABELS).is_dir():
        raise OutputError(f"{result_dir} is no result of napari-dama: it has no {LABELS}.")
    if target.suffix.lower() != ".json":
        raise OutputError(f"{target}: COCO annotations are written to .json.")
    with (
        replacing(target, overwrite=overwrite) as part,
        part.open("w", encoding="utf-8", newline="\n") as out,
    ):
        try:
            _write(out, folder, watch or Watch())
        except (SlideError, ValueError) as error:
            raise OutputError(str(error)) from error
    return target


def _write(out: TextIO, folder: Path, watch: Watch) -> None:
    labels = open_level(folder / LABELS)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise SlideError(f"labels of shape {labels.shape} and {labels.dtype} are no label image (H, W)")
    height, width = (int(size) for size in labels.shape)
    names, types, scores = _facts(folder)
    category = {name: number for number, name in enumerate(names, 1)}
    image = {"id": 1, "file_name": _slide_name(folder), "height": height, "width": width}
    out.write(f'{{"images": [{json.dumps(image)}],\n"annotations": [')
    for number, (label, mask, top, left) in enumerate(cell_masks(labels, watch), 1):
        name = types.get(label) or CELL
        columns, rows = np.nonzero(mask.T)
        one = annotation((columns + left) * height + rows + top, height, width)
        one |= {"id": number, "image_id": 1, "label": label}
        one["category_id"] = category.setdefault(name, len(category) + 1)
        if np.isfinite(scores.get(label, np.nan)):
            one["score"] = round(scores[label], 6)
        out.write(("\n" if number == 1 else ",\n") + json.dumps(one))
    kinds = [{"id": number, "name": name} for name, number in category.items()]
    out.write(f'\n],\n"categories": {json.dumps(kinds)}}}\n')


def _facts(folder: Path) -> tuple[list[str], dict[int, str], dict[int, float]]:
    """Names of the types in the model's order, and by label each cell's type and score, as far as a table has them."""
    if not (folder / TABLE).is_file():
        return [], {}, {}
    names, table = _table(folder)
    numbers = table["label"].tolist()
    types = dict(zip(numbers, table["type"], strict=True)) if "type" in table else {}
    scores = dict(zip(numbers, table["score"].astype(float), strict=True)) if "score" in table else {}
    return names, types, scores


def _table(folder: Path) -> tuple[list[str], pd.DataFrame]:
    """Types and cells as they count; of labels and a table that are no whole result, the table as it is."""
    try:
        source = ResultSource.open(folder)
    except OutputError:
        table = read_table(folder / TABLE)
        return sorted(set(table["type"]) - {""}) if "type" in table else [], table
    return source.types, source.cells


def _slide_name(folder: Path) -> str:
    """Name of the slide that was analysed; the result's own where the record does not say."""
    try:
        record: Any = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        slide = record["slide"]
        path = slide["path"] if isinstance(slide, dict) else slide
        return Path(str(path)).name or folder.name
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name
