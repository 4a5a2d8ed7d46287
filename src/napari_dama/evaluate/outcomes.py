"""Which cells a method found, missed and invented, and how many of them lie in view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dama.cells.given import open_labels
from napari_dama.errors import SettingsError
from napari_dama.evaluate.match import iou_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_dama.cells.given import LabelInput
    from napari_dama.slides.region import Region


@dataclass(frozen=True)
class Outcomes:
    """Cells of one method in view.

    Attributes
    ----------
    name
        Of the method.
    hits, false_finds : (n,) int64
        Predicted labels in view that match a true cell, and those that do not.
    misses : (n,) int64
        True labels in view that no prediction matches.
    n_hits : int
        True cells in view that a prediction matches; at the edge one of the two may lie out of view.
    pred : (h, w)
        Predicted labels of the view.
    """

    name: str
    hits: NDArray[np.int64]
    false_finds: NDArray[np.int64]
    misses: NDArray[np.int64]
    n_hits: int
    pred: NDArray[Any]

    @property
    def f1(self) -> float:
        """F1 of the cells in view; NaN where there are none."""
        both = 2 * self.n_hits + len(self.false_finds) + len(self.misses)
        return 2 * self.n_hits / both if both else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Counts as plain values."""
        f1 = None if np.isnan(self.f1) else self.f1
        counts = {"hits": self.n_hits, "misses": len(self.misses), "false_finds": len(self.false_finds)}
        return {"name": self.name, **counts, "f1": f1}


def outcomes(
    truth: LabelInput, pred: LabelInput, region: Region, *, name: str, iou: float = 0.75
) -> Outcomes:
    """Match a prediction with truth over the whole image, and say what became of the cells in view.

    Cells are paired one to one, the best overlap first, whatever their scores. A cell is in view when one of its pixels is;
    because whole cells are compared, the edge of the view makes no errors.

    Parameters
    ----------
    truth, pred
        Label images of one shape, see `napari_dama.cells.given.open_labels`.
    region
        The view, inside the image.
    name
        Of the method.
    iou
        Least overlap of a hit, above 0, at most 1.

    Raises
    ------
    SlideError
        An image cannot be read, or shapes differ.
    SettingsError
        The IoU is out of its bounds.
    """
    if not 0 < iou <= 1:
        raise SettingsError(f"A hit needs an IoU above 0 and at most 1, not {iou:g}.")
    table = iou_table(truth, pred)
    found, finder, _ = table.matches(iou)
    true_view, pred_view = read_view(truth, region), read_view(pred, region)
    seen, shown = _labels(true_view), _labels(pred_view)
    right = np.isin(shown, table.pred.ids[finder])
    missed = seen[~np.isin(seen, table.truth.ids[found])]
    return Outcomes(name, shown[right], shown[~right], missed, len(seen) - len(missed), pred_view)


def read_view(labels: LabelInput, region: Region) -> NDArray[Any]:
    """Labels (h, w) of a region."""
    return open_labels(labels).read(region.y0, region.y1)[:, region.x0 : region.x1]


def method_names(sources: Sequence[LabelInput]) -> list[str]:
    """Name methods by their files or folders: without endings, and without what all names begin with."""
    names = []
    for place, source in enumerate(sources):
        name = Path(source).resolve().name if isinstance(source, str | Path) else f"method {place + 1}"
        for ending in (".tiff", ".tif", ".npy", ".zarr", ".ome"):
            name = name.removesuffix(ending)
        names.append(name)
    if len(set(names)) < len(names):  # such as a/result and b/result
        return [
            str(source) if isinstance(source, str | Path) else name
            for source, name in zip(sources, names, strict=True)
        ]
    same = [len(set(letters)) == 1 for letters in zip(*names, strict=False)] if len(names) > 1 else []
    shared = names[0][: [*same, False].index(False)]
    begin = max(shared.rfind(mark) for mark in "_- ") + 1
    return [name[begin:] or name for name in names]


def _labels(view: NDArray[Any]) -> NDArray[np.int64]:
    found = np.unique(view).astype(np.int64)
    return found[found > 0]
