"""Cell types against truth: which predicted cell is which true one, then accuracy and what is mistaken for what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_dama.cells.given import read_table
from napari_dama.errors import SettingsError
from napari_dama.evaluate.match import iou_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_dama.cells.given import LabelInput

    TableInput = str | Path | pd.DataFrame

MAX_DISTANCE_PX: Final = 8.0
_SAME_PLACE_PX: Final = 2.0


@dataclass(frozen=True)
class TypeScores:
    """How well types agree, over the cells that were paired; shares in 0..1, NaN where a number has no meaning.

    Attributes
    ----------
    accuracy
        Share of right types.
    balanced_accuracy
        Mean over the true types of their share of right types.
    macro_f1
        Mean F1 over the types that occur in truth or prediction.
    types
        Names, in the order of ``confusion``.
    confusion : (K, K) int64
        Cells; rows are true, columns predicted types.
    f1
        F1 of each type (K,).
    n_matched, n_truth_unmatched, n_pred_unmatched
        Pairs whose true type is known, and typed true and predicted cells without a partner.
    matched_by
        How cells were paired, a sentence.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    types: tuple[str, ...]
    confusion: NDArray[np.int64]
    f1: NDArray[np.float64]
    n_matched: int
    n_truth_unmatched: int
    n_pred_unmatched: int
    matched_by: str

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where a number has no meaning."""
        values: dict[str, Any] = dict(vars(self))
        values["types"], values["confusion"] = list(self.types), self.confusion.tolist()
        values["f1"] = [None if np.isnan(v) else float(v) for v in self.f1]
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in values.items()}

    def describe(self) -> list[str]:
        """Lines for a terminal."""
        width = max((len(t) for t in self.types), default=4)
        lines = [
            f"accuracy {self.accuracy:.3f}  balanced {self.balanced_accuracy:.3f}  macro-F1 {self.macro_f1:.3f}",
            f"{self.n_matched} cells compared ({self.matched_by}); without a partner: {self.n_truth_unmatched} true, "
            f"{self.n_pred_unmatched} predicted",
            " ".join(["true / predicted".ljust(width), *(t.rjust(max(6, len(t))) for t in self.types)]),
        ]
        for name, row in zip(self.types, self.confusion, strict=True):
            cells = [str(n).rjust(max(6, len(t))) for n, t in zip(row, self.types, strict=True)]
            lines.append(" ".join([name.ljust(max(width, 16)), *cells]))
        return lines


def type_scores(
    truth: Sequence[str],
    pred: Sequence[str],
    *,
    n_truth_unmatched: int = 0,
    n_pred_unmatched: int = 0,
    matched_by: str = "same order",
) -> TypeScores:
    """Score paired types (n,) and (n,); upper and lower case are one.

    Raises
    ------
    SettingsError
        Lengths differ, or there is nothing to compare.
    """
    if len(truth) != len(pred):
        raise SettingsError(f"There are {len(truth)} true and {len(pred)} predicted types.")
    if not len(truth):
        raise SettingsError("No cell has both a true and a predicted type, so there is nothing to compare.")
    spelled: dict[str, str] = {}
    for name in [*truth, *pred]:
        spelled.setdefault(_plain(name), str(name).strip())
    keys = sorted(spelled)
    place = {key: i for i, key in enumerate(keys)}
    t = np.array([place[_plain(name)] for name in truth])
    p = np.array([place[_plain(name)] for name in pred])
    k = len(keys)
    confusion = np.bincount(t * k + p, minlength=k * k).reshape(k, k).astype(np.int64)
    right = np.diag(confusion)
    true_n, pred_n = confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = 2 * right / np.maximum(true_n + pred_n, 1)
    return TypeScores(
        accuracy=float(right.sum() / len(t)),
        balanced_accuracy=float((right[true_n > 0] / true_n[true_n > 0]).mean()),
        macro_f1=float(f1.mean()),
        types=tuple(spelled[key] for key in keys),
        confusion=confusion,
        f1=f1,
        n_matched=len(t),
        n_truth_unmatched=n_truth_unmatched,
        n_pred_unmatched=n_pred_unmatched,
        matched_by=matched_by,
    )


def evaluate_types(
    truth: TableInput,
    pred: TableInput,
    *,
    truth_labels: LabelInput | None = None,
    pred_labels: LabelInput | None = None,
    iou: float = 0.5,
    max_distance_px: float = MAX_DISTANCE_PX,
) -> TypeScores:
    """Compare two tables of typed cells.

    With both label images cells are paired by their overlap. Else, where both tables have the same labels at the same
    places, by label; else one to one by their centres, the closest first.

    Parameters
    ----------
    truth, pred
        Tables, CSV or Parquet files (or result folders) with ``label, type`` and, to pair by place, ``y, x``.
    truth_labels, pred_labels
        Label images that the tables' labels refer to.
    iou
        Least overlap of a pair.
    max_distance_px
        Largest distance of a pair's centres.

    Raises
    ------
    SettingsError
        A table lacks what is needed, or nothing can be compared.
    SlideError
        A file cannot be read, or the images differ in shape.
    """
    true_table, pred_table = _table(truth, "truth"), _table(pred, "prediction")
    if (truth_labels is None) != (pred_labels is None):
        raise SettingsError("Give both label images, or neither; one alone tells nothing about overlaps.")
    if truth_labels is not None and pred_labels is not None:
        return match_types(truth_labels, pred_labels, true_table, pred_table, iou=iou)
    if _same_cells(true_table, pred_table):
        pairs = _by_label(true_table, pred_table)
        return _score_pairs(true_table, pred_table, *pairs, matched_by="by label")
    for name, table in (("truth", true_table), ("prediction", pred_table)):
        if not {"y", "x"} <= set(table):
            raise SettingsError(
                f"The labels of the tables differ, and the {name} has no columns y and x to pair cells by; "
                "give both label images."
            )
    pairs = nearest_pairs(
        true_table[["y", "x"]].to_numpy(float), pred_table[["y", "x"]].to_numpy(float), max_distance_px
    )
    how = f"nearest centres within {max_distance_px:g} px"
    return _score_pairs(true_table, pred_table, *pairs, matched_by=how)


def match_types(
    truth_labels: LabelInput,
    pred_labels: LabelInput,
    truth_table: pd.DataFrame,
    pred_table: pd.DataFrame,
    iou: float = 0.5,
) -> TypeScores:
    """Compare types of cells that are paired by the overlap of two label images; tables have ``label`` and ``type``."""
    truth_table, pred_table = _table(truth_table, "truth"), _table(pred_table, "prediction")
    table = iou_table(truth_labels, pred_labels)
    t, p, _ = table.matches(iou)
    true_row = pd.Series(np.arange(len(truth_table)), index=truth_table["label"])
    pred_row = pd.Series(np.arange(len(pred_table)), index=pred_table["label"])
    rows = pd.DataFrame(
        {
            "t": true_row.reindex(table.truth.ids[t]).to_numpy(),
            "p": pred_row.reindex(table.pred.ids[p]).to_numpy(),
        }
    ).dropna()
    return _score_pairs(
        truth_table,
        pred_table,
        rows["t"].to_numpy(np.int64),
        rows["p"].to_numpy(np.int64),
        matched_by=f"IoU of at least {iou:g}",
    )


def nearest_pairs(
    truth: NDArray[np.float64], pred: NDArray[np.float64], max_distance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair points (n, 2) and (m, 2) one to one, the closest first: positions in either, (k,) each."""
    if not len(truth) or not len(pred):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    near = cKDTree(truth).sparse_distance_matrix(cKDTree(pred), max_distance, output_type="ndarray")
    near = near[np.lexsort((near["j"], near["i"], near["v"]))]
    used_truth, used_pred = np.zeros(len(truth), bool), np.zeros(len(pred), bool)
    pairs = []
    for i, j in zip(near["i"].tolist(), near["j"].tolist(), strict=True):
        if not used_truth[i] and not used_pred[j]:
            used_truth[i] = used_pred[j] = True
            pairs.append((i, j))
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _plain(name: str) -> str:
    return str(name).strip().casefold()


def _table(source: TableInput, what: str) -> pd.DataFrame:
    """Read a table and check that it has types."""
    if isinstance(source, pd.DataFrame):
        table, name = source.reset_index(drop=True), f"the {what}"
        if "label" not in table:
            raise SettingsError(f"The table of {name} has no column label.")
    else:
        path = Path(source)
        path = path / "cells.csv" if path.is_dir() else path
        table, name = read_table(path), str(path)
    if "type" not in table:
        raise SettingsError(f"The table of {name} has no column type; was it made with --no-types?")
    return table.assign(type=table["type"].astype(object).where(table["type"].notna(), "").astype(str))


def _same_cells(truth: pd.DataFrame, pred: pd.DataFrame) -> bool:
    """Tell whether labels mean the same cells: equal sets, and where places are known also equal places."""
    if set(truth["label"]) != set(pred["label"]):
        return False
    if not ({"y", "x"} <= set(truth) and {"y", "x"} <= set(pred)):
        return True
    places = ["y", "x"]
    one = truth.set_index("label")[places].sort_index().to_numpy(float)
    other = pred.set_index("label")[places].sort_index().to_numpy(float)
    return bool((np.hypot(*(one - other).T) <= _SAME_PLACE_PX).all())


def _by_label(truth: pd.DataFrame, pred: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    place = pd.Series(np.arange(len(pred)), index=pred["label"])
    return np.arange(len(truth)), place.loc[truth["label"]].to_numpy(np.int64)


def _score_pairs(
    truth: pd.DataFrame, pred: pd.DataFrame, t: NDArray[np.int64], p: NDArray[np.int64], *, matched_by: str
) -> TypeScores:
    """Score pairs of rows; a true cell without a type is left out, a predicted one without counts as unmatched."""
    true_type, pred_type = truth["type"].to_numpy(), pred["type"].to_numpy()
    known = np.array(
        [bool(a.strip() and b.strip()) for a, b in zip(true_type[t], pred_type[p], strict=True)], bool
    )
    typed_truth = sum(bool(name.strip()) for name in true_type)
    untyped_partner = sum(not name.strip() for name in true_type[t])
    return type_scores(
        true_type[t][known].tolist(),
        pred_type[p][known].tolist(),
        n_truth_unmatched=typed_truth - int(known.sum()),
        n_pred_unmatched=len(pred) - int(known.sum()) - untyped_partner,
        matched_by=matched_by,
    )
