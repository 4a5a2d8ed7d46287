"""Which colour each cell has: by type, at random, by doubt, or by any column of the table. No Qt here.

The slide, the legend, the colour bar and the plots all take their colours from one `CellColours`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from napari.utils.colormaps import ensure_colormap

from napari_dama.errors import SettingsError
from napari_dama.gui.cell_table import TableLabelColormap, TypeRow, colour_of_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.gui.cells_model import CellsModel

COLORMAPS: Final = ("viridis", "plasma", "inferno", "magma", "gray")
"""napari's colormaps in which equal steps look equal."""
LEVELS: Final = 200
MISSING_COLOUR: Final = "#7f7f7f"
MOST_CATEGORIES: Final = 40
TYPE, INSTANCE, DOUBT = "type", "instance", "doubt"
_NOT_FOR_COLOUR: Final = frozenset({"label", "index", "y", "x", "type"})
_WHEEL: Final = (
    "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#f0e442",
    "#b388eb", "#90be6d", "#ff8fab", "#a3b18a", "#4cc9f0",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of *Colour by*: what the state calls it, and what a person reads."""

    key: str
    title: str
    group: str


@dataclass(frozen=True, slots=True)
class CellColours:
    """The colours of n cells.

    Attributes
    ----------
    by, title, unit : str
        What they stand for; the unit is empty for shares and for words.
    kind : str
        ``category``, ``number`` or ``instance``.
    number : (n,) uint8
        Which colour of the palette each cell has.
    palette : (k, 4) float32
        RGBA in 0..1; alpha 0 is hidden.
    rows : tuple of TypeRow
        The legend, for categories.
    limits : (float, float)
        Values of the first and the last colour, for numbers.
    missing : int
        Cells without a value.
    """

    by: str
    title: str
    unit: str
    kind: str
    number: NDArray[np.uint8]
    palette: NDArray[np.float32]
    rows: tuple[TypeRow, ...] = ()
    limits: tuple[float, float] = (0.0, 1.0)
    missing: int = 0

    @property
    def rgba(self) -> NDArray[np.uint8]:
        """Colour of each cell (n, 4), 0..255."""
        return (self.palette * 255).round().astype(np.uint8)[self.number]


def choices(cells: CellsModel) -> list[Choice]:
    """Return what the cells of the open result can be coloured by, in the order of a list."""
    out = []
    if cells.typed:
        out.append(Choice(TYPE, "their type", "cells"))
    out.append(Choice(INSTANCE, "cell, at random", "cells"))
    names = [str(name) for name in cells.table.columns if str(name) not in _NOT_FOR_COLOUR]
    probabilities = [name for name in names if name.startswith("p_")]
    if len(probabilities) > 1:
        out.append(Choice(DOUBT, "doubt between types", "probability"))
    groups = {
        "probability": probabilities,
        "marker": [name for name in names if name.startswith("mean_")],
        "other": [name for name in names if not name.startswith(("p_", "mean_"))],
    }
    for group, members in groups.items():
        out += [Choice(name, title_of(name)[0], group) for name in members if _usable(cells.table[name])]
    return out


def title_of(column: str) -> tuple[str, str]:
    """Return the words and the unit for a column."""
    if column == DOUBT:
        return "doubt: 0 sure, 1 torn between two types", ""
    if column.startswith("p_"):
        return f"probability of {column[2:]}", ""
    if column.startswith("mean_"):
        return f"mean {column[5:]}", "intensity"
    if near := re.fullmatch(r"near_(.+)_(\d+(?:\.\d+)?um|\d+nn)", column):
        reach = near[2].replace("um", " µm") if near[2].endswith("um") else f"the {near[2][:-2]} nearest"
        return f"{near[1]} cells within {reach}".replace("within the", "among the"), "cells"
    known = {
        "area_um2": ("area", "µm²"),
        "score": ("outline score", ""),
        "y_um": ("place, from top", "µm"),
        "x_um": ("place, from left", "µm"),
    }
    return known.get(column, (column, ""))


def doubt(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return 1 - (p of the likeliest type - p of the next) of each cell (n,): 0 is sure, 1 torn between two; NaN unknown."""
    columns = [name for name in table.columns if str(name).startswith("p_")]
    if len(columns) < 2:
        raise SettingsError(
            "The doubt rests on the probabilities of at least two types, and this result has none."
        )
    top = np.sort(table[columns].to_numpy(np.float64), axis=1)[:, -2:]
    out: NDArray[np.float64] = 1.0 - (top[:, 1] - top[:, 0])
    return out


def colour_cells(
    cells: CellsModel,
    by: str,
    *,
    colormap: str = "viridis",
    low: float = 2.0,
    high: float = 98.0,
    hidden: frozenset[str] = frozenset(),
    hidden_values: frozenset[str] = frozenset(),
) -> CellColours:
    """Settle the colour of every cell.

    Parameters
    ----------
    by
        ``type``, ``instance``, ``doubt`` or a column.
    colormap
        napari's name; for numbers.
    low, high
        Percentiles of the values that get the first and the last colour.
    hidden
        Types whose cells are not shown, whatever they are coloured by.
    hidden_values
        Values of a column of words that are not shown.

    Raises
    ------
    SettingsError
        There is no such column, or it holds nothing that a colour can say.
    """
    out: CellColours
    if by == TYPE:
        rows = legend_rows(cells)
        return _categories(cells.types, rows, TYPE, "type", hidden)
    if by == INSTANCE:
        number = (cells.labels * 2654435761 % 4294967296 % len(_WHEEL)).astype(np.uint8)
        palette = np.array([_rgba(colour) for colour in _WHEEL], np.float32)
        out = CellColours(by, "cell", "", "instance", number, palette)
    elif by == DOUBT:
        out = _numbers(doubt(cells.table), by, colormap, low, high)
    elif by not in cells.table:
        raise SettingsError(f"There is no column {by!r} in this result.")
    elif _is_number(cells.table[by]):
        out = _numbers(cells.table[by].to_numpy(np.float64, na_value=np.nan), by, colormap, low, high)
    else:
        words = cells.table[by].astype(object).where(cells.table[by].notna(), "").astype(str).to_numpy(object)
        out = _categories(words, category_rows(words), by, title_of(by)[0], hidden_values)
    return _without(out, cells, hidden)


def legend_rows(cells: CellsModel) -> tuple[TypeRow, ...]:
    """Return a line for every class, and for cells without type where there are such."""
    counts = cells.counts()
    total = max(len(cells.types), 1)
    names = counts if cells.typed else {name: n for name, n in counts.items() if n}
    return tuple(
        TypeRow(name, colour_of_type(name, cells.classes), n, n / total) for name, n in names.items()
    )


def category_rows(words: NDArray[Any]) -> tuple[TypeRow, ...]:
    """Return a line for every word of a column (n,), the most frequent first; ``""`` is *no value*."""
    counts = pd.Series(words).value_counts()
    total = max(len(words), 1)
    return tuple(
        TypeRow(str(name), _WHEEL[place % len(_WHEEL)] if name else MISSING_COLOUR, int(n), int(n) / total)
        for place, (name, n) in enumerate(counts.items())
    )


def ramp(name: str, levels: int = LEVELS) -> NDArray[np.float32]:
    """Return the colours (levels, 4) of one of napari's colormaps, from low to high."""
    return _ramp(name, levels).copy()


@lru_cache(maxsize=16)
def _ramp(name: str, levels: int) -> NDArray[np.float32]:
    return np.asarray(ensure_colormap(name).map(np.linspace(0, 1, levels)), np.float32)


def _numbers(values: NDArray[np.float64], by: str, colormap: str, low: float, high: float) -> CellColours:
    known = np.isfinite(values)
    title, unit = title_of(by)
    if known.any():
        bottom, top = (float(v) for v in np.percentile(values[known], [min(low, high), max(low, high)]))
    else:
        bottom, top = 0.0, 1.0
    if top <= bottom and known.any():  # mostly one value, as counts often are: the whole range then
        bottom, top = float(values[known].min()), float(values[known].max())
    span = top - bottom if top > bottom else 1.0
    share = np.clip((np.where(known, values, bottom) - bottom) / span, 0, 1)
    number = (share * (LEVELS - 1)).round().astype(np.uint8)
    number[~known] = LEVELS
    palette = np.concatenate([_ramp(colormap, LEVELS), [_rgba(MISSING_COLOUR)]]).astype(np.float32)
    return CellColours(
        by, title, unit, "number", number, palette, (), (bottom, top), int(len(values) - known.sum())
    )


def _categories(
    words: NDArray[Any], rows: tuple[TypeRow, ...], by: str, title: str, hidden: frozenset[str]
) -> CellColours:
    if len(rows) > MOST_CATEGORIES and by != TYPE:
        raise SettingsError(
            f"Column {by!r} has {len(rows)} different values; at most {MOST_CATEGORIES} can be told apart by colour."
        )
    codes, names = pd.factorize(words)
    place = {row.name: position for position, row in enumerate(rows)}
    number = np.array([place[str(name)] for name in names], np.uint8)[codes] if len(words) else codes
    palette = np.array([_rgba(row.colour) for row in rows] or [(0, 0, 0, 0)], np.float32)
    palette[[row.name in hidden for row in rows] or [False], 3] = 0.0
    return CellColours(by, title, "", "category", number.astype(np.uint8), palette, rows)


def _without(colours: CellColours, cells: CellsModel, hidden: frozenset[str]) -> CellColours:
    """Hide the cells of some types: their colour is one that cannot be seen."""
    if not hidden:
        return colours
    gone = pd.Index(cells.types).isin(list(hidden))
    palette = np.concatenate([colours.palette, np.zeros((1, 4), np.float32)])
    number = np.where(gone, len(palette) - 1, colours.number).astype(np.uint8)
    return CellColours(
        colours.by, colours.title, colours.unit, colours.kind, number, palette, colours.rows,
        colours.limits, colours.missing,
    )  # fmt: skip


def _usable(column: pd.Series[Any]) -> bool:
    return _is_number(column) or column.nunique() <= MOST_CATEGORIES


def _is_number(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


def _rgba(colour: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, 1.0


def label_colormap_of(labels: NDArray[np.int64], colours: CellColours) -> TableLabelColormap:
    """Return what a Labels layer needs to show cells with labels (n,) in their colours."""
    palette = colours.palette.copy()
    palette[palette[:, 3] == 0] = 0.0
    used, first_at = np.unique(colours.number, return_index=True)
    first = [int(labels[row]) for row in first_at]
    colormap = TableLabelColormap(
        color_dict={
            None: np.zeros(4),
            0: np.zeros(4),
            **{label: palette[number] for label, number in zip(first, used, strict=True)},
        }
    )
    place = np.zeros(256, np.uint8)
    place[used] = np.arange(len(used), dtype=np.uint8)
    table = np.full(int(labels.max(initial=0)) + 2, len(used), np.uint8)
    table[labels] = place[colours.number]
    colormap.set_table(table, first)
    return colormap
