"""What the pages of the Explain tab share: the window, the session, the asker of questions, and turns of Qt's thread."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_dama.gui.explain_ask import Bench
from napari_dama.gui.explain_layers import marker_colours
from napari_dama.gui.put_layer import hide

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.explain_ask import Asker
    from napari_dama.gui.later import Later
    from napari_dama.gui.session import Session
    from napari_dama.gui.state import ExplainState


@dataclass(frozen=True)
class Context:
    """The window, the session, who answers, and who puts answers on the slide, one layer in a turn of Qt's thread."""

    viewer: napari.Viewer
    session: Session
    asker: Asker
    later: Later

    @property
    def state(self) -> ExplainState:
        """What the user wishes to have explained."""
        return self.session.state.explain

    @property
    def label(self) -> int:
        """The clicked cell, 0 for none."""
        return self.session.state.results.selected

    @property
    def result(self) -> str:
        """Folder of the open result, empty when none is."""
        return self.session.state.results.path

    def remove(self, layers: list[Any]) -> None:
        """Hide layers at once and take them out of the list, one in a turn: each makes napari collect all garbage."""
        hide(self.later, layers)
        for layer in layers:
            self.later.then(f"remove {id(layer)}", partial(self._take_out, layer))

    def _take_out(self, layer: Any) -> None:
        if (
            layer in self.viewer.layers and not layer.visible
        ):  # the user may have been quicker, or showed it again
            self.viewer.layers.remove(layer)

    def bench(self) -> Bench:
        """Return which slide and model answers are made with; there must be a slide."""
        session = self.session
        assert session.slide is not None  # pages ask only where nothing blocks
        return Bench(
            slide=Path(session.path),
            markers=tuple(session.slide.markers),
            pixel_um=session.pixel.pixel_um,
            model=session.state.model,
            chosen=dict(session.state.channels.chosen),
            result=self.result,
        )

    def colours(self) -> dict[int, str]:
        """Return the markers' colours by their places in the model's panel."""
        return marker_colours(self.viewer, self.session)

    def present(self) -> list[str]:
        """Return the names of the model's markers that the slide has."""
        plan = self.session.plan
        if plan is None or plan.channels is None:
            return []
        names = self.session.panel.names
        return [name for name, index in zip(names, plan.channels.indices, strict=True) if index is not None]

    def place_of(self, marker: str) -> int | None:
        """Return a marker's place in the model's panel, None for all markers."""
        names = self.session.panel.names
        return names.index(marker) if marker in names else None


class Page(QWidget):
    """One question of the tab.

    Signals
    -------
    failed(error)
        For the message area.
    """

    failed = QtSignal(object)
    follows = False

    def __init__(self, context: Context, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.context = context
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(6)

    def blocker(self) -> str:
        """Say why this cannot be asked now, empty when it can."""
        return ""

    def ask(self, at: tuple[float, float], *, live: bool = False) -> None:
        """Ask about a place (y, x) in level-0 pixels; ``live`` while the cursor is followed."""

    def on_answer(self, kind: str, value: Any) -> None:
        """Show an answer, if it is one to this page's questions; `sync` is called afterwards."""

    def on_progress(self, kind: str, what: Any) -> None:
        """Show how far an answer is."""

    def sync(self) -> None:
        """Show the state."""

    def forget(self) -> None:
        """Remove what was shown from the page, and hide its layers."""

    def close_down(self) -> None:
        """Stop work and stop listening."""
