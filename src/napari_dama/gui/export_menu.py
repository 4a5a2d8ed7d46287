"""*Export...*: a menu of formats, a file to choose, progress, and the way to what was written."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QAction, QDesktopServices, QGuiApplication  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog, QLabel, QMenu, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_dama.errors import DamaError, Interrupted
from napari_dama.export import FORMATS, Format, Watch
from napari_dama.gui import tooltips
from napari_dama.gui.export_plan import (
    VIEW,
    WHOLE,
    ExportPlan,
    default_file,
    file_filter,
    menu_text,
    menu_tip,
    offered,
    picture_options,
    size_text,
    with_ending,
    written_text,
)
from napari_dama.gui.style import beside, muted, narrow, say
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.result_layers import OpenResult


class ExportMenu(QWidget):
    """Hands the open result over to other programs, in a thread.

    Signals
    -------
    failed(error), exported(path)
        For the message area; a file or folder was written.
    """

    failed = QtSignal(object)
    exported = QtSignal(str)

    def __init__(self, viewer: napari.Viewer, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.result: OpenResult | None = None
        self.cells_layer: Any = None
        self.hidden: frozenset[str] = frozenset()
        self.work: Work | None = None
        self.written: Path | None = None
        self._note = ""
        self._build()
        self._sync()

    def pop_up(self) -> None:
        """Open the menu as if its button was pressed; without a result there is nothing to offer."""
        if self.button.isEnabled():
            self.menu.popup(self.button.mapToGlobal(self.button.rect().bottomLeft()))

    def _build(self) -> None:
        self.button = narrow(QPushButton("Export"), tooltips.EXPORT)
        self.menu = QMenu(self.button)
        self.menu.setToolTipsVisible(True)
        for group in offered():
            for kind in group:
                self._entry(menu_text(kind), menu_tip(kind), partial(self.ask, kind.name))
            if group[-1].name != "methods":
                self.menu.addSeparator()
        self._entry(
            "Picture of what the window shows...", tooltips.EXPORT_VIEW, partial(self.ask_picture, VIEW)
        )
        self._entry(
            "Picture of all that was analysed...", tooltips.EXPORT_WHOLE, partial(self.ask_picture, WHOLE)
        )
        self.button.setMenu(self.menu)
        self.copy = narrow(QPushButton("Copy methods paragraph"), tooltips.EXPORT_COPY)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.cancel = narrow(QPushButton("Cancel"), tooltips.EXPORT_CANCEL)
        self.note = muted(QLabel())
        self.folder = narrow(QPushButton("Open the folder"), tooltips.EXPORT_FOLDER)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(beside(self.button, self.copy))
        column.addLayout(beside(self.bar, self.cancel))
        column.addWidget(self.note)
        column.addWidget(self.folder)
        self.copy.clicked.connect(self.copy_methods)
        self.cancel.clicked.connect(self._on_cancel)
        self.folder.clicked.connect(self._on_folder)

    def _entry(self, text: str, tip: str, chosen: Any) -> None:
        action = QAction(text, self.menu)
        action.setToolTip(tip)
        self.menu.addAction(action)
        action.triggered.connect(chosen)

    def set_result(self, result: OpenResult | None, layer: Any, hidden: frozenset[str]) -> None:
        """Say which result is open, the layer that shows it, and which types the legend hides."""
        other = None if self.result is None else self.result.path
        if result is None or result.path != other:
            self._note, self.written = "", None
        self.result, self.cells_layer, self.hidden = result, layer, hidden
        self._sync()

    def ask(self, name: str, checked: bool = False) -> None:
        """Ask for a file, then write it."""
        if self.result is not None:
            self._ask(FORMATS[name], {})

    def ask_picture(self, what: str, checked: bool = False) -> None:
        """Ask for a file, then draw what the window shows, or all that was analysed."""
        if self.result is None:
            return
        result = self.result
        try:
            height, width = result.levels[0].shape
            options = picture_options(
                self.viewer.layers,
                result.slide,
                (int(height), int(width)),
                view=what == VIEW,
                cells=self.cells_layer,
                types=sorted(set(result.cells["type"])) if "type" in result.cells else (),
                hidden=self.hidden,
            )
        except DamaError as error:
            self.failed.emit(error)
            return
        self._ask(FORMATS["picture"], options)

    def _ask(self, kind: Format, options: dict[str, Any]) -> None:
        if self.result is None:
            return
        if not kind.available:  # at once, and not only after a name was chosen: say which library is missing
            self.start(ExportPlan(self.result.path, kind, default_file(self.result.path, kind), options))
            return
        offer = str(default_file(self.result.path, kind))
        text, _ = QFileDialog.getSaveFileName(self, f"Export: {kind.title}", offer, file_filter(kind))
        if text:
            file = with_ending(Path(text), kind)
            # the dialog asked before a file is replaced, but for the very name that it showed; folders it does not ask for
            asked = file == Path(text) and not kind.folder
            self.start(ExportPlan(self.result.path, kind, file, options, asked))

    def start(self, plan: ExportPlan) -> None:
        """Write in a thread."""
        if self.work is not None:
            return

        def task(progress: Report, stop: Stop) -> tuple[ExportPlan, str]:
            watch = Watch(lambda done, total: progress((done, total)), stop)
            plan.kind(plan.result, plan.file, overwrite=plan.overwrite, watch=watch, **plan.options)
            return plan, written_text(plan, size_text(plan.file), watch.notes)

        self._note, self.written = f"Writing {plan.file.name} ...", None
        self._run(task, self._on_written)

    def copy_methods(self) -> None:
        """Put the methods paragraph on the clipboard."""
        if self.result is None or self.work is not None:
            return
        folder = self.result.path

        def task(progress: Report, stop: Stop) -> str:
            from napari_dama.export import methods_text

            return methods_text(folder)

        self._note, self.written = "", None
        self._run(task, self._on_methods)

    def _run(self, task: Any, done: Any) -> None:
        self.work = Work(task, self)
        self.work.progressed.connect(self._on_progress)
        self.work.finished.connect(done)
        self.work.failed.connect(self._on_failed)
        self.bar.setValue(0)
        self._sync()
        self.work.start()

    def _on_progress(self, step: tuple[int, int]) -> None:
        self.bar.setValue(round(1000 * step[0] / max(step[1], 1)))

    def _on_written(self, found: tuple[ExportPlan, str]) -> None:
        plan, self._note = found
        self.work, self.written = None, plan.file
        self._sync()
        self.exported.emit(str(plan.file))

    def _on_methods(self, text: str) -> None:
        self.work = None
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(text)
        self._note = (
            "Copied: paste it into your manuscript, and read it once: it names what the model was trained on."
        )
        self._sync()

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self._note = str(error) if isinstance(error, Interrupted) else ""
        self._sync()
        if not isinstance(error, Interrupted):
            self.failed.emit(error)

    def _on_cancel(self) -> None:
        if self.work is not None:
            self.work.cancel()
            self.cancel.setEnabled(False)

    def _on_folder(self) -> None:
        if self.written is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.written.parent)))

    def _sync(self) -> None:
        busy = self.work is not None
        self.setVisible(self.result is not None)
        self.button.setEnabled(not busy)
        self.copy.setEnabled(not busy)
        self.bar.setVisible(busy)
        self.cancel.setVisible(busy)
        self.cancel.setEnabled(busy)
        say(self.note, self._note)
        self.folder.setVisible(self.written is not None)

    def close_down(self) -> None:
        """Stop writing; nothing is left half-written."""
        if self.work is not None:
            self.work.let_go()
