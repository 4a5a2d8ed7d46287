"""How hard simulated tissue is: one frozen set of knobs per difficulty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_dama.errors import SettingsError

Difficulty = Literal["easy", "normal", "hard"]


@dataclass(frozen=True, slots=True)
class Knobs:
    """Everything that the difficulty scales; lengths in micrometres, intensities relative to a typical positive cell."""

    cells_per_mm2: float  # aim before conflicts between neighbours are resolved
    overlap: float  # share of the sum of two radii by which neighbours may overlap
    expression_sigma: float  # log-normal spread of marker intensity between cells
    faint: float  # share of cells that hardly express their own marker
    crossing: float  # brightness of processes, of one's own and of neighbours
    reach: float  # length of processes, relative
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
        cells_per_mm2=9000, overlap=0.0, expression_sigma=0.15, faint=0.0, crossing=0.45, reach=0.8, neuropil=0.05,
        texture=0.8, blur_um=0.28, haze=0.05, bleed=0.01, autofluorescence=0.03, lipofuscin=0.5, vignette=0.08,
        shading=0.02, misregistration_um=0.1, photons=900, read_noise=3.0, weak=0.0, missing=0.0,
    ),
    "normal": Knobs(
        cells_per_mm2=13000, overlap=0.1, expression_sigma=0.35, faint=0.06, crossing=1.0, reach=1.0, neuropil=0.14,
        texture=1.0, blur_um=0.36, haze=0.16, bleed=0.06, autofluorescence=0.07, lipofuscin=2.0, vignette=0.2,
        shading=0.06, misregistration_um=0.4, photons=220, read_noise=5.0, weak=0.12, missing=0.03,
    ),
    "hard": Knobs(
        cells_per_mm2=17000, overlap=0.22, expression_sigma=0.5, faint=0.12, crossing=1.4, reach=1.15, neuropil=0.25,
        texture=1.2, blur_um=0.48, haze=0.3, bleed=0.14, autofluorescence=0.14, lipofuscin=4.0, vignette=0.35,
        shading=0.12, misregistration_um=0.8, photons=70, read_noise=7.0, weak=0.25, missing=0.07,
    ),
}  # fmt: skip


def knobs_for(difficulty: str) -> Knobs:
    """Return the knobs of a difficulty; SettingsError for an unknown one."""
    for name, knobs in KNOBS.items():
        if name == difficulty:
            return knobs
    raise SettingsError(f"difficulty is {difficulty!r}: choose one of {', '.join(KNOBS)}.")
