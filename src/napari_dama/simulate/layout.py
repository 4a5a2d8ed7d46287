"""Where simulated cells and vessels lie: vessels, gradients, rows and clusters, without pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.simulate.knobs import Knobs

    F4 = NDArray[np.float32]
    F8 = NDArray[np.float64]
    I8 = NDArray[np.int64]

NEURON, ASTROCYTE, OLIGODENDROCYTE, MICROGLIA, ENDOTHELIAL = range(5)

# Semi-axes of the nucleus (mean and spread, um), narrowest and widest ratio of its axes, and the rim of soma
# that the cell body has around the nucleus (um; neurons have a soma of their own).
NUCLEUS_UM = np.array([(4.7, 0.6), (4.0, 0.45), (3.2, 0.33), (3.6, 0.42), (5.0, 0.75)])
NUCLEUS_RATIO = np.array([(0.74, 0.98), (0.66, 0.95), (0.78, 1.0), (0.46, 0.75), (0.32, 0.52)])
RIM_UM = np.array([0.0, 0.7, 0.45, 0.55, 0.35])
SOMA_SCALE = (1.34, 1.2)  # a neuron's soma against its nucleus, along and across the apical dendrite


@dataclass(frozen=True, slots=True)
class Vessel:
    """A vessel's centre line: points (P, 2) in um (y, x), directions (P,) and its radius in um."""

    points: F8
    angles: F8
    radius: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Cells of a piece of tissue, one entry per cell; lengths in um, angles in radians (0 = along x)."""

    y: F8
    x: F8
    kind: I8
    angle: F8
    long: F8  # semi-axes of the nucleus
    short: F8
    vessels: tuple[Vessel, ...]
    apical: float  # the direction that most neurons of this tissue point to

    def __len__(self) -> int:
        return len(self.y)


@dataclass(slots=True)
class _Field:
    """A smooth random field as a sum of plane waves: evaluated at points, no raster needed."""

    waves: F8  # (K, 3): frequency y, frequency x, phase

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelength_um: float, waves: int = 6) -> _Field:
        angle = rng.uniform(0, 2 * np.pi, waves)
        frequency = 2 * np.pi / (wavelength_um * rng.uniform(0.6, 1.8, waves))
        phase = rng.uniform(0, 2 * np.pi, waves)
        return cls(np.stack([frequency * np.sin(angle), frequency * np.cos(angle), phase], axis=1))

    def __call__(self, y: F8, x: F8) -> F8:
        phase = y[:, None] * self.waves[:, 0] + x[:, None] * self.waves[:, 1] + self.waves[:, 2]
        value: F8 = np.cos(phase).sum(axis=1) / np.sqrt(len(self.waves) / 2)  # mean 0, variance about 1
        return value


def draw_layout(rng: np.random.Generator, height_um: float, width_um: float, knobs: Knobs) -> Layout:
    """Draw vessels and cells for a rectangle of tissue (micrometres)."""
    area_mm2 = height_um * width_um / 1e6
    vessels = _vessels(rng, height_um, width_um)
    apical = float(rng.uniform(0, 2 * np.pi))
    parts = [
        _along_vessels(rng, vessels),
        _rows(rng, height_um, width_um, rng.poisson(110 * area_mm2)),
        _scatter(rng, height_um, width_um, int(2.1 * knobs.cells_per_mm2 * area_mm2)),
    ]
    parts.insert(2, _satellites(rng, parts[2], share=0.12))
    table = np.concatenate(parts)  # columns y, x, kind, angle (nan = any)
    y, x, kind, angle = table[:, 0], table[:, 1], table[:, 2].astype(np.int64), table[:, 3]
    n = len(table)
    long = rng.normal(NUCLEUS_UM[kind, 0], NUCLEUS_UM[kind, 1])
    long = np.clip(long, 0.72 * NUCLEUS_UM[kind, 0], 1.32 * NUCLEUS_UM[kind, 0])
    long *= rng.uniform(0.92, 1.08)  # slides differ a little in the size of their cells
    short = long * rng.uniform(NUCLEUS_RATIO[kind, 0], NUCLEUS_RATIO[kind, 1])
    free = rng.uniform(0, 2 * np.pi, n)
    free = np.where(kind == NEURON, apical + rng.normal(0, 0.5, n), free)
    angle = np.where(np.isnan(angle), free, angle)
    inside = (y >= 0) & (y < height_um) & (x >= 0) & (x < width_um)
    radius = body_radius(kind, long, short)
    keep = np.flatnonzero(inside)
    keep = keep[_without_conflicts(y[keep], x[keep], radius[keep], knobs.overlap)]
    limit = round(knobs.cells_per_mm2 * area_mm2 * 0.6) + 1
    keep = keep[:limit]
    keep = rng.permutation(keep)  # a label's number tells nothing of its type, and z-order is random
    return Layout(y[keep], x[keep], kind[keep], angle[keep], long[keep], short[keep], vessels, apical)


def body_radius(kind: I8, long: F8, short: F8) -> F8:
    """Radius (um) of the disc with the area of each cell's body."""
    neuron = kind == NEURON
    along = np.where(neuron, long * SOMA_SCALE[0], long + RIM_UM[kind])
    across = np.where(neuron, short * SOMA_SCALE[1], short + RIM_UM[kind])
    radius: F8 = np.sqrt(along * across)
    return radius


def _vessels(rng: np.random.Generator, height_um: float, width_um: float) -> tuple[Vessel, ...]:
    """Curved capillaries that cross the tissue, and now and then a wide vessel."""
    span = float(np.hypot(height_um, width_um))
    count = max(1, rng.poisson(6.5 * (height_um * width_um) / 333.0**2 * 333.0 / max(333.0, span / 1.5)))
    vessels = []
    for _ in range(count):
        steps = int(rng.uniform(0.5, 1.2) * span) + 8  # one point per micrometre
        bow = rng.normal(0, 0.0025) + np.cumsum(rng.normal(0, 0.00012, steps))
        angles = rng.uniform(0, 2 * np.pi) + np.cumsum(bow + rng.normal(0, 0.03, steps))
        points = np.cumsum(np.stack([np.sin(angles), np.cos(angles)], axis=1), axis=0)
        through = points[rng.integers(steps // 4, steps - steps // 4)]
        points += rng.uniform(0, (height_um, width_um)) - through
        radius = rng.uniform(5.0, 9.0) if rng.random() < 0.12 else rng.uniform(2.2, 3.6)
        vessels.append(Vessel(points, angles, float(radius)))
    return tuple(vessels)


def _along_vessels(rng: np.random.Generator, vessels: tuple[Vessel, ...]) -> F8:
    """Elongated endothelial nuclei in the walls, one every 14 to 28 um."""
    rows = [np.empty((0, 4))]
    for vessel in vessels:
        gaps = rng.uniform(14, 28, len(vessel.points) // 8 + 1) * (0.6 if vessel.radius > 4 else 1.0)
        at = np.cumsum(gaps).astype(np.int64)
        at = at[at < len(vessel.points)]
        side = np.where(rng.random(len(at)) < 0.5, -1.0, 1.0) * (vessel.radius - rng.uniform(0, 0.7, len(at)))
        angle = vessel.angles[at]
        normal = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
        centre = vessel.points[at] + side[:, None] * normal
        kind = np.full(len(at), float(ENDOTHELIAL))
        rows.append(np.column_stack([centre, kind, angle + rng.normal(0, 0.08, len(at))]))
    return np.concatenate(rows)


def _rows(rng: np.random.Generator, height_um: float, width_um: float, count: int) -> F8:
    """Oligodendrocytes in rows, as between the fibres of a tract."""
    rows = [np.empty((0, 4))]
    tract = rng.uniform(0, np.pi)
    for _ in range(count):
        length = int(rng.integers(3, 8))
        angle = tract + rng.normal(0, 0.25)
        along = np.cumsum(rng.uniform(6.6, 8.6, length))
        start = rng.uniform(0, (height_um, width_um))
        centre = (
            start
            + along[:, None] * np.array([np.sin(angle), np.cos(angle)])
            + rng.normal(0, 0.5, (length, 2))
        )
        rows.append(
            np.column_stack([centre, np.full(length, float(OLIGODENDROCYTE)), np.full(length, np.nan)])
        )
    return np.concatenate(rows)


def _scatter(rng: np.random.Generator, height_um: float, width_um: float, count: int) -> F8:
    """Cells over the tissue: density and mix of types follow smooth fields; some come in clusters."""
    y, x = rng.uniform(0, height_um, count), rng.uniform(0, width_um, count)
    clustered = rng.random(count) < 0.3
    parents = rng.uniform(0, (height_um, width_um), (max(1, count // 22), 2))
    home = parents[rng.integers(0, len(parents), count)] + rng.normal(0, 10.0, (count, 2))
    y, x = np.where(clustered, home[:, 0], y), np.where(clustered, home[:, 1], x)
    density, layer = _Field.draw(rng, 260.0), _Field.draw(rng, 320.0)
    kept = rng.random(count) < 1 / (1 + np.exp(-0.9 * density(y, x) - 0.8))
    y, x = y[kept], x[kept]
    grey = layer(y, x)  # where it is high neurons gather, where it is low oligodendrocytes do
    weight = np.stack(
        [
            0.36 * np.exp(0.8 * grey),
            np.full_like(grey, 0.22),
            0.15 * np.exp(-0.9 * grey),
            np.full_like(grey, 0.14),
        ],
        axis=1,
    )
    edges = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    kind = np.minimum((rng.random(len(y))[:, None] > edges).sum(axis=1), MICROGLIA)
    return np.column_stack([y, x, kind, np.full(len(y), np.nan)])


def _satellites(rng: np.random.Generator, cells: F8, *, share: float) -> F8:
    """Glia that touch a neuron (perineuronal oligodendrocytes and microglia)."""
    neurons = cells[cells[:, 2] == NEURON]
    hosts = neurons[rng.random(len(neurons)) < share]
    angle = rng.uniform(0, 2 * np.pi, len(hosts))
    reach = rng.uniform(8.0, 9.5, len(hosts))
    centre = hosts[:, :2] + reach[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    kind = np.where(rng.random(len(hosts)) < 0.6, OLIGODENDROCYTE, MICROGLIA)
    return np.column_stack([centre, kind, angle + np.pi / 2])


def _without_conflicts(y: F8, x: F8, radius: F8, overlap: float) -> I8:
    """Indices of cells, in order, that do not lie too close to a cell before them."""
    if len(y) < 2:
        return np.arange(len(y), dtype=np.int64)
    points = np.column_stack([y, x])
    pairs = cKDTree(points).query_pairs(2 * float(radius.max()), output_type="ndarray")
    pairs = np.sort(pairs, axis=1)
    apart = np.hypot(*(points[pairs[:, 0]] - points[pairs[:, 1]]).T)
    pairs = pairs[apart < (1 - overlap) * (radius[pairs[:, 0]] + radius[pairs[:, 1]])]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    alive = np.ones(len(y), dtype=bool).tolist()
    for first, second in pairs.tolist():
        if alive[first]:
            alive[second] = False
    return np.flatnonzero(alive)
