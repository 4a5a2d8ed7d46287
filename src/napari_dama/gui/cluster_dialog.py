"""The dialog of a cluster's settings, with the script that would be sent, renewed as one types."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QTimer
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QSplitter,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_dama.errors import OutputError, SettingsError
from napari_dama.gui import tooltips
from napari_dama.gui.cluster_form import FIELDS, ClusterWishes, script_of
from napari_dama.gui.message import sentence_of
from napari_dama.gui.style import heading, muted, narrow, say
from napari_dama.gui.work import Work
from napari_dama.jobs.cluster import keep_as_defaults

if TYPE_CHECKING:
    from napari_dama.gui.cluster_form import ClusterField
    from napari_dama.jobs.cluster import ClusterSettings

PAUSE_MS: Final = 200
"""The script is made anew when one has stopped typing for so long."""
LINES_PX: Final = 62
_BOX: Final = "QPlainTextEdit { border: 1px solid rgba(128, 128, 128, 140); border-radius: 2px; }"


class ClusterDialog(QDialog):
    """Thin view of `ClusterWishes`.

    Parameters
    ----------
    settings
        What stands in the fields first.
    job
        The folder that the next run would get.
    note
        What to say above the fields; empty for nothing.
    """

    def __init__(
        self, settings: ClusterSettings, job: Path, note: str = "", *, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.job = job
        self.wishes = ClusterWishes.of(settings)
        self.settings: ClusterSettings | None = settings
        self.work: Work | None = None
        self._again = False
        self.edits: dict[str, QWidget] = {}
        self.setWindowTitle("SLURM cluster")
        self._build(note)
        self.timer = QTimer(self)
        self.timer.setSingleShot(True)
        self.timer.setInterval(PAUSE_MS)
        self.timer.timeout.connect(self.look)
        self.wishes.events.connect(self._on_changed)
        self.finished.connect(self._on_finished)
        self.look()

    def _build(self, note: str) -> None:
        self.note = muted(QLabel())
        say(self.note, note)
        self.place = muted(QLabel(f"Folder of the next job: {self.job}. {tooltips.CLUSTER_PLACE}"))
        basic, more = QFormLayout(), QFormLayout()
        for form in (basic, more):
            form.setContentsMargins(0, 0, 0, 0)
            form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
            form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for field in FIELDS:
            edit = self._edit(field)
            self.edits[field.key] = edit
            (more if field.more else basic).addRow(field.title, edit)
        rest = QWidget()
        rest.setLayout(more)
        self.fold = QCollapsible("More settings")
        self.fold.setDuration(0)
        self.fold.setFrameShape(QFrame.Shape.NoFrame)
        self.fold.setContent(rest)
        self.fold.collapse(animate=False)
        left = QWidget()
        column = QVBoxLayout(left)
        for each in (self.note, self.place):
            column.addWidget(each)
        column.addLayout(basic)
        column.addWidget(self.fold)
        column.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidget(left)
        area.setMinimumWidth(300)

        self.script = QPlainTextEdit()
        self.script.setReadOnly(True)
        self.script.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.script.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.script.setToolTip(tooltips.CLUSTER_SCRIPT)
        self.script.setMinimumWidth(200)
        self.script.setStyleSheet(_BOX)
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.save_button = narrow(QPushButton("Save script..."), tooltips.CLUSTER_SAVE)
        right = QWidget()
        other = QVBoxLayout(right)
        other.addWidget(heading("What SLURM gets"))
        other.addWidget(self.problem)
        other.addWidget(self.script, stretch=1)
        other.addWidget(self.save_button)

        split = QSplitter()
        split.addWidget(area)
        split.addWidget(right)
        split.setSizes([340, 460])
        split.setChildrenCollapsible(False)
        self.keep_box = QCheckBox("Keep as my defaults")
        self.keep_box.setToolTip(tooltips.CLUSTER_KEEP)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        layout = QVBoxLayout(self)
        layout.addWidget(split, stretch=1)
        layout.addWidget(self.keep_box)
        layout.addWidget(self.buttons)
        self.resize(860, 600)
        self.save_button.clicked.connect(self._on_save)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    def _edit(self, field: ClusterField) -> QWidget:
        """The widget of one field, with its text."""
        text = str(getattr(self.wishes, field.key))
        edit: QWidget
        if field.kind == "number":
            edit = QSpinBox()
            edit.setRange(field.low, field.high)
            edit.setValue(int(text))
            edit.valueChanged.connect(self._on_edited)
        elif field.kind == "choice":
            edit = QComboBox()
            edit.addItems(field.words)
            edit.setCurrentText(text)
            edit.currentTextChanged.connect(self._on_edited)
        elif field.kind == "lines":
            edit = QPlainTextEdit(text)
            edit.setPlaceholderText(field.empty)
            edit.setFixedHeight(LINES_PX)
            edit.setStyleSheet(_BOX)
            edit.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
            edit.textChanged.connect(self._on_edited)
        else:
            edit = QLineEdit(text)
            edit.setPlaceholderText(field.empty)
            edit.textChanged.connect(self._on_edited)
        return narrow(edit, field.tip)

    def _on_edited(self, *value: object) -> None:
        for key, edit in self.edits.items():
            setattr(self.wishes, key, _text_of(edit))

    def _on_changed(self, event: object = None) -> None:
        self.timer.start()

    def look(self) -> None:
        """Check the fields, and make the script in a thread; while one is being made no other begins."""
        try:
            self.settings = self.wishes.resolve()
        except SettingsError as error:
            self.settings = None
            self._show_problem(str(error))
            return
        if self.work is not None:
            self._again = True
            return
        settings, job = self.settings, self.job
        self.work = Work(lambda report, stop: script_of(settings, job), self)
        self.work.finished.connect(self._on_script)
        self.work.failed.connect(self._on_failed)
        self.work.start()

    def _on_script(self, text: str) -> None:
        self.work = None
        if self.settings is not None:
            self._show_problem("")
            self.script.setPlainText(text)
        if self._again:
            self._again = False
            self.look()

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self._show_problem(sentence_of(error))

    def _show_problem(self, text: str) -> None:
        say(self.problem, text)
        self.script.setEnabled(not text)
        self.save_button.setEnabled(not text)
        ok = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        if ok is not None:
            ok.setEnabled(self.settings is not None)

    def accept(self) -> None:
        """Close with the settings that stand in the fields, unless one does not fit."""
        self.timer.stop()
        try:
            self.settings = self.wishes.resolve()
            if self.keep_box.isChecked():
                keep_as_defaults(self.settings)
        except (SettingsError, OutputError) as error:
            self._show_problem(str(error))
            return
        super().accept()

    def _on_save(self) -> None:
        file, _ = QFileDialog.getSaveFileName(self, "Save the script", f"{self.job.name}.sh", "Script (*.sh)")
        if file:
            self.save(Path(file))

    def save(self, file: Path) -> None:
        """Write the script that is shown."""
        try:
            file.write_text(self.script.toPlainText() + "\n", encoding="utf-8", newline="\n")
        except OSError as error:
            self._show_problem(sentence_of(error))

    def _on_finished(self, result: int) -> None:
        self.timer.stop()
        self.wishes.events.disconnect(self._on_changed)
        if self.work is not None:
            self.work.let_go()
            self.work = None


def _text_of(edit: Any) -> str:
    if isinstance(edit, QSpinBox):
        return str(edit.value())
    if isinstance(edit, QComboBox):
        return edit.currentText()
    return edit.toPlainText() if isinstance(edit, QPlainTextEdit) else str(edit.text())
