"""What an evaluation of detections starts from: overlaps, scores, types, and how many detections of an image count."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.cells.given import open_labels, read_table, table_beside
from napari_dama.errors import SettingsError
from napari_dama.evaluate.match import iou_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.cells.given import LabelInput
    from napari_dama.evaluate.match import IouTable

COCO_LIMIT: Final = 100
"""Detections that COCO looks at per image."""


@dataclass(frozen=True)
class Detections:
    """Predicted and true cells of one or more images, ready to be compared.

    Attributes
    ----------
    names
        Of the predicted images, for messages.
    tables
        Overlaps, one per image.
    scores
        Confidence of each predicted cell, (n_pred,) per image; 1 where none are known.
    scored
        Whether all images came with scores.
    limit
        Detections per image that count, best score first; None for all.
    true_sources, pred_sources
        Where the label images came from.
    """

    names: tuple[str, ...]
    tables: tuple[IouTable, ...]
    scores: tuple[NDArray[np.float64], ...]
    scored: bool
    limit: int | None
    true_sources: tuple[LabelInput, ...]
    pred_sources: tuple[LabelInput, ...]

    @property
    def n_truth(self) -> int:
        """True cells."""
        return sum(len(table.truth) for table in self.tables)

    @property
    def n_pred(self) -> int:
        """Predicted cells, those beyond the limit too."""
        return sum(len(table.pred) for table in self.tables)

    @property
    def n_largest(self) -> int:
        """Predicted cells of the image that has most of them."""
        return max(len(table.pred) for table in self.tables)

    @property
    def ranked(self) -> bool:
        """Whether scores tell detections apart; else a curve is a single point."""
        return self.scored and len(np.unique(np.concatenate(self.scores))) > 1

    def kept(self, image: int) -> NDArray[np.int64]:
        """Positions (k,) of the detections of an image that count, best score first, of equals the lower label."""
        return np.argsort(-self.scores[image], kind="stable")[: self.limit].astype(np.int64)

    def types(self) -> list[tuple[NDArray[np.object_], NDArray[np.object_]]]:
        """Types of true (n_truth,) and predicted cells (n_pred,) of each image, from the tables beside them.

        Names are in lower case, so that "Neuron" and "neuron" are one; "" where no type is known.

        Raises
        ------
        SettingsError
            An image has no table with a ``type`` column beside it.
        """
        sides = zip(self.tables, self.true_sources, self.pred_sources, strict=True)
        return [(_types(a.truth.ids, t, "truth"), _types(a.pred.ids, p, "prediction")) for a, t, p in sides]

    def describe_limit(self) -> str:
        """Say how many detections of an image were looked at."""
        return describe_limit(self.limit, self.n_largest, self.n_pred, self.n_counted)

    @property
    def n_counted(self) -> int:
        """Predicted cells within the limit."""
        return sum(len(self.kept(image)) for image in range(len(self.tables)))

    def require_cells(self) -> None:
        """Raise SettingsError where there are no curves: without true, or without predicted cells."""
        of = self.names[0] if len(self.names) == 1 else f"{len(self.names)} images"
        if not self.n_truth:
            raise SettingsError(f"There is no true cell to hold {of} against, so there are no curves.")
        if not self.n_pred:
            raise SettingsError(f"No cell was predicted in {of}: AP is 0, and there are no curves.")


def describe_limit(limit: int | None, largest: int, n_pred: int, n_counted: int) -> str:
    """Say how many detections of an image were looked at, in one line."""
    usual = f"COCO's usual limit is {COCO_LIMIT} per image"
    if limit is None:
        return f"detections not limited ({usual}; here up to {largest})"
    if limit == COCO_LIMIT:
        usual = "COCO's usual limit"
    return f"detections limited to the {limit} best per image ({usual}): {n_counted} of {n_pred} count"


def read_detections(
    truth: LabelInput | Sequence[LabelInput],
    pred: LabelInput | Sequence[LabelInput],
    scores: Mapping[int, float] | Sequence[Mapping[int, float] | None] | None = None,
    *,
    max_detections: int | None = None,
) -> Detections:
    """Read true and predicted label images, and the tables beside them.

    Parameters
    ----------
    truth, pred
        A TIFF or .npy file, a result folder of ``analyse``, an array (Y, X), or lists of them, whose cells are pooled.
    scores
        Confidence per predicted label, one mapping per image; by default the ``score`` column of the ``cells.csv`` in a
        result folder (of NAME.csv beside NAME.tif), else 1 for all.
    max_detections
        Count only so many detections of each image, best score first, as COCO does with 100; by default all count.

    Raises
    ------
    SlideError
        An image cannot be read, or shapes differ.
    SettingsError
        Lists of different lengths, scores that do not cover all labels or are no numbers, or a limit without scores.
    """
    truths, preds = _listed(truth), _listed(pred)
    if len(truths) != len(preds):
        raise SettingsError(
            f"There are {len(truths)} true and {len(preds)} predicted images; give as many of each."
        )
    if not preds:
        raise SettingsError("There is no image to compare; give a true and a predicted one.")
    given: list[Any] = list(scores) if isinstance(scores, list | tuple) else [scores] * len(preds)
    if len(given) != len(preds):
        raise SettingsError(f"There are {len(given)} sets of scores and {len(preds)} predicted images.")
    if max_detections is not None and max_detections < 1:
        raise SettingsError(f"The limit of detections per image is 1 or more, not {max_detections}.")
    tables = tuple(iou_table(t, p) for t, p in zip(truths, preds, strict=True))
    confidences, scored = [], True
    for table, source, own in zip(tables, preds, given, strict=True):
        own = _score_column(_beside(source)) if own is None else own
        scored &= own is not None
        confidences.append(_confidence(table.pred.ids, own))
    if max_detections is not None and not scored:
        raise SettingsError(
            f"A limit of {max_detections} detections per image needs scores, which tell the best detections; "
            "leave the limit away, or give a prediction with a score column in its table."
        )
    names = tuple(_name(source, "the predicted image") for source in preds)
    return Detections(names, tables, tuple(confidences), scored, max_detections, tuple(truths), tuple(preds))


def _listed(source: LabelInput | Sequence[LabelInput]) -> list[Any]:
    return list(source) if isinstance(source, list | tuple) else [source]


def _beside(source: LabelInput) -> pd.DataFrame | None:
    """Read the table that lies beside a label image."""
    if not isinstance(source, str | Path):
        return None
    path = open_labels(source).path
    beside = table_beside(path) if path is not None else None
    return None if beside is None else read_table(beside)


def _name(source: LabelInput, otherwise: str) -> str:
    return str(source) if isinstance(source, str | Path) else otherwise


def _types(ids: NDArray[np.int64], source: LabelInput, what: str) -> NDArray[np.object_]:
    table = _beside(source)
    if table is None or "type" not in table:
        raise SettingsError(
            f"{_name(source, f'The {what}')} has no table with a type column beside it (cells.csv in a result folder, "
            "NAME.csv beside NAME.tif), so errors of types cannot be told."
        )
    known = dict(zip(table["label"].tolist(), table["type"].tolist(), strict=True))
    return np.array([str(known.get(int(i), "")).strip().casefold() for i in ids], dtype=object)


def _score_column(table: pd.DataFrame | None) -> Mapping[int, Any] | None:
    if table is None or "score" not in table:
        return None
    return dict(zip(table["label"].tolist(), table["score"].tolist(), strict=True))


def _confidence(ids: NDArray[np.int64], scores: Mapping[int, Any] | None) -> NDArray[np.float64]:
    if scores is None:
        return np.ones(len(ids))
    missing = [int(i) for i in ids if int(i) not in scores]
    if missing:
        raise SettingsError(
            f"{len(missing)} predicted cells have no score, label {missing[0]} for one; "
            "labels and table do not belong together."
        )
    try:
        values = np.array([scores[int(i)] for i in ids], np.float64)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"Scores are numbers, but some of the predicted cells' are not: {error}."
        ) from error
    if np.isnan(values).any():
        raise SettingsError(f"{int(np.isnan(values).sum())} predicted cells have an empty score.")
    return values
