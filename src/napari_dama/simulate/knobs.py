"""How hard simulated tissue is: one frozen set of knobs per difficulty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np

Difficulty = Literal["easy", "normal", "hard"]


@dataclass(frozen=True, slots=True)
class Knobs:
    """All that the difficulty scales; lengths in um, intensities relative to a typical positive cell."""

    cells_per_mm2: float  # aim before conflicts between neighbours are resolved
    overlap: float  # share of the sum of two radii by which neighbours may overlap
    expression_sigma: float  # log-normal spread of marker intensity between cells
    faint: float  # share of cells that hardly express their own marker
    crossing: float  # brightness of processes, of one's own and of neighbours
    reach: float  # length of processes, relative
    strands: (
        float  # chance, per cell, of a process of S100 (and again of Iba1) from elsewhere that runs over it
    )
    ghosts: float  # cells out of focus, above and below, per cell in focus
    neuropil: float  # brightness of the felt of thin processes between cells
    texture: float  # contrast of chromatin
    blur_um: float  # sigma of the point spread function in focus
    haze: float  # share of out-of-focus light
    bleed: float  # largest share of a spectral neighbour's light
    autofluorescence: float  # brightness of the tissue itself
    lipofuscin: float  # granules per neuron
    vignette: float  # loss of light in the corners of a camera tile
    shading: float  # difference between camera tiles
    misregistration_um: float  # largest shift of a channel against DAPI
    photons: float  # photons of a typical positive pixel
    read_noise: float  # electrons
    weak: float  # chance that a marker is dim in a slide
    missing: float  # chance that a marker's staining failed in a slide


KNOBS: dict[Difficulty, Knobs] = {
    "easy": Knobs(
        cells_per_mm2=9000, overlap=0.0, expression_sigma=0.2, faint=0.0, crossing=0.6, reach=0.85,
        strands=0.08, ghosts=0.15, neuropil=0.06, texture=0.8, blur_um=0.28, haze=0.05, bleed=0.01,
        autofluorescence=0.03, lipofuscin=0.5, vignette=0.08, shading=0.02, misregistration_um=0.1,
        photons=900, read_noise=3.0, weak=0.0, missing=0.0,
    ),
    "normal": Knobs(
        cells_per_mm2=13000, overlap=0.1, expression_sigma=0.65, faint=0.22, crossing=1.5, reach=1.0,
        strands=0.5, ghosts=1.3, neuropil=0.18, texture=1.0, blur_um=0.36, haze=0.16, bleed=0.08,
        autofluorescence=0.07, lipofuscin=2.0, vignette=0.2, shading=0.06, misregistration_um=0.4,
        photons=220, read_noise=5.0, weak=0.12, missing=0.03,
    ),
    "hard": Knobs(
        cells_per_mm2=17000, overlap=0.2, expression_sigma=0.7, faint=0.25, crossing=1.7, reach=1.1,
        strands=0.55, ghosts=1.5, neuropil=0.24, texture=1.2, blur_um=0.46, haze=0.28, bleed=0.14,
        autofluorescence=0.14, lipofuscin=4.0, vignette=0.35, shading=0.12, misregistration_um=0.7,
        photons=80, read_noise=6.0, weak=0.25, missing=0.07,
    ),
}  # fmt: skip


def knobs_for(difficulty: str) -> Knobs:
    """Return the knobs of a difficulty; SettingsError for an unknown one."""
    for name, knobs in KNOBS.items():
        if name == difficulty:
            return knobs
    raise SettingsError(f"difficulty is {difficulty!r}: choose one of {', '.join(KNOBS)}.")


def of_one_slide(knobs: Knobs, rng: np.random.Generator) -> Knobs:
    """Vary what differs between slides of one study: density, processes, haze, blur, background, light."""

    def about(value: float, low: float, high: float) -> float:
        return value * float(rng.uniform(low, high))

    return replace(
        knobs,
        cells_per_mm2=about(knobs.cells_per_mm2, 0.75, 1.1),
        crossing=about(knobs.crossing, 0.8, 1.2),
        ghosts=about(knobs.ghosts, 0.5, 1.4),
        neuropil=about(knobs.neuropil, 0.5, 1.5),
        texture=about(knobs.texture, 0.7, 1.3),
        haze=about(knobs.haze, 0.5, 1.4),
        blur_um=about(knobs.blur_um, 0.85, 1.15),
        autofluorescence=about(knobs.autofluorescence, 0.5, 1.5),
        photons=about(knobs.photons, 0.6, 1.6),
    )
