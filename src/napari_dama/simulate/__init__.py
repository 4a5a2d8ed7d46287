"""Simulated multiplexed tissue with instance labels and types."""

from __future__ import annotations

from napari_dama.simulate.tissue import MARKERS, TYPE_COLOURS, TYPES, SimulatedTissue, simulate_tissue
from napari_dama.simulate.write import write_simulated

__all__ = ["MARKERS", "TYPES", "TYPE_COLOURS", "SimulatedTissue", "simulate_tissue", "write_simulated"]
