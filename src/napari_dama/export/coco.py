"""The cells of a result as COCO annotations, which detection and annotation tools read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.cells.coco import labels_to_coco
from napari_dama.cells.given import LABELS, open_level, read_table
from napari_dama.cells.table import TABLE
from napari_dama.errors import OutputError, SlideError
from napari_dama.export.atomic import replacing
from napari_dama.export.source import ResultSource

if TYPE_CHECKING:
    import pandas as pd

    from napari_dama.export.watch import Watch


def to_coco(
    result_dir: str | Path, file: str | Path, *, overwrite: bool = False, watch: Watch | None = None
) -> Path:
    """Write every cell with its mask (packed run lengths), box, area, type and score.

    The image's name is that of the analysed slide, so that the file can be put beside it and trained from. Memory is that of
    the label image.

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
    """
    target, folder = Path(file), Path(result_dir)
    if not (folder / LABELS).is_dir():
        raise OutputError(f"{result_dir} is no result of napari-dama: it has no {LABELS}.")
    if target.suffix.lower() != ".json":
        raise OutputError(f"{target}: COCO annotations are written to .json.")
    types: dict[int, str] = {}
    scores: dict[int, float] = {}
    with replacing(target, overwrite=overwrite) as part:
        try:
            labels = np.asarray(open_level(folder / LABELS)[...])
            if (folder / TABLE).is_file():
                table = _table(folder)
                numbers = table["label"].tolist()
                types = dict(zip(numbers, table["type"], strict=True)) if "type" in table else {}
                scores = (
                    dict(zip(numbers, table["score"].astype(float), strict=True)) if "score" in table else {}
                )
            document = labels_to_coco(labels, file_name=_slide_name(folder), types=types, scores=scores)
        except (SlideError, ValueError) as error:
            raise OutputError(str(error)) from error
        part.write_text(json.dumps(document), encoding="utf-8")
    return target


def _table(folder: Path) -> pd.DataFrame:
    """Cells with the types that count; of labels and a table that are no whole result, the table as it is."""
    try:
        source = ResultSource.open(folder)
    except OutputError:
        return read_table(folder / TABLE)
    return source.cells


def _slide_name(folder: Path) -> str:
    """Name of the slide that was analysed; the result's own where the record does not say."""
    try:
        record: Any = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        slide = record["slide"]
        path = slide["path"] if isinstance(slide, dict) else slide
        return Path(str(path)).name or folder.name
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name
