"""A finished (or interrupted) result folder, opened for reading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dama.errors import OutputError
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import LABELS, TABLE, TILES, TileLog, read_run

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd


class ResultFolder:
    """What `napari_dama.analyse` left: labels, a table with one row per cell, and the record of the run.

    Examples
    --------
    >>> result = ResultFolder.open("tissue_result")  # doctest: +SKIP
    >>> result.cells().groupby("type").size()  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, run: dict[str, Any]) -> None:
        self.path = Path(path)
        self.run = run

    @classmethod
    def open(cls, path: str | Path) -> ResultFolder:
        """Open a result folder.

        Raises
        ------
        OutputError
            There is no such folder, or it is not a result.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise OutputError(f"there is no folder {folder}")
        return cls(folder, read_run(folder))

    @property
    def state(self) -> str:
        """``"done"``, ``"interrupted"``, ``"failed"`` or ``"running"``."""
        return str(self.run["state"])

    @property
    def pixel_um(self) -> float:
        """Pixel size of the labels' level 0, in micrometres."""
        return float(self.run["settings"]["pixel_um"])

    @property
    def label_levels(self) -> list[da.Array]:
        """Labels (Y, X) uint32 of every level, lazily; level 0 is the slide's."""
        import dask.array

        read: Any = dask.array.from_zarr
        return [read(level) for level in LabelImage.open(self.path / LABELS, mode="r").levels]

    @property
    def labels(self) -> da.Array:
        """Labels (Y, X) uint32 of level 0, lazily; 0 is background."""
        return self.label_levels[0]

    def cells(self) -> pd.DataFrame:
        """One row per cell; the columns are those of docs: label, y, x, y_um, x_um, area_um2, score, ...

        Raises
        ------
        OutputError
            The table is missing or cannot be read.
        """
        from napari_dama.cells.table import read_cells, read_csv

        try:
            return read_cells(self.path) if self.state == "done" else read_csv(self._finished_rows())
        except (OSError, ValueError) as error:
            raise OutputError(f"the table of {self.path} cannot be read: {error}") from error

    def _finished_rows(self) -> bytes:
        """The table as text; while a run writes it, without the rows of the tile that is being written."""
        with (self.path / TABLE).open("rb") as file:
            if self.state == "running":
                lines = TileLog(self.path / TILES).read()
                return file.read(lines[-1]["bytes"]) if lines else file.readline()
            return file.read()
