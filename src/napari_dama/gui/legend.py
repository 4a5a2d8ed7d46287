"""The legend of the results: one line per type; a click hides or shows its cells, one on the square changes the colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.cell_table import UNTYPED, untyped
from napari_dama.gui.style import narrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QMouseEvent

    from napari_dama.gui.cell_table import TypeRow

_ALONE = Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.ControlModifier


class LegendLine(QPushButton):
    """A type's colour, name, count and share; checked while its cells are shown.

    Signals
    -------
    colour_asked(name), alone_asked(name)
        The square was clicked; the line was clicked with Alt or Ctrl held.
    """

    colour_asked = QtSignal(str)
    alone_asked = QtSignal(str)

    def __init__(self, row: TypeRow, *, recolours: bool = True, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = row.name
        self._colour = ""
        self.setCheckable(True)
        self.setChecked(True)
        self.setFlat(True)
        self.setToolTip(tooltips.LEGEND)
        self.swatch = QToolButton()
        self.swatch.setFixedSize(16, 16)
        self.title = narrow(QLabel(untyped(row.name) or "no value"))
        self.number = QLabel()
        self.share = QLabel()
        self.share.setFixedWidth(self.share.fontMetrics().horizontalAdvance("100%") + 8)
        self.share.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 2)
        layout.addWidget(self.swatch)
        layout.addWidget(self.title, stretch=1)
        layout.addWidget(self.number)
        layout.addWidget(self.share)
        for label in (self.title, self.number, self.share):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        if recolours and row.name != UNTYPED:
            self.swatch.setToolTip(tooltips.LEGEND_COLOUR)
            self.swatch.setCursor(Qt.CursorShape.PointingHandCursor)
            self.swatch.clicked.connect(self._on_swatch)
        else:
            self.swatch.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setMinimumHeight(26)
        self.setStyleSheet("QPushButton { background: transparent; text-align: left; }")
        self.toggled.connect(self._sync)
        self.show_row(row)

    def show_row(self, row: TypeRow) -> None:
        """Take over a count, a share and a colour."""
        self.number.setText(f"{row.count:,}".replace(",", " "))
        self.share.setText(f"{row.share:.0%}")
        self.setAccessibleName(f"{untyped(row.name)}: {row.count}")
        if row.colour != self._colour:
            self._colour = row.colour
            self._sync(self.isChecked())

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Tell a click with Alt or Ctrl from a plain one."""
        if event is not None and event.modifiers() & _ALONE:
            self.alone_asked.emit(self.name)
            event.accept()
            return
        super().mousePressEvent(event)

    def _on_swatch(self) -> None:
        self.colour_asked.emit(self.name)

    def _sync(self, shown: bool) -> None:
        fill = self._colour if shown else "transparent"
        self.swatch.setStyleSheet(
            f"QToolButton {{ background-color: {fill}; border: 2px solid {self._colour}; border-radius: 4px; }}"
        )
        font = self.title.font()
        font.setStrikeOut(not shown)
        for label in (self.title, self.number, self.share):
            label.setFont(font)


class Legend(QWidget):
    """All the types, or the values of a column of words.

    Signals
    -------
    hidden_changed(frozenset of str)
        The types that are not to be shown.
    colour_chosen(name, colour)
        A type is to have another colour ``#rrggbb``.
    """

    hidden_changed = QtSignal(object)
    colour_chosen = QtSignal(str, str)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.lines: list[LegendLine] = []
        self._recolours = True
        self.all_button = narrow(QPushButton("Show all"), tooltips.LEGEND_ALL)
        self.all_button.clicked.connect(self._on_all)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self._layout.addWidget(self.all_button)
        self.all_button.setVisible(False)

    @property
    def hidden(self) -> frozenset[str]:
        """The types that are not to be shown."""
        return frozenset(line.name for line in self.lines if not line.isChecked())

    def show_rows(
        self, rows: Sequence[TypeRow], *, hidden: frozenset[str] = frozenset(), recolours: bool = True
    ) -> None:
        """Show types, all of them visible but those of ``hidden``; lines that are there already only get new counts."""
        names = [row.name for row in rows]
        if names != [line.name for line in self.lines] or recolours != self._recolours:
            self._build(rows, recolours)
        for line, row in zip(self.lines, rows, strict=True):
            line.show_row(row)
            line.blockSignals(True)
            line.setChecked(row.name not in hidden)
            line.blockSignals(False)
            line._sync(line.isChecked())
        self.all_button.setVisible(bool(hidden & set(names)))

    def _build(self, rows: Sequence[TypeRow], recolours: bool) -> None:
        for line in self.lines:
            self._layout.removeWidget(line)
            line.hide()
            line.deleteLater()
        self._recolours = recolours
        self.lines = [LegendLine(row, recolours=recolours) for row in rows]
        for place, line in enumerate(self.lines):
            self._layout.insertWidget(place, line)
            line.toggled.connect(self._on_toggled)
            line.alone_asked.connect(self._on_alone)
            line.colour_asked.connect(self._on_colour)

    def _on_toggled(self, shown: bool) -> None:
        self.hidden_changed.emit(self.hidden)

    def _on_alone(self, name: str) -> None:
        others = frozenset(line.name for line in self.lines if line.name != name)
        self.hidden_changed.emit(frozenset() if self.hidden == others else others)

    def _on_all(self) -> None:
        self.hidden_changed.emit(frozenset())

    def _on_colour(self, name: str) -> None:
        line = next(line for line in self.lines if line.name == name)
        colour = QColorDialog.getColor(QColor(line._colour), self, f"Colour of {name}")
        if colour.isValid():
            self.colour_chosen.emit(name, colour.name())
