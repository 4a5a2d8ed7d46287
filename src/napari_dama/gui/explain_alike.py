"""The cells most like one, by the network's features, with a picture of each; no Qt, for the thread that answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from napari_dama.errors import Interrupted
from napari_dama.gui.explain_pictures import middle
from napari_dama.slides.picture import composite, linear

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_dama.gui.explain_ask import Loaded
    from napari_dama.gui.work import Stop

COUNT: Final = 12
CROP_ZOOM: Final = 1.5
"""The middle of the crop that is shown: about 22 µm, the cell and little of its neighbours."""


@dataclass(frozen=True, slots=True)
class Like:
    """A cell that is like the clicked one: where it is (level-0 pixels), and a picture (H, W, 3) of it."""

    label: int
    distance: float
    y: float
    x: float
    type: str
    picture: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Alike:
    """The nearest cells of ``label``, nearest first."""

    label: int
    cells: tuple[Like, ...]
    among: int


def find_alike(loaded: Loaded, result: str, label: int, colours: Mapping[int, str], stop: Stop) -> Alike:
    """Find the nearest cells of a result's cell and picture them; vectors are kept for the next question.

    Parameters
    ----------
    loaded
        The model on its slide.
    result, label
        The result's folder, and the cell.
    colours
        Of the markers, by their places in the model's panel.
    stop
        Asked between cells.

    Raises
    ------
    Interrupted
        ``stop`` returned True.
    """
    from napari_dama.predict.embeddings import read_embeddings
    from napari_dama.predict.result import ResultFolder
    from napari_dama.predict.similar import Neighbours

    made = (Path(result) / "run.json").stat().st_mtime_ns
    if loaded.memory.get("like") != (result, made):
        vectors = read_embeddings(result)
        loaded.memory["neighbours"] = Neighbours(vectors.labels, vectors.vectors)
        loaded.memory["cells"] = ResultFolder.open(result).cells().set_index("label")
        loaded.memory["like"] = (result, made)
    index, cells = loaded.memory["neighbours"], loaded.memory["cells"]
    explainer = loaded.explainer()
    found = []
    for near, distance in index.of(label, COUNT):
        if stop():
            raise Interrupted("stopped")
        if near not in cells.index:
            continue
        row = cells.loc[near]
        y, x = float(row["y"]), float(row["x"])
        kind = str(row["type"]) if "type" in cells and row["type"] == row["type"] else ""
        picture = middle(composite(linear(explainer.crop((y, x))[0]), colours), CROP_ZOOM)
        found.append(Like(near, distance, y, x, kind, picture))
    return Alike(label, tuple(found), len(index.labels))
