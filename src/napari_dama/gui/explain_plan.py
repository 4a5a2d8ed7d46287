"""An explanation as pictures on the slide and as a sentence; no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.slides.picture import linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.predict.explanation import CropPlace, Explanation

QUESTIONS = {
    "fill": "What does it fill in?",
    "type": "What does the type rest on?",
    "missing": "What if a marker were missing?",
    "like": "Which cells are like this?",
}
INTROS = {
    "fill": "Most of a square is hidden from the model, which fills it in. Where it is most wrong, that piece could not be "
    "foreseen from the rest.",
    "type": "Markers and spots are taken away one by one: what the type cannot do without is what it rests on.",
    "missing": "",
    "like": "",
}
MAPS = {
    "spots": "spots that matter, tested",
    "pooled": "attention of what is read",
    "class": "attention, class token",
    "rollout": "attention through all layers",
}
MASKS = {"random": "Random mask", "adaptive": "Adaptive mask"}
SHOWS = {
    "seen": "what the model saw",
    "filled": "what it filled in",
    "difference": "where too bright or dark",
    "error": "where it was wrong",
    "overlap": "pieces that both masks show",
    "slide": "the slide only",
}


@dataclass(frozen=True, slots=True)
class View:
    """One of the two views of a crop: what was hidden, the error of each piece, and the picture made of the rest."""

    hidden: NDArray[np.bool_]
    error: NDArray[np.float32]
    filled: NDArray[np.float32]


def view_of(explanation: Explanation, mask: str) -> View:
    """Return one view; hidden pieces of ``filled`` are the model's, visible ones are the slide's.

    ``filled`` (C, H, W) is on the slide's linear scale, 0 at a marker's dark and 1 at its bright end.
    """
    if mask == "random":
        hidden, error, image = explanation.hidden_random, explanation.error_random, explanation.image_random
    else:
        hidden, error, image = (
            explanation.hidden_adaptive,
            explanation.error_adaptive,
            explanation.image_adaptive,
        )
    pasted = np.where(explanation.spread(hidden), image, explanation.input)
    return View(hidden, np.where(hidden, error, 0).astype(np.float32), linear(pasted))


def hint(question: str, loading: bool, follows: bool, placed: bool) -> str:
    """Say what the user may do next, empty when an answer or its page says enough.

    Parameters
    ----------
    loading, follows, placed
        Whether the model is still loaded, the cursor is followed, and a place is chosen.
    """
    if loading:
        return "Loading the model ..."
    if follows:
        return "Move the cursor over the slide; click to keep a place."
    if not placed and question != "like":
        return "Click a cell in Results, take the centre of the view, or follow the cursor."
    return ""


def placing(place: CropPlace, slide_um: float, *, every: int = 1) -> dict[str, Any]:
    """Return napari's scale and translate for the crop's pixels, or for pieces of ``every`` pixels.

    napari puts a pixel's centre on its index, and so does `CropPlace`; the centre of the first piece lies half a
    piece, less half a pixel, further in.
    """
    step = place.step_px * slide_um
    shift = (every - 1) / 2 * step
    return {
        "scale": (step * every, step * every),
        "translate": (place.y0 * slide_um + shift, place.x0 * slide_um + shift),
        "units": ("um", "um"),
    }


def sentence(explanation: Explanation, first: View, second: View) -> str:
    """Say in plain words what an explanation shows; its views are those of the random and of the adaptive mask."""
    pieces = explanation.hidden_random.size
    seen = int((~explanation.hidden_random).sum())
    shared = int(explanation.overlap.sum())
    side_um = explanation.input.shape[1] * explanation.pixel_um
    error_1 = _mean(explanation.error_random, first.hidden)
    error_2 = _mean(explanation.error_adaptive, second.hidden)
    return (
        f"The model saw {seen} of {pieces} pieces of this square of {side_um:.0f} µm and filled in the rest. "
        f"It was most wrong {_where(first.error)} ({float(first.error.max()):.2f}; on average {error_1:.2f}, "
        f"where 1 is as wrong as plain grey). The adaptive mask then hid the hardest pieces again and showed others, "
        f"{shared} of them seen both times: {error_2:.2f} on average, {_compare(error_1, error_2)}."
        f"{_warning(error_1)}"
    )


def _mean(error: NDArray[np.float32], hidden: NDArray[np.bool_]) -> float:
    return float(error[hidden].mean()) if hidden.any() else 0.0


def _compare(before: float, after: float) -> str:
    if after > before * 1.05:
        return "a harder task, as intended"
    if after < before * 0.95:
        return "an easier task this time"
    return "about as hard"


def _warning(error: float) -> str:
    if error <= 1:
        return ""
    return " Worse than plain grey: do not read much into it, the model has not learned tissue and staining like this."


def _where(error: NDArray[np.float32]) -> str:
    """Say where the largest value lies: ``at the upper left``, ``in the middle``."""
    row, column = np.unravel_index(int(np.argmax(error)), error.shape)
    vertical = _third(int(row), error.shape[0], "upper", "lower")
    horizontal = _third(int(column), error.shape[1], "left", "right")
    if not vertical and not horizontal:
        return "in the middle"
    if vertical and horizontal:
        return f"at the {vertical} {horizontal}"
    return {"upper": "at the top", "lower": "at the bottom"}.get(vertical, f"on the {horizontal}")


def _third(index: int, count: int, low: str, high: str) -> str:
    place = (index + 0.5) / count
    return low if place < 0.33 else high if place > 0.67 else ""
