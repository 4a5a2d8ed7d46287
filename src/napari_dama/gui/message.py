"""The inline message area: one sentence for the user, the traceback only behind *Details*."""

from __future__ import annotations

import traceback

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from napari_dama.errors import DamaError
from napari_dama.gui import tooltips

_STYLES = {
    "error": "QFrame#dama_message, QWidget#dama_message { border-left: 4px solid #d9534f; }",
    "note": "QFrame#dama_message, QWidget#dama_message { border-left: 4px solid #5b9bd5; }",
}


def sentence_of(error: BaseException) -> str:
    """Return the sentence that a user should read for an error."""
    if isinstance(error, DamaError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The computer ran out of memory. Close other programs, or choose a smaller region."
    if isinstance(error, OSError) and error.strerror:
        return f"A file could not be read or written: {error.strerror} ({error.filename or 'unknown file'})."
    return (
        f"Something unforeseen went wrong ({type(error).__name__}: {error}). The details help us to mend it."
    )


class MessageArea(QWidget):
    """A sentence with *Details* and *Dismiss*; hidden while there is nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("dama_message")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground, True)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.details_button = QPushButton("Details")
        self.details_button.setCheckable(True)
        self.details_button.setToolTip(tooltips.DETAILS)
        self.dismiss_button = QPushButton("Dismiss")
        self.dismiss_button.setToolTip(tooltips.DISMISS)
        self.details = QPlainTextEdit()
        self.details.setReadOnly(True)
        self.details.setMaximumHeight(160)
        self.details.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.details_button)
        buttons.addWidget(self.dismiss_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self.text)
        layout.addWidget(self.details)
        layout.addLayout(buttons)
        self.details_button.toggled.connect(self.details.setVisible)
        self.dismiss_button.clicked.connect(self.clear)
        self.clear()

    def show_error(self, error: BaseException) -> None:
        """Show an error's sentence, with its traceback behind *Details*."""
        self._show("error", sentence_of(error), "".join(traceback.format_exception(error)))

    def show_note(self, text: str) -> None:
        """Show a sentence that is no error."""
        self._show("note", text, "")

    def clear(self) -> None:
        """Hide the area."""
        self._show("note", "", "")

    def _show(self, kind: str, text: str, details: str) -> None:
        self.setStyleSheet(_STYLES[kind])
        self.text.setText(text)
        self.details.setPlainText(details)
        self.details_button.setChecked(False)
        self.details.setVisible(False)
        self.details_button.setVisible(bool(details))
        self.setVisible(bool(text))
