"""The colours that the cells have now: what the user chose, worked out for the open result, told to all who draw. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_dama.errors import SettingsError
from napari_dama.gui.cell_colours import INSTANCE, TYPE, CellColours, Choice, choices, colour_cells

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_dama.gui.cells_model import CellsModel
    from napari_dama.gui.state import ResultsState


class ShownColours:
    """Follows the cells and the wishes of the *Results* tab; worked out when somebody asks, once per change.

    Signals
    -------
    changed()
        Ask for `colours` again.
    patched(labels)
        Only cells (n,) int64 have another type now: ask again, at leisure.
    """

    changed = Signal()
    patched = Signal(object)

    def __init__(self, cells: CellsModel, state: ResultsState) -> None:
        self.cells = cells
        self.state = state
        self.problem = ""
        self._colours: CellColours | None = None
        self._events = (
            state.events.colour_by,
            state.events.colormap,
            state.events.low,
            state.events.high,
            state.events.hidden,
            state.events.hidden_values,
            cells.reset,
            cells.rows_changed,
            cells.classes_changed,
            cells.columns_changed,
        )
        for event in self._events:
            event.connect(self.refresh)
        self._typed = cells.typed
        cells.reset.connect(self._on_reset)
        cells.types_changed.connect(self._on_types)

    def refresh(self) -> None:
        """Forget what was worked out."""
        self._colours = None
        self.changed.emit()

    def _on_reset(self) -> None:
        self._typed = self.cells.typed

    def _on_types(self, labels: NDArray[np.int64]) -> None:
        self._colours = None
        first, self._typed = self.cells.typed and not self._typed, self.cells.typed
        if first and self.state.colour_by == INSTANCE:  # the first types, given by hand, are to be seen
            self.state.colour_by = TYPE
            return
        self.patched.emit(labels)

    @property
    def choices(self) -> list[Choice]:
        """What the cells can be coloured by."""
        return choices(self.cells) if self.cells.is_open else []

    @property
    def colours(self) -> CellColours:
        """The colours now; `problem` says why it is not what was asked for, where it is not."""
        if self._colours is None:
            self.problem = ""
            try:
                self._colours = self._of(self.state.colour_by)
            except SettingsError as error:
                self.problem = str(error)
                self._colours = self._of(TYPE if self.cells.typed else INSTANCE)
        return self._colours

    def _of(self, by: str) -> CellColours:
        state = self.state
        return colour_cells(
            self.cells,
            by,
            colormap=state.colormap,
            low=state.low,
            high=state.high,
            hidden=state.hidden,
            hidden_values=state.hidden_values,
        )

    def let_go(self) -> None:
        """Stop following."""
        for event in self._events:
            event.disconnect(self.refresh)
        self.cells.reset.disconnect(self._on_reset)
        self.cells.types_changed.disconnect(self._on_types)
