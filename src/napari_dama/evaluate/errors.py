"""What kinds of errors cost how much: the breakdown of COCO's ``analyze``, after Hoiem et al. 2012.

A detector is judged seven times, each time more kindly, and each time the area under its precision-recall curve grows:

==== =============================================================================================================
C75  as it stands, at IoU 0.75: outlines must be good.
C50  as it stands, at IoU 0.5: outlines must be fair. The step from C75 is what better outlines would bring.
Loc  at IoU 0.1: a cell is found where a detection lies roughly. The step from C50 is what errors of localisation cost:
     cells that were seen, but merged, split, shifted, too large or too small.
Sim  as Loc, and detections on a cell of another type of the same family no longer count.
Oth  as Loc, and detections on a cell of any other type no longer count.
BG   nothing false counts any longer: precision is 1 up to the highest recall that is reached. The step from Oth is what
     detections of background cost, and second detections of a cell that was found already (COCO counts both here).
FN   nothing is missed any longer: the area is 1. The step from BG is what cells cost that no detection lies on.
==== =============================================================================================================

Without types Sim and Oth equal Loc. With types all of them belong to one family, ``cell``, unless families are given, so
that Oth equals Sim; and C75, C50 and Loc want the right type too.

D. Hoiem, Y. Chodpathumwan, Q. Dai, "Diagnosing error in object detectors", ECCV 2012; T.-Y. Lin et al., the COCO toolbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import SettingsError
from napari_dama.evaluate.pairs import RECALLS, match_by_score, precision_at_recalls
from napari_dama.evaluate.recall import by_score, order_of, pairs_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_dama.evaluate.detections import Detections
    from napari_dama.evaluate.pairs import Pairs

TERMS: Final = ("C75", "C50", "Loc", "Sim", "Oth", "BG", "FN")
LOC_IOU: Final = 0.1
_STEPS: Final = (("C75", 0.75), ("C50", 0.5), ("Loc", LOC_IOU), ("Sim", LOC_IOU), ("Oth", LOC_IOU))
_ONE_TYPE: Final = "cell"


@dataclass(frozen=True)
class ErrorCurves:
    """Precision over recall as one kind of error after the other is forgiven.

    Attributes
    ----------
    types
        K cell types that truth has; ``("cell",)`` when types were left aside.
    precision : (K, 7, 101) float64
        Per type, term of `TERMS` and recall of `napari_dama.evaluate.pairs.RECALLS`.
    n_truth : (K,) int64
        True cells of each type.
    """

    types: tuple[str, ...]
    precision: NDArray[np.float64]
    n_truth: NDArray[np.int64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Curves (7, 101) averaged over types, each of the same weight, as COCO does."""
        return np.asarray(self.precision.mean(axis=0))

    @property
    def areas(self) -> dict[str, float]:
        """Area under each mean curve: the mean over the 101 recalls."""
        return dict(zip(TERMS, self.mean.mean(axis=1).tolist(), strict=True))

    @property
    def areas_by_type(self) -> dict[str, dict[str, float]]:
        """Areas of each type."""
        areas = self.precision.mean(axis=2).tolist()
        return {name: dict(zip(TERMS, own, strict=True)) for name, own in zip(self.types, areas, strict=True)}

    def rows(self) -> dict[str, Any]:
        """Columns of a table: ``type`` (with several, also the mean as ``all types``), ``recall``, and the seven terms."""
        named = [*zip(self.types, self.precision, strict=True)]
        if len(self.types) > 1:
            named.insert(0, ("all types", self.mean))
        return {
            "type": np.repeat([name for name, _ in named], len(RECALLS)),
            "recall": np.tile(RECALLS, len(named)),
            **{term: np.concatenate([own[i] for _, own in named]) for i, term in enumerate(TERMS)},
        }


def error_curves(
    detections: Detections,
    *,
    boxes: bool = False,
    by_type: bool = False,
    families: Mapping[str, str] | None = None,
) -> ErrorCurves:
    """Break the errors of detections down into localisation, confusion of types, background and missed cells.

    See the head of this module for what each term means.

    Parameters
    ----------
    detections
        What `read_detections` gave, with its limit of detections per image.
    boxes
        Compare bounding boxes instead of masks.
    by_type
        Cells are of the types in the tables beside the label images; a detection must have the right one. A true cell
        without a type is neither to be found nor to be missed; a detection without one, or of a type that truth does not
        have, belongs to no curve.
    families
        Type to family, for Sim; a type that is not in it belongs to the family ``cell``.

    Returns
    -------
    ErrorCurves

    Raises
    ------
    SettingsError
        There are no true or no predicted cells, or types are wanted and a table has none.

    Notes
    -----
    Where scores do not tell detections apart, each curve is a single point, see `recall_curves`. COCO's program counts
    detections per image and type against its limit; here (a departure) those of an image are counted together.
    """
    detections.require_cells()
    given = detections.types() if by_type else _of_one_type(detections)
    types = sorted({name for truth, _ in given for name in truth.tolist() if name})
    if not types:
        raise SettingsError("No true cell has a type, so errors of types cannot be told.")
    scenes = []
    for image, (truth, pred) in enumerate(given):
        pairs = pairs_of(detections, image, LOC_IOU, boxes=boxes)
        scenes.append(_Scene(pairs, order_of(detections, image, pairs), truth, pred))
    kin = {name.strip().casefold(): family for name, family in (families or {}).items()}
    curves, counts = [], []
    for name in types:
        similar = {other for other in types if kin.get(other, "cell") == kin.get(name, "cell")}
        forgiven: dict[str, set[str]] = {"Sim": similar - {name}, "Oth": set(types) - {name}}
        n_truth = sum(int((scene.truth == name).sum()) for scene in scenes)
        steps = [
            _curve(detections, scenes, name, iou, forgiven.get(term, set()), n_truth) for term, iou in _STEPS
        ]
        found = (steps[-1] > 0).astype(np.float64)
        curves.append([*steps, found, np.ones(len(RECALLS))])
        counts.append(n_truth)
    return ErrorCurves(tuple(types), np.array(curves), np.array(counts, np.int64))


@dataclass(frozen=True)
class _Scene:
    """One image: overlaps, the order of its detections, and types of both sides."""

    pairs: Pairs
    order: NDArray[np.int64]
    truth: NDArray[np.object_]
    pred: NDArray[np.object_]


def _of_one_type(detections: Detections) -> list[tuple[NDArray[np.object_], NDArray[np.object_]]]:
    sizes = [(len(table.truth), len(table.pred)) for table in detections.tables]
    return [(np.full(n, _ONE_TYPE, object), np.full(m, _ONE_TYPE, object)) for n, m in sizes]


def _curve(
    detections: Detections,
    scenes: list[_Scene],
    name: str,
    iou: float,
    forgiven: set[str],
    n_truth: int,
) -> NDArray[np.float64]:
    """Curve (101,) of one type, with detections on cells of forgiven types (or of none) left out of account."""
    hits, counted = [], []
    for scene in scenes:
        own = scene.pred == name
        ignored = np.isin(scene.truth, ["", *forgiven])
        at_stake = (scene.truth == name) | ignored
        pairs = scene.pairs.only(at_stake[scene.pairs.truth])
        taken = match_by_score(pairs, scene.order[own[scene.order]], iou, ignored)
        hit = taken >= 0
        aside = np.zeros_like(hit)
        aside[hit] = ignored[taken[hit]]
        hits.append(hit)
        counted.append(own & ~aside)
    hit = by_score(detections, hits, counted)
    return precision_at_recalls(hit, n_truth, one_point=not detections.ranked)
