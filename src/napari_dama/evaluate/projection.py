"""Cells on a plane by likeness: principal components at once, UMAP where it is installed.

Vectors are the network's embeddings, or the markers' mean intensities; like cells then lie near each other. Distances on a
UMAP say little beyond *near* and *far*, and its clusters' sizes and gaps nothing at all (McInnes et al., arXiv 1802.03426).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import Interrupted, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

UMAP_INSTALL: Final = 'pip install "umap-learn>=0.5.6"'
UMAP_COMPONENTS: Final = 30
"""Principal components that UMAP is given, at most: quicker, and noise stays out."""


@dataclass(frozen=True)
class Projection:
    """Cells on a plane.

    Attributes
    ----------
    points : (N, 2) float32
        Places; NaN for a cell without a vector.
    axes : (str, str)
        What the axes are.
    explained : tuple of float
        Share of the variation on each axis, for principal components; empty for UMAP.
    """

    points: NDArray[np.float32]
    axes: tuple[str, str]
    explained: tuple[float, ...] = ()


def marker_vectors(cells: pd.DataFrame) -> tuple[NDArray[np.float32], list[str]]:
    """Return the markers' means as vectors (N, M) and their names; ``log(1 + mean)`` is brought to mean 0 and spread 1.

    Raises
    ------
    SettingsError
        The table has fewer than two markers.
    """
    columns = [str(name) for name in cells.columns if str(name).startswith("mean_")]
    if len(columns) < 2:
        raise SettingsError(
            f"Likeness needs at least two markers (columns mean_...), and the table has {len(columns)}."
        )
    values = np.log1p(np.maximum(cells[columns].to_numpy(np.float64), 0))
    return standardised(values).astype(np.float32), [name[5:] for name in columns]


def standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring each column of (N, M) to mean 0 and spread 1; constant columns to 0; what is not a number stays NaN."""
    with np.errstate(invalid="ignore"):
        known = np.where(np.isfinite(values), values, np.nan)
        n = np.maximum(np.isfinite(known).sum(axis=0), 1)
        mean = np.nansum(known, axis=0) / n
        spread = np.sqrt(np.nansum((known - mean) ** 2, axis=0) / n)
    out: NDArray[np.float64] = (known - mean) / np.where(spread > 0, spread, 1)
    return out


def principal_components(
    vectors: NDArray[np.floating[Any]], components: int = 2
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return scores (N, components) and the share of the variation that each component explains.

    The covariance (D, D) is decomposed, which takes one pass over the vectors however many cells there are. Signs are such
    that the largest loading of a component is positive. Values that are not finite count as the mean.

    Raises
    ------
    SettingsError
        There are fewer than two cells, or fewer dimensions than components.
    """
    n, d = vectors.shape
    if n < 2 or d < components:
        raise SettingsError(
            f"{components} principal components need at least two cells and {components} dimensions; "
            f"there are {n} cells of {d} dimensions."
        )
    data = np.array(vectors, np.float32)
    bad = ~np.isfinite(data)
    if bad.any():
        data[bad] = np.nan
        mean = np.nansum(data, axis=0, dtype=np.float64) / np.maximum((~bad).sum(axis=0), 1)
        data[bad] = np.broadcast_to(mean.astype(np.float32), data.shape)[bad]
    data -= data.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariance = (data.T @ data).astype(np.float64) / n
    values, axes = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1][:components]
    axes = axes[:, order]
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(components)] < 0, -1, 1)
    total = float(np.trace(covariance))
    share = np.maximum(values[order], 0) / total if total > 0 else np.zeros(components)
    return (data @ axes.astype(np.float32)).astype(np.float32), share


def pca(vectors: NDArray[np.floating[Any]]) -> Projection:
    """Return the first two principal components of vectors (N, D)."""
    points, share = principal_components(vectors, 2)
    one, two = (f"component {i + 1} ({share[i]:.0%} of the variation)" for i in range(2))
    return Projection(points, (one, two), tuple(float(value) for value in share))


def umap_installed() -> bool:
    """Whether the package umap-learn can be imported."""
    return find_spec("umap") is not None


def umap(
    vectors: NDArray[np.floating[Any]],
    *,
    seed: int = 0,
    neighbours: int = 15,
    min_distance: float = 0.1,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Projection:
    """Return the UMAP of vectors (N, D), of their first principal components.

    Parameters
    ----------
    seed
        The same seed gives the same picture (with one thread).
    neighbours, min_distance
        umap-learn's ``n_neighbors`` and ``min_dist``.
    progress, stop
        Told (done, of how many) rounds of the layout; asked between rounds whether to end.

    Raises
    ------
    SettingsError
        umap-learn is not installed, or there are too few cells.
    Interrupted
        ``stop`` returned True.
    """
    if not umap_installed():
        raise SettingsError(f"UMAP needs the package umap-learn: {UMAP_INSTALL}, then start again.")
    if len(vectors) <= neighbours:
        raise SettingsError(f"A UMAP needs more than {neighbours} cells, and there are {len(vectors)}.")
    scores, _ = principal_components(vectors, min(UMAP_COMPONENTS, vectors.shape[1], len(vectors)))
    if stop is not None and stop():
        raise Interrupted("stopped before UMAP began")
    from umap import UMAP

    layout = UMAP(
        n_neighbors=neighbours,
        min_dist=min_distance,
        random_state=seed,
        n_jobs=1,
        verbose=True,  # else umap-learn switches its progress off
        tqdm_kwds={"file": _Rounds(progress, stop), "disable": False, "mininterval": 0.2},
    )
    points = _quietly(layout.fit_transform, scores)
    return Projection(np.asarray(points, np.float32), ("UMAP 1", "UMAP 2"))


class _Rounds:
    """The file that umap-learn's progress is written to: reads its rounds, and ends it when it should stop."""

    def __init__(self, progress: Callable[[int, int], None] | None, stop: Callable[[], bool] | None) -> None:
        self._progress, self._stop = progress, stop

    def write(self, text: str) -> int:
        if self._stop is not None and self._stop():
            raise Interrupted("stopped in the middle of UMAP")
        found = re.search(r"(\d+)/(\d+)", text)
        if found and self._progress is not None:
            self._progress(int(found[1]), int(found[2]))
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


def _quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call umap-learn without what it prints when its progress is on."""
    import contextlib
    import io
    import warnings

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)
