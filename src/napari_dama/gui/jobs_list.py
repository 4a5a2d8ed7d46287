"""The list of jobs: a name, a badge, a bar and a line of words for each; narrow docks elide, nothing is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_dama.gui import tooltips
from napari_dama.gui.style import muted, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QResizeEvent

    from napari_dama.gui.jobs_plan import Badge, JobRow

ROWS_SEEN = 4
ROW_PX = 52


class ElidedLabel(QLabel):
    """One line of text that is shortened with dots to the width there is; the whole text is its tooltip."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.whole = ""
        self.setMinimumWidth(30)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def show_text(self, text: str) -> None:
        """Show a text."""
        self.whole = text
        self.setToolTip(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Shorten to the new width."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        shown = self.fontMetrics().elidedText(self.whole, Qt.TextElideMode.ElideRight, self.width())
        if shown != self.text():
            self.setText(shown)


class BadgeLabel(QLabel):
    """A state in one word on its colour."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)

    def show_badge(self, badge: Badge) -> None:
        """Show a badge."""
        if self.text() != badge.text:
            self.setStyleSheet(
                f"background: {badge.colour}; color: white; border-radius: 6px; padding: 1px 7px; font-size: 8pt;"
            )
            self.setText(badge.text)
        self.setToolTip(badge.tip)


class JobRowView(QWidget):
    """One job."""

    def __init__(self, row: JobRow, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = ElidedLabel()
        self.name.setStyleSheet("font-weight: bold;")
        self.badge = BadgeLabel()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(5)
        self.bar.setStyleSheet(_BAR)
        self.line = ElidedLabel()
        self.line.setStyleSheet("font-size: 8pt;")
        top = QHBoxLayout()
        top.addWidget(self.name, stretch=1)
        top.addWidget(self.badge)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 3, 6, 3)
        layout.setSpacing(2)
        layout.addLayout(top)
        layout.addWidget(self.bar)
        layout.addWidget(self.line)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents, False)
        self.show_row(row)

    def show_row(self, row: JobRow) -> None:
        """Show what a job says now."""
        self.name.show_text(row.title)
        self.badge.show_badge(row.badge)
        self.line.show_text(row.line)
        if row.share is None:
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(row.share * 1000))
        self.setToolTip(row.tip)
        self.setAccessibleName(f"{row.title}, {row.badge.text}, {row.line}")


class JobsList(QWidget):
    """All jobs; which one is chosen is told by a signal.

    Signals
    -------
    chosen(path)
        The user chose a job.
    """

    chosen = QtSignal(str)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.empty = muted(QLabel(_EMPTY))
        self.list = QListWidget()
        self.list.setToolTip(tooltips.JOBS_LIST)
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.list.setMinimumWidth(60)
        self.list.setUniformItemSizes(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.empty)
        layout.addWidget(self.list)
        self.room = self.list.viewport()
        if self.room is not None:
            self.room.installEventFilter(self)
        self.list.currentItemChanged.connect(self._on_current)
        self.show_rows((), "")

    def show_rows(self, rows: Sequence[JobRow], selected: str) -> None:
        """Show jobs in this order; the one at the path ``selected`` is marked."""
        blocked = self.list.blockSignals(True)
        if [row.path for row in rows] != self.paths():
            self.list.clear()
            for row in rows:
                fresh = QListWidgetItem(self.list)
                fresh.setData(Qt.ItemDataRole.UserRole, row.path)
                fresh.setSizeHint(QSize(60, ROW_PX))
                self.list.setItemWidget(fresh, JobRowView(row))
        for index, row in enumerate(rows):
            item = self.list.item(index)
            view = self.row_at(index)
            if view is not None:
                view.show_row(row)
            if row.path == selected and item is not None and self.list.currentItem() is not item:
                self.list.setCurrentItem(item)
        self.list.blockSignals(blocked)
        self.empty.setVisible(not rows)
        self.list.setVisible(bool(rows))
        self._fit_rows()
        self.list.setFixedHeight(min(max(len(rows), 1), ROWS_SEEN) * ROW_PX + 4)
        say(self.empty, "" if rows else _EMPTY)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Fit the rows when the list, or the room that its scroll bar leaves, changes its width."""
        if event is not None and event.type() == QEvent.Type.Resize and watched is self.room:
            self._fit_rows()
        return super().eventFilter(watched, event)

    def _fit_rows(self) -> None:
        """Qt widens rows with the list, and leaves them wide."""
        for index in range(self.list.count()):
            view = self.row_at(index)
            if view is not None and self.room is not None:
                view.setFixedWidth(max(self.room.width(), 60))

    def paths(self) -> list[str]:
        """Return the jobs' folders in the order shown."""
        items = (self.list.item(index) for index in range(self.list.count()))
        return [str(item.data(Qt.ItemDataRole.UserRole)) for item in items if item is not None]

    def row_at(self, index: int) -> JobRowView | None:
        """Return the widget of one job."""
        found = self.list.itemWidget(self.list.item(index))
        return found if isinstance(found, JobRowView) else None

    def _on_current(self, item: QListWidgetItem | None, before: QListWidgetItem | None = None) -> None:
        if item is not None:
            self.chosen.emit(str(item.data(Qt.ItemDataRole.UserRole)))


_BAR = "QProgressBar { border: none; background: rgba(128, 128, 128, 80); } QProgressBar::chunk { background: #56b4e9; }"
_EMPTY = "No jobs yet. A run that you start appears here, and stays here when napari is closed."
