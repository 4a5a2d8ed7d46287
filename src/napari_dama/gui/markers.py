"""One slide's markers as an evented model: how each is shown, and which of the model's channels it feeds. No Qt, no napari.

The model is the one truth: napari's layers (`napari_dama.gui.marker_layers`) and the table of the *Channels* tab follow
it and write into it, so that a change in one place is seen in the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from psygnal import EventedModel, Signal
from pydantic import AfterValidator, ConfigDict, Field

from napari_dama.errors import SettingsError
from napari_dama.slides.axes import tidy_markers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_dama.gui.resolve import ChannelPlan

How = Literal["exact", "alias", "chosen", "absent"]


def _rising(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError(
            f"contrast from {limits[0]:g} to {limits[1]:g}: the bright end must lie above the dark end"
        )
    return limits


class Marker(EventedModel):
    """One marker of a slide.

    Attributes
    ----------
    index : int
        Its channel in the slide, from 0.
    name : str
        Its name.
    visible : bool
        Whether it is shown.
    colour : str
        ``#rrggbb`` of its brightest pixels.
    contrast : (float, float)
        Darkest and brightest value shown, in the slide's own units.
    gamma : float
        Exponent of the brightness, 1 for none.
    low, high : float or None
        Dark and bright end by which the model scales it (`napari_dama.slides.intensity`), None while not measured.
    feeds : str
        The model's marker that it serves, empty for none.
    how : str
        How that came about: its own name, another name for it, the user's choice, or ``absent`` when it serves none.
    has_layer : bool
        False once its layer was removed from the window; it is analysed and measured all the same.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    index: int = Field(ge=0)
    name: str = Field(min_length=1)
    visible: bool = True
    colour: str = Field(default="#ffffff", pattern=r"^#[0-9a-f]{6}$")
    contrast: Annotated[tuple[float, float], AfterValidator(_rising)] = (0.0, 1.0)
    gamma: float = Field(default=1.0, gt=0.0, le=10.0)
    low: float | None = None
    high: float | None = None
    feeds: str = ""
    how: How = "absent"
    has_layer: bool = True


class Markers:
    """The markers of one slide.

    Parameters
    ----------
    slide : str
        Path of the slide as text, or the name of a slide that is made of layers.
    markers : sequence of Marker
        In the order of the slide's channels.
    one_at_a_time : bool
        Whether the slide is one layer with an axis of channels, of which one is seen at a time.

    Signals
    -------
    current_changed, solo_changed, order_changed
        Another marker is at hand; one marker alone is shown, or no more; layers were moved in the list.
    names_changed
        Markers have other names.
    """

    current_changed = Signal()
    solo_changed = Signal()
    order_changed = Signal()
    names_changed = Signal()

    def __init__(self, slide: str, markers: Sequence[Marker], *, one_at_a_time: bool = False) -> None:
        if not markers:
            raise SettingsError(f"The slide {slide} has no markers.")
        self.slide = slide
        self.all = tuple(markers)
        self.one_at_a_time = one_at_a_time
        self._current = next((i for i, marker in enumerate(self.all) if marker.visible), 0)
        self._kept: tuple[bool, ...] | None = None
        self._order = tuple(range(len(self.all)))
        self._before: list[tuple[str, ...]] = []

    def __len__(self) -> int:
        return len(self.all)

    def __getitem__(self, index: int) -> Marker:
        return self.all[index]

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the slide's channels."""
        return tuple(marker.name for marker in self.all)

    @property
    def order(self) -> tuple[int, ...]:
        """Channels in the order in which they are listed and stepped through: that of napari's layers."""
        return self._order

    @order.setter
    def order(self, order: Iterable[int]) -> None:
        known = [index for index in order if 0 <= index < len(self)]
        full = (*known, *(index for index in range(len(self)) if index not in known))
        if full != self._order:
            self._order = full
            self.order_changed.emit()

    @property
    def current(self) -> int:
        """Channel of the marker at hand: the one that the histogram and the keys are about."""
        return self._current

    @current.setter
    def current(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise SettingsError(f"The slide has markers 0 to {len(self) - 1}; there is no marker {index}.")
        if index != self._current:
            seen = any(marker.visible for marker in self.all)
            self._current = index
            self.current_changed.emit()
            if self.one_at_a_time:
                self._show([index] if seen else [])
            elif self._kept is not None:
                self._show([index])

    @property
    def solo(self) -> bool:
        """Whether one marker alone is shown, to be followed by what was shown before."""
        return self._kept is not None

    def toggle_solo(self, index: int | None = None) -> None:
        """Show one marker alone; again: go back to what was shown.

        Parameters
        ----------
        index
            The marker, the one at hand by default. Another one than the one shown takes its place.
        """
        wanted = self._current if index is None else index
        if self.one_at_a_time:
            self.current = wanted
            self._show([wanted])
            return
        if self._kept is not None and wanted == self._current:
            kept, self._kept = self._kept, None
            self._show([i for i, shown in enumerate(kept) if shown])
        else:
            if self._kept is None:
                self._kept = tuple(marker.visible for marker in self.all)
            self.current = wanted
            self._show([wanted])
        self.solo_changed.emit()

    def step(self, by: int) -> None:
        """Show the next (`by` 1) or the previous (-1) marker alone, in the order of the list and around its end."""
        place = self._order.index(self._current)
        wanted = self._order[(place + by) % len(self._order)]
        if self.one_at_a_time:
            self.current = wanted
            self._show([wanted])
        elif self._kept is None:
            self.toggle_solo(wanted)
        else:
            self.current = wanted

    def show(self, indices: Iterable[int]) -> None:
        """Show these markers and hide the others; ends *solo*."""
        self._kept = None
        self._show(indices)
        self.solo_changed.emit()

    def _show(self, indices: Iterable[int]) -> None:
        wanted = set(indices)
        for marker in self.all:  # hide first: a layer with a channel axis shows one at a time
            if marker.index not in wanted:
                marker.visible = False
        for marker in self.all:
            if marker.index in wanted:
                marker.visible = True

    def follow_plan(self, plan: ChannelPlan) -> None:
        """Take over which model channel each marker feeds, and how that came about."""
        how = {} if plan.channels is None else {m.slide_index: m.how for m in plan.channels.matches}
        for row in plan.rows:
            if row.index < len(self):
                marker = self.all[row.index]
                marker.feeds = row.feeds or ""
                fallback: How = "chosen" if row.feeds else "absent"
                marker.how = how.get(row.index, fallback)

    def rename(self, names: Sequence[str]) -> tuple[str, ...]:
        """Give all markers other names; `undo_rename` takes it back.

        Returns
        -------
        tuple of str
            The names as they are now: empty ones are numbered, and doubled ones made different.

        Raises
        ------
        SlideError
            If there are not as many names as markers.
        """
        tidy = tidy_markers([], len(self), what="the slide", given=names, notes=[])
        if tidy != self.names:
            self._before.append(self.names)
            self._name(tidy)
        return tidy

    @property
    def can_undo_rename(self) -> bool:
        """Whether names were changed in this window."""
        return bool(self._before)

    def undo_rename(self) -> tuple[str, ...]:
        """Go back to the names before the last `rename`, and return them."""
        if self._before:
            self._name(self._before.pop())
        return self.names

    def _name(self, names: Sequence[str]) -> None:
        for marker, name in zip(self.all, names, strict=True):
            marker.name = name
        self.names_changed.emit()
