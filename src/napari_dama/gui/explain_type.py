"""What does the type rest on? Certainty, what changes without each marker, and a map of the spots that matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QLabel, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.cell_table import colour_of_type
from napari_dama.gui.chart import BarChart
from napari_dama.gui.explain_layers import add_map
from napari_dama.gui.explain_page import Context, Page
from napari_dama.gui.explain_pictures import map_picture, middle
from napari_dama.gui.explain_plan import MAPS
from napari_dama.gui.layers import layers_of, usual_colour
from napari_dama.gui.pictures import Picture
from napari_dama.gui.put_layer import hide
from napari_dama.gui.style import beside, muted, narrow, wrapped
from napari_dama.slides.picture import composite, linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.gui.explain_ask import Loaded
    from napari_dama.gui.work import Report, Stop
    from napari_dama.predict.attention import PatchMap, Query
    from napari_dama.predict.occlusion import MarkerEffects

SIDE_PX = 132


class TypePage(Page):
    """Which marker, and which spot, decides the type of the cell in the middle."""

    follows = True

    def __init__(self, context: Context, *, parent: QWidget | None = None) -> None:
        super().__init__(context, parent=parent)
        self.state = context.state
        self.effects: MarkerEffects | None = None
        self.map: PatchMap | None = None
        self._signed = True
        self._at: tuple[float, float] | None = None
        self._build()
        self.state.events.map.connect(self._on_map_state)

    def _build(self) -> None:
        self.text = wrapped(QLabel())
        self.sure_title = muted(QLabel("How sure the model is"))
        self.sure = BarChart()
        self.sure.setToolTip(tooltips.TYPE_BARS)
        self.drops_title = muted(QLabel("Certainty lost without each marker, in points"))
        self.drops = BarChart()
        self.drops.setToolTip(tooltips.MARKER_BARS)
        self.map_title = muted(QLabel("Where it looks"))
        self.map_box = narrow(QComboBox(), tooltips.EXPLAIN_MAP)
        for key, title in MAPS.items():
            self.map_box.addItem(title, key)
        self.crop = Picture(
            "crop", "what it looks at", "The part of the slide that the type is read from.", side_px=SIDE_PX
        )
        self.heat = Picture("map", "", tooltips.EXPLAIN_MAP, side_px=SIDE_PX)
        self.note = muted(QLabel())
        bars = (self.text, self.sure_title, self.sure, self.drops_title, self.drops)
        stacked: tuple[QWidget, ...] = (*bars, self.map_title, self.map_box)
        for widget in stacked:
            self.column.addWidget(widget)
        self._answer = (*stacked, self.crop, self.heat, self.note)
        self.column.addLayout(beside(self.crop, self.heat))
        self.column.addWidget(self.note)
        self.map_box.activated.connect(self._on_map)
        self.heat.clicked.connect(self._on_heat)
        self.crop.clicked.connect(self._on_heat)

    def blocker(self) -> str:
        """Say why no types can be told."""
        types = self.context.session.types
        return "" if types.possible else types.reason

    def ask(self, at: tuple[float, float], *, live: bool = False) -> None:
        """Ask for the type, with and without each marker, and, once the cursor rests, for the map."""
        self._at = at
        bench, colours = self.context.bench(), self.context.colours()

        def question(loaded: Loaded, progress: Report, stop: Stop) -> tuple[MarkerEffects, NDArray[Any]]:
            from napari_dama.predict.occlusion import marker_effects

            explainer = loaded.explainer()
            picture = composite(linear(explainer.crop(at)[0]), colours)
            return marker_effects(explainer, at), middle(picture, explainer.card.architecture.type_zoom)

        self.context.asker.ask("type", bench, question)
        if not live:
            self._ask_map()

    def _ask_map(self) -> None:
        at, kind = self._at, self.state.map
        if at is None:
            return

        def question(loaded: Loaded, progress: Report, stop: Stop) -> tuple[str, PatchMap]:
            from napari_dama.predict.attention import attention_at
            from napari_dama.predict.occlusion import occlusion_map

            explainer = loaded.explainer()
            if kind == "spots":
                return kind, occlusion_map(explainer, at, stop=stop)
            query: Query = "class" if kind == "class" else "pooled"
            return kind, attention_at(
                explainer, at, query=query, depth="rollout" if kind == "rollout" else "last"
            )

        self.context.asker.ask("map", self.context.bench(), question, small=kind != "spots")

    def on_answer(self, kind: str, value: Any) -> None:
        """Show bars, or the map."""
        if kind == "type":
            self.effects, picture = value
            self.crop.set_picture(picture)
            self._show_effects()
            self.map = None
            self.heat.set_picture(None)
        elif kind == "map":
            shown, self.map = value
            self._signed = shown == "spots"
            self.heat.set_picture(map_picture(self.map.values, signed=self._signed), smooth=True)
            self.context.later.then("map", self._show_on_slide)

    def _show_on_slide(self) -> None:
        """Put the map that was made last on the slide."""
        if self.map is not None:
            add_map(
                self.context.viewer,
                self.context.later,
                self.context.session,
                self.map.values,
                self.map.place,
                name="Explain: where it looks",
                signed=self._signed,
            )

    def _show_effects(self) -> None:
        effects = self.effects
        if effects is None:
            return
        colours = self.context.session.colours
        self.text.setText(effects.sentence())
        self.sure.show_bars(
            [
                (name, float(chance), f"{chance:.0%}", colour_of_type(name, colours))
                for name, chance in zip(effects.classes, effects.chances, strict=True)
            ],
            full=1.0,
        )
        self.drops.show_bars(
            [
                (name, max(fall, 0.0), _points(fall, effects.instead(name), effects.type), usual_colour(name))
                for name, fall in effects.drops.items()
            ],
            full=max(float(effects.chances[effects.best]), 1e-6),
        )

    def sync(self) -> None:
        """Show the state."""
        known = self.effects is not None
        self.map_box.setCurrentIndex(max(self.map_box.findData(self.state.map), 0))
        for widget in self._answer:
            widget.setVisible(known)
        waiting = self.context.asker.is_busy("map")
        self.heat.set_caption("looking ..." if waiting else MAP_CAPTIONS[self.state.map])
        self.note.setText(NOTES[self.state.map])

    def _on_map(self, index: int) -> None:
        self.state.map = self.map_box.itemData(index)

    def _on_map_state(self) -> None:
        if self.effects is not None and not self.state.follow:
            self._ask_map()
        self.sync()

    def _on_heat(self, key: object) -> None:
        """Put the map on the slide, or take it off."""
        for layer in layers_of(self.context.viewer.layers, "explain map"):
            layer.visible = not layer.visible

    def forget(self) -> None:
        """Forget the answer and hide the map."""
        self.effects = self.map = self._at = None
        self.context.later.drop("map")
        hide(self.context.later, layers_of(self.context.viewer.layers, "explain map"))
        self.sync()

    def close_down(self) -> None:
        """Stop listening."""
        self.state.events.map.disconnect(self._on_map_state)


MAP_CAPTIONS = {
    "spots": "red: needed",
    "pooled": "bright: looked at",
    "class": "bright: looked at",
    "rollout": "bright: looked at",
}
NOTES = {
    "spots": "Each spot was darkened in turn. Red spots cost the type certainty; blue ones spoke against it.",
    "pooled": "Last layer's attention of the pieces that the type is read from. It shows where information is gathered, "
    "which is no proof of what the answer rests on.",
    "class": "Last layer's attention of the class token. This model reads the type from the pieces, not from this token, so "
    "it proves nothing about the type.",
    "rollout": "Attention multiplied through all layers (rollout), from the pieces that the type is read from. A rough "
    "picture, no proof.",
}


def _points(fall: float, instead: str, before: str) -> str:
    """Write a fall of certainty in points, and the type that comes out instead where it changes."""
    points = round(fall * 100)
    text = "0" if points == 0 else f"{-points:+d}".replace("-", "\N{MINUS SIGN}")
    return text if instead == before else f"{text}, {instead}"
