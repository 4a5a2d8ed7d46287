"""A result's table as napari and the legend need it; no Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from napari.utils.colormaps import DirectLabelColormap, label_colormap
from pydantic import PrivateAttr

from napari_dama.cells.correction_records import NO_TYPE
from napari_dama.cells.table import UNTYPED_COLOUR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_dama.gui.cells_model import CellsModel

UNTYPED: Final = NO_TYPE


@dataclass(frozen=True, slots=True)
class TypeRow:
    """One line of the legend."""

    name: str
    colour: str
    count: int
    share: float


def untyped(name: str) -> str:
    """Return a type's name as a person reads it."""
    return "no type" if name == UNTYPED else name


def types_of(cells: pd.DataFrame) -> NDArray[Any]:
    """Return each cell's type as text (n,), ``cell`` where there is none."""
    if "type" not in cells:
        return np.full(len(cells), UNTYPED, dtype=object)
    return cells["type"].fillna(UNTYPED).replace("", UNTYPED).to_numpy(dtype=object)


def type_rows(cells: pd.DataFrame, colours: Mapping[str, str]) -> list[TypeRow]:
    """Return the legend: the model's types in their order, then types that it does not name, each with its count."""
    types = types_of(cells)
    names, counts = np.unique(types.astype(str), return_counts=True)
    count_of = dict(zip(names.tolist(), counts.tolist(), strict=True))
    order = [name for name in colours if name in count_of or name != UNTYPED]
    if "type" not in cells:
        order = []
    order += [name for name in count_of if name not in order]
    total = max(len(cells), 1)
    return [
        TypeRow(name, colour_of_type(name, colours), count_of.get(name, 0), count_of.get(name, 0) / total)
        for name in order
    ]


def colour_of_type(name: str, colours: Mapping[str, str]) -> str:
    """Return a type's colour ``#rrggbb``; a fixed one for cells without type."""
    return colours.get(name, UNTYPED_COLOUR)


def feature_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the table for ``Labels.features``: ``index`` holds the label; napari otherwise takes the row number."""
    return cells.rename(columns={"label": "index"}).reset_index(drop=True)


def type_colormap(
    cells: pd.DataFrame, colours: Mapping[str, str], *, hidden: frozenset[str]
) -> TableLabelColormap:
    """Return the colormap that gives every cell the colour of its type; hidden types are transparent.

    Every class has its colour in it, also one without cells, so that cells can be given it in place.
    """
    return type_colormap_of(cells["label"].to_numpy(np.int64), types_of(cells), colours, hidden=hidden)


def type_colormap_of(
    labels: NDArray[np.int64], types: NDArray[Any], colours: Mapping[str, str], *, hidden: frozenset[str]
) -> TableLabelColormap:
    """Return the same for labels (n,) and their types (n,), as text."""
    codes, found = pd.factorize(types)
    names = list(dict.fromkeys([*colours, *(str(name) for name in found), UNTYPED]))
    rgba = {name: np.array(_rgba(colour_of_type(name, colours)), dtype=np.float32) for name in names}
    for name in hidden & rgba.keys():
        rgba[name] = np.zeros(4, dtype=np.float32)
    top = int(labels.max(initial=0)) + 2
    stand_ins = {name: top + place for place, name in enumerate(names)}  # a class may have no cell yet
    colormap = TableLabelColormap(
        color_dict={None: np.zeros(4), 0: np.zeros(4), **{stand_ins[name]: rgba[name] for name in names}}
    )
    number = np.array([names.index(str(name)) for name in found], dtype=np.uint16)
    table = np.full(top, len(names), dtype=np.uint16)
    table[labels] = number[codes]
    colormap.set_table(table, list(stand_ins.values()))
    colormap.name_numbers(names)
    return colormap


def instance_colormap(seed: float = 0.5) -> Any:
    """Return a colormap with a random colour per cell."""
    return label_colormap(49, seed=seed)


class TableLabelColormap(DirectLabelColormap):  # type: ignore[misc]
    """A ``DirectLabelColormap`` for any number of cells that share few colours, and change them one by one.

    ``color_dict`` holds one label per colour; a table says for every label which of these it looks like. The array that
    napari maps labels with is replaced: its own is limited to 65 536 labels where numba is not installed, and is made anew
    for every change.
    """

    _table: Any = PrivateAttr(None)
    _first: Any = PrivateAttr(None)
    _numbers: Any = PrivateAttr(None)

    def set_table(self, table: NDArray[np.unsignedinteger[Any]], first: Sequence[int]) -> None:
        """Set for every label its colour's number (n + 2,), and for every colour a label that has it."""
        self._table = table
        self._first = list(first)

    def name_numbers(self, names: Sequence[str]) -> None:
        """Say which class each number stands for, so that `give` can be used."""
        self._numbers = {name: number for number, name in enumerate(names)}

    def give(self, labels: NDArray[np.int64], names: NDArray[Any]) -> bool:
        """Give labels (n,) the colours of classes (n,), in place; False where one is not known here."""
        numbers = [(self._numbers or {}).get(str(name)) for name in names]
        if None in numbers or (len(labels) and int(labels.max()) >= len(self._table) - 1):
            return False
        self._table[labels] = numbers
        self._array_map[labels] = self._texture_of_number[self._table[labels]]
        return True

    @cached_property
    def _texture_of_number(self) -> NDArray[Any]:
        """Texture value of each colour's number, and at the end that of labels without one."""
        texture_of_label = self._values_mapping_to_minimum_values_set(apply_selection=False)[0]
        values = [*(texture_of_label[label] for label in self._first), texture_of_label[None]]
        return np.array(values, dtype=np.uint8 if self._num_unique_colors + 2 < 2**8 else np.uint16)

    @cached_property
    def _array_map(self) -> NDArray[Any]:
        out: NDArray[Any] = self._texture_of_number[self._table]
        out[0] = self._values_mapping_to_minimum_values_set(apply_selection=False)[0][0]
        return out

    def _places(self, values: NDArray[Any]) -> NDArray[Any]:
        """Where the labels stand in the table; those beyond it at its end, which has no colour."""
        last = len(self._table) - 1
        if values.dtype.kind == "u":  # what every frame asks: one pass over the picture instead of four
            most = min(last, int(np.iinfo(values.dtype).max))  # napari asks for all values of uint8 as well
            places: NDArray[Any] = np.minimum(values, values.dtype.type(most))
            return places
        return np.where((values < 0) | (values > last), last, values)

    def _data_to_texture(self, values: Any) -> Any:
        if (
            self._table is None or np.dtype(values.dtype).itemsize <= 2
        ):  # napari looks colours of few labels up by itself
            return super()._data_to_texture(values)
        if self.use_selection:
            return (np.asarray(values) == self.selection).astype(self._array_map.dtype)
        return self._array_map[self._places(np.asarray(values))]

    def _map_without_cache(self, values: Any) -> NDArray[Any]:
        if self._table is None:
            return np.asarray(super()._map_without_cache(values))
        colours = self._values_mapping_to_minimum_values_set(apply_selection=False)[1]
        palette = np.array([colours[number] for number in range(len(colours))], dtype=np.float32)
        mapped: NDArray[Any] = palette[self._array_map[self._places(np.asarray(values))]]
        return mapped

    def map(self, values: Any) -> NDArray[Any]:
        """Map labels to colours (..., 4)."""
        if self._table is None:
            return np.asarray(super().map(values))
        array = np.asarray(values)
        mapped = self._map_without_cache(array)
        if self.use_selection:
            mapped[array != self.selection] = 0
        return mapped


def _rgba(colour: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, 1.0


@dataclass(frozen=True, slots=True)
class CellFacts:
    """What the window says of one cell."""

    label: int
    y: float
    x: float
    type: str
    bars: tuple[tuple[str, float], ...]
    lines: tuple[str, ...]
    means: tuple[tuple[str, float], ...]


def cell_facts(cells: pd.DataFrame, label: int) -> CellFacts | None:
    """Return the facts of one cell, None when the table has no such label."""
    found = cells.loc[cells["label"] == label]
    if found.empty:
        return None
    row = found.iloc[0]
    bars = tuple((str(c)[2:], float(row[c])) for c in cells.columns if str(c).startswith("p_"))
    means = tuple((str(c)[5:], float(row[c])) for c in cells.columns if str(c).startswith("mean_"))
    kind = str(types_of(found)[0])
    lines = []
    if "area_um2" in cells:
        lines.append(f"Area {row['area_um2']:.0f} µm²")
    if "score" in cells and np.isfinite(row["score"]):
        lines.append(f"Outline score {row['score']:.2f}")
    return CellFacts(label, float(row["y"]), float(row["x"]), kind, bars, tuple(lines), means)


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What the window says of several selected cells: their types, and means of the markers in them."""

    count: int
    types: tuple[tuple[str, int], ...]
    lines: tuple[str, ...]
    means: tuple[tuple[str, float], ...]


def group_facts(cells: CellsModel, labels: NDArray[np.int64]) -> GroupFacts:
    """Return the facts of several cells (n,) that are in the table."""
    rows = cells.rows_of(labels)
    table = cells.table.iloc[rows]
    names, counts = np.unique(cells.types[rows].astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    means = tuple((str(c)[5:], float(table[c].mean())) for c in table.columns if str(c).startswith("mean_"))
    lines = []
    if "area_um2" in table:
        lines.append(f"Area {table['area_um2'].mean():.0f} µm² on average")
    if "score" in table and table["score"].notna().any():
        lines.append(f"outline score {table['score'].mean():.2f}")
    types = tuple((str(names[i]), int(counts[i])) for i in order) if cells.typed else ()
    return GroupFacts(len(rows), types, tuple(lines), means)
