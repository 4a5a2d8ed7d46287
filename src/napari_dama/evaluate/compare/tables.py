"""From units to tables: one row per unit, one per method and label fraction, and one per paired comparison."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from napari_dama.evaluate.compare.units import BOOSTING, PREDICTIONS
from napari_dama.evaluate.statistics import holm, mean_interval, paired_test, sign_flip_p, sign_test_p

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_dama.evaluate.compare.experiment import Experiment
    from napari_dama.evaluate.compare.splits import FoldPlan
    from napari_dama.evaluate.compare.units import Unit

METRICS: Final = ("balanced_accuracy", "accuracy", "macro_f1")
RESULTS: Final = (
    *(
        "kind",
        "method",
        "mode",
        "label_share",
        "fold",
        "seed",
        "state",
        *METRICS,
        "n_labels",
        "n_train",
        "n_test",
    ),
    *("seconds", "steps", "images_per_s", "wall_s", "folder", "error"),
)
_KEY: Final = ["method", "mode", "label_share"]


def results_table(units: Sequence[Unit], results: Mapping[Unit, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per unit, in the order of work; ``state`` is "waiting" for those that were not reached."""
    rows = []
    for unit in units:
        found = results.get(unit, {"state": "waiting"})
        row = {name: getattr(unit, name) for name in _KEY} | {"kind": unit.kind, "seed": unit.seed}
        row |= {"fold": unit.fold + 1 if unit.fold >= 0 else "all", "folder": unit.place}
        row |= {name: found.get("test", {}).get(name, math.nan) for name in METRICS}
        row |= {name: found.get(name) for name in RESULTS if name not in row}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(RESULTS))


def scores_of(results: pd.DataFrame) -> pd.DataFrame:
    """Rows with a test score."""
    return results[(results["state"] == "done") & (results["kind"] != "pretrain")]


def summary_table(results: pd.DataFrame, experiment: Experiment, folds: int) -> pd.DataFrame:
    """The paper's kind of table, for every metric.

    Columns: ``metric, method, mode, label_share``, ``fold_1 ...`` (mean over seeds), ``mean`` and standard ``error`` over
    folds, half width ``ci95`` of its t interval, ``gain`` over random initialisation (mean over the folds that both
    have; same mode and labels), and of the pretraining ``pretrain_hours`` and ``images_per_s`` (means over folds and seeds).
    """
    done = scores_of(results)
    random = next((entry.name for entry in experiment.methods if entry.init == "random"), None)
    pretrained = results[(results["state"] == "done") & (results["kind"] == "pretrain")]
    rows = []
    for metric in METRICS:
        means = done.groupby([*_KEY, "fold"], as_index=False)[metric].mean()
        by_fold = {key: part.set_index("fold")[metric] for key, part in means.groupby(_KEY)}
        for key in dict.fromkeys(done[_KEY].itertuples(index=False, name=None)):
            method, mode, share = key
            own = by_fold[key]
            mean, half, error = mean_interval(own.to_numpy())
            gain = math.nan
            beside = (random, "finetune" if mode == "baseline" and share else mode, share)
            if method != random and beside in by_fold:
                gain = float((own - by_fold[beside]).mean())  # of the folds that both have
            past = pretrained[pretrained["method"] == method] if mode != "baseline" else pretrained.iloc[:0]
            rows.append(
                {
                    "metric": metric,
                    **dict(zip(_KEY, key, strict=True)),
                    **{f"fold_{k + 1}": own.get(k + 1, math.nan) for k in range(folds)},
                    "mean": mean,
                    "error": error,
                    "ci95": half,
                    "gain": gain,
                    "pretrain_hours": past["seconds"].astype(float).mean() / 3600,
                    "images_per_s": past["images_per_s"].astype(float).mean(),
                }
            )
    return pd.DataFrame(rows)


def tests_table(
    results: pd.DataFrame, experiment: Experiment, plans: Sequence[FoldPlan], out: Path
) -> pd.DataFrame:
    """Every method against every reference: same mode, label fraction, folds, seeds and test cells.

    ``p_holm`` corrects ``p_corrected`` (the corrected resampled t test) over all rows of the same metric. For accuracy
    ``p_fields`` flips signs of whole fields of view and ``p_cells`` takes cells for independent, which they are not.
    """
    done = scores_of(results)
    ratio = float(np.mean([plan.n_test / max(plan.n_train, 1) for plan in plans]))
    right = _Right(done, out)
    rows: list[dict[str, Any]] = []
    compared: set[tuple[frozenset[str], str, float]] = set()
    for mode, share in dict.fromkeys(
        done[done["mode"] != "baseline"][["mode", "label_share"]].itertuples(index=False, name=None)
    ):
        for reference in experiment.references_or_default():
            other = (reference, "baseline" if reference == BOOSTING else mode, share)
            for entry in experiment.methods:
                pair = frozenset((entry.name, reference))
                if (
                    len(pair) == 2 and (pair, mode, share) not in compared
                ):  # a reference against another: once
                    compared.add((pair, mode, share))
                    rows += _pair(done, (entry.name, mode, share), other, ratio, right)
    table = pd.DataFrame(rows)
    if len(table):
        table = table.sort_values(
            "metric", key=lambda c: c.map(METRICS.index), kind="stable", ignore_index=True
        )
        table["p_holm"] = table.groupby("metric")["p_corrected"].transform(lambda p: holm(p.to_numpy()))
    return table


def _pair(
    done: pd.DataFrame,
    key: tuple[str, str, float],
    other: tuple[str, str, float],
    ratio: float,
    right: _Right,
) -> list[dict[str, Any]]:
    """Rows of one pair, a metric each; none where the two share no fold and seed."""
    one, two = (
        done[(done["method"] == k[0]) & (done["mode"] == k[1]) & (done["label_share"] == k[2])].set_index(
            ["fold", "seed"]
        )
        for k in (key, other)
    )
    both = one.index.intersection(two.index)
    rows = []
    for metric in METRICS if len(both) else ():
        difference = one.loc[both, metric] - two.loc[both, metric]
        found = paired_test(difference.to_numpy(), [place[0] for place in both], test_to_train=ratio)
        extra = right.compare(key, other, list(both)) if metric == "accuracy" else {}
        rows.append(
            {
                "metric": metric,
                **dict(zip(_KEY, key, strict=True)),
                "reference": other[0],
                **{name: getattr(found, name) for name in type(found).__slots__},
                "p_fields": extra.get("p_fields", math.nan),
                "p_cells": extra.get("p_cells", math.nan),
                "cells_better": extra.get("better", math.nan),
                "cells_worse": extra.get("worse", math.nan),
            }
        )
    return rows


class _Right:
    """Which test cells each method gets right, read from the predictions when they are asked for."""

    def __init__(self, done: pd.DataFrame, out: Path) -> None:
        self.folders = {
            ((row.method, row.mode, row.label_share), (row.fold, row.seed)): out / str(row.folder)
            for row in done.itertuples()
        }

    def compare(
        self, key: tuple[str, str, float], other: tuple[str, str, float], both: list[tuple[int, int]]
    ) -> dict[str, float]:
        """Difference of right answers by field of view and by cell, over these folds and seeds."""
        parts = []
        for place in both:
            one, two = (self._read(k, place) for k in (key, other))
            pair = one.merge(two[["row", "right"]], on="row", suffixes=("", "_other"), validate="one_to_one")
            parts.append(pair.assign(difference=pair["right"] - pair["right_other"]))
        every = pd.concat(parts)
        fields = every.groupby("group")["difference"].mean()
        cells = every.groupby("row")["difference"].mean()
        better, worse = int((cells > 0).sum()), int((cells < 0).sum())
        return {
            "p_fields": sign_flip_p(fields.to_numpy()),
            "p_cells": sign_test_p(better, worse),
            "better": better,
            "worse": worse,
        }

    def _read(self, key: tuple[str, str, float], place: tuple[int, int]) -> pd.DataFrame:
        table = pd.read_parquet(
            self.folders[key, place] / PREDICTIONS, columns=["row", "group", "type", "predicted"]
        )
        return table.assign(right=(table["type"] == table["predicted"]).astype(float))
