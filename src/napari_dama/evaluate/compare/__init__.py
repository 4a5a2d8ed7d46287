"""Methods x folds x label fractions: one experiment file, a resumable run, paired tests, tables and a plot."""

from __future__ import annotations

from napari_dama.evaluate.compare.experiment import Experiment, MethodEntry
from napari_dama.evaluate.compare.runner import CompareProgress, Comparison, compare

__all__ = ["CompareProgress", "Comparison", "Experiment", "MethodEntry", "compare"]
