"""The table of a result as Parquet: small, typed, and quick to read in Python, R and DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_dama.errors import OutputError
from napari_dama.export.atomic import replacing
from napari_dama.export.source import ResultSource

if TYPE_CHECKING:
    from napari_dama.export.watch import Watch


def to_parquet(
    result_dir: str | Path, file: str | Path, *, overwrite: bool = False, watch: Watch | None = None
) -> Path:
    """Write the table, one row per cell in ascending labels; types become a category in the model's order.

    Parameters
    ----------
    result_dir
        What ``analyse`` left; of one that was interrupted, the cells so far.
    file
        ``.parquet``.
    overwrite
        Replace a file that is there.
    watch
        Not needed: it takes a moment.

    Raises
    ------
    OutputError
        There is no result, or the file exists or cannot be written.
    """
    target = Path(file)
    if target.suffix.lower() != ".parquet":
        raise OutputError(f"{target}: tables of this kind are written to .parquet.")
    source = ResultSource.open(result_dir)
    if target.resolve().parent == source.folder.resolve():
        raise OutputError(f"{target} lies in the result's own folder; give another place.")
    table = source.cells.copy()
    if "type" in table:
        table["type"] = source.type_column()
    with replacing(target, overwrite=overwrite) as part:
        table.to_parquet(part, index=False)
    return target
