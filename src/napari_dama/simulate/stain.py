"""What every marker shows of simulated cells, before any optics: a sharp canvas per marker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_dama.simulate.bodies import BANK, CHUNK, Patches, draw_patches, noise_bank, window
from napari_dama.simulate.grid import enlarge
from napari_dama.simulate.layout import ASTROCYTE, ENDOTHELIAL, MICROGLIA, NEURON, OLIGODENDROCYTE, Layout
from napari_dama.simulate.processes import Points, branches, join, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.simulate.knobs import Knobs

    F4 = NDArray[np.float32]
    F8 = NDArray[np.float64]
    I4 = NDArray[np.int32]
    I8 = NDArray[np.int64]

DAPI, HISTONES, NEUN, S100, OLIG2, IBA1, RECA1 = range(7)

# Brightness of the chromatin (mean, spread) and its contrast, per type: neurons are pale, glia compact.
CHROMATIN = {
    NEURON: (0.45, 0.14, 0.16),
    ASTROCYTE: (0.62, 0.17, 0.16),
    OLIGODENDROCYTE: (0.95, 0.2, 0.14),
    MICROGLIA: (0.9, 0.2, 0.18),
    ENDOTHELIAL: (0.8, 0.2, 0.15),
}


def stain(
    rng: np.random.Generator, layout: Layout, shape: tuple[int, int], pixel_um: float, knobs: Knobs
) -> tuple[F4, I4, I8]:
    """Draw all cells.

    Returns
    -------
    canvas : (7, H, W) float32
        Sharp intensities per marker, about 1 for a typical positive pixel.
    owner : (H, W) int32
        Index of the cell on top plus one, 0 outside of all cell bodies.
    area : (n,) int64
        Pixels of every cell's body, hidden ones included.
    """
    px = 1 / pixel_um
    canvas = np.zeros((7, *shape), dtype=np.float32)
    owner = np.zeros(shape, dtype=np.int32)
    fine, coarse = noise_bank(rng, 0.45 * px), noise_bank(rng, 0.9 * px)
    level = np.exp(rng.normal(0, knobs.expression_sigma, len(layout)) - knobs.expression_sigma**2 / 2)
    level = np.where(rng.random(len(layout)) < knobs.faint, level * 0.35, level)
    level = np.clip(level, 0.22, 3.0)  # faint, but there
    occupied = np.zeros(shape, dtype=np.float32)
    area = np.zeros(len(layout), dtype=np.int64)
    for kind in range(5):
        all_cells = np.flatnonzero(layout.kind == kind)
        for start in range(0, len(all_cells), CHUNK):
            cells = all_cells[start : start + CHUNK]
            patches = draw_patches(rng, layout, cells, kind, pixel_um, fine, coarse)
            signals = _signals(rng, kind, patches, level[cells], knobs)
            area[cells] = patches.inside.sum(axis=(1, 2))
            _stamp(canvas, owner, occupied, patches, signals)
    _ghosts(rng, canvas, len(layout), knobs, px)
    _felt(rng, canvas, occupied, knobs, px)
    _processes(rng, canvas, layout, level, pixel_um, knobs)
    return canvas, owner, area


def _signals(rng: np.random.Generator, kind: int, p: Patches, level: F8, knobs: Knobs) -> dict[int, F4]:
    """Intensity patches (n, P, P) of one type's cells, per marker."""
    n = len(p.cells)
    mean, spread, contrast = CHROMATIN[kind]

    def per_cell(values: NDArray[np.floating[Any]]) -> F4:
        shaped: F4 = values.astype(np.float32)[:, None, None]
        return shaped

    own = per_cell(level)
    contrast *= knobs.texture
    texture = 1 + contrast * p.chromatin + 0.6 * contrast * np.maximum(p.grain - 0.8, 0)
    dapi = per_cell(np.clip(rng.normal(mean, spread, n), 0.3 * mean, None))
    histones = dapi * per_cell(np.exp(rng.normal(-0.1, 0.25, n)))
    clumps = np.maximum(p.chromatin - 1.3, 0)  # chromocentres
    signals = {
        DAPI: dapi * p.dome * np.maximum(texture + (0.5 if kind == NEURON else 0.15) * clumps, 0.15),
        HISTONES: histones
        * p.dome
        * np.maximum(1 + 0.8 * contrast * (0.5 * p.chromatin - 0.8 * p.grain), 0.15),
    }
    rim = np.maximum(p.body - 0.65 * p.nucleus, 0)
    if kind == NEURON:
        nucleolus = np.maximum(p.grain - 1.4, 0)
        nuclear = per_cell(rng.uniform(0.75, 1.25, n))
        soma = 0.62 * np.maximum(p.body - 0.6 * p.nucleus, 0)
        inner = nuclear * p.dome * np.clip(1 - 0.7 * nucleolus, 0.2, 1)
        signals[NEUN] = own * (inner + soma) * (1 + 0.15 * p.chromatin)
    elif kind == ASTROCYTE:
        signals[S100] = own * (0.62 * p.body + 0.45 * rim) * (1 + 0.2 * p.grain)
        signals[OLIG2] = p.dome * per_cell(0.22 * (rng.random(n) < 0.2))
    elif kind == OLIGODENDROCYTE:
        signals[OLIG2] = own * p.dome * (1.0 + 0.15 * p.chromatin)
        signals[S100] = p.body * per_cell(0.25 * rng.random(n) * (rng.random(n) < 0.4))
    elif kind == MICROGLIA:
        signals[IBA1] = own * (0.3 * p.body + 0.85 * rim) * (1 + 0.25 * p.grain)
    elif kind == ENDOTHELIAL:
        signals[RECA1] = own * (0.14 * p.body + 0.6 * rim) * (1 + 0.25 * p.grain)
    return signals


def _stamp(canvas: F4, owner: I4, occupied: F4, p: Patches, signals: dict[int, F4]) -> None:
    """Add patches to the canvas; where bodies overlap, the cell of the higher index is on top."""
    side = p.body.shape[1]
    for i, cell in enumerate(p.cells.tolist()):
        here, there = window(int(p.top[i]), int(p.left[i]), side, owner.shape)
        for marker, patch in signals.items():
            canvas[marker][here] += patch[i][there]
        np.maximum(occupied[here], p.body[i][there], out=occupied[here])
        view = owner[here]
        np.maximum(view, p.inside[i][there] * np.int32(cell + 1), out=view)


def _felt(rng: np.random.Generator, canvas: F4, occupied: F4, knobs: Knobs, px: float) -> None:
    """Neuropil: the felt of fine processes between the cells, darker where a soma lies."""
    height, width = occupied.shape
    texture, clouds = noise_bank(rng, 0.55 * px), noise_bank(rng, min(40.0, 9 * px))
    room = 1 - 0.6 * occupied
    repeats = (height // BANK + 2, width // BANK + 2)
    for marker, amount in ((NEUN, 0.35), (S100, 1.0), (OLIG2, 0.12), (IBA1, 0.4), (RECA1, 0.2)):
        oy, ox = rng.integers(0, BANK, 2)
        bank = np.roll(np.clip(1 + 0.5 * texture + 0.25 * clouds, 0, 4), (oy, ox), axis=(0, 1))
        tiled = np.tile(bank, repeats)[:height, :width]
        canvas[marker] += np.float32(knobs.neuropil * amount) * tiled * room


def _processes(
    rng: np.random.Generator, canvas: F4, layout: Layout, level: F8, pixel_um: float, knobs: Knobs
) -> None:
    """Branching processes, dendrites, vessel walls, endfeet and granules."""
    px = 1 / pixel_um
    step = min(0.8 * pixel_um, 0.4)
    thin, thick = 0.27, 0.5  # sigma of a process, um

    def line(peak: F8 | float, sigma_um: float) -> F8:
        """Weight per point for lines of this peak intensity after the blur."""
        return np.asarray(peak * (step * px) * (sigma_um * px) * 2.5, dtype=np.float64)

    def roots(kind: int, low: int, high: int, spread: float) -> tuple[F8, F8, F8, I8]:
        cells = np.flatnonzero(layout.kind == kind)
        count = rng.integers(low, high + 1, len(cells))
        of = np.repeat(cells, count)
        turn = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
        around = 2 * np.pi * turn / np.repeat(count, count) + rng.normal(0, spread, len(of))
        a, b = layout.long[of], layout.short[of]
        u, v = a * np.cos(around), b * np.sin(around)
        c, s = np.cos(layout.angle[of]), np.sin(layout.angle[of])
        dy, dx = u * s + v * c, u * c - v * s
        return layout.y[of] + dy, layout.x[of] + dx, np.arctan2(dy, dx), of

    # A dim soma may well have bright processes: that is how a neighbour's marker outshines a cell's own.
    arbor = 0.95 * knobs.crossing * np.sqrt(level) * np.exp(rng.normal(0, 0.2, len(layout)))
    y, x, out, of = roots(ASTROCYTE, 4, 8, 0.3)
    length = rng.uniform(9, 26, len(of)) * knobs.reach
    astro = branches(
        rng, y, x, out, length, line(arbor[of], thick), step_um=step, bend=0.16, taper=0.4, generations=2
    )
    y, x, out, of = roots(MICROGLIA, 3, 6, 0.35)
    length = rng.uniform(9, 24, len(of)) * knobs.reach
    micro = branches(
        rng, y, x, out, length, line(arbor[of], thin), step_um=step, bend=0.25, taper=0.5, generations=2
    )
    chance = rng.random((2, len(layout))) < knobs.strands
    peak = chance * arbor * rng.uniform(0.6, 1.3, (2, len(layout)))
    strands = [
        _strands(rng, layout, step, line(peak[0], thick)),
        _strands(rng, layout, step, line(peak[1], thin)),
    ]
    astro, micro = join([astro, strands[0]]), join([micro, strands[1]])
    neurons = np.flatnonzero(layout.kind == NEURON)
    tip = 1.2 * layout.long[neurons]
    heading = layout.angle[neurons] + rng.normal(0, 0.1, len(neurons))
    dendrite = branches(
        rng,
        layout.y[neurons] + tip * np.sin(heading),
        layout.x[neurons] + tip * np.cos(heading),
        heading,
        rng.uniform(6, 22, len(neurons)),
        line(0.55 * level[neurons], 0.9),
        step_um=step, bend=0.05, taper=0.1, generations=0,
    )  # fmt: skip
    walls, feet = _vessel_walls(rng, layout, step, knobs)
    granules = _granules(rng, layout, neurons, knobs, px)
    for points, sigma, targets in (
        (astro, thick, {S100: 1.0}),
        (micro, thin, {IBA1: 1.0}),
        (dendrite, 0.9, {NEUN: 1.0}),
        (Points(walls.y, walls.x, line(walls.weight, 0.45)), 0.45, {RECA1: 1.0}),
        (Points(feet.y, feet.x, line(feet.weight, 0.6)), 0.6, {S100: 1.0}),
        (
            granules,
            0.35,
            {DAPI: 0.12, HISTONES: 0.3, NEUN: 0.7, S100: 0.8, OLIG2: 1.0, IBA1: 0.9, RECA1: 0.6},
        ),
    ):
        layer = np.zeros(canvas.shape[1:], dtype=np.float32)
        splat(layer, points, px)
        layer = gaussian_filter(layer, sigma * px, truncate=3.0)
        for marker, amount in targets.items():
            canvas[marker] += np.float32(amount) * layer if amount != 1.0 else layer


def _vessel_walls(
    rng: np.random.Generator, layout: Layout, step: float, knobs: Knobs
) -> tuple[Points, Points]:
    """Both walls of every vessel (RECA1) with faint stretches, and astrocytes' endfeet on them (S100)."""
    walls, feet = [], []
    for vessel in layout.vessels:
        fine = np.arange(0, len(vessel.points) - 1, step)
        whole = np.arange(len(vessel.points))
        cy, cx = np.interp(fine, whole, vessel.points[:, 0]), np.interp(fine, whole, vessel.points[:, 1])
        angle = np.interp(fine, whole, vessel.angles)
        for side in (-1.0, 1.0):
            wobble = np.interp(fine, whole[::4], rng.normal(0, 0.25, len(whole[::4])))
            strength = np.interp(fine, whole[::6], rng.uniform(0.35, 1.15, len(whole[::6])))
            reach = side * (vessel.radius + wobble)
            walls.append(Points(cy + reach * np.cos(angle), cx - reach * np.sin(angle), 0.85 * strength))
            covered = np.interp(fine, whole[::8], rng.uniform(-0.6, 0.8, len(whole[::8])))
            reach = side * (vessel.radius + wobble + 0.9)
            strength = 0.9 * knobs.crossing * np.clip(covered, 0, 1)
            feet.append(Points(cy + reach * np.cos(angle), cx - reach * np.sin(angle), strength))
        inner = rng.uniform(-1, 1, len(fine)) * vessel.radius  # the wall above and below the lumen
        walls.append(Points(cy + inner * np.cos(angle), cx - inner * np.sin(angle), np.full(len(fine), 0.5)))
    return join(walls), join(feet)


def _strands(rng: np.random.Generator, layout: Layout, step: float, peak: F8) -> Points:
    """Processes of cells out of view that run over the bodies of these cells; ``peak`` (n,) is 0 for none."""
    cells = np.flatnonzero(peak > 0)
    n = len(cells)
    towards, length = rng.uniform(0, 2 * np.pi, n), rng.uniform(14.0, 30.0, n)
    aside = np.sqrt(layout.long[cells] * layout.short[cells]) * rng.uniform(-0.9, 0.9, n)
    back = length * rng.uniform(0.35, 0.65, n)
    y = layout.y[cells] - back * np.sin(towards) + aside * np.cos(towards)
    x = layout.x[cells] - back * np.cos(towards) - aside * np.sin(towards)
    return branches(rng, y, x, towards, length, peak[cells], step_um=step, bend=0.1, taper=0.6, generations=1)


def _ghosts(rng: np.random.Generator, canvas: F4, cells: int, knobs: Knobs, px: float) -> None:
    """Cells above and below the focal plane: soft spots and streaks of one marker, on a coarse grid."""
    height, width = canvas.shape[1:]
    coarse_um = 4 / px
    rows, columns = -(-height // 4) + 1, -(-width // 4) + 1
    for marker, share, beads in (
        (NEUN, 0.34, 1),
        (S100, 0.26, 2),
        (OLIG2, 0.2, 1),
        (IBA1, 0.13, 2),
        (RECA1, 0.07, 16),
    ):
        layer = np.zeros((rows, columns), dtype=np.float32)
        for sigma_um in (2.4, 3.6):
            n = rng.poisson(0.5 * share * knobs.ghosts * cells)
            area = 2 * np.pi * (sigma_um / coarse_um) ** 2
            y, x = rng.uniform(0, rows * coarse_um, n), rng.uniform(0, columns * coarse_um, n)
            heading = rng.uniform(0, 2 * np.pi, n)[:, None]
            # Beads in a row, 3 um apart, are a vessel or a process out of focus.
            heading = heading + np.cumsum(rng.normal(0, 0.16, (n, beads)), axis=1)
            ys = (y[:, None] + 3.0 * np.cumsum(np.sin(heading), axis=1)).ravel()
            xs = (x[:, None] + 3.0 * np.cumsum(np.cos(heading), axis=1)).ravel()
            bead = 1.0 if beads == 1 else 1.5 / sigma_um / beads**0.3
            peak = np.repeat(rng.uniform(0.3, 0.9, n), beads) * bead
            spots = np.zeros_like(layer)
            splat(spots, Points(ys, xs, peak * area), 1 / coarse_um)
            layer += gaussian_filter(spots, sigma_um / coarse_um, truncate=3.0)
        soft = enlarge(layer, (height, width), 4)
        canvas[marker] += soft
        soft *= np.float32(0.15)
        canvas[DAPI] += soft
        canvas[HISTONES] += soft


def _granules(rng: np.random.Generator, layout: Layout, neurons: I8, knobs: Knobs, px: float) -> Points:
    """Lipofuscin: clusters of granules beside the nuclei of neurons, bright in most channels."""
    laden = neurons[rng.random(len(neurons)) < 0.45]
    count = rng.poisson(2.2 * knobs.lipofuscin, len(laden))
    of = np.repeat(laden, count)
    pole = np.repeat(rng.uniform(0, 2 * np.pi, len(laden)), count)
    away = layout.long[of] * 1.05
    y = layout.y[of] + away * np.sin(pole) + rng.normal(0, 1.0, len(of))
    x = layout.x[of] + away * np.cos(pole) + rng.normal(0, 1.0, len(of))
    peak = rng.lognormal(-0.7, 0.5, len(of))
    return Points(y, x, peak * 2 * np.pi * (0.35 * px) ** 2)
