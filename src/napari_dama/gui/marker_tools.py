"""The buttons above the list of markers: next, previous, alone; names, matching, presets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.presets_menu import PresetsButton
from napari_dama.gui.style import beside, narrow

if TYPE_CHECKING:
    from napari_dama.gui.marker_book import MarkerBook
    from napari_dama.gui.markers import Markers
    from napari_dama.gui.session import Session


class MarkerTools(QWidget):
    """Two rows of buttons.

    Signals
    -------
    stepped(by), solo_asked(), all_asked(), used_asked(), rename_asked(), undo_asked(), mapping_asked(), split_asked(),
    save_asked()
        A button was pressed.
    """

    stepped = QtSignal(int)
    solo_asked = QtSignal()
    all_asked = QtSignal()
    used_asked = QtSignal()
    rename_asked = QtSignal()
    undo_asked = QtSignal()
    mapping_asked = QtSignal()
    split_asked = QtSignal()
    save_asked = QtSignal()

    def __init__(self, session: Session, book: MarkerBook, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.previous = narrow(QPushButton("\N{BLACK LEFT-POINTING TRIANGLE}"), tooltips.PREVIOUS_MARKER)
        self.solo = narrow(QPushButton("Alone"), tooltips.SOLO)
        self.solo.setCheckable(True)
        self.next = narrow(QPushButton("\N{BLACK RIGHT-POINTING TRIANGLE}"), tooltips.NEXT_MARKER)
        for arrow, name in ((self.previous, "Previous marker"), (self.next, "Next marker")):
            arrow.setMaximumWidth(40)
            arrow.setAccessibleName(name)
        self.show_all = narrow(QPushButton("All"), tooltips.SHOW_ALL)
        self.show_used = narrow(QPushButton("Used"), tooltips.SHOW_USED)
        self.rename = narrow(QPushButton("Rename"), tooltips.RENAME)
        self.undo = narrow(QPushButton("Undo names"), tooltips.RENAME_UNDO)
        self.mapping = narrow(QPushButton("Matching"), tooltips.MAPPING)
        self.presets = PresetsButton(session, book)
        self.split = narrow(QPushButton("One layer per marker"), tooltips.SPLIT)
        self.save = narrow(QPushButton("Save as OME-TIFF ..."), tooltips.SAVE_TIFF)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(beside(self.previous, self.solo, self.next, self.show_all, self.show_used))
        layout.addLayout(beside(self.rename, self.mapping, self.presets))
        for button in (self.undo, self.split, self.save):
            layout.addWidget(button)
        self.previous.clicked.connect(self._on_previous)
        self.next.clicked.connect(self._on_next)
        for button, signal in (
            (self.solo, self.solo_asked),
            (self.show_all, self.all_asked),
            (self.show_used, self.used_asked),
            (self.rename, self.rename_asked),
            (self.undo, self.undo_asked),
            (self.mapping, self.mapping_asked),
            (self.split, self.split_asked),
            (self.save, self.save_asked),
        ):
            button.clicked.connect(signal)
        self.sync(None, on_file=True)

    def sync(self, markers: Markers | None, *, on_file: bool, saving: float | None = None) -> None:
        """Show what can be done with a slide's markers; `saving` is the share that is saved, None when nothing is."""
        one = markers is not None and markers.one_at_a_time
        self.solo.setChecked(markers is not None and markers.solo)
        for button in (self.solo, self.show_all, self.show_used):
            button.setVisible(not one)  # one is seen at a time anyway
        self.split.setVisible(one)
        self.save.setVisible(markers is not None and not on_file)
        self.save.setEnabled(saving is None)
        self.save.setText("Save as OME-TIFF ..." if saving is None else f"Saving: {saving:.0%}")
        self.undo.setVisible(markers is not None and markers.can_undo_rename)

    def _on_previous(self) -> None:
        self.stepped.emit(-1)

    def _on_next(self) -> None:
        self.stepped.emit(1)

    def close_down(self) -> None:
        """Let go of what the presets look up."""
        self.presets.close_down()
