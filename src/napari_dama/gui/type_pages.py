"""Pages *Markers* (heat map of the types' markers) and *Spread* (violins of a column per type)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QCheckBox, QComboBox

from napari_dama.evaluate.profiles import Profile, Spread, likeness_order, marker_profile, spread_of
from napari_dama.gui import tooltips
from napari_dama.gui.cell_colours import DOUBT, INSTANCE, TYPE, choices, doubt, title_of
from napari_dama.gui.cell_table import untyped
from napari_dama.gui.matrix_view import Matrix, MatrixView
from napari_dama.gui.plot_page import Bench, PlotPage
from napari_dama.gui.style import beside, narrow, say
from napari_dama.gui.violin_plot import ViolinPlot

if TYPE_CHECKING:
    import pandas as pd
    from qtpy.QtWidgets import QWidget


class MarkersPage(PlotPage):
    """How bright each marker is in each type; a click selects the type's cells."""

    title = "Markers"
    tip = tooltips.PAGE_MARKERS

    def __init__(self, bench: Bench, *, parent: QWidget | None = None) -> None:
        super().__init__(bench, parent=parent)
        self.profile: Profile | None = None
        self.values_box = self.choice(
            "values", (("z", "z-score"), ("mean", "raw mean")), tooltips.HEAT_VALUES
        )
        self.likeness = QCheckBox("Order by likeness")
        self.likeness.setToolTip(tooltips.HEAT_ORDER)
        self.plot: MatrixView = MatrixView()
        self.column.addLayout(beside(self.values_box, self.likeness))
        self.column.addWidget(self.plot, stretch=1)
        self.column.addWidget(self.note)
        self.likeness.toggled.connect(self._on_likeness)
        self.plot.clicked.connect(self._on_clicked)

    def refresh(self) -> None:
        """Average the markers; quick at any number of cells."""
        profile = marker_profile(self.cells.table, self.cells.types, self.order)
        if self.state.by_likeness:
            profile = profile.ordered(likeness_order(profile.z), likeness_order(profile.z.T))
        self.profile = profile
        self.plot.show_matrix(matrix_of(profile, self.state.values == "z", self.colours()))
        say(
            self.note,
            f"{int(profile.n_cells.sum())} cells. z-score: how many standard deviations above (red) or below (blue) the "
            "average of all cells. Click a field to select the cells of its type.",
        )

    def clear(self) -> None:
        """Show no matrix."""
        self.profile = None
        self.plot.show_matrix(None)

    def numbers(self) -> pd.DataFrame:
        """One row per type and marker."""
        return self.profile.to_frame() if self.profile is not None else _nothing()

    def _on_likeness(self, wanted: bool) -> None:
        self.state.by_likeness = wanted
        self.mark_stale()

    def _on_clicked(self, row: int, column: int) -> None:
        if self.profile is not None:
            self.bench.select(self.cells.labels[self.cells.types == self.profile.types[row]])


def matrix_of(profile: Profile, z: bool, colours: dict[str, str]) -> Matrix:
    """Return a heat map of a profile; raw means are coloured per marker, from its dimmest to its brightest type."""
    names = tuple(untyped(name) for name in profile.types)
    if z:
        reach = max(1.0, float(np.nanmax(np.abs(profile.z)))) if np.isfinite(profile.z).any() else 1.0
        values, limits, texts = profile.z, (-reach, reach), _texts(profile.z, "{:+.1f}")
        title = "z-score of the mean intensity"
    else:
        low, high = np.nanmin(profile.mean, axis=0), np.nanmax(profile.mean, axis=0)
        values = (profile.mean - low) / np.where(high > low, high - low, 1)
        limits, texts = (0.0, 1.0), _texts(profile.mean, "{:.3g}")
        title = "mean intensity, 0 dimmest to 1 brightest type of the marker"
    tips = tuple(
        tuple(
            f"{name} ({profile.n_cells[i]} cells): mean {marker} {profile.mean[i, j]:.4g}, z {profile.z[i, j]:+.2f}"
            for j, marker in enumerate(profile.markers)
        )
        for i, name in enumerate(names)
    )
    return Matrix(
        names,
        profile.markers,
        values,
        limits,
        texts,
        "diverging" if z else "viridis",
        colours,
        title=title,
        tips=tips,
    )


class SpreadPage(PlotPage):
    """How one column is spread in each type; a click selects the type's cells."""

    title = "Spread"
    tip = tooltips.PAGE_SPREAD

    def __init__(self, bench: Bench, *, parent: QWidget | None = None) -> None:
        super().__init__(bench, parent=parent)
        self.spread: Spread | None = None
        self._listed: list[str] = []
        self.column_box = narrow(QComboBox(), tooltips.SPREAD_COLUMN)
        self.shape_box = self.choice(
            "shape", (("violin", "violins"), ("box", "boxes")), tooltips.SPREAD_SHAPE
        )
        self.plot: ViolinPlot = ViolinPlot()
        row = beside(self.column_box, self.shape_box)
        row.setStretch(0, 2)
        row.setStretch(1, 1)
        self.column.addLayout(row)
        self.column.addWidget(self.plot, stretch=1)
        self.column.addWidget(self.note)
        self.column_box.activated.connect(self._on_column)
        self.plot.clicked.connect(self._on_clicked)

    def _columns(self) -> list[tuple[str, str]]:
        table = self.cells.table
        return [
            (choice.key, choice.title)
            for choice in choices(self.cells)
            if choice.key not in (TYPE, INSTANCE)
            and (choice.key == DOUBT or np.issubdtype(table[choice.key].to_numpy().dtype, np.number))
        ]

    def refresh(self) -> None:
        """Describe the chosen column."""
        columns = self._columns()
        keys = [key for key, _ in columns]
        if not keys:
            self.say_instead("This result has no column of numbers.")
            return
        if keys != self._listed:
            self._listed = keys
            self.column_box.clear()
            for key, title in columns:
                self.column_box.addItem(title, key)
        if self.state.column not in keys:
            self.state.column = next((key for key in keys if key.startswith("mean_")), keys[0])
        self.column_box.setCurrentIndex(self.column_box.findData(self.state.column))
        column = self.state.column
        values = doubt(self.cells.table) if column == DOUBT else self.cells.table[column].to_numpy(np.float64)
        self.spread = spread_of(values, self.cells.types, column, self.order)
        title, unit = title_of(column)
        self.plot.show_spread(
            self.spread, self.colours(), f"{title} ({unit})" if unit else title, self.state.shape
        )
        what = "thin box" if self.state.shape == "violin" else "box"
        lines = "" if self.state.shape == "violin" else ", line: 5 to 95 %"
        say(
            self.note,
            f"Middle line: median; {what}: middle half{lines}. The axis leaves out the outermost 0.5 % of the cells. "
            "Click a type to select its cells.",
        )

    def clear(self) -> None:
        """Show no shapes."""
        self.spread = None
        self.plot.show_spread(None, {}, "", "violin")

    def numbers(self) -> pd.DataFrame:
        """One row per type: count, mean, quantiles."""
        return self.spread.to_frame() if self.spread is not None else _nothing()

    def _on_column(self, index: int) -> None:
        self.state.column = self.column_box.itemData(index)
        self.mark_stale()

    def _on_clicked(self, name: str) -> None:
        self.bench.select(self.cells.labels[self.cells.types == name])


def _texts(
    values: np.ndarray[tuple[int, int], np.dtype[np.float64]], form: str
) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(number_text(form, v) for v in row) for row in values)


def number_text(form: str, value: float) -> str:
    """Write a number, 0 without a sign; nothing for what is no number."""
    if not np.isfinite(value):
        return ""
    text = form.format(value)
    return text.lstrip("+-") if not float(text) else text


def _nothing() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame()
