"""What an improvement brought to outlines, below what it brought to types: numbers, words, and whether they are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.style import muted, wrapped

if TYPE_CHECKING:
    from napari_dama.gui.improve_plan import OutlinesShown


class OutlinesOutcome(QWidget):
    """Thin view of `OutlinesShown`; ``take`` says whether the improved outlines are to be accepted."""

    def __init__(self, colours: dict[str, str], *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._colours = colours
        self.take = QCheckBox("Take the outlines")
        self.take.setToolTip(tooltips.IMPROVE_TAKE)
        self.headline, self.sentence = wrapped(QLabel()), wrapped(QLabel())
        self.table = QLabel()
        self.table.setToolTip(tooltips.IMPROVE_OUTLINE_TABLE)
        self.sampling = muted(QLabel())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (self.headline, self.sentence, self.table, self.sampling, self.take):
            layout.addWidget(widget)

    def show_outcome(self, shown: OutlinesShown) -> None:
        """Show what was found out."""
        self.headline.setText(f"<b>{shown.headline}</b>")
        colour = self._colours.get(shown.verdict, "")
        self.sentence.setStyleSheet(f"color: {colour};" if colour else "")
        self.sentence.setText(shown.sentence)
        self.table.setText(shown.table)
        self.sampling.setText(shown.sampling)
