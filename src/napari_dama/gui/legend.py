"""The legend of the results: one line per type, clicked to hide or show its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.style import narrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.gui.cell_table import TypeRow


class LegendLine(QPushButton):
    """A type's colour, name, count and share; checked while its cells are shown."""

    def __init__(self, row: TypeRow, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = row.name
        self._colour = row.colour
        self.setCheckable(True)
        self.setChecked(True)
        self.setFlat(True)
        self.setToolTip(tooltips.LEGEND)
        self.setAccessibleName(f"{row.name}: {row.count}")
        self.swatch = QLabel()
        self.swatch.setFixedSize(14, 14)
        self.title = narrow(QLabel(row.name))
        self.number = QLabel(f"{row.count:,}".replace(",", " "))
        self.share = QLabel(f"{row.share:.0%}")
        self.share.setFixedWidth(40)
        self.share.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 2)
        layout.addWidget(self.swatch)
        layout.addWidget(self.title, stretch=1)
        layout.addWidget(self.number)
        layout.addWidget(self.share)
        for label in (self.swatch, self.title, self.number, self.share):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setMinimumHeight(26)
        self.setStyleSheet("QPushButton { background: transparent; text-align: left; }")
        self.toggled.connect(self._sync)
        self._sync(True)

    def _sync(self, shown: bool) -> None:
        fill = self._colour if shown else "transparent"
        self.swatch.setStyleSheet(
            f"background-color: {fill}; border: 2px solid {self._colour}; border-radius: 4px;"
        )
        font = self.title.font()
        font.setStrikeOut(not shown)
        for label in (self.title, self.number, self.share):
            label.setFont(font)


class Legend(QWidget):
    """All the types.

    Signals
    -------
    hidden_changed(frozenset of str)
        The types that are not to be shown.
    """

    hidden_changed = QtSignal(object)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.lines: list[LegendLine] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)

    def show_rows(self, rows: Sequence[TypeRow], *, hidden: frozenset[str] = frozenset()) -> None:
        """Show types, all of them visible but those of ``hidden``."""
        for line in self.lines:
            self._layout.removeWidget(line)
            line.deleteLater()
        self.lines = [LegendLine(row) for row in rows]
        for line in self.lines:
            line.setChecked(line.name not in hidden)
            self._layout.addWidget(line)
            line.toggled.connect(self._on_toggled)

    def _on_toggled(self, shown: bool) -> None:
        self.hidden_changed.emit(frozenset(line.name for line in self.lines if not line.isChecked()))
