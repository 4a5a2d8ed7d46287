"""What a list of names would do to a slide's markers: old and new side by side, and what the model makes of it. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_dama.errors import PanelError, SettingsError
from napari_dama.slides.axes import tidy_markers
from napari_dama.slides.name_list import parse_names
from napari_dama.slides.panel import Panel, match

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class RenameRow:
    """One channel: its name now, its name then, and the model's marker that the new name feeds (empty for none)."""

    old: str
    new: str
    feeds: str

    @property
    def changed(self) -> bool:
        """Whether the name becomes another."""
        return self.old != self.new


@dataclass(frozen=True, slots=True)
class RenamePlan:
    """What a list of names would do.

    Attributes
    ----------
    rows : tuple of RenameRow
        One per channel, in order.
    problem : str
        Why it cannot be done as it stands, empty when it can.
    sentence : str
        What would come of it.
    """

    rows: tuple[RenameRow, ...]
    problem: str
    sentence: str

    @property
    def names(self) -> tuple[str, ...]:
        """The new names."""
        return tuple(row.new for row in self.rows)

    @property
    def ready(self) -> bool:
        """Whether there is something to do and nothing against it."""
        return not self.problem and any(row.changed for row in self.rows)


def resolve_rename(old: Sequence[str], text: str, panel: Panel) -> RenamePlan:
    """Resolve a pasted list against a slide's markers and a model's panel."""
    try:
        given = parse_names(text)
    except SettingsError as error:
        return RenamePlan(_rows(old, old, panel), f"{str(error)[0].upper()}{str(error)[1:]}", "")
    problem = ""
    if len(given) != len(old):
        problem = (
            f"The list has {len(given)} name{'' if len(given) == 1 else 's'}, the slide has {len(old)} channel"
            f"{'' if len(old) == 1 else 's'}: one name for each is needed, in the order of the channels."
        )
    padded = (*given[: len(old)], *old[len(given) :])
    notes: list[str] = []
    names = tidy_markers([], len(old), what="the slide", given=padded, notes=notes)
    rows = _rows(old, names, panel)
    changed = sum(row.changed for row in rows)
    fed = sum(bool(row.feeds) for row in rows)
    parts = [
        f"{changed} of {len(rows)} names change." if changed else "No name changes.",
        f"{fed} of the model's {len(panel)} markers are found by name.",
        *(note for note in notes if "occur more than once" in note),
    ]
    return RenamePlan(rows, problem, " ".join(parts))


def _rows(old: Sequence[str], new: Sequence[str], panel: Panel) -> tuple[RenameRow, ...]:
    try:
        found = match(new, panel)
        feeds = {entry.slide_index: entry.marker for entry in found.matches if entry.slide_index is not None}
    except PanelError:  # no nuclear marker among them
        feeds = {}
        bare = Panel(panel.name, tuple(marker for marker in panel.markers if not marker.nuclear))
        if bare.markers:
            entries = match(new, bare).matches
            feeds = {entry.slide_index: entry.marker for entry in entries if entry.slide_index is not None}
    return tuple(RenameRow(a, b, feeds.get(i, "")) for i, (a, b) in enumerate(zip(old, new, strict=True)))
