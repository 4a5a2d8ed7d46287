"""The small pictures of the Explain tab as arrays; no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.slides.picture import composite, linear

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_dama.gui.explain_plan import View
    from napari_dama.gui.state import ExplainMask
    from napari_dama.predict.explanation import Explanation

HIDDEN_GREY: Final = 70
TITLES: Final = {
    "slide": "the slide",
    "seen": "model saw",
    "filled": "filled in",
    "difference": "difference",
    "error": "error",
    "overlap": "seen twice",
}
"""Pictures by what they show on the slide when clicked, with their captions."""

_HEAT = np.array([[0, 0, 4], [114, 31, 129], [241, 96, 93], [252, 253, 191]], dtype=np.float32)
_TWO_SIDED = np.array([[60, 120, 255], [15, 15, 15], [255, 90, 60]], dtype=np.float32)


def heat(share: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return an RGB picture of values in 0..1, from black over red to pale yellow."""
    return _ramp(share, np.linspace(0, 1, len(_HEAT)), _HEAT)


def two_sided(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return an RGB picture of values in -1..1: blue below 0, black at 0, red above."""
    return _ramp(values, np.linspace(-1, 1, len(_TWO_SIDED)), _TWO_SIDED)


def _ramp(values: NDArray[Any], stops: NDArray[Any], colours: NDArray[Any]) -> NDArray[np.uint8]:
    inside = np.clip(values, stops[0], stops[-1])
    return np.stack([np.interp(inside, stops, colours[:, c]) for c in range(3)], axis=-1).astype(np.uint8)


def shown_difference(explanation: Explanation, mask: ExplainMask, marker: int | None) -> NDArray[np.float32]:
    """Return filled-in minus true (H, W) of one marker, or the mean over the slide's markers."""
    difference = explanation.difference(mask)
    if marker is not None:
        return np.asarray(difference[marker])
    out: NDArray[np.float32] = difference[list(explanation.present)].mean(axis=0)
    return out


def pictures_of(
    explanation: Explanation,
    view: View,
    difference: NDArray[np.float32],
    marker: int | None,
    colours: Mapping[int, str],
) -> dict[str, NDArray[np.uint8]]:
    """Return the pictures (H, W, 3) of one mask, by the keys of `TITLES`.

    Parameters
    ----------
    view, difference
        Of that mask: `view_of` and `shown_difference`.
    marker
        Place of one marker in the model's panel, shown in grey; None: all markers that ``colours`` names, in colour.
    """
    hidden = explanation.spread(view.hidden)
    shown = colours if marker is None else {marker: "#ffffff"}
    source = composite(linear(explanation.input), shown)
    top = max(float(explanation.error_random.max()), float(explanation.error_adaptive.max()), 1e-6)
    seen = np.where(hidden[..., None], np.uint8(HIDDEN_GREY), source)
    twice = explanation.spread(explanation.overlap)
    return {
        "slide": source,
        "seen": seen,
        "filled": composite(view.filled, shown),
        "difference": two_sided(difference * 2),
        "error": heat(explanation.spread(view.error) / top),
        "overlap": np.where(twice[..., None], source // 2 + np.array([127, 108, 12], np.uint8), source // 3),
    }


def middle(picture: NDArray[np.uint8], zoom: float) -> NDArray[np.uint8]:
    """Return the central ``1 / zoom`` of a picture (H, W, 3): the part that the typing network looks at."""
    side = picture.shape[0]
    cut = round(side / 2 - side / zoom / 2)
    return picture[cut : side - cut, cut : side - cut]


def map_picture(values: NDArray[np.float32], *, signed: bool) -> NDArray[np.uint8]:
    """Return a map over patches (h, w) as a picture, the strongest value at full colour."""
    top = max(float(np.abs(values).max()), 1e-9)
    return two_sided(values / top) if signed else heat(values / top)
