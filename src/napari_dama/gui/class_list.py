"""The classes with their keys: press one to give it to the selected cells; rename, recolour, delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QColorDialog,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_dama.cells.table import UNTYPED_COLOUR
from napari_dama.gui import tooltips
from napari_dama.gui.cell_table import UNTYPED, untyped
from napari_dama.gui.style import narrow

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One line: a class, its key (empty beyond the ninth), its cells and how many of them were reviewed."""

    name: str
    colour: str
    key: str
    count: int
    reviewed: int


class ClassLine(QWidget):
    """Key, colour, name and counts of a class."""

    def __init__(self, row: ClassRow, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.row = row
        self.give = QPushButton()
        self.give.setFlat(True)
        self.give.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.give.setToolTip(tooltips.ANNOTATE_CLASS)
        self.give.setMinimumHeight(28)
        self.give.setMinimumWidth(40)
        self.give.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.key = QLabel(row.key)
        self.key.setFixedWidth(20)
        self.key.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.key.setStyleSheet("border: 1px solid palette(mid); border-radius: 4px; font-weight: bold;")
        self.key.setVisible(bool(row.key))
        self.swatch = QLabel()
        self.swatch.setFixedSize(14, 14)
        self.title = narrow(QLabel())
        self.number = QLabel()
        inside = QHBoxLayout(self.give)
        inside.setContentsMargins(4, 2, 4, 2)
        for widget in (self.key, self.swatch, self.title, self.number):
            widget.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            inside.addWidget(widget, stretch=1 if widget is self.title else 0)
        self.more = QToolButton()
        self.more.setText("\u22ef")
        self.more.setToolTip(tooltips.ANNOTATE_MORE)
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.more.setVisible(row.name != UNTYPED)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.give, stretch=1)
        layout.addWidget(self.more)
        self.show_row(row)

    def show_row(self, row: ClassRow) -> None:
        """Show other counts of the same class, or another colour."""
        self.row = row
        self.swatch.setStyleSheet(
            f"background-color: {row.colour}; border: 2px solid {row.colour}; border-radius: 4px;"
        )
        self.title.setText(untyped(row.name))
        count = f"{row.count:,}".replace(",", " ")
        self.number.setText(f"{count} · {row.reviewed} ✓" if row.reviewed else count)
        self.give.setAccessibleName(f"{row.name}, key {row.key}: {row.count} cells, {row.reviewed} reviewed")


class ClassList(QWidget):
    """All classes, and at the end *no type*.

    Signals
    -------
    given(name)
        The selected cells are to get this class.
    renamed(old, new), coloured(name, colour), deleted(name)
        What the user wants of a class.
    """

    given = QtSignal(str)
    renamed = QtSignal(str, str)
    coloured = QtSignal(str, str)
    deleted = QtSignal(str)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.lines: list[ClassLine] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)

    def show_rows(self, rows: Sequence[ClassRow]) -> None:
        """Show classes; lines that stay are kept."""
        if [(line.row.name, line.row.key) for line in self.lines] == [(row.name, row.key) for row in rows]:
            for line, row in zip(self.lines, rows, strict=True):
                if line.row != row:
                    line.show_row(row)
            return
        for line in self.lines:
            self._layout.removeWidget(line)
            line.deleteLater()
        self.lines = [ClassLine(row) for row in rows]
        for line in self.lines:
            self._layout.addWidget(line)
            self._connect(line)

    def _connect(self, line: ClassLine) -> None:
        name = line.row.name
        line.give.clicked.connect(lambda: self.given.emit(name))
        if name == UNTYPED:
            return
        menu = QMenu(line)
        menu.addAction("Rename...", lambda: self._on_rename(name))
        menu.addAction("Colour...", lambda: self._on_colour(line))
        menu.addAction("Delete", lambda: self.deleted.emit(name))
        line.more.setMenu(menu)

    def _on_rename(self, name: str) -> None:
        new, ok = QInputDialog.getText(self, "Rename a class", f"New name of {name}:", text=name)
        if ok and new.strip() != name:
            self.renamed.emit(name, new)

    def _on_colour(self, line: ClassLine) -> None:
        colour = QColorDialog.getColor(QColor(line.row.colour), self, f"Colour of {line.row.name}")
        if colour.isValid():
            self.coloured.emit(line.row.name, colour.name())


def class_rows(classes: dict[str, str], counts: dict[str, int], reviewed: dict[str, int]) -> list[ClassRow]:
    """Return the lines: keys 1 to 9 in the classes' order, and 0 for *no type*."""
    rows = [
        ClassRow(
            name, colour, str(place + 1) if place < 9 else "", counts.get(name, 0), reviewed.get(name, 0)
        )
        for place, (name, colour) in enumerate(classes.items())
    ]
    return [*rows, ClassRow(UNTYPED, UNTYPED_COLOUR, "0", counts.get(UNTYPED, 0), reviewed.get(UNTYPED, 0))]
