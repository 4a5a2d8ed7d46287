"""Analyses that run as jobs, seen from the Analyse tab: a line for each that is at work, and the way to the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.jobs_list import JobRowView
from napari_dama.gui.jobs_plan import row_of
from napari_dama.gui.style import heading, narrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.jobs.folder import JobView

MOST = 3


class BackgroundStrip(QWidget):
    """Thin view of the analyses that run in processes of their own; hidden while there are none.

    Signals
    -------
    show_asked(path)
        The user wants to see a job in the list.
    """

    show_asked = QtSignal(str)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: list[JobRowView] = []
        self.paths: list[str] = []
        self.button = narrow(QPushButton("Show in the list of jobs"), tooltips.RUN_SHOW)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 6, 0, 0)
        self.column.setSpacing(2)
        self.column.addWidget(heading("In the background"))
        self.column.addWidget(self.button)
        self.button.clicked.connect(self._on_button)
        self.setVisible(False)

    @property
    def busy(self) -> bool:
        """Whether an analysis runs."""
        return bool(self.paths)

    def show_jobs(self, views: Sequence[JobView]) -> None:
        """Show the analyses among these jobs that are at work or wait."""
        going = [view for view in views if view.kind == "analyse" and view.going][:MOST]
        self.paths = [str(view.path) for view in going]
        for index, view in enumerate(going):
            row = row_of(view)
            if index == len(self.rows):
                self.rows.append(JobRowView(row))
                self.column.insertWidget(index + 1, self.rows[index])
            self.rows[index].show_row(row)
        for index, line in enumerate(self.rows):
            line.setVisible(index < len(going))
        self.setVisible(bool(going))

    def _on_button(self) -> None:
        if self.paths:
            self.show_asked.emit(self.paths[0])
