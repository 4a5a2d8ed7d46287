"""The files of a result follow the outlines that were changed, in a thread, in order; the journal has them first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

from napari_dama.errors import OutputError
from napari_dama.predict.amend import Amendment, amend

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from napari_dama.cells.journal import Journal
    from napari_dama.gui.annotate import Annotator

T = TypeVar("T")


class OutlineFiles(QObject):
    """Writes label image and table of the open result.

    Signals
    -------
    written(), failed(error)
        All that was asked for is on the disk; something is not.
    """

    written = QtSignal()
    failed = QtSignal(object)

    def __init__(self, annotator: Annotator, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._annotator = annotator
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="napari-dama-outlines")
        self.folder: Path | None = None
        self.waiting = 0
        annotator.outline_asked.connect(self._on_asked)

    def submit(self, do: Callable[..., T], *what: Any) -> Future[T]:
        """Have something else done with the result's files, after what was asked for before."""
        return self._pool.submit(do, *what)

    def _on_asked(self, record: dict[str, Any], back: bool) -> None:
        journal, folder = self._annotator.journal, self.folder
        if journal is None or folder is None:
            return
        self.waiting += 1
        change = Amendment(self._annotator.last_number, record, back)
        self._pool.submit(_write, folder, journal, change).add_done_callback(self._on_done)

    def _on_done(self, job: Future[None]) -> None:
        self.waiting -= 1
        if job.cancelled():
            return
        error = job.exception()
        try:
            if error is not None:
                self.failed.emit(error)
            elif not self.waiting:
                self.written.emit()
        except RuntimeError:  # the window is gone
            pass

    def close(self) -> None:
        """Write what is left, and let go."""
        self._annotator.outline_asked.disconnect(self._on_asked)
        self._pool.shutdown(wait=True)


def _write(folder: Path, journal: Journal, change: Amendment) -> None:
    if not journal.flush(30):
        raise OutputError(
            f"{journal.saved.why_not or 'the corrections are not saved'}; the outlines wait for that"
        )
    amend(folder, [change])
