"""Cells with a class in the viewer's layers, brought to pixels of their slide as a table that training reads. No Qt.

A Labels layer whose ``features`` have an ``index`` and a class column, a Points layer with a class per point, or a Shapes
layer with a class per shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from napari_dama.cells.given import LabelSource, centroids
from napari_dama.errors import SettingsError
from napari_dama.gui.layers import about, layers_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

COLUMNS: Final = ("class", "type", "cell_type", "celltype", "phenotype", "label_class")
"""Names of a class column, the likeliest first; capitals do not count."""
NO_CLASS: Final = ("", "nan", "none", "unknown", "unlabelled", "unlabeled")


@dataclass(frozen=True, slots=True)
class Annotation:
    """A layer whose objects have classes.

    Attributes
    ----------
    layer : str
        Its name.
    kind : str
        ``labels``, ``points`` or ``shapes``.
    column : str
        The feature that holds the class.
    counts : dict of str to int
        Objects of each class.
    slide : str
        Path of the slide that the layer belongs to.
    """

    layer: str
    kind: str
    column: str
    counts: dict[str, int]
    slide: str

    @property
    def problem(self) -> str:
        """Why nothing can be learned from it, else nothing."""
        if not self.slide:
            return f"Open the slide that {self.layer!r} lies on: crops are cut from it."
        if len(self.counts) < 2:
            return (
                f"Layer {self.layer!r} needs objects of at least two classes in its feature {self.column!r}."
            )
        return ""

    @property
    def text(self) -> str:
        """What it holds, in words."""
        return ", ".join(f"{count} {name}" for name, count in self.counts.items()) or "no object with a class"


def find_annotations(layers: Iterable[Any], slide: str) -> list[Annotation]:
    """Return the layers whose features name classes.

    ``slide`` is the open one: layers that say nothing of a slide are taken to lie on it.
    """
    found = []
    for layer in layers:
        kind = _kind(layer)
        column = class_column(layer) if kind else None
        if column is not None:
            own = str(about(layer).get("slide") or slide)
            found.append(Annotation(layer.name, kind, column, _counts(layer, column), own))
    return found


def class_column(layer: Any) -> str | None:
    """Return the name of the feature that holds classes; None where there is none."""
    plain = {str(column).strip().casefold(): str(column) for column in layer.features.columns}
    return next((plain[name] for name in COLUMNS if name in plain), None)


def classes_of(layer: Any, column: str) -> NDArray[Any]:
    """Return the class of each row of a layer's features, "" where it has none."""
    codes, names = _coded(layer, column)
    out: NDArray[Any] = names[codes]
    return out


def _coded(layer: Any, column: str) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Return a number for each row of a layer's features (n,), and the class of each number; the last one is "".

    A layer may have a hundred thousand rows, and this is asked whenever a layer comes or goes: each class is cleaned once.
    """
    codes, found = pd.factorize(layer.features[column])
    names = [str(name).strip() for name in found]
    return codes, np.array(
        ["" if name.casefold() in NO_CLASS else name for name in names] + [""], dtype=object
    )


def _counts(layer: Any, column: str) -> dict[str, int]:
    """Return how many objects of a layer have each class, in alphabetical order."""
    codes, names = _coded(layer, column)
    number = np.bincount(codes + 1, minlength=len(names))[1:]  # rows without a value have the code -1
    out: dict[str, int] = {}
    for name, count in zip(names, number, strict=False):
        if name:
            out[name] = out.get(name, 0) + int(count)
    return dict(sorted(out.items()))


def annotated_cells(layer: Any, column: str, layers: Iterable[Any], slide: str) -> pd.DataFrame:
    """Return ``label, y, x, type`` of the objects that have a class; places in level-0 pixels of the slide.

    A Labels layer counts by the centre of mass of each label, a shape by the middle of its corners. Whole layers are read:
    call it outside of Qt's thread.

    Raises
    ------
    SettingsError
        Where no object with a class lies on the slide, or labels have features without an ``index``.
    """
    classes = classes_of(layer, column)
    kind = _kind(layer)
    if kind == "labels":
        if "index" not in layer.features:
            raise SettingsError(
                f"The features of {layer.name!r} have no column 'index', so nothing says which label has which class."
            )
        image = layer.data[0] if layer.multiscale else layer.data
        cells = centroids(LabelSource(np.asarray(image), layer.name, None))[["label", "y", "x"]]
        named = pd.DataFrame({"label": layer.features["index"].astype(np.int64), "type": classes})
        cells = cells.merge(named.drop_duplicates("label", keep="last"), on="label")
    else:
        shapes = layer.data if kind == "shapes" else np.asarray(layer.data)[:, None]
        middles = np.array([np.asarray(corners)[:, -2:].mean(axis=0) for corners in shapes]).reshape(-1, 2)
        cells = pd.DataFrame(middles, columns=["y", "x"]).assign(type=classes)
        cells.insert(0, "label", np.arange(1, len(cells) + 1))
    cells = cells[cells["type"] != ""].reset_index(drop=True)
    cells[["y", "x"]] = to_slide(cells[["y", "x"]].to_numpy(float), layer, layers, slide)
    return _on_slide(cells, layer, layers, slide)


def to_slide(
    places: NDArray[np.float64], layer: Any, layers: Iterable[Any], slide: str
) -> NDArray[np.float64]:
    """Bring places (N, 2) of a layer to level-0 pixels of a slide that is open in the viewer."""
    markers = layers_of(layers, "marker", slide)
    if not markers or not len(places):
        return places
    lead = layer.ndim - 2
    padded = np.concatenate([np.zeros((len(places), lead)), places], axis=1)
    world = np.array([np.asarray(layer.data_to_world(place))[-2:] for place in padded])
    return np.array([np.asarray(markers[0].world_to_data(place))[-2:] for place in world])


def _on_slide(cells: pd.DataFrame, layer: Any, layers: Iterable[Any], slide: str) -> pd.DataFrame:
    """Leave out what lies beside the slide: it cannot be cropped."""
    markers = layers_of(layers, "marker", slide)
    if markers:
        shape = (markers[0].data[0] if markers[0].multiscale else markers[0].data).shape
        inside = cells["y"].between(0, shape[-2] - 1) & cells["x"].between(0, shape[-1] - 1)
        cells = cells[inside].reset_index(drop=True)
    if not len(cells):
        raise SettingsError(f"No object of {layer.name!r} that has a class lies on the slide {slide}.")
    return cells


def _kind(layer: Any) -> str:
    kind = str(getattr(layer, "_type_string", "")).lower()
    return kind if kind in ("labels", "points", "shapes") else ""
