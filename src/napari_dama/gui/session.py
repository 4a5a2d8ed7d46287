"""The open slide and the chosen model, resolved against the user's wishes; every tab looks here. No Qt, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_dama.errors import DamaError, ModelError, SettingsError
from napari_dama.gui.annotate import Annotator
from napari_dama.gui.cells_model import CellsModel
from napari_dama.gui.resolve import (
    ChannelPlan,
    PixelPlan,
    TypesPlan,
    resolve_channels,
    resolve_pixel,
    resolve_types,
)
from napari_dama.models.shelf import DEFAULT_MODEL, list_models, load_card
from napari_dama.slides.panel import BRAIN7, Panel
from napari_dama.slides.slide import open_slide

if TYPE_CHECKING:
    from napari_dama.gui.state import DamaState
    from napari_dama.models.card import Card
    from napari_dama.slides.slide import Slide


class Session:
    """Opens what the state names and keeps the plans that follow from it.

    Attributes
    ----------
    cells : CellsModel
        The cells of the open result; empty while none is open.
    annotator : Annotator
        The only one that corrects them.

    Signals
    -------
    slide_changed, plan_changed
        Another slide or none is open; the map of channels, the pixel size or the model changed.
    failed(error)
        A slide or model could not be opened.
    """

    slide_changed = Signal()
    plan_changed = Signal()
    models_changed = Signal()
    failed = Signal(object)

    def __init__(self, state: DamaState) -> None:
        self.state = state
        self.slide: Slide | None = None
        self.card: Card | None = None
        self.cards: list[Card] = []
        self.cells = CellsModel()
        self.annotator = Annotator(self.cells)
        state.events.slide.connect(self._on_slide)
        state.events.model.connect(self._on_model)
        state.channels.events.chosen.connect(self._on_wish)
        state.channels.events.pixel_um.connect(self._on_wish)
        self.refresh_models()

    @property
    def path(self) -> Path:
        """Path of the open slide."""
        return Path(self.state.slide)

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
        return open_slide(self.path, markers=self.slide.markers, pixel_um=self.pixel.pixel_um)

    def _close_slide(self) -> None:
        if self.slide is not None:
            self.slide.close()
        self.slide = None

    def _on_slide(self) -> None:
        self._close_slide()
        if self.state.slide:
            try:
                self.slide = open_slide(self.path)
            except (DamaError, OSError) as error:
                self.failed.emit(error)
        with self.state.channels.events.blocked():
            self.state.channels.pixel_um = None
            self.state.channels.chosen = {}
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
        self.plan_changed.emit()
