"""Small helpers that make every tab look alike: narrow, legible in light and dark."""

from __future__ import annotations

from typing import TypeVar

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

AnyWidget = TypeVar("AnyWidget", bound=QWidget)
AnyLabel = TypeVar("AnyLabel", bound=QLabel)


def narrow(widget: AnyWidget, tip: str = "") -> AnyWidget:
    """Let a widget shrink below the width of its contents, and give it its tooltip."""
    policy = widget.sizePolicy()
    policy.setHorizontalPolicy(QSizePolicy.Policy.Expanding)
    widget.setSizePolicy(policy)
    widget.setMinimumWidth(40)
    if isinstance(widget, QComboBox):
        widget.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        widget.setMinimumContentsLength(4)
    widget.setToolTip(tip)
    return widget


def muted(label: AnyLabel) -> AnyLabel:
    """Make a label small and wrapping; its colour stays the theme's, so that it is legible in both."""
    font = label.font()
    font.setPointSizeF(max(font.pointSizeF() * 0.9, 7.0))
    label.setFont(font)
    label.setStyleSheet(f"font-size: {font.pointSizeF():.1f}pt;")
    return wrapped(label)


def wrapped(label: AnyLabel) -> AnyLabel:
    """Let a label break its lines instead of widening the dock."""
    label.setWordWrap(True)
    label.setMinimumWidth(40)
    policy = label.sizePolicy()
    policy.setHorizontalPolicy(QSizePolicy.Policy.Expanding)
    policy.setHeightForWidth(True)
    label.setSizePolicy(policy)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def heading(text: str) -> QLabel:
    """Return a bold line."""
    label = QLabel(text)
    label.setStyleSheet("font-weight: bold;")
    return label


class Tab(QWidget):
    """Base of the tabs: a column of widgets, and the signals that the dock listens to.

    Signals
    -------
    failed(error), noted(text)
        For the message area.
    """

    failed = QtSignal(object)
    noted = QtSignal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(4, 6, 4, 6)
        self.column.setSpacing(6)

    def close_down(self) -> None:
        """Stop work and let go of the viewer."""


def say(label: QLabel, text: str) -> None:
    """Set a label's text; an empty one takes no room."""
    label.setText(text)
    label.setVisible(bool(text))


def beside(*widgets: QWidget) -> QHBoxLayout:
    """Put widgets beside each other."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return layout
