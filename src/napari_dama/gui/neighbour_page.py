"""Page *Neighbours*: which types live beside which, and whether that is more than chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtWidgets import QDoubleSpinBox, QPushButton, QSpinBox

from napari_dama.evaluate.neighbourhoods import Neighbourhoods, neighbourhoods
from napari_dama.gui import tooltips
from napari_dama.gui.matrix_view import Matrix, MatrixView
from napari_dama.gui.plot_page import Bench, PlotPage
from napari_dama.gui.style import beside, narrow, say

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_dama.cells.kept import CellsState
    from napari_dama.gui.work import Report, Stop


class NeighboursPage(PlotPage):
    """A matrix of types; a click selects the cells of the row's type that have a neighbour of the column's."""

    title = "Nearby"
    tip = tooltips.PAGE_NEARBY

    def __init__(self, bench: Bench, *, parent: QWidget | None = None) -> None:
        super().__init__(bench, parent=parent)
        self.found: Neighbourhoods | None = None
        self.counting: CellsState | None = None  # what is being counted, and what `found` was counted of
        self.counted: CellsState | None = None
        self.reach_box = self.choice(
            "reach", (("radius", "within"), ("nearest", "the nearest")), tooltips.NEIGHBOUR_REACH
        )
        self.radius = narrow(QDoubleSpinBox(), tooltips.NEIGHBOUR_RADIUS)
        self.radius.setRange(1.0, 10_000.0)
        self.radius.setDecimals(1)
        self.radius.setSuffix(" µm")
        self.radius.setValue(self.state.radius_um)
        self.nearest = narrow(QSpinBox(), tooltips.NEIGHBOUR_NEAREST)
        self.nearest.setRange(1, 1000)
        self.nearest.setSuffix(" cells")
        self.nearest.setValue(self.state.nearest)
        self.matrix_box = self.choice(
            "matrix", (("z", "enrichment (z)"), ("mean", "per cell")), tooltips.NEIGHBOUR_MATRIX
        )
        self.plot: MatrixView = MatrixView()
        self.keep = narrow(QPushButton("Keep counts as columns"), tooltips.NEIGHBOUR_KEEP)
        self.column.addLayout(beside(self.reach_box, self.radius, self.nearest))
        self.column.addWidget(self.matrix_box)
        self.column.addWidget(self.busy)
        self.column.addWidget(self.plot, stretch=1)
        self.column.addWidget(self.note)
        self.column.addWidget(self.keep)
        self.radius.valueChanged.connect(self._on_radius)
        self.nearest.valueChanged.connect(self._on_nearest)
        self.keep.clicked.connect(self._on_keep)
        self.plot.clicked.connect(self._on_clicked)
        self._sync()

    def _sync(self) -> None:
        self.radius.setVisible(self.state.reach == "radius")
        self.nearest.setVisible(self.state.reach == "nearest")
        self.keep.setEnabled(self.found is not None)

    def refresh(self) -> None:
        """Count, in a thread."""
        self._sync()
        table = pd.DataFrame(
            {"y_um": self.cells.table["y_um"], "x_um": self.cells.table["x_um"], "type": self.cells.types}
        )
        wish, order = self.state.model_copy(), self.order
        self.counting = self.bench.session.keeper.state

        def task(progress: Report, stop: Stop) -> Neighbourhoods:
            return neighbourhoods(
                table,
                radius_um=wish.radius_um if wish.reach == "radius" else None,
                nearest=wish.nearest if wish.reach == "nearest" else None,
                types=order,
                permutations=wish.permutations,
                seed=wish.seed,
                progress=lambda done, all_: progress((done, all_)) if done % 10 == 0 else None,
                stop=stop,
            )

        self.start(task, self._on_found, "dealing types anew")

    def _on_found(self, found: Neighbourhoods) -> None:
        self.found, self.counted = found, self.counting
        self._sync()
        self.plot.show_matrix(matrix_of(found, self.state.matrix == "z", self.colours()))
        left_out = f" {found.n_untyped} cells without type are left out." if found.n_untyped else ""
        chance = (
            f"z-score: links from row to column, against {found.permutations} random deals of the types over the same "
            f"places (seed {found.seed}); red is more than chance, blue less. "
            if self.state.matrix == "z"
            else "Mean number of neighbours per cell of the row's type. "
        )
        say(
            self.note,
            f"Neighbours: {found.how} (centres).{left_out} {chance}Click a field to select its cells.",
        )

    def clear(self) -> None:
        """Show no matrix."""
        self.found = None
        self._sync()
        self.plot.show_matrix(None)

    def numbers(self) -> pd.DataFrame:
        """One row per pair of types."""
        return self.found.to_frame() if self.found is not None else pd.DataFrame()

    def _on_radius(self, value: float) -> None:
        self.state.radius_um = value
        self.mark_stale()

    def _on_nearest(self, value: int) -> None:
        self.state.nearest = value
        self.mark_stale()

    def _on_keep(self) -> None:
        if self.found is not None and len(self.found.per_cell) == len(self.cells.table):
            columns = self.found.columns()
            self.bench.session.keeper.keep(
                columns, f"neighbours {self.found.how}", ("outlines", "types"), self.counted
            )
            say(
                self.note,
                f"Kept {len(columns)} columns, {next(iter(columns))} and so on, in the result's cells.csv: colour by them "
                "in Results.",
            )

    def _on_clicked(self, row: int, column: int) -> None:
        if self.found is not None and len(self.found.per_cell) == len(self.cells.table):
            own = self.cells.types == self.found.types[row]
            self.bench.select(self.cells.labels[own & (self.found.per_cell[:, column] > 0)])


def matrix_of(found: Neighbourhoods, z: bool, colours: dict[str, str]) -> Matrix:
    """Return the matrix that is shown: enrichment, or neighbours per cell."""
    values = found.z if z else found.mean
    known = values[np.isfinite(values)]
    reach = max(2.0, float(np.abs(known).max())) if z and len(known) else float(known.max(initial=1.0))
    form = "{:+.1f}" if z else "{:.2f}"
    texts = tuple(tuple(form.format(v) if np.isfinite(v) else "" for v in row) for row in values)
    tips = tuple(
        tuple(
            f"around a {one} ({found.n_cells[i]} cells): {found.mean[i, j]:.2f} {two} on average"
            + (f", {found.expected[i, j] / max(int(found.n_cells[i]), 1):.2f} by chance" if z else "")
            + (f", z {found.z[i, j]:+.1f}" if z and np.isfinite(found.z[i, j]) else "")
            for j, two in enumerate(found.types)
        )
        for i, one in enumerate(found.types)
    )
    return Matrix(
        found.types,
        found.types,
        values,
        (-reach, reach) if z else (0.0, reach),
        texts,
        "diverging" if z else "viridis",
        colours,
        row_title="cell",
        column_title="its neighbours",
        title="enrichment z-score" if z else "neighbours per cell",
        tips=tips,
    )
