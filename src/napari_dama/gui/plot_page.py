"""Base of the pages of *DAMA plots*: worked out when seen, anew when the cells change, slow things in a thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_dama.errors import DamaError, Interrupted
from napari_dama.gui import tooltips
from napari_dama.gui.layers import layers_of
from napari_dama.gui.place import camera_of, view_region
from napari_dama.gui.plots_state import PlotsState
from napari_dama.gui.style import muted, narrow, say
from napari_dama.gui.work import Task, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import napari
    import pandas as pd
    from numpy.typing import NDArray
    from qtpy.QtGui import QShowEvent

    from napari_dama.gui.cells_model import CellsModel
    from napari_dama.gui.painted import PaintedPlot
    from napari_dama.gui.session import Session
    from napari_dama.gui.shown_colours import ShownColours

WAIT_MS = 250
"""How long a page waits for more changes before it works anew: keys that correct cells come quickly."""


@dataclass(frozen=True)
class Bench:
    """What all the pages look at."""

    viewer: napari.Viewer
    session: Session
    shown: ShownColours
    state: PlotsState = field(default_factory=PlotsState)

    @property
    def cells(self) -> CellsModel:
        """The cells of the open result."""
        return self.session.cells

    def select(self, labels: NDArray[np.int64], *, add: bool = False) -> None:
        """Select cells, and bring the slide there when none of them is in view."""
        cells = self.cells
        wanted = np.unique(np.concatenate([cells.selected, labels])) if add else np.asarray(labels)
        cells.select(wanted)
        found = layers_of(self.viewer.layers, "cells")
        if not len(labels) or not found:
            return
        places = cells.table.iloc[cells.rows_of(labels)][["y", "x"]].to_numpy(np.float64)
        shape = (found[-1].data[0] if found[-1].multiscale else found[-1].data).shape
        try:
            seen = view_region(found[-1:], (shape[-2], shape[-1]))
            inside = (places >= [seen.y0, seen.x0]).all(axis=1) & (places < [seen.y1, seen.x1]).all(axis=1)
        except DamaError:
            inside = np.zeros(len(places), bool)
        if not inside.any():
            nearest = places[np.hypot(*(places - np.median(places, axis=0)).T).argmin()]
            y, x = found[-1].data_to_world((0,) * (found[-1].ndim - 2) + tuple(nearest))[-2:]
            camera_of(self.viewer).center = (*camera_of(self.viewer).center[:-2], y, x)


class PlotPage(QWidget):
    """One plot with what belongs to it.

    Signals
    -------
    failed(error)
        For the window's message area.
    """

    failed = QtSignal(object)
    title = ""
    tip = ""
    needs_types = True
    plot: PaintedPlot

    def __init__(self, bench: Bench, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bench = bench
        self.cells = bench.cells
        self.state = bench.state
        self.work: Work | None = None
        self._stale = True
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._on_time)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(2, 4, 2, 2)
        self.column.setSpacing(4)
        self.busy = QWidget()
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip(tooltips.PLOT_CANCEL)
        row = QHBoxLayout(self.busy)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, stretch=1)
        row.addWidget(self.cancel)
        self.busy.hide()
        self.note = muted(QLabel())
        self.cancel.clicked.connect(self._on_cancel)

    # -- for subclasses --------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Work out the plot from the cells as they are."""
        raise NotImplementedError

    def numbers(self) -> pd.DataFrame:
        """Return what is shown as a table."""
        raise NotImplementedError

    def clear(self) -> None:
        """Show nothing."""
        raise NotImplementedError

    def blocker(self) -> str:
        """Say why there is nothing to show; empty when there is."""
        if not self.cells.is_open:
            return "Open a result first: the Results tab of DAMA, or analyse a slide."
        if not len(self.cells.table):
            return "This result has no cells."
        if self.needs_types and not self.cells.typed:
            return "The cells of this result have no types yet, and this plot is about types: give some in the tab Annotate."
        return ""

    # -- freshness -------------------------------------------------------------------------------------------

    def mark_stale(self) -> None:
        """The cells or a wish changed: work anew, now when seen, else when it is looked at."""
        self._stale = True
        if self.isVisible():
            self._timer.start(WAIT_MS)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Work when looked at."""
        super().showEvent(event)
        if self._stale:
            self._timer.start(0)

    def freshen(self) -> None:
        """Work now, whether seen or not."""
        self._timer.stop()
        self._stale = False
        self._drop_work()
        why = self.blocker()
        if why:
            self.say_instead(why)
            return
        self.plot.say_instead("")
        try:
            self.refresh()
        except DamaError as error:
            self.say_instead(str(error))

    def say_instead(self, text: str) -> None:
        """Show no plot, and in its place why."""
        self.clear()
        say(self.note, "")
        self.plot.say_instead(text)

    def _on_time(self) -> None:
        self.freshen()

    # -- work in a thread ------------------------------------------------------------------------------------

    def start(self, task: Task, done: Callable[[Any], None], what: str) -> None:
        """Run a task in a thread in place of the one before; it reports (done, of how many)."""
        self._drop_work()
        self.bar.setRange(0, 0)
        self.bar.setFormat(f"{what} %p%")
        self.bar.setToolTip(what)
        self._done = done
        self.work = Work(task, self)
        self.work.progressed.connect(self._on_progress)
        self.work.finished.connect(self._on_done)
        self.work.failed.connect(self._on_failed)
        self.busy.show()
        self.work.start()

    def _drop_work(self) -> None:
        if self.work is not None:
            self.work.let_go()
        self.work = None
        self.busy.hide()

    def _on_progress(self, progress: tuple[int, int]) -> None:
        self.bar.setRange(0, progress[1])
        self.bar.setValue(progress[0])

    def _on_done(self, result: Any) -> None:
        self.work = None
        self.busy.hide()
        self._done(result)

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self.busy.hide()
        if isinstance(error, DamaError):
            self.say_instead(f"{str(error)[:1].upper()}{str(error)[1:]}")
            self._stale = isinstance(error, Interrupted)  # it is worked out when looked at again
        else:
            self.clear()
            self.failed.emit(error)

    def _on_cancel(self) -> None:
        if self.work is not None:
            self.work.cancel()

    # -- helpers ---------------------------------------------------------------------------------------------

    def choice(self, name: str, entries: Sequence[tuple[str, str]], tip: str) -> QComboBox:
        """Return a list of (key, title) that sets a field of the state and works anew."""
        box = narrow(QComboBox(), tip)
        for key, title in entries:
            box.addItem(title, key)

        def chosen(index: int) -> None:
            setattr(self.state, name, box.itemData(index))

        def sync() -> None:
            box.setCurrentIndex(max(box.findData(getattr(self.state, name)), 0))
            self.mark_stale()

        sync()
        box.activated.connect(chosen)
        getattr(self.state.events, name).connect(sync)
        return box

    @property
    def order(self) -> list[str]:
        """The classes in their order."""
        return list(self.cells.classes)

    def colours(self) -> dict[str, str]:
        """Colours of the types, by the names that plots write."""
        return self.cells.classes

    def close_down(self) -> None:
        """Stop work."""
        self._timer.stop()
        self._drop_work()
