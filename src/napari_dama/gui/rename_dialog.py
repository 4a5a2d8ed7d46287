"""The dialog *Rename markers*: paste a list, see old and new side by side, rename."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QFileDialog,
    QHeaderView,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_dama.errors import SettingsError
from napari_dama.gui import tooltips
from napari_dama.gui.rename_plan import RenamePlan, resolve_rename
from napari_dama.gui.style import beside, muted, say, wrapped
from napari_dama.slides.name_list import read_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.slides.panel import Panel


class RenameDialog(QDialog):
    """Thin view of a `RenamePlan`.

    Parameters
    ----------
    names : sequence of str
        The markers' names now, in the order of the channels.
    own : sequence of str
        The names in the slide's own file.
    panel : Panel
        The model's markers.

    Signals
    -------
    renamed(names)
        *Rename* was pressed: a tuple with one name per channel.
    """

    renamed = QtSignal(object)

    def __init__(
        self,
        names: Sequence[str],
        own: Sequence[str],
        panel: Panel,
        *,
        folder: Path | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.names, self.own, self.panel, self.folder = tuple(names), tuple(own), panel, folder
        self.setWindowTitle("Rename markers")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._build()
        self.text.setPlainText("\n".join(names))

    def _build(self) -> None:
        self.intro = muted(QLabel(_INTRO))
        self.text = QPlainTextEdit()
        self.text.setToolTip(tooltips.RENAME_LIST)
        self.text.setMaximumHeight(150)
        self.file = QPushButton("Read a file ...")
        self.file.setToolTip(tooltips.RENAME_FILE)
        self.back = QPushButton("Names in the slide's file")
        self.back.setToolTip(tooltips.RENAME_OWN)
        self.back.setEnabled(self.own != self.names)
        self.table = QTableWidget(len(self.names), 3)
        self.table.setHorizontalHeaderLabels(["Now", "New name", "feeds the model as"])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        header = self.table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.problem = wrapped(QLabel())
        self.problem.setStyleSheet("border-left: 4px solid #d9534f; padding-left: 6px;")
        self.sentence = muted(QLabel())
        self.rename = QPushButton("Rename")
        self.rename.setToolTip(tooltips.RENAME_DO)
        self.rename.setDefault(True)
        self.cancel = QPushButton("Cancel")
        layout = QVBoxLayout(self)
        layout.addWidget(self.intro)
        layout.addWidget(self.text)
        layout.addLayout(beside(self.file, self.back))
        layout.addWidget(self.table, stretch=1)
        layout.addWidget(self.problem)
        layout.addWidget(self.sentence)
        layout.addLayout(beside(self.cancel, self.rename))
        self.resize(460, 560)
        self.text.textChanged.connect(self._sync)
        self.file.clicked.connect(self._on_file)
        self.back.clicked.connect(self._on_back)
        self.rename.clicked.connect(self._on_rename)
        self.cancel.clicked.connect(self.close)

    @property
    def plan(self) -> RenamePlan:
        """What *Rename* would do now."""
        return resolve_rename(self.names, self.text.toPlainText(), self.panel)

    def read(self, file: Path) -> None:
        """Take the names of a file."""
        try:
            self.text.setPlainText("\n".join(read_names(file)))
        except SettingsError as error:
            say(self.problem, str(error))

    def _sync(self) -> None:
        plan = self.plan
        for row, each in enumerate(plan.rows):
            for column, text in enumerate((each.old, each.new, each.feeds or "-")):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                font = item.font()
                font.setBold(column == 1 and each.changed)
                item.setFont(font)
                self.table.setItem(row, column, item)
        say(self.problem, plan.problem)
        say(self.sentence, plan.sentence)
        self.rename.setEnabled(plan.ready)

    def _on_file(self) -> None:
        start = "" if self.folder is None else str(self.folder)
        file, _ = QFileDialog.getOpenFileName(
            self, "Marker names", start, "Lists of names (*.csv *.tsv *.txt);;All files (*)"
        )
        if file:
            self.read(Path(file))

    def _on_back(self) -> None:
        self.text.setPlainText("\n".join(self.own))

    def _on_rename(self) -> None:
        plan = self.plan
        if plan.ready:
            self.renamed.emit(plan.names)
            self.close()


_INTRO = (
    "Paste the names in the order of the channels: one per line, or with commas or tabs between them, or read a "
    "markers.csv as of MCMICRO or CODEX."
)
