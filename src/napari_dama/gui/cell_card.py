"""The facts of the clicked cell: type, probabilities, area, and how bright each marker is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.cell_table import UNTYPED, colour_of_type, untyped
from napari_dama.gui.chart import BarChart
from napari_dama.gui.layers import usual_colour
from napari_dama.gui.style import heading, muted, narrow, say, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_dama.gui.cell_table import CellFacts, GroupFacts
    from napari_dama.gui.result_layers import OpenResult


class CellCard(QWidget):
    """Empty until a cell is clicked."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = wrapped(heading(""))
        self.lines = muted(QLabel())
        self.types = BarChart()
        self.types_title = muted(QLabel("How sure the model is"))
        self.means_title = muted(QLabel("Mean brightness (full bar: the brightest cells of this slide)"))
        self.means = BarChart()
        self.explain = narrow(QPushButton("Explain this cell"), tooltips.EXPLAIN_CELL)
        self.deselect = narrow(QPushButton("Deselect"), tooltips.DESELECT)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.setSpacing(4)
        for widget in (
            self.title,
            self.lines,
            self.explain,
            self.deselect,
            self.types_title,
            self.types,
            self.means_title,
            self.means,
        ):
            layout.addWidget(widget)

    def show_cell(
        self,
        facts: CellFacts | None,
        result: OpenResult | None,
        shown: Mapping[str, str],
        classes: Mapping[str, str],
    ) -> None:
        """Show a cell, or say how to choose one.

        ``shown`` has the colours of the markers in the window, ``classes`` those of the types.
        """
        known = facts is not None
        self.deselect.setVisible(False)
        self.types_title.setText("How sure the model is")
        for widget in (self.types_title, self.types, self.means_title, self.means, self.explain):
            widget.setVisible(known)
        if facts is None or result is None:
            self.title.setText("")
            say(self.lines, tooltips.CELL)
            return
        kind = "" if facts.type == UNTYPED else f": {facts.type}"
        self.title.setText(f"Cell {facts.label}{kind}")
        say(self.lines, ", ".join(facts.lines))
        self.types_title.setVisible(bool(facts.bars))
        self.types.setVisible(bool(facts.bars))
        self.types.show_bars(
            [(name, value, f"{value:.0%}", colour_of_type(name, classes)) for name, value in facts.bars],
            full=1.0,
        )
        self._show_means(facts.means, result, shown)

    def show_group(
        self, facts: GroupFacts, result: OpenResult, shown: Mapping[str, str], classes: Mapping[str, str]
    ) -> None:
        """Show how many cells are selected, their types, and the mean of every marker in them."""
        self.explain.setVisible(False)
        for widget in (self.deselect, self.means_title, self.means):
            widget.setVisible(True)
        self.title.setText(f"{facts.count:,} cells selected".replace(",", " "))
        say(self.lines, ", ".join(facts.lines))
        self.types_title.setText("Their types")
        self.types_title.setVisible(bool(facts.types))
        self.types.setVisible(bool(facts.types))
        self.types.show_bars(
            [
                (
                    untyped(name),
                    count / facts.count,
                    f"{count}",
                    colour_of_type(name, classes),
                )
                for name, count in facts.types
            ],
            full=1.0,
        )
        self._show_means(facts.means, result, shown)

    def _show_means(
        self, means: tuple[tuple[str, float], ...], result: OpenResult, shown: Mapping[str, str]
    ) -> None:
        self.means.show_bars(
            [
                (
                    name,
                    value / (result.bright.get(name) or 1.0),
                    number(value),
                    shown.get(name) or usual_colour(name),
                )
                for name, value in means
            ],
            full=1.0,
        )


def number(value: float) -> str:
    """Write an intensity without exponents where that is short."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"
