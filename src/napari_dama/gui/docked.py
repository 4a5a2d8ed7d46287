"""A widget that notices when napari closed the dock that it was in."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget


class Docked(QWidget):
    """Closes down when it is taken out of its dock."""

    _docked = False

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._docked = parent is not None

    def close_down(self) -> None:
        """Stop the work and listen no more; safe to call twice."""

    def event(self, event: QEvent | None) -> bool:
        """Qt took the widget out of its dock: napari closed it and will not use it again."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is None and self._docked:
                self.close_down()
            self._docked = self.parent() is not None
        return super().event(event)
