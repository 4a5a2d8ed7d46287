"""What a cell's type rests on, tested by taking things away: one marker after the other, one spot after the other.

A marker is taken away by making it dark, which is how a slide that lacks it is fed. How far the probability of the cell's
type falls says how much the answer needs it, given everything else that stays. Two markers that say the same cover for each
other, so that neither seems needed. This tests the model, not the biology.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dama.errors import Interrupted
from napari_dama.predict.attention import PatchMap, patches_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_dama.models.model import Model
    from napari_dama.predict.explain import Explainer
    from napari_dama.predict.progress import StopFn

GRID = 8
"""Spots along one side of what the typing network sees."""
SPOT = 2
"""Side of a darkened square, in spots: squares overlap by half, which smooths the map."""
BATCH = 16


@dataclass(frozen=True, slots=True)
class MarkerEffects:
    """The type of one cell with every marker, and without each.

    Attributes
    ----------
    classes : tuple of str
        K types.
    chances : ndarray
        (K,) probabilities with all markers.
    without : dict of str to ndarray
        (K,) probabilities without a marker, for each marker that the slide has.
    """

    classes: tuple[str, ...]
    chances: NDArray[np.float32]
    without: dict[str, NDArray[np.float32]]

    @property
    def best(self) -> int:
        """Place of the type among ``classes``."""
        return int(self.chances.argmax())

    @property
    def type(self) -> str:
        """The type that the model gives the cell."""
        return self.classes[self.best]

    @property
    def drops(self) -> dict[str, float]:
        """By how much the probability of the type falls without each marker (negative: it rises), largest fall first."""
        falls = {
            marker: float(self.chances[self.best] - chances[self.best])
            for marker, chances in self.without.items()
        }
        return dict(sorted(falls.items(), key=lambda entry: -entry[1]))

    def instead(self, marker: str) -> str:
        """The type that the model gives without a marker."""
        return self.classes[int(self.without[marker].argmax())]

    def sentence(self) -> str:
        """Say in plain words which marker decides."""
        sure = f"{self.type} ({self.chances[self.best]:.0%})"
        changing = [marker for marker in self.drops if self.instead(marker) != self.type]
        if changing:
            parts = [
                f"{marker} (without it: {self.instead(marker)}, {self.without[marker].max():.0%})"
                for marker in changing[:3]
            ]
            more = f" and {len(changing) - 3} more" if len(changing) > 3 else ""
            return f"The model says {sure}. That rests on {', '.join(parts)}{more}."
        top, fall = next(iter(self.drops.items()), ("", 0.0))
        if fall >= 0.1:
            most = f"{top} counts most (-{fall * 100:.0f} points)"
            return f"The model says {sure}, and still does without any one marker; {most}."
        return f"The model says {sure}. No single marker decides: without any one of them it says the same."


def marker_effects(explainer: Explainer, at: tuple[float, float]) -> MarkerEffects:
    """The type of a cell at a place (y, x), and what it would be without each marker.

    Raises
    ------
    SettingsError
        No types can be told on this slide with this model.
    """
    explainer.check_types()
    crop, _ = explainer.crop(at)
    present = [index for index, here in enumerate(explainer.present) if here]
    batch = np.repeat(crop[None], len(present) + 1, axis=0)
    for row, index in enumerate(present, start=1):
        batch[row, index] = 0
    chances = _chances(explainer.model, batch)
    return MarkerEffects(
        tuple(explainer.card.classes),
        chances[0],
        {explainer.card.panel[index]: chances[row] for row, index in enumerate(present, start=1)},
    )


def occlusion_map(
    explainer: Explainer, at: tuple[float, float], *, marker: str | None = None, stop: StopFn | None = None
) -> PatchMap:
    """By how much the probability of a cell's type falls when a spot is darkened: (8, 8), negative where it rises.

    Parameters
    ----------
    at
        Centre of the cell, y, x in level-0 pixels.
    marker
        Darken this marker of the model's panel only; None: all of them.
    stop
        Asked between batches; True ends the work with `Interrupted`.

    Raises
    ------
    SettingsError
        No types can be told on this slide with this model.
    """
    explainer.check_types()
    crop, place = explainer.crop(at)
    channels = slice(None) if marker is None else [explainer.card.panel.index(marker)]
    zoom = explainer.card.architecture.type_zoom
    squares = list(_squares(crop.shape[1], zoom))
    whole = _chances(explainer.model, crop[None])[0]
    best = int(whole.argmax())
    total, count = np.zeros((GRID, GRID)), np.zeros((GRID, GRID))
    for start in range(0, len(squares), BATCH):
        if stop is not None and stop():
            raise Interrupted("stopped")
        part = squares[start : start + BATCH]
        batch = np.repeat(crop[None], len(part), axis=0)
        for row, (_, rows, columns) in enumerate(part):
            batch[row, channels, rows, columns] = 0
        for (spots, _, _), chances in zip(part, _chances(explainer.model, batch), strict=True):
            total[spots] += float(whole[best] - chances[best])
            count[spots] += 1
    return PatchMap((total / count).astype(np.float32), patches_place(place, crop.shape[1], GRID, zoom))


def _squares(side: int, zoom: float) -> Iterator[tuple[tuple[slice, slice], slice, slice]]:
    """Overlapping squares: the spots that each covers, and its rows and columns in the crop."""
    edges = np.round(side / 2 + side / zoom * (np.arange(GRID + 1) / GRID - 0.5)).astype(int)
    for row in range(GRID - SPOT + 1):
        for column in range(GRID - SPOT + 1):
            spots = slice(row, row + SPOT), slice(column, column + SPOT)
            yield spots, slice(edges[row], edges[row + SPOT]), slice(edges[column], edges[column + SPOT])


def _chances(model: Model, crops: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    out: NDArray[np.float32] = model.type_probabilities(torch.from_numpy(crops)).cpu().numpy()
    return out
