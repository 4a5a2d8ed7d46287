"""Columns that plots made and the user kept: in the table, saved with the result, watched whether they hold. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_dama.cells.kept import CellsState, Kept, judged, merged, outlines_mark, types_mark
from napari_dama.predict.saved_table import KeptColumns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import ArrayLike

    from napari_dama.cells.kept import Need
    from napari_dama.gui.annotate import Annotator
    from napari_dama.gui.cells_model import CellsModel


class ColumnKeeper:
    """What is kept with the open result.

    Attributes
    ----------
    kept : tuple of Kept
        The columns with what they rest on.

    Signals
    -------
    changed()
        Columns were kept, or another result is open.
    made()
        Columns were kept now, and are to be saved.
    """

    changed = Signal()
    made = Signal()

    def __init__(self, cells: CellsModel, annotator: Annotator) -> None:
        self.cells = cells
        self.annotator = annotator
        self.kept: tuple[Kept, ...] = ()
        cells.reset.connect(self._on_reset)

    def _on_reset(self) -> None:
        self.kept = ()

    def open(self, kept: Iterable[Kept]) -> None:
        """Take over what an opened result has."""
        self.kept = tuple(kept)
        self.changed.emit()

    @property
    def state(self) -> CellsState:
        """Marks of the outlines and types that count now."""
        return CellsState(
            outlines_mark(self.annotator.outline_edits), types_mark(self.cells.labels, self.cells.types)
        )

    def keep(
        self,
        columns: Mapping[str, ArrayLike],
        made_of: str,
        needs: tuple[Need, ...],
        state: CellsState | None = None,
    ) -> None:
        """Add columns (each (n,) in the table's order) to the cells, or replace those of these names, and save them.

        Parameters
        ----------
        columns
            By their names.
        made_of
            What they are, in words.
        needs
            What they rest on.
        state
            The cells that they were made from; None: those of now.

        Raises
        ------
        SettingsError
            A column has another length than the table.
        """
        was = state or self.state
        self.cells.set_columns(columns)
        self.kept = merged(self.kept, Kept(tuple(columns), made_of, needs, was.outlines, was.types))
        self.made.emit()
        self.changed.emit()

    def to_save(self) -> KeptColumns | None:
        """Return a copy of the columns for the result's table; None where nothing is kept."""
        names = [name for one in self.kept for name in one.names if name in self.cells.table]
        return KeptColumns(self.cells.table[["label", *names]].copy(), self.kept) if names else None

    @property
    def outdated(self) -> tuple[Kept, ...]:
        """Columns that do not fit the cells any more; none before the corrections of earlier sessions were read."""
        if not self.kept or not self.annotator.is_open:
            return ()
        return tuple(one for one in judged(self.kept, self.state) if one.outdated)

    @property
    def sentence(self) -> str:
        """What the user should know of outdated columns; empty where all hold."""
        parts = []
        for one in self.outdated:
            more = "" if len(one.names) == 1 else f" and {len(one.names) - 1} more"
            parts.append(f"{one.names[0]}{more} ({one.made_of})")
        if not parts:
            return ""
        return (
            f"Outdated, since cells were corrected after: {'; '.join(parts)}. In files these columns end in _outdated; "
            "keep them anew under Plots."
        )
