"""The open slide and the chosen model, resolved against the user's wishes; every tab looks here. No Qt, no torch."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_dama.errors import DamaError, ModelError, OutputError, SettingsError
from napari_dama.gui.annotate import Annotator
from napari_dama.gui.cells_model import CellsModel
from napari_dama.gui.column_keeper import ColumnKeeper
from napari_dama.gui.layers import LAYER_SLIDE, has_file
from napari_dama.gui.resolve import (
    ChannelPlan,
    PixelPlan,
    TypesPlan,
    resolve_channels,
    resolve_pixel,
    resolve_types,
)
from napari_dama.models.shelf import DEFAULT_MODEL, list_models, load_card
from napari_dama.slides.name_list import forget_names, save_names
from napari_dama.slides.panel import BRAIN7, Panel
from napari_dama.slides.slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_dama.gui.markers import Markers
    from napari_dama.gui.state import DamaState
    from napari_dama.models.card import Card
    from napari_dama.slides.slide import Slide

NO_FILE = (
    "This slide is made of layers in the window and has no file, so a job in a process of its own cannot open it. "
    "Press 'Save as OME-TIFF' in Channels, then go on with the file."
)


class Session:
    """Opens what the state names and keeps the plans that follow from it.

    Attributes
    ----------
    cells : CellsModel
        The cells of the open result; empty while none is open.
    annotator : Annotator
        The only one that corrects them.
    keeper : ColumnKeeper
        Columns of plots that were kept with them.
    slide, card, cards
        The open slide, the card of the chosen model, and those of all models on the shelf; None where there is none.
    markers : Markers or None
        How the open slide's markers are shown and matched; the *Channels* tab keeps it.
    arriving : bool
        Layers of a slide come one at a time, and it is not complete yet: who follows the window's layers waits.
    sources : dict
        How to open slides that are made of layers and have no file, by their name (``layer:NAME``): a function of marker
        names and pixel size, either of them None for the slide's own.

    Signals
    -------
    slide_changed, plan_changed
        Another slide or none is open; the map of channels, the pixel size or the model changed.
    failed(error)
        A slide or model could not be opened.
    layers_arrived
        A slide whose layers came one at a time is complete.
    """

    slide_changed = Signal()
    plan_changed = Signal()
    models_changed = Signal()
    failed = Signal(object)
    layers_arrived = Signal()

    def __init__(self, state: DamaState) -> None:
        self.state = state
        self.slide: Slide | None = None
        self.card: Card | None = None
        self.cards: list[Card] = []
        self.cells = CellsModel()
        self.annotator = Annotator(self.cells)
        self.keeper = ColumnKeeper(self.cells, self.annotator)
        self.markers: Markers | None = None
        self.sources: dict[str, Callable[[Sequence[str] | None, float | None], Slide]] = {}
        self.arriving = False
        self._names: dict[str, tuple[str, ...]] = {}
        self._wishes: dict[str, tuple[float | None, dict[str, str]]] = {}
        state.events.slide.connect(self._on_slide)
        state.events.model.connect(self._on_model)
        state.channels.events.chosen.connect(self._on_wish)
        state.channels.events.pixel_um.connect(self._on_wish)
        self.refresh_models()

    @property
    def path(self) -> Path:
        """Path of the open slide; of one without a file, where it would lie in the user's own folder."""
        if not has_file(self.state.slide):
            return Path.home() / "napari-dama" / (self.state.slide.removeprefix(LAYER_SLIDE) or "slide")
        return Path(self.state.slide)

    @property
    def file_problem(self) -> str:
        """Why a process of its own cannot work on the open slide, in a sentence; empty when it can."""
        return "" if self.slide is None or has_file(self.state.slide) else NO_FILE

    @property
    def plan(self) -> ChannelPlan | None:
        """How the slide's markers feed the model; None without slide or model."""
        if self.slide is None:
            return None
        return resolve_channels(self.slide.markers, self.panel, self.state.channels.chosen)

    @property
    def panel(self) -> Panel:
        """The model's panel; the usual one while no model is chosen."""
        return BRAIN7 if self.card is None else self.card.to_panel()

    @property
    def pixel(self) -> PixelPlan:
        """The pixel size that counts."""
        return resolve_pixel(
            None if self.slide is None else self.slide.pixel_um, self.state.channels.pixel_um
        )

    @property
    def types(self) -> TypesPlan:
        """Whether types can be told."""
        plan = self.plan
        return resolve_types(self.card, None if plan is None else plan.channels)

    @property
    def blocker(self) -> str:
        """What still stands in the way of an analysis, in a sentence; empty when nothing does."""
        plan = self.plan
        if self.slide is None or plan is None:
            return "Open a slide first: File > Open, or drop it on the window."
        if self.card is None:
            return "Choose a model first."
        if plan.problem:
            return plan.problem
        if self.pixel.pixel_um is None:
            return "Type the pixel size in Channels first: the file does not say how large a pixel is."
        return ""

    @property
    def colours(self) -> dict[str, str]:
        """Colours of the model's types."""
        if self.card is None:
            return {}
        return dict(zip(self.card.classes, self.card.class_colours, strict=False))

    def refresh_models(self) -> None:
        """Look at the shelf again; choose the default model when none is chosen."""
        self.cards = list_models()
        names = [card.name for card in self.cards]
        if not self.state.model and names:
            self.state.model = DEFAULT_MODEL if DEFAULT_MODEL in names else names[0]
        elif self.state.model and self.card is None:
            self._on_model()
        self.models_changed.emit()

    def close(self) -> None:
        """Close the slide and stop listening."""
        self.state.events.slide.disconnect(self._on_slide)
        self.state.events.model.disconnect(self._on_model)
        self.state.channels.events.chosen.disconnect(self._on_wish)
        self.state.channels.events.pixel_um.disconnect(self._on_wish)
        self._close_slide()

    def reopen(self) -> Slide:
        """Return the slide opened anew, for a thread of its own.

        Raises
        ------
        SettingsError
            When no slide is open.
        """
        if self.slide is None:
            raise SettingsError(self.blocker)
        return self._open(self.slide.markers, self.pixel.pixel_um)

    @contextmanager
    def layers_arriving(self) -> Iterator[None]:
        """Let those who follow the window's layers wait until all of a slide are there."""
        self.arriving = True
        try:
            yield
        finally:
            self.arriving = False
            self.layers_arrived.emit()

    def rename(self, names: Sequence[str]) -> str:
        """Give the open slide's markers other names, and write them into the names file beside it.

        Parameters
        ----------
        names : sequence of str
            One per channel, all different.

        Returns
        -------
        str
            What the user should know: where the names are kept, or why they count in this window only.

        Raises
        ------
        DamaError
            When no slide is open, or it cannot be opened with these names.
        """
        if self.slide is None:
            raise SettingsError(self.blocker)
        before = self.slide.markers
        slide = self._open(tuple(names), None)
        self._close_slide()
        self.slide = slide
        self._names[self.state.slide] = tuple(names)
        known = dict(zip(before, names, strict=True))
        with self.state.channels.events.blocked():
            chosen = self.state.channels.chosen
            self.state.channels.chosen = {model: known.get(mine, mine) for model, mine in chosen.items()}
        self._keep_wishes()
        note = "The names count in this window: the slide has no file to keep them beside."
        if has_file(self.state.slide):
            try:
                if tuple(names) == self.file_names():
                    forget_names(self.path)
                    note = "The names are those of the slide's own file again."
                else:
                    note = f"The names are kept in {save_names(self.path, names).name}, beside the slide."
            except OutputError as error:
                note = f"{error} They count in this window only: jobs and the command line see the old ones."
        self.slide_changed.emit()
        self.plan_changed.emit()
        return note

    def file_names(self) -> tuple[str, ...]:
        """Return the names that the slide's own file gives, whatever stands beside it; those of now where it has none."""
        if self.slide is None:
            return ()
        if not has_file(self.state.slide):
            return self.slide.markers
        with open_slide(self.path, names_file=False) as slide:
            return slide.markers

    def forget_others(self, slides: Sequence[str]) -> None:
        """Let go of slides without a file that are open no more."""
        self.sources = {name: source for name, source in self.sources.items() if name in slides}

    def wish_pixel(self, slide: str, pixel_um: float | None) -> None:
        """Remember a pixel size for a slide before it is opened; it counts where the slide says another, or none."""
        self._wishes[slide] = (pixel_um, {})

    def renamed_slide(self, before: str, after: str) -> None:
        """Carry names, choices and pixel size over to the file that a slide was saved as."""
        for memory in (self._names, self._wishes):
            if before in memory:
                memory[after] = memory[before]  # type: ignore[assignment]

    def open(self, slide: str) -> Slide:
        """Open any slide that is open in the window, anew and under the names that it has here.

        Raises
        ------
        SlideError
            When it cannot be opened.
        """
        source = self.sources.get(slide)
        names = self._names.get(slide)
        return open_slide(Path(slide), markers=names) if source is None else source(names, None)

    def _open(self, markers: Sequence[str] | None, pixel_um: float | None) -> Slide:
        source = self.sources.get(self.state.slide)
        if source is not None:
            return source(markers, pixel_um)
        return open_slide(self.path, markers=markers, pixel_um=pixel_um)

    def _keep_wishes(self) -> None:
        channels = self.state.channels
        self._wishes[self.state.slide] = (channels.pixel_um, dict(channels.chosen))

    def _close_slide(self) -> None:
        if self.slide is not None:
            self.slide.close()
        self.slide = None

    def _on_slide(self) -> None:
        self._close_slide()
        if self.state.slide:
            try:
                self.slide = self._open(self._names.get(self.state.slide), None)
            except (DamaError, OSError) as error:
                self.failed.emit(error)
        pixel_um, chosen = self._wishes.get(self.state.slide, (None, {}))
        with self.state.channels.events.blocked():
            self.state.channels.pixel_um = pixel_um
            self.state.channels.chosen = dict(chosen)
        self.slide_changed.emit()
        self.plan_changed.emit()

    def _on_model(self) -> None:
        self.card = None
        if self.state.model:
            try:
                self.card = load_card(self.state.model)
            except ModelError as error:
                self.failed.emit(error)
        self.plan_changed.emit()

    def _on_wish(self) -> None:
        self._keep_wishes()
        self.plan_changed.emit()
