"""More like this: the cells of a slide whose vectors point the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Neighbours:
    """Finds the cells nearest to a cell by the cosine of the angle between their vectors.

    The mean over all cells is taken off first: what all cells of a slide share would otherwise make them look alike.

    Parameters
    ----------
    labels, vectors
        (N,) and (N, D), as `read_embeddings` gives them.

    Examples
    --------
    >>> near = Neighbours(np.array([1, 2, 3]), np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0]]))
    >>> near.of(1, 1)[0][0]
    2
    """

    def __init__(self, labels: NDArray[np.integer], vectors: NDArray[np.floating]) -> None:
        if vectors.ndim != 2 or labels.shape != vectors.shape[:1]:
            raise SettingsError(
                f"{labels.shape} labels do not fit vectors of shape {vectors.shape}: one row per cell is needed"
            )
        self.labels = labels.astype(np.int64)
        unit = vectors.astype(np.float32) - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        self._unit = unit

    def of(self, label: int, count: int) -> list[tuple[int, float]]:
        """Labels of the ``count`` nearest cells with their distances (1 - cosine: 0 the same, 2 opposite), nearest first.

        Raises
        ------
        SettingsError
            There is no such cell.
        """
        rows = np.flatnonzero(self.labels == label)
        if not len(rows):
            raise SettingsError(f"there is no cell {label} among the {len(self.labels)} that have a vector")
        distance = 1 - self._unit @ self._unit[rows[0]]
        distance[rows] = np.inf
        count = min(count, len(self.labels) - len(rows))
        if count < 1:
            return []
        near = np.argpartition(distance, count - 1)[:count]
        near = near[np.lexsort((self.labels[near], distance[near]))]
        return [(int(self.labels[row]), float(distance[row])) for row in near]
