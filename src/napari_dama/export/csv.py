"""The table of a result as CSV."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dama.errors import OutputError
from napari_dama.export.atomic import replacing
from napari_dama.export.source import ResultSource
from napari_dama.predict.record import RUN_FILE, write_rows

if TYPE_CHECKING:
    from napari_dama.export.watch import Watch


def to_csv(
    result_dir: str | Path, file: str | Path, *, overwrite: bool = False, watch: Watch | None = None
) -> Path:
    """Write the table of a result, one row per cell: as it is in the folder, or with the types that were corrected by hand.

    Parameters
    ----------
    result_dir
        What ``analyse`` left.
    file
        Where to.
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
        There is no table, or the file exists or cannot be written.
    """
    source, target = Path(result_dir) / "cells.csv", Path(file)
    if not source.is_file():
        raise OutputError(f"{result_dir} is no result of napari-dama: it has no cells.csv.")
    if target.exists() and target.samefile(source):
        raise OutputError(f"{target} is the result's own table; give another file.")
    recorded = (Path(result_dir) / RUN_FILE).is_file()  # a table alone is handed over as well
    result = ResultSource.open(result_dir) if recorded else None
    with replacing(target, overwrite=overwrite) as part:
        if result is None or not (result.kept or result.corrected):
            shutil.copyfile(source, part)
        else:
            write_rows(part, result.cells, header=True)
    return target
