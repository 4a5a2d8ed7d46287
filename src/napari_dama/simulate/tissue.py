"""Simulated brain tissue of seven markers with the outline and type of every cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from skimage.measure import label as connected_components

from napari_dama.errors import SettingsError
from napari_dama.simulate.camera import photograph, strengths
from napari_dama.simulate.knobs import Difficulty, knobs_for, of_one_slide
from napari_dama.simulate.layout import draw_layout
from napari_dama.simulate.stain import stain

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARKERS = ("DAPI", "Histones", "NeuN", "S100", "Olig2", "Iba1", "RECA1")
TYPES = ("neuron", "astrocyte", "oligodendrocyte", "microglia", "endothelial")
TYPE_COLOURS = {
    "neuron": "#e69f00",
    "astrocyte": "#56b4e9",
    "oligodendrocyte": "#cc79a7",
    "microglia": "#009e73",
    "endothelial": "#d55e00",
}
MARGIN_UM = 13.0  # tissue around the image whose cells and processes reach into it
MIN_VISIBLE = 0.4  # a cell whose visible share is lower carries no label: nobody could outline it
MIN_AREA_UM2 = 8.0
SMALLEST_PX, LARGEST_PX = 32, 16384


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedTissue:
    """A simulated image with its truth.

    Attributes
    ----------
    image : (7, Y, X) uint8 or uint16
        Intensities, one plane per marker in the order of ``markers``.
    labels : (Y, X) int32
        Cell bodies 1..n (nucleus and soma around it, no processes), 0 elsewhere; each is one connected piece.
    cells : DataFrame
        One row per label: ``label``, ``y``, ``x`` (centroid in px), ``type`` (one of ``TYPES``).
    strength : dict
        Strength of staining per marker in this image: about 1, less when dim, 0 where it failed.
    """

    image: NDArray[Any]
    labels: NDArray[np.int32]
    cells: pd.DataFrame
    markers: tuple[str, ...]
    pixel_um: float
    seed: int
    difficulty: Difficulty
    strength: dict[str, float]


def simulate_tissue(
    size: int | tuple[int, int] = 1024,
    *,
    seed: int,
    difficulty: Difficulty = "normal",
    bits: Literal[8, 16] = 16,
    pixel_um: float = 0.325,
) -> SimulatedTissue:
    """Simulate a piece of seven-marker brain tissue.

    Parameters
    ----------
    size
        Side, or (height, width), in pixels: 32 to 16384.
    seed
        Not negative. The same seed and settings give the same pixels.
    difficulty
        ``easy``, ``normal`` or ``hard``: crowding, crossing processes, blur, bleed-through, shading, noise.
    bits
        8 or 16 bits per pixel.
    pixel_um
        Side of a pixel in micrometres: 0.1 to 2.

    Returns
    -------
    SimulatedTissue
        Image, labels of cell bodies, and the table of cells.

    Raises
    ------
    SettingsError
        If an argument is outside its bounds.
    """
    height, width = _checked_size(size)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SettingsError(f"seed is {seed!r}: give a whole number that is not negative.")
    if bits not in (8, 16):
        raise SettingsError(f"bits is {bits!r}: choose 8 or 16.")
    if not 0.1 <= pixel_um <= 2.0:
        raise SettingsError(f"pixel_um is {pixel_um!r}: simulated pixels are 0.1 to 2 um wide.")
    knobs = knobs_for(difficulty)
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence(int(seed)).spawn(5)]
    knobs = of_one_slide(knobs, rngs[4])
    margin = int(np.ceil(MARGIN_UM / pixel_um))
    shape = (height + 2 * margin, width + 2 * margin)
    layout = draw_layout(rngs[0], shape[0] * pixel_um, shape[1] * pixel_um, knobs)
    strength = strengths(rngs[1], len(MARKERS), knobs)
    canvas, owner, area = stain(rngs[2], layout, shape, pixel_um, knobs)
    image = photograph(rngs[3], canvas, strength, (height, width), margin, pixel_um, bits, knobs)
    seen = np.bincount(owner.ravel(), minlength=len(layout) + 1)
    seen[1:][seen[1:] < MIN_VISIBLE * area] = 0
    inner = owner[margin : margin + height, margin : margin + width]
    labels, kept = _tidy(np.where(seen[inner] > 0, inner, 0), len(layout), pixel_um)
    return SimulatedTissue(
        image=image,
        labels=labels,
        cells=_table(labels, layout.kind[kept]),
        markers=MARKERS,
        pixel_um=float(pixel_um),
        seed=int(seed),
        difficulty=difficulty,
        strength=dict(zip(MARKERS, strength.tolist(), strict=True)),
    )


def _checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    sides = size if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(s, int | np.integer) and not isinstance(s, bool) for s in sides)
    if len(sides) != 2 or not whole or not all(SMALLEST_PX <= s <= LARGEST_PX for s in sides):
        raise SettingsError(
            f"size is {size!r}: give one side or (height, width), {SMALLEST_PX} to {LARGEST_PX} px."
        )
    return int(sides[0]), int(sides[1])


def _tidy(
    owner: NDArray[np.int32], cells: int, pixel_um: float
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels 1..n of the largest piece of every visible cell, and each label's index in the layout."""
    pieces = np.asarray(connected_components(owner, background=0, connectivity=1))  # type: ignore[no-untyped-call]
    area = np.bincount(pieces.ravel())
    cell = np.zeros(len(area), dtype=np.int64)
    cell[pieces.ravel()] = owner.ravel()
    largest = np.zeros(cells + 1, dtype=np.int64)
    area[0] = 0
    np.maximum.at(largest, cell, area)
    chosen = np.flatnonzero((area == largest[cell]) & (cell > 0) & (area * pixel_um**2 >= MIN_AREA_UM2))
    _, first = np.unique(cell[chosen], return_index=True)  # two pieces of one size: the first
    chosen = chosen[first]
    new = np.zeros(len(area), dtype=np.int32)
    new[chosen] = np.arange(1, len(chosen) + 1)
    return new[pieces], cell[chosen] - 1


def _table(labels: NDArray[np.int32], kind: NDArray[np.int64]) -> pd.DataFrame:
    """One row per label, in order."""
    n = len(kind)
    y, x = np.nonzero(labels)
    ids = labels[y, x]
    area = np.bincount(ids, minlength=n + 1)[1:]
    return pd.DataFrame(
        {
            "label": np.arange(1, n + 1, dtype=np.int64),
            "y": np.bincount(ids, weights=y, minlength=n + 1)[1:] / area,
            "x": np.bincount(ids, weights=x, minlength=n + 1)[1:] / area,
            "type": np.array(TYPES, dtype=object)[kind],
        }
    )
