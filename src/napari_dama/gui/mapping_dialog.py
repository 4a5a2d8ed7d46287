"""The window *How the markers match*: every marker of the model, the slide's marker that serves it, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDialog,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_dama.gui import tooltips
from napari_dama.gui.mapping_plan import MappingRow, choose_slide_marker, mapping_rows, unused_sentence
from napari_dama.gui.style import beside, heading, muted, narrow, say, wrapped

if TYPE_CHECKING:
    from napari_dama.gui.marker_check import MarkerCheck
    from napari_dama.gui.session import Session

NONE: Final = "none"
GRAVE: Final = "#d9534f"


class MappingDialog(QDialog):
    """Thin view of the session's plan and of the check; it stays open while you work."""

    def __init__(self, session: Session, check: MarkerCheck, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.check = session, check
        self.rows: tuple[MappingRow, ...] = ()
        self.boxes: list[QComboBox] = []
        self.setWindowTitle("How the markers match")
        self._build()
        session.plan_changed.connect(self._sync)
        check.changed.connect(self._sync_check)
        self._sync()
        self._sync_check()

    def _build(self) -> None:
        self.intro = muted(QLabel())
        self.table = QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels(["Model", "Slide", "Because", "What follows"])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setWordWrap(True)
        self.table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        across, down = self.table.horizontalHeader(), self.table.verticalHeader()
        if across is not None and down is not None:
            across.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
            across.setStretchLastSection(True)
            down.setVisible(False)
            down.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for column, width in enumerate((80, 116, 110)):
            self.table.setColumnWidth(column, width)
        self.problem = wrapped(QLabel())
        self.problem.setStyleSheet(f"border-left: 4px solid {GRAVE}; padding-left: 6px;")
        self.types = muted(QLabel())
        self.unused = muted(QLabel())
        self.title = wrapped(heading("Like the slides that the model learned from?"))
        self.title.setToolTip(tooltips.MARKER_CHECK)
        self.findings = wrapped(QLabel())
        self.findings.setToolTip(tooltips.MARKER_CHECK)
        self.again = narrow(QPushButton("Match again"), tooltips.RESET_MAP)
        self.close_button = narrow(QPushButton("Close"))
        self.close_button.setDefault(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.intro)
        layout.addWidget(self.table, stretch=1)
        for widget in (self.problem, self.types, self.unused, self.title, self.findings):
            layout.addWidget(widget)
        layout.addLayout(beside(self.again, self.close_button))
        self.resize(640, 560)
        self.again.clicked.connect(self._on_again)
        self.close_button.clicked.connect(self.close)

    def _sync(self) -> None:
        session, plan = self.session, self.session.plan
        self.table.setEnabled(plan is not None)
        if session.slide is None or plan is None:
            self.table.setRowCount(0)
            say(self.intro, session.blocker)
            for label in (self.problem, self.types, self.unused):
                say(label, "")
            return
        name = "the usual panel" if session.card is None else session.card.name
        say(self.intro, f"Each marker of {name}, and the marker of {session.slide.name} that serves it.")
        self.rows = mapping_rows(plan, session.panel, session.card)
        self.table.setRowCount(len(self.rows))
        self.boxes = []
        for place, row in enumerate(self.rows):
            for column, text in ((0, row.model), (2, row.words), (3, row.follows)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                if row.grave:
                    item.setForeground(QColor(GRAVE))
                self.table.setItem(place, column, item)
            box = narrow(QComboBox(), tooltips.MAP_SLIDE_MARKER)
            box.addItem(NONE, "")
            for marker in session.slide.markers:
                box.addItem(marker, marker)
            box.setCurrentIndex(max(box.findData(row.slide), 0))
            box.setProperty("model", row.model)
            box.activated.connect(self._on_chosen)
            self.table.setCellWidget(place, 1, box)
            self.boxes.append(box)
        say(self.problem, plan.problem)
        say(self.types, session.types.reason if session.card is not None else "")
        say(self.unused, unused_sentence(plan))

    def _sync_check(self) -> None:
        if self.check.busy:
            text = "Looking at the slide ..."
        elif self.check.why_not:
            text = self.check.why_not
        elif self.check.findings:
            text = "\n".join(f"\N{BULLET} {finding.sentence}" for finding in self.check.findings)
        else:
            text = "Yes: stained area, place and grain of every marker are within what those slides show."
        colour = f"border-left: 4px solid {GRAVE}; padding-left: 6px;" if self.check.findings else ""
        self.findings.setStyleSheet(colour)
        say(self.findings, text)

    def _on_chosen(self, index: int) -> None:
        box = self.sender()
        if isinstance(box, QComboBox):
            self.choose(str(box.property("model")), str(box.itemData(index) or ""))

    def choose(self, model: str, slide: str) -> None:
        """Let a marker of the slide serve a marker of the model; empty: none."""
        channels = self.session.state.channels
        channels.chosen = choose_slide_marker(dict(channels.chosen), model, slide, self.rows)

    def _on_again(self) -> None:
        self.session.state.channels.chosen = {}

    def close_down(self) -> None:
        """Let go of session and check."""
        self.session.plan_changed.disconnect(self._sync)
        self.check.changed.disconnect(self._sync_check)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.close()
