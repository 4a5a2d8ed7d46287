"""What an export tells while it runs, and how it is stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_dama.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Watch:
    """Progress, notes and a way to stop, handed to every exporter.

    Attributes
    ----------
    progress
        Called with (done, total) of steps of about the same length.
    stop
        Asked between steps; True ends the export, and nothing is left behind.
    notes
        Sentences that the user should read: what was left out, at which size a picture was drawn.
    """

    progress: Callable[[int, int], None] | None = None
    stop: Callable[[], bool] | None = None
    notes: list[str] = field(default_factory=list)

    def step(self, done: int, total: int) -> None:
        """Report progress, and end here when the user asked for it.

        Raises
        ------
        Interrupted
            The user stopped the export.
        """
        if self.stop is not None and self.stop():
            raise Interrupted("The export was stopped; nothing was written.")
        if self.progress is not None:
            self.progress(done, total)

    def note(self, sentence: str) -> None:
        """Add a sentence for the user."""
        self.notes.append(sentence)
