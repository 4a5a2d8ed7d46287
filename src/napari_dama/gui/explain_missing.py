"""What if a marker were missing? It is taken from the model, predicted from the others, and compared with what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QPushButton, QWidget

from napari_dama.errors import DamaError
from napari_dama.gui import tooltips
from napari_dama.gui.explain_layers import add_imputed, imputed_layers
from napari_dama.gui.explain_page import Context, Page
from napari_dama.gui.layers import layers_of, shown_colour, usual_colour
from napari_dama.gui.pictures import Picture
from napari_dama.gui.place import view_region
from napari_dama.gui.put_layer import hide
from napari_dama.gui.style import beside, muted, narrow, wrapped
from napari_dama.slides.picture import composite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.gui.explain_ask import Loaded
    from napari_dama.gui.work import Report, Stop
    from napari_dama.predict.impute import Imputed
    from napari_dama.slides.region import Region

SIDE_PX = 132
Shown: TypeAlias = "NDArray[np.uint8]"


class MissingPage(Page):
    """One marker predicted from the others, with a measured word on how good that is."""

    def __init__(self, context: Context, *, parent: QWidget | None = None) -> None:
        super().__init__(context, parent=parent)
        self.state = context.state
        self.imputed: Imputed | None = None
        self._at: tuple[float, float] | None = None
        self._build()
        self.state.events.missing.connect(self._on_missing_state)

    def _build(self) -> None:
        self.intro = muted(QLabel(_INTRO))
        self.marker_box = narrow(QComboBox(), tooltips.MISSING_MARKER)
        self.here = narrow(QPushButton("This place"), tooltips.MISSING_HERE)
        self.view = narrow(QPushButton("What I see"), tooltips.MISSING_VIEW)
        self.remove = narrow(QPushButton("Remove layers"), tooltips.MISSING_CLEAR)
        self.text = wrapped(QLabel())
        self.text.setToolTip(tooltips.MISSING_HONEST)
        self.truth = Picture("true", "as stained", "The marker as it is on the slide.", side_px=SIDE_PX)
        self.made = Picture("made", "as predicted", tooltips.MISSING_HONEST, side_px=SIDE_PX)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Without", self.marker_box)
        self.column.addWidget(self.intro)
        self.column.addLayout(form)
        self.column.addLayout(beside(self.here, self.view))
        self.column.addWidget(self.text)
        self.column.addLayout(beside(self.truth, self.made))
        self.column.addWidget(self.remove)
        self.marker_box.activated.connect(self._on_marker)
        self.here.clicked.connect(self.ask_here)
        self.view.clicked.connect(self.ask_view)
        self.remove.clicked.connect(self._on_remove)

    def blocker(self) -> str:
        """Say why this model cannot predict a marker."""
        card = self.context.session.card
        if card is not None and "reconstruct" not in card.tasks:
            return f"The model {card.name} cannot fill in what is hidden. Choose one that can, such as a pretrained model."
        if len(self.context.present()) < 1:
            return "None of the model's markers is on this slide."
        return ""

    def ask(self, at: tuple[float, float], *, live: bool = False) -> None:
        """Predict the marker in the square around a place."""
        self._at = at
        self.ask_here()

    def ask_here(self) -> None:
        """Predict the marker in the square around the place."""
        if self._at is None or not self.state.missing:
            return
        self._ask(self._square(self._at))

    def _square(self, at: tuple[float, float]) -> Region:
        from napari_dama.slides.region import Region

        card, um = self.context.session.card, self.context.session.pixel.pixel_um or 1.0
        side = 2 * (card.crop_um if card is not None else 32.5) / um
        y, x = (int(place - side / 2) for place in at)
        return Region(max(y, 0), max(y, 0) + round(side), max(x, 0), max(x, 0) + round(side))

    def ask_view(self) -> None:
        """Predict the marker over what the window shows."""
        session = self.context.session
        layers = layers_of(self.context.viewer.layers, "marker", session.state.slide)
        if session.slide is None or not layers or not self.state.missing:
            return
        try:
            region = view_region(layers, (int(session.slide.shape[1]), int(session.slide.shape[2])))
        except DamaError as error:
            self.failed.emit(error)
            return
        self._ask(region)

    def _ask(self, region: Region) -> None:
        marker, seed = self.state.missing, self.state.seed
        colour = self._colour(marker)

        def question(loaded: Loaded, progress: Report, stop: Stop) -> tuple[Imputed, Shown, Shown | None]:
            from napari_dama.predict.impute import impute_region

            imputed = impute_region(loaded.explainer(), region, marker, seed=seed, stop=stop)
            return imputed, *side_by_side(imputed, colour)

        self.context.asker.ask("missing", self.context.bench(), question, small=False)
        self.sync()

    def on_answer(self, kind: str, value: Any) -> None:
        """Show the predicted marker beside the true one, and on the slide."""
        if kind != "missing":
            return
        self.imputed, made, true = value
        self.made.set_picture(made)
        self.truth.set_picture(true)
        self.truth.set_caption("not on this slide" if true is None else "as stained")
        self.context.later.then("missing", self._show_on_slide)

    def _show_on_slide(self) -> None:
        """Put the marker that was predicted last on the slide."""
        if self.imputed is not None:
            colour = self._colour(self.imputed.marker)
            add_imputed(self.context.viewer, self.context.later, self.context.session, self.imputed, colour)

    def _colour(self, marker: str) -> str:
        place = self.context.place_of(marker)
        plan = self.context.session.plan
        if place is not None and plan is not None and plan.channels is not None:
            index = plan.channels.indices[place]
            for layer in layers_of(self.context.viewer.layers, "marker", self.context.session.state.slide):
                if layer.metadata["napari_dama"]["index"] == index and index is not None:
                    return shown_colour(layer)
        return usual_colour(marker)

    def sync(self) -> None:
        """Show the state."""
        names = list(self.context.session.panel.names) if self.context.session.slide is not None else []
        if [self.marker_box.itemData(i) for i in range(self.marker_box.count())] != names:
            present = self.context.present()
            self.marker_box.clear()
            for name in names:
                self.marker_box.addItem(name if name in present else f"{name} (not on this slide)", name)
        if self.state.missing not in names:
            card = self.context.session.card
            wanted = [] if card is None else [n for n in card.type_markers if n in self.context.present()]
            with self.state.events.missing.blocked():
                self.state.missing = next(iter([*wanted, *names]), "")
        self.marker_box.setCurrentIndex(max(self.marker_box.findData(self.state.missing), 0))
        waiting = self.context.asker.is_busy("missing")
        ready = not self.blocker() and bool(names)
        self.here.setEnabled(ready and self._at is not None)
        self.view.setEnabled(ready)
        made = self.imputed is not None
        self.remove.setVisible(made)
        self.text.setVisible(made or waiting)
        for picture in (self.truth, self.made):
            picture.setVisible(made)
        if waiting:
            self.text.setText(f"Predicting {self.state.missing} from the other markers ...")
        elif self.imputed is not None:
            self.text.setText(self.imputed.sentence())

    def _on_marker(self, index: int) -> None:
        self.state.missing = self.marker_box.itemData(index)

    def _on_missing_state(self) -> None:
        self.sync()
        if self._at is not None and not self.blocker():
            self.ask_here()

    def forget(self) -> None:
        """Forget the predicted markers and hide their layers."""
        self.imputed = None
        self.context.later.drop("missing")
        hide(self.context.later, imputed_layers(self.context.viewer))
        self.sync()

    def _on_remove(self) -> None:
        """Take the predicted markers out of the list."""
        self.imputed = None
        self.context.remove(imputed_layers(self.context.viewer))
        self.sync()

    def close_down(self) -> None:
        """Stop listening."""
        self.state.events.missing.disconnect(self._on_missing_state)


def side_by_side(imputed: Imputed, colour: str) -> tuple[Shown, Shown | None]:
    """Return a predicted marker and the true one, where there is one, as pictures (H, W, 3) of one brightness."""
    both = imputed.image if imputed.true is None else np.concatenate([imputed.image, imputed.true])
    top = max(float(np.percentile(both, 99.5)), 0.05)
    made = composite(imputed.image[None] / top, {0: colour})
    return made, None if imputed.true is None else composite(imputed.true[None] / top, {0: colour})


_INTRO = (
    "A marker is hidden from the model, which predicts it from the others. Read first how good that is: the model was "
    "trained to fill in hidden pieces, not hidden markers."
)
