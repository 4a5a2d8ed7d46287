"""Page *Map*: every cell a dot, like cells near each other, linked with the slide both ways."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QPushButton

from napari_dama.evaluate.projection import (
    UMAP_INSTALL,
    Projection,
    marker_vectors,
    pca,
    umap,
    umap_installed,
)
from napari_dama.gui import tooltips
from napari_dama.gui.cell_card import number
from napari_dama.gui.cell_colours import LEVELS
from napari_dama.gui.cell_table import untyped
from napari_dama.gui.plot_page import WAIT_MS, Bench, PlotPage
from napari_dama.gui.scatter import Scatter
from napari_dama.gui.style import beside, muted, narrow, say

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

    from napari_dama.cells.kept import CellsState
    from napari_dama.gui.cell_colours import CellColours
    from napari_dama.gui.work import Report, Stop


@dataclass(frozen=True)
class Placed:
    """Cells on the plane: labels (n,), the projection, what of, and whether features were wished and are not there."""

    labels: NDArray[np.int64]
    projection: Projection
    made_of: str
    lacks_features: bool = False


class MapPage(PlotPage):
    """Dots in the colours of the slide; what is drawn around is selected there."""

    title = "Map"
    tip = tooltips.PAGE_MAP
    needs_types = False

    def __init__(self, bench: Bench, *, parent: QWidget | None = None) -> None:
        super().__init__(bench, parent=parent)
        self.placed: Placed | None = None
        self.placing_of: CellsState | None = None  # what is being placed, and what `placed` was made of
        self.placed_of: CellsState | None = None
        self.vectors_box = self.choice(
            "vectors",
            (("features", "network's features"), ("markers", "marker intensities")),
            tooltips.MAP_VECTORS,
        )
        self.method_box = self.choice("method", (("pca", "PCA"), ("umap", "UMAP")), tooltips.MAP_METHOD)
        self.plot: Scatter = Scatter()
        self.plot.setToolTip(tooltips.MAP)
        self.embed = narrow(QPushButton("Compute the network's features"), tooltips.MAP_EMBED)
        self.keep = narrow(QPushButton("Keep places as columns"), tooltips.MAP_KEEP)
        self.hint = muted(QLabel(_HINT))
        self.column.addLayout(beside(self.vectors_box, self.method_box))
        self.column.addWidget(self.busy)
        self.column.addWidget(self.plot, stretch=1)
        self.column.addWidget(self.hint)
        self.column.addWidget(self.note)
        self.column.addWidget(self.embed)
        self.column.addWidget(self.keep)
        self.embed.hide()
        self.embed.clicked.connect(self._on_embed)
        self.keep.clicked.connect(self._on_keep)
        self.plot.chosen.connect(self._on_chosen)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._on_colours)
        bench.shown.changed.connect(self._on_colours)
        bench.shown.patched.connect(self._on_patched)
        self.cells.selection_changed.connect(self._on_selection)

    @property
    def folder(self) -> Path:
        """Folder of the open result."""
        return Path(self.bench.session.state.results.path)

    def refresh(self) -> None:
        """Place the cells, in a thread."""
        table, folder = self.cells.table, self.folder
        wish, method = self.state.vectors, self.state.method
        if method == "umap" and not umap_installed():
            self.say_instead(f"UMAP needs the package umap-learn:\n{UMAP_INSTALL}\nthen start napari again.")
            return
        seed = self.state.seed
        self.placing_of = self.bench.session.keeper.state

        def task(progress: Report, stop: Stop) -> Placed:
            labels, vectors, made_of, lacks = vectors_of(folder, table, wish)
            if method == "pca":
                return Placed(labels, pca(vectors), f"Principal components of {made_of}", lacks)
            found = umap(vectors, seed=seed, progress=lambda done, all_: progress((done, all_)), stop=stop)
            return Placed(labels, found, f"UMAP (seed {seed}) of {made_of}", lacks)

        self.start(task, self._on_placed, "UMAP" if method == "umap" else "placing cells")

    def _on_placed(self, placed: Placed) -> None:
        self.placed, self.placed_of = placed, self.placing_of
        points = np.full((len(self.cells.table), 2), np.nan, np.float32)
        rows = self.cells.rows_of(placed.labels)
        points[rows[rows >= 0]] = placed.projection.points[rows >= 0]
        self.plot.show_points(points, placed.projection.axes)
        lost = int(np.isnan(points[:, 0]).sum())
        lacks = (
            "This result has no features of the network yet, so these are " if placed.lacks_features else ""
        )
        made_of = placed.made_of.replace("Principal", "principal") if lacks else placed.made_of
        say(self.note, f"{lacks}{made_of}." + (f" {lost} cells have none." if lost else ""))
        self.embed.setVisible(placed.lacks_features)
        self._on_colours()
        self._on_selection()

    def clear(self) -> None:
        """Show no dots."""
        self.placed = None
        self.embed.hide()
        self.plot.show_points(np.zeros((0, 2), np.float32), ("", ""))

    def numbers(self) -> pd.DataFrame:
        """One row per cell: ``label, type``, and its place."""
        names = self._names()
        return pd.DataFrame({"label": self.cells.labels, "type": self.cells.types}).assign(
            **{name: self.plot.points[:, i] for i, name in enumerate(names)}
        )

    def _names(self) -> tuple[str, str]:
        method = "umap" if self.placed and self.placed.projection.axes[0].startswith("UMAP") else "pca"
        return f"{method}_1", f"{method}_2"

    def _on_colours(self) -> None:
        if self.cells.is_open and len(self.plot.points) == len(self.cells.table):
            self.plot.show_colours(self.bench.shown.colours.rgba, key_of(self.bench.shown.colours))

    def _on_patched(self) -> None:
        self._soon.start(WAIT_MS)

    def _on_selection(self) -> None:
        if len(self.plot.points) == len(self.cells.table):
            selected = self.cells.selected
            self.plot.show_selected(self.cells.rows_of(selected) if len(selected) else np.zeros(0, np.int64))

    def _on_chosen(self, rows: NDArray[np.int64], add: bool) -> None:
        if len(self.plot.points) == len(self.cells.table):
            self.bench.select(self.cells.labels[rows], add=add)

    def _on_keep(self) -> None:
        if self.placed is not None and len(self.plot.points) == len(self.cells.table):
            names = self._names()
            columns = {name: self.plot.points[:, i] for i, name in enumerate(names)}
            self.bench.session.keeper.keep(columns, self.placed.made_of, ("outlines",), self.placed_of)
            say(
                self.note,
                f"{self.placed.made_of}. Kept as {names[0]} and {names[1]} in the result's cells.csv: colour by them in "
                "Results.",
            )

    def _on_embed(self) -> None:
        folder = self.folder

        def task(progress: Report, stop: Stop) -> None:
            from napari_dama.predict.embeddings import embed_cells

            embed_cells(folder, progress=lambda now: progress((now.done, now.total)), stop=stop)

        self.start(task, self._on_embedded, "features of the cells")

    def _on_embedded(self, _: object) -> None:
        self.freshen()

    def close_down(self) -> None:
        """Stop work and listening."""
        super().close_down()
        self._soon.stop()
        self.bench.shown.changed.disconnect(self._on_colours)
        self.bench.shown.patched.disconnect(self._on_patched)
        self.cells.selection_changed.disconnect(self._on_selection)


def vectors_of(
    folder: Path, table: pd.DataFrame, wish: str
) -> tuple[NDArray[np.int64], NDArray[np.float32], str, bool]:
    """Return labels (n,) and vectors (n, D) of cells, what they are, and whether features were wished and are missing."""
    from napari_dama.predict.embeddings import has_embeddings, read_embeddings

    if wish == "features" and has_embeddings(folder):
        labels, vectors = read_embeddings(folder)
        return labels, vectors, f"the network's features ({vectors.shape[1]} numbers per cell)", False
    vectors, markers = marker_vectors(table)
    made_of = f"the markers' mean intensities (log, z-scored: {', '.join(markers)})"
    return table["label"].to_numpy(np.int64), vectors, made_of, wish == "features"


def key_of(colours: CellColours) -> tuple[tuple[str, str], ...]:
    """Return what the colours mean, from top to bottom: (colour, words)."""
    if colours.kind == "number":
        low, high = colours.limits
        steps = np.linspace(LEVELS - 1, 0, 6).astype(int)
        tones = (colours.palette[steps, :3] * 255).round().astype(int)
        values = np.linspace(high, low, 6)
        title = f"{colours.title} ({colours.unit})" if colours.unit else colours.title
        entries = [(f"#{r:02x}{g:02x}{b:02x}", number(v)) for (r, g, b), v in zip(tones, values, strict=True)]
        return (("", title), *entries)
    return tuple(
        (row.colour, f"{untyped(row.name) or 'no value'} ({row.count})") for row in colours.rows if row.count
    )


_HINT = "Draw around cells to select them on the slide; Shift adds. Wheel: zoom. Right button: move. Double click: all."
