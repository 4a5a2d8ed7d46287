"""Markers as one colour picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dama.slides.intensity import COFACTOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def linear(normalised: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo the arcsinh of the normalisation, so that pictures look like the slide's own layers."""
    out: NDArray[np.float32] = np.clip(np.sinh(normalised * np.arcsinh(COFACTOR)) / COFACTOR, 0, None).astype(
        np.float32
    )
    return out


def composite(image: NDArray[np.float32], colours: Mapping[int, str]) -> NDArray[np.uint8]:
    """Return an RGB picture (H, W, 3) of markers (C, H, W) in 0..1, each in its colour, added up."""
    out = np.zeros((*image.shape[1:], 3), dtype=np.float32)
    for index, colour in colours.items():
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32)
        out += np.clip(image[index], 0, 1)[..., None] * rgb
    return np.clip(out, 0, 255).astype(np.uint8)
