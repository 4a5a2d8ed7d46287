"""``cells.csv`` of the open result follows what is corrected and kept, by itself, in the thread that writes its files."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QObject, QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

from napari_dama.errors import OutputError
from napari_dama.predict.saved_table import SavedTable, save_table

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from napari_dama.cells.journal import Journal
    from napari_dama.gui.annotate import Annotator
    from napari_dama.gui.column_keeper import ColumnKeeper
    from napari_dama.gui.outline_files import OutlineFiles
    from napari_dama.predict.saved_table import KeptColumns

WAIT_MS: Final = 1500
"""A table is written so long after the last correction: keys that correct cells come quickly."""
RETRY_MS: Final = 15_000
"""Until a table that could not be written is tried again: it may be open in Excel."""


class TableFiles(QObject):
    """Writes the table of the open result, and says how things stand.

    Attributes
    ----------
    saved : SavedTable or None
        What the table had when it was written last in this session.
    why_not : str
        Why the table is behind, in a sentence; empty where it is not.

    Signals
    -------
    changed()
        `saved`, `why_not` or `waiting` changed.
    """

    changed = QtSignal()
    _done = QtSignal(object, object)

    def __init__(
        self, annotator: Annotator, keeper: ColumnKeeper, files: OutlineFiles, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._annotator, self._keeper, self._files = annotator, keeper, files
        self._number = -1
        self._pending = False
        self._running = 0
        self.saved: SavedTable | None = None
        self.why_not = ""
        self.folder: Path | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.now)
        self._done.connect(self._on_done)
        annotator.changed.connect(self._on_edit)
        keeper.made.connect(self._on_kept)

    @property
    def waiting(self) -> bool:
        """Whether something is not in the table yet."""
        return self._pending or self._running > 0

    def follow(self, folder: Path | None) -> None:
        """Write what is left of the result before, and follow another; None for none."""
        self.now()
        self.folder, self.saved, self.why_not, self._number = folder, None, "", -1
        self.changed.emit()

    def _on_edit(self) -> None:
        if self._annotator.journal is not None and self._annotator.last_number != self._number:
            self._number = self._annotator.last_number
            self._pending = True
            self._timer.start(WAIT_MS)
            self.changed.emit()

    def _on_kept(self) -> None:
        """Kept columns stand nowhere else: they are written at once."""
        self._pending = True
        self.now()

    def now(self) -> None:
        """Write at once what waits."""
        self._timer.stop()
        if not self._pending or self.folder is None:
            return
        self._pending = False
        self._running += 1
        # with the columns: of cells that were redrawn and put back, the window has the values and the table may not
        columns = self._keeper.to_save()
        job = self._files.submit(_write, self.folder, self._annotator.journal, columns)
        job.add_done_callback(partial(self._report, self.folder))
        self.changed.emit()

    def _report(self, folder: Path, job: Future[SavedTable]) -> None:
        with suppress(RuntimeError):  # the window is gone
            self._done.emit(folder, job)

    def _on_done(self, folder: Path, job: Future[SavedTable]) -> None:
        self._running -= 1
        if folder == self.folder and not job.cancelled():
            error = job.exception()
            if error is None:
                self.saved, self.why_not = job.result(), ""
            else:
                self.why_not = str(error)
                self._pending = True
                self._timer.start(RETRY_MS)
        self.changed.emit()

    def close(self) -> None:
        """Have what is left written, and stop listening."""
        self.now()
        self._annotator.changed.disconnect(self._on_edit)
        self._keeper.made.disconnect(self._on_kept)


def table_text(files: TableFiles) -> str:
    """Return in a sentence how the table stands; empty where nothing was corrected in this session."""
    if files.why_not:
        return (
            f"cells.csv is behind: {files.why_not.rstrip('.')}. It is tried again; close it in other programs. Your "
            "corrections are safe."
        )
    if files.waiting:
        return "cells.csv follows in a moment."
    saved = files.saved
    if saved is None or saved.why_not:  # an analysis that is not complete: once it is, and is opened
        return "" if saved is None else saved.why_not
    if not (saved.changed or saved.confirmed):
        return "cells.csv is up to date."
    return f"In cells.csv, as type_corrected: {saved.changed} changed, {saved.confirmed} confirmed."


def _write(folder: Path, journal: Journal | None, columns: KeptColumns | None) -> SavedTable:
    if journal is not None and not journal.flush(30):
        why = journal.saved.why_not or "the corrections are not saved"
        raise OutputError(f"{why}; the table waits for that")
    return save_table(folder, columns)
