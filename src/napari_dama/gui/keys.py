"""Every key of the plugin in one list, and the dialog that shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_dama.gui.style import heading, muted


@dataclass(frozen=True, slots=True)
class Key:
    """A key or a movement of the mouse, and what it does."""

    keys: str
    does: str


KEYS: Final[dict[str, tuple[Key, ...]]] = {
    "In the picture": (
        Key("click", "choose a cell"),
        Key("Ctrl + click", "choose a cell beside those chosen"),
        Key("Shift + drag", "choose the cells in a box (in Annotate)"),
    ),
    "Markers": (
        Key(".", "show the next marker alone"),
        Key(",", "show the one before alone"),
        Key("H", "show the chosen marker alone, and again: all that were shown"),
    ),
    "In Annotate, and in the gallery": (
        Key("1 to 9", "give the selected cells a type"),
        Key("0", "take their type away"),
        Key("Enter", "they are right as they are called"),
        Key("N", "go to the next cell to look at"),
        Key("Ctrl + Z", "take back"),
        Key("Ctrl + Shift + Z", "do again"),
    ),
}
"""Keys by where they count."""


class KeysDialog(QDialog):
    """The keys in a window that may stay open beside the work."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of DAMA")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        layout = QVBoxLayout(self)
        for place, keys in KEYS.items():
            layout.addWidget(heading(place))
            grid = QGridLayout()
            grid.setColumnStretch(1, 1)
            for row, key in enumerate(keys):
                grid.addWidget(QLabel(key.keys), row, 0, Qt.AlignmentFlag.AlignTop)
                grid.addWidget(muted(QLabel(key.does)), row, 1)
            layout.addLayout(grid)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout.addWidget(buttons)
        self.resize(420, self.sizeHint().height())
