"""Page *Agreement*: what the model said beside what a person said, of the same cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from qtpy.QtWidgets import QComboBox, QFileDialog, QPushButton

from napari_dama.cells.given import read_table
from napari_dama.errors import SettingsError
from napari_dama.evaluate.agreement import Agreement, compare_types
from napari_dama.gui import tooltips
from napari_dama.gui.annotations import annotated_cells, class_column, find_annotations
from napari_dama.gui.layers import about
from napari_dama.gui.matrix_view import Matrix, MatrixView
from napari_dama.gui.plot_page import Bench, PlotPage
from napari_dama.gui.style import beside, narrow, say

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_dama.gui.work import Report, Stop

CORRECTIONS = "corrections"
WARNING = (
    "Cells that were chosen because the model was in doubt are harder than most, and the numbers then are worse than on the "
    "slide; cells chosen because they are clear make them better. Fair are all cells of a region, or cells drawn at random."
)


class AgreementPage(PlotPage):
    """Confusion matrix; a click on a field selects its cells on the slide."""

    title = "Check"
    tip = tooltips.PAGE_CHECK

    def __init__(self, bench: Bench, *, parent: QWidget | None = None) -> None:
        super().__init__(bench, parent=parent)
        self.found: Agreement | None = None
        self.truth_box = narrow(QComboBox(), tooltips.AGREEMENT_TRUTH)
        self.file = QPushButton("Table...")
        self.file.setToolTip(tooltips.AGREEMENT_FILE)
        self.plot: MatrixView = MatrixView()
        row = beside(self.truth_box, self.file)
        row.setStretch(0, 1)
        self.column.addLayout(row)
        self.column.addWidget(self.busy)
        self.column.addWidget(self.plot, stretch=1)
        self.column.addWidget(self.note)
        self.truth_box.activated.connect(self._on_truth)
        self.file.clicked.connect(self._on_file)
        self.plot.clicked.connect(self._on_clicked)
        bench.viewer.layers.events.inserted.connect(self._on_layers)
        bench.viewer.layers.events.removed.connect(self._on_layers)
        bench.session.annotator.edited.connect(self._on_edited)
        self._list_truths()

    @property
    def slide(self) -> str:
        """Path of the open slide."""
        return self.bench.session.state.slide

    def _list_truths(self) -> None:
        """Offer the corrections, every layer with classes but the result's own, and the chosen file."""
        entries = [(CORRECTIONS, "my corrections")]
        others = [layer for layer in self.bench.viewer.layers if about(layer).get("role") != "cells"]
        entries += [
            (f"layer:{note.layer}", f"layer {note.layer}") for note in find_annotations(others, self.slide)
        ]
        if self.state.truth.startswith("file:"):
            entries.append((self.state.truth, f"file {Path(self.state.truth[5:]).name}"))
        listed = [
            (self.truth_box.itemData(i), self.truth_box.itemText(i)) for i in range(self.truth_box.count())
        ]
        if entries != listed:
            self.truth_box.clear()
            for key, title in entries:
                self.truth_box.addItem(title, key)
        if self.state.truth not in [key for key, _ in entries]:
            self.state.truth = CORRECTIONS
        self.truth_box.setCurrentIndex(self.truth_box.findData(self.state.truth))

    def refresh(self) -> None:
        """Compare, in a thread."""
        self._list_truths()
        cells = self.cells.table[
            [name for name in ("label", "y", "x", "area_um2") if name in self.cells.table]
        ].assign(type=self.cells.predicted)
        truth, slide = self.state.truth, self.slide
        layers = list(self.bench.viewer.layers)
        pixel_um = _pixel_um(self.cells.table)

        corrected = self._corrected() if truth == CORRECTIONS else None

        def task(progress: Report, stop: Stop) -> Agreement:
            annotated = _annotated(truth, slide, layers) if corrected is None else corrected
            return compare_types(annotated, cells, pixel_um=pixel_um)

        self.start(task, self._on_found, "comparing")

    def _corrected(self) -> pd.DataFrame:
        """Return the cells that were corrected or confirmed by hand, with the types that count now."""
        rows = self.cells.rows_of(self.bench.session.annotator.reviewed)
        rows = rows[rows >= 0]
        if not len(rows):
            raise SettingsError(
                "No cell of this result was corrected or confirmed yet. Do so in the Annotate tab, or choose a layer or a "
                "table."
            )
        return self.cells.table.iloc[rows][["y", "x"]].assign(type=self.cells.types[rows])

    def _on_found(self, found: Agreement) -> None:
        self.found = found
        scores = self.found.scores
        self.plot.show_matrix(matrix_of(self.found, self.colours()))
        parts = [
            f"{scores.n_matched} cells compared: accuracy {scores.accuracy:.1%}, balanced accuracy "
            f"{scores.balanced_accuracy:.1%}, macro-F1 {scores.macro_f1:.2f}."
        ]
        if self.found.n_unmatched:
            parts.append(f"{self.found.n_unmatched} annotations lie on no cell that the model gave a type.")
        if self.found.rare:
            few = ", ".join(f"{name} {n}" for name, n in self.found.rare.items())
            parts.append(f"Few cells, so take it lightly: {few}.")
        if scores.accuracy == 0:
            parts.append("Every one of them is a mistake of the model: confirm right cells too.")
        say(self.note, " ".join([*parts, WARNING]))

    def clear(self) -> None:
        """Show no matrix."""
        self.found = None
        self.plot.show_matrix(None)

    def numbers(self) -> pd.DataFrame:
        """Counts, rows by annotated, columns by predicted type."""
        if self.found is None:
            return pd.DataFrame()
        names = self.found.scores.types
        table = pd.DataFrame(self.found.scores.confusion, columns=list(names))
        table.insert(0, "annotated as", list(names))
        return table

    def _on_truth(self, index: int) -> None:
        self.state.truth = self.truth_box.itemData(index)
        self.mark_stale()

    def _on_file(self) -> None:
        file, _ = QFileDialog.getOpenFileName(
            self, "Table of annotated cells: label or y, x; and type", "", "Tables (*.csv *.parquet)"
        )
        if file:
            self.state.truth = f"file:{file}"
            self._list_truths()
            self.mark_stale()

    def _on_layers(self, event: object = None) -> None:
        self._list_truths()

    def _on_edited(self) -> None:
        self.mark_stale()

    def _on_clicked(self, row: int, column: int) -> None:
        if self.found is not None:
            self.bench.select(self.found.labels_in(row, column))

    def close_down(self) -> None:
        """Stop work and listening."""
        super().close_down()
        self.bench.session.annotator.edited.disconnect(self._on_edited)
        self.bench.viewer.layers.events.inserted.disconnect(self._on_layers)
        self.bench.viewer.layers.events.removed.disconnect(self._on_layers)


def _annotated(truth: str, slide: str, layers: list[Any]) -> pd.DataFrame:
    """Return the annotated cells of a table's file or a layer."""
    if truth.startswith("file:"):
        table = read_table(Path(truth[5:]))
        if not {"y", "x", "type"} <= set(table):
            raise SettingsError(f"{truth[5:]} needs the columns y, x (pixels of the slide) and type.")
        return table
    layer = next((entry for entry in layers if entry.name == truth.removeprefix("layer:")), None)
    column = None if layer is None else class_column(layer)
    if layer is None or column is None:
        raise SettingsError(f"There is no {truth.replace(':', ' ')} with classes any more.")
    return annotated_cells(layer, column, layers, slide)


def _pixel_um(table: pd.DataFrame) -> float | None:
    if not {"y", "y_um", "x", "x_um"} <= set(table) or not len(table):
        return None
    px, um = table[["y", "x"]].to_numpy(np.float64), table[["y_um", "x_um"]].to_numpy(np.float64)
    return float(um.sum() / px.sum()) if px.sum() > 0 else None


def matrix_of(found: Agreement, colours: dict[str, str]) -> Matrix:
    """Return the confusion matrix, coloured by the share of its row."""
    scores = found.scores
    total = scores.confusion.sum(axis=1, keepdims=True)
    share = np.where(total > 0, scores.confusion / np.maximum(total, 1), np.nan)
    texts = tuple(
        tuple(f"{n}\n{s:.0%}" if np.isfinite(s) else "" for n, s in zip(counts, shares, strict=True))
        for counts, shares in zip(scores.confusion, share, strict=True)
    )
    tips = tuple(
        tuple(
            f"{scores.confusion[i, j]} cells annotated as {one} were taken for {two}"
            for j, two in enumerate(scores.types)
        )
        for i, one in enumerate(scores.types)
    )
    return Matrix(
        scores.types,
        scores.types,
        share,
        (0.0, 1.0),
        texts,
        "viridis",
        colours,
        row_title="annotated",
        column_title="predicted by the model",
        title="share of the cells annotated as the row's type",
        tips=tips,
    )
