"""The most informative cell, worked out in a thread of its own, one request after the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]

from napari_dama.errors import OutputError
from napari_dama.predict.informative import InformativeQueue

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.gui.annotate import Annotator


class NextCell(QObject):
    """Keeps a queue of the open result's cells in step with what is corrected.

    Signals
    -------
    found(object)
        A `Suggestion`, or None when every cell was looked at.
    failed(object)
        Why there is none.
    """

    found = QtSignal(object)
    failed = QtSignal(object)

    def __init__(self, annotator: Annotator, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._annotator = annotator
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="napari-dama-next")
        self._queue: InformativeQueue | None = None
        self.result: Path | None = None
        self.busy = False
        annotator.edited.connect(self._on_edited)
        annotator.cells.reset.connect(self.forget)
        annotator.cells.rows_changed.connect(self.forget)
        annotator.cells.classes_changed.connect(self._on_classes)

    def forget(self) -> None:
        """Make the queue anew when it is asked for next: other cells are there."""
        self._queue = None

    def _on_classes(self) -> None:
        if self._queue is not None and not {*self._queue.types.tolist(), "cell"} <= {
            *self._annotator.cells.classes,
            "cell",
        }:
            self.forget()  # a class was renamed

    def ask(self, skip: int = 0) -> None:
        """Ask for the next cell; ``skip`` is one that the user passed over. `found` follows."""
        cells = self._annotator.cells
        if self.busy or not cells.is_open:
            return
        self.busy = True
        if self._queue is None:
            job = self._pool.submit(
                _prepare, cells.table, cells.types.copy(), self._annotator.reviewed, self.result
            )
            job.add_done_callback(self._on_prepared)
            return
        self._pool.submit(_ask, self._queue, skip).add_done_callback(self._on_asked)

    def _on_prepared(self, job: Future[InformativeQueue]) -> None:
        if job.cancelled():
            return
        if job.exception() is not None:
            self._tell(job)
            return
        self._queue = job.result()
        self._tell_next()

    def _tell_next(self) -> None:
        if self._queue is not None:
            self._pool.submit(_ask, self._queue, 0).add_done_callback(self._on_asked)

    def _on_asked(self, job: Future[Any]) -> None:
        if not job.cancelled():
            self._tell(job)

    def _tell(self, job: Future[Any]) -> None:
        """Hand an answer to Qt's thread; the window may be gone."""
        self.busy = False
        error = job.exception()
        try:
            if error is None:
                self.found.emit(job.result())
            else:
                self.failed.emit(error)
        except RuntimeError:
            pass

    def _on_edited(self, labels: NDArray[np.int64]) -> None:
        if self._queue is None:
            return
        cells = self._annotator.cells
        told = {int(label): cells.type_of(int(label)) for label in labels}
        done = {label: kind for label, kind in told.items() if self._annotator.is_reviewed(label)}
        again = {label: kind for label, kind in told.items() if label not in done}
        self._pool.submit(_note, self._queue, done, again)

    def close(self) -> None:
        """Let go; what runs ends by itself."""
        self._annotator.edited.disconnect(self._on_edited)
        self._annotator.cells.reset.disconnect(self.forget)
        self._annotator.cells.rows_changed.disconnect(self.forget)
        self._annotator.cells.classes_changed.disconnect(self._on_classes)
        self._pool.shutdown(wait=False, cancel_futures=True)


def _prepare(
    cells: pd.DataFrame, types: NDArray[Any], reviewed: NDArray[np.int64], result: Path | None
) -> InformativeQueue:
    return InformativeQueue(cells, types, vectors=vectors_of(cells, result), reviewed=reviewed)


def vectors_of(cells: pd.DataFrame, result: Path | None) -> NDArray[np.float32] | None:
    """Return what the network makes of each cell (n, D), in the table's order, NaN where unknown; None without any."""
    from napari_dama.predict.embeddings import has_embeddings, read_embeddings

    if result is None or not has_embeddings(result):
        return None
    try:
        known = read_embeddings(result)
    except OutputError:
        return None
    labels = cells["label"].to_numpy(np.int64)
    order = np.argsort(known.labels)
    place = np.minimum(np.searchsorted(known.labels[order], labels), max(len(order) - 1, 0))
    if not len(order):
        return None
    out: NDArray[np.float32] = known.vectors[order[place]].copy()
    out[known.labels[order[place]] != labels] = np.nan
    return out


def _ask(queue: InformativeQueue, skip: int) -> Any:
    if skip:
        queue.skip(skip)
    return queue.next()


def _note(queue: InformativeQueue, done: dict[int, str], again: dict[int, str]) -> None:
    queue.answer_all(done)
    for label, kind in again.items():
        queue.reopen(label, kind)
