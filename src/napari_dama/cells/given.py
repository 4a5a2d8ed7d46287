"""Cells that somebody gave: label images and tables, from any of the places where the plugin meets them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from napari_dama.cells.corrections import read_corrections
from napari_dama.cells.table import TABLE, TYPE_NAMES, read_csv, read_parquet
from napari_dama.errors import SlideError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    LabelInput = str | Path | NDArray[Any]

LABELS: Final = "labels.ome.zarr"
_ALIASES: Final = {
    "label": ("label", "cell", "cell_id", "id", "index"),
    "type": TYPE_NAMES,
    "y": ("y",),
    "x": ("x",),
    "score": ("score",),
}
_STRIP_PX: Final = 1024


class LabelSource:
    """A label image (Y, X) that is read strip by strip.

    Attributes
    ----------
    name
        For messages.
    path
        File or folder; None for an array in memory.
    shape
        (Y, X).
    """

    def __init__(self, array: Any, name: str, path: Path | None) -> None:
        self.name, self.path = name, path
        self._array = array
        shape = tuple(int(n) for n in array.shape)
        self._lead = (0,) * (len(shape) - 2)
        if len(shape) < 2 or any(n != 1 for n in shape[:-2]):
            raise SlideError(f"{name} is no label image: its shape is {shape}, and (Y, X) is needed.")
        if np.dtype(array.dtype).kind not in "uibf":
            raise SlideError(
                f"{name} is no label image: its pixels are {array.dtype}, and whole numbers are needed."
            )
        self.shape: tuple[int, int] = (shape[-2], shape[-1])

    def read(self, y0: int = 0, y1: int | None = None) -> NDArray[Any]:
        """Rows ``y0`` to ``y1`` (h, X) as whole numbers that are not negative.

        Raises
        ------
        SlideError
            The pixels cannot be read, or are no labels.
        """
        try:
            part = np.asarray(self._array[(*self._lead, slice(y0, y1))])
        except (OSError, ValueError, RuntimeError) as error:
            raise SlideError(f"{self.name} cannot be read: {error}") from error
        if part.dtype.kind == "b":
            part = part.astype(np.uint8)
        if part.dtype.kind == "f":
            whole = part.astype(np.int64)
            if not np.array_equal(whole, part):
                raise SlideError(f"{self.name} is no label image: it holds fractions.")
            part = whole
        if part.dtype.kind == "i" and part.size and part.min() < 0:
            raise SlideError(
                f"{self.name} holds labels below 0 ({part.min()}); 0 is background, cells are above."
            )
        return part


class _TiffArray:
    """Level 0 of a TIFF's first image; the file is open only while it is read."""

    def __init__(self, path: Path) -> None:
        import tifffile

        self._path = path
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            self.shape, self.dtype = series.shape, series.dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        import tifffile
        import zarr

        with tifffile.TiffFile(self._path) as file, file.series[0].aszarr(level=0) as store:
            return np.asarray(zarr.open_array(store, mode="r")[index])


def open_labels(source: LabelInput) -> LabelSource:
    """Open a label image without reading it.

    Parameters
    ----------
    source
        A TIFF or .npy file, a result folder of ``analyse`` or the ``labels.ome.zarr`` in it, or an array (Y, X).

    Raises
    ------
    SlideError
        There is no such file, or it is no label image.
    """
    if not isinstance(source, str | Path):
        return LabelSource(source, "the label array", None)
    path = Path(source)
    if not path.exists():
        raise SlideError(f"There is no label image {path}.")
    try:
        if path.is_dir():
            folder = path / LABELS if (path / LABELS).is_dir() else path
            return LabelSource(open_level(folder), str(path), path)
        if path.suffix.lower() == ".npy":
            return LabelSource(np.load(path, mmap_mode="r"), str(path), path)
        return LabelSource(_TiffArray(path), str(path), path)
    except SlideError:
        raise
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise SlideError(f"{path} cannot be read as a label image: {error}") from error


def open_level(folder: Path) -> Any:
    """Open level 0 of an OME-Zarr image (0.4 or 0.5) as a zarr array.

    Raises
    ------
    SlideError
        The folder is no such image.
    """
    import zarr

    try:
        group = zarr.open_group(str(folder), mode="r")
        attributes = dict(group.attrs)
        scales: Any = attributes.get("ome", attributes).get("multiscales")  # type: ignore[union-attr]
        return group[scales[0]["datasets"][0]["path"] if scales else "0"]
    except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise SlideError(f"{folder} is no OME-Zarr label image, or is damaged: {error}") from error


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table of cells with our names for ``label, y, x, type, score``; other columns stay as they are.

    Known names of other tools are taken too ("Cell ID", "cell_type", "Phenotype"). A table without numbers gets
    1, 2, ... as labels.

    Raises
    ------
    SlideError
        The file cannot be read as a table.
    """
    path = Path(path)
    if not path.is_file():
        raise SlideError(f"There is no table {path}.")
    try:
        table = read_parquet(path) if path.suffix == ".parquet" else read_csv(path)
    except (OSError, ValueError) as error:
        raise SlideError(f"{path} cannot be read as a table: {error}") from error
    plain = {str(c).strip().casefold().replace(" ", "_"): c for c in reversed(table.columns)}
    renamed = {}
    for ours, names in _ALIASES.items():
        found = next((plain[name] for name in names if name in plain), None)
        if found is not None and found not in renamed:
            renamed[found] = ours
    table = table.rename(columns=renamed)
    if "label" not in table or not pd.api.types.is_numeric_dtype(table["label"]):
        table = table.drop(columns="label", errors="ignore")
        table.insert(0, "label", np.arange(1, len(table) + 1))
    if table["label"].isna().any() or (table["label"] % 1 != 0).any():
        raise SlideError(f"{path}: labels must be whole numbers in every row.")
    table["label"] = table["label"].astype(np.int64)
    if table["label"].duplicated().any():
        twice = table["label"][table["label"].duplicated()].iloc[0]
        raise SlideError(f"{path}: label {twice} stands in more than one row.")
    if "type" in table:
        table["type"] = table["type"].astype(object).where(table["type"].notna(), "").astype(str)
    return table


def table_beside(path: Path) -> Path | None:
    """Find the table of a label image: ``cells.csv`` in a result folder, NAME.csv beside NAME.tif."""
    folder = path.parent if path.name == LABELS else path
    stem = path.name.removesuffix(".gz").removesuffix(path.suffix).removesuffix(".ome")
    beside = folder / TABLE if path.is_dir() else path.with_name(stem + ".csv")
    return beside if beside.is_file() else None


def given_cells(source: LabelInput, shape_yx: tuple[int, int]) -> pd.DataFrame:
    """Cells of a slide as given: from a table with positions, else from a label image and the table beside it.

    Parameters
    ----------
    source
        A CSV with ``label, y, x`` (and ``type``), a journal of corrections (``.dama-corrections.jsonl``, of which the
        reviewed cells with a type are taken), or what :func:`open_labels` takes.
    shape_yx
        Of the slide.

    Returns
    -------
    DataFrame
        ``label, y, x, type``; ``type`` is "" where it is not known.

    Raises
    ------
    SlideError
        What is given does not fit the slide; the message names both.
    """
    if isinstance(source, str | Path) and Path(source).suffix.lower() == ".jsonl":
        cells, name = read_corrections(source).typed, str(source)
    elif isinstance(source, str | Path) and Path(source).suffix.lower() in {".csv", ".parquet"}:
        cells = read_table(source)
        if not {"y", "x"} <= set(cells):
            raise SlideError(f"{source} has no columns y and x; give the label image instead.")
        name = str(source)
    else:
        labels = open_labels(source)
        if labels.shape != tuple(shape_yx):
            raise SlideError(f"{labels.name} is {labels.shape} (Y, X), and its slide is {tuple(shape_yx)}.")
        name = labels.name
        cells = centroids(labels)
        beside = table_beside(labels.path) if labels.path is not None else None
        if beside is not None:
            table = read_table(beside)
            kept = ["label", *(c for c in ("type",) if c in table)]
            cells = cells.merge(table[kept], on="label", how="left")
    if "type" not in cells:
        cells["type"] = ""
    cells = cells[["label", "y", "x", "type"]].fillna({"type": ""}).reset_index(drop=True)
    y, x = cells["y"], cells["x"]
    outside = ~((y >= -0.5) & (y < shape_yx[0] - 0.5 + 1) & (x >= -0.5) & (x < shape_yx[1] - 0.5 + 1))
    if outside.any():
        row = cells[outside].iloc[0]
        raise SlideError(
            f"{name}: cell {row['label']} at y {row['y']}, x {row['x']} lies outside of its slide, {tuple(shape_yx)} (Y, X)."
        )
    return cells


def centroids(labels: LabelSource) -> pd.DataFrame:
    """Centre of mass of every label (``label, y, x, area_px``), reading the image strip by strip."""
    size = np.zeros(1, np.int64)
    sum_y, sum_x = np.zeros(1), np.zeros(1)
    for y0 in range(0, labels.shape[0], _STRIP_PX):
        strip = labels.read(y0, min(y0 + _STRIP_PX, labels.shape[0]))
        top = int(strip.max(initial=0)) + 1
        if top > 500_000_000:
            raise SlideError(f"{labels.name} holds labels up to {top - 1}; number its cells from 1.")
        if top > len(size):
            grow = (0, top - len(size))
            size, sum_y, sum_x = np.pad(size, grow), np.pad(sum_y, grow), np.pad(sum_x, grow)
        rows, columns = np.nonzero(strip)
        numbers = strip[rows, columns].astype(np.int64)
        size[:top] += np.bincount(numbers, minlength=top)
        sum_y[:top] += np.bincount(numbers, rows + float(y0), minlength=top)
        sum_x[:top] += np.bincount(numbers, columns, minlength=top)
    ids = np.flatnonzero(size)
    return pd.DataFrame(
        {"label": ids, "y": sum_y[ids] / size[ids], "x": sum_x[ids] / size[ids], "area_px": size[ids]}
    )
