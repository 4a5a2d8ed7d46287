"""What is shown of an explanation, each part made once: by the thread that answers, so that Qt's thread need not; no Qt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_dama.gui.explain_pictures import pictures_of, shown_difference
from napari_dama.gui.explain_plan import sentence, view_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_dama.gui.explain_plan import View
    from napari_dama.gui.state import ExplainMask
    from napari_dama.predict.explanation import Explanation


@dataclass
class Filling:
    """An explanation, its views, pictures and sentence; each is computed when it is first asked for, and kept.

    It is used by one thread at a time: first by the one that answers, which calls `prepare`, then by Qt's.
    """

    explanation: Explanation
    _made: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def prepare(self, mask: ExplainMask, marker: int | None, colours: Mapping[int, str]) -> Filling:
        """Make what the window will ask for while these are chosen in it; returns itself."""
        self.pictures(mask, marker, colours)
        self.sentence()
        return self

    def view(self, mask: ExplainMask) -> View:
        """One of the two views; see `view_of`."""
        key = ("view", mask)
        if key not in self._made:
            self._made[key] = view_of(self.explanation, mask)
        found: View = self._made[key]
        return found

    def difference(self, mask: ExplainMask, marker: int | None) -> NDArray[np.float32]:
        """Filled-in minus true (H, W); see `shown_difference`."""
        key = ("difference", mask, marker)
        if key not in self._made:
            self._made[key] = shown_difference(self.explanation, mask, marker)
        found: NDArray[np.float32] = self._made[key]
        return found

    def pictures(
        self, mask: ExplainMask, marker: int | None, colours: Mapping[int, str]
    ) -> dict[str, NDArray[np.uint8]]:
        """The small pictures (H, W, 3); see `pictures_of`. Those of the last colours are kept."""
        key, of = ("pictures", mask, marker), dict(colours)
        kept: tuple[dict[int, str], dict[str, NDArray[np.uint8]]] | None = self._made.get(key)
        if kept is None or kept[0] != of:
            view, difference = self.view(mask), self.difference(mask, marker)
            kept = of, pictures_of(self.explanation, view, difference, marker, of)
            self._made[key] = kept
        return kept[1]

    def sentence(self) -> str:
        """What it shows, in plain words; see `sentence`."""
        if ("sentence",) not in self._made:
            self._made["sentence",] = sentence(self.explanation, self.view("random"), self.view("adaptive"))
        return str(self._made["sentence",])
