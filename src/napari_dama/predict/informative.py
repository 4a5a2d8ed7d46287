"""Which cell a person should look at next: the one from which most is learned, and why, in plain words.

The score of a cell adds up what is known to find a classifier's mistakes, each from 0 to 1: how much the model hesitates
(margin between its two best types, and entropy; Settles 2009, *Active learning literature survey*, 3.1), how many of the
cells that look like it have another type, whether it looks like cells that were corrected before, how rare its type is,
how doubtful its outline is, and how far it lies from what was reviewed, on the slide and in looks, so that one corner of the
slide is not reviewed ten times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from napari_dama.cells.correction_records import NO_TYPE
from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

REFERENCES: Final = 2000
NEIGHBOURS: Final = 15
DIMENSIONS: Final = 16
WEIGHTS: Final[dict[str, float]] = {
    "hesitates": 1.0,
    "differs": 0.8,
    "corrected": 0.8,
    "rare": 0.2,
    "outline": 0.2,
    "spread": 0.3,
}
"""What each part of the score counts for."""
UNTYPED: Final = NO_TYPE
_BLOCK: Final = 4096
_FEW: Final = 32


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A cell to look at.

    Attributes
    ----------
    label : int
        The cell.
    score : float
        Its sum of parts; larger is more worth a look.
    reason : str
        Why, in a sentence or two.
    """

    label: int
    score: float
    reason: str


class InformativeQueue:
    """Cells in the order in which they are worth a look; it changes with every answer.

    Making it takes a few seconds for 100 000 cells (do it in a thread), `next` a few milliseconds.

    Parameters
    ----------
    cells
        ``label, y_um, x_um`` (or ``y, x``), and what there is of ``p_<TYPE>``, ``score`` and ``mean_<MARKER>``.
    types
        Types (n,) that count now; ``cell`` for none.
    vectors
        What the network makes of each cell (n, D), rows of NaN where it is not known; without it the markers' means stand
        for a cell's looks.
    names
        Names that classes have now, where they differ from those in ``p_<TYPE>``.
    reviewed
        Labels of cells that need no look any more.
    seed
        Of the cells that are compared with.

    Raises
    ------
    SettingsError
        Types or vectors are not as many as cells.

    Examples
    --------
    >>> queue = InformativeQueue(table, table["type"])  # doctest: +SKIP
    >>> queue.next().reason  # doctest: +SKIP
    'The model hesitates: Neuron 48 %, Astrocyte 41 %.'
    """

    def __init__(
        self,
        cells: pd.DataFrame,
        types: Sequence[str] | NDArray[Any],
        *,
        vectors: NDArray[np.floating[Any]] | None = None,
        names: Mapping[str, str] | None = None,
        reviewed: Sequence[int] | NDArray[np.int64] = (),
        seed: int = 0,
    ) -> None:
        n = len(cells)
        if len(types) != n or (vectors is not None and len(vectors) != n):
            raise SettingsError(
                f"There are {n} cells, {len(types)} types and {'no' if vectors is None else len(vectors)} vectors."
            )
        self.labels = cells["label"].to_numpy(np.int64)
        self.types = np.array([str(name) for name in types], dtype=object)
        self.by_network = vectors is not None
        place = ["y_um", "x_um"] if "y_um" in cells else ["y", "x"]
        self._places = cells[place].to_numpy(float)
        extent = np.ptp(self._places, axis=0).max() if n else 1.0
        self._extent = float(extent) or 1.0
        self._p, self._p_names = _probabilities(cells, names or {})
        self._looks = looks_of(cells, vectors)
        self._outline = _outline_doubt(cells)
        self._open = np.ones(n, dtype=bool)
        self._near = np.full(n, np.inf)
        self._like = np.full(n, np.inf)
        self._pull = np.zeros(n)
        self._pulled_by = np.full(n, -1, np.int64)
        self._hesitates = _hesitation(self._p, n)
        self._differs, self._other = self._disagreement(np.random.default_rng(seed))
        self._rare = self._rarity()
        self._row = {int(label): row for row, label in enumerate(self.labels)}
        self._scale = self._typical_distance(np.random.default_rng(seed))
        self._away: list[int] = []
        known = [int(label) for label in reviewed if int(label) in self._row]
        self.answer_all({label: str(self.types[self._row[label]]) for label in known})

    def __len__(self) -> int:
        """Count the cells that nobody has looked at."""
        return int(self._open.sum())

    def next(self) -> Suggestion | None:
        """Return the cell that is most worth a look now, None when all were looked at.

        Cells that were `skip`ped come again when there are no others.
        """
        if not self._open.any():
            return None
        if self._away and int(self._open.sum()) <= len(self._away):
            self._away = []
        parts = self._parts()
        total = np.sum([WEIGHTS[name] * part for name, part in parts.items()], axis=0)
        total[~self._open] = -np.inf
        total[self._away] = -np.inf
        row = int(np.argmax(total))
        return Suggestion(int(self.labels[row]), float(total[row]), self._reason(row, parts))

    def answer_all(self, answers: Mapping[int, str]) -> None:
        """Take note of many answers at once: of more than a few, only some draw like cells up."""
        known = [(label, kind) for label, kind in answers.items() if label in self._row]
        few = (
            known
            if len(known) <= _FEW
            else [known[i] for i in np.linspace(0, len(known) - 1, _FEW, dtype=int)]
        )
        for label, kind in few:
            self.answer(label, kind)
        rows = [self._row[label] for label, _ in known]
        self._open[rows] = False
        self.types[rows] = [kind for _, kind in known]

    def skip(self, label: int) -> None:
        """Pass a cell over for now."""
        row = self._row.get(label)
        if row is not None and row not in self._away:
            self._away.append(row)

    def answer(self, label: int, type_now: str | None = None) -> None:
        """Take note that a person looked at a cell, and what it is (None: what it was called); cells like it follow."""
        row = self._row.get(label)
        if row is None:
            return
        self._open[row] = False
        self._near = np.minimum(self._near, np.linalg.norm(self._places - self._places[row], axis=1))
        distance = None
        if self._looks.shape[1]:
            distance = np.linalg.norm(self._looks - self._looks[row], axis=1)
            self._like = np.minimum(self._like, distance)
        before = self.types[row]
        if type_now is None or type_now == before:
            return
        self.types[row] = type_now
        if distance is None:
            return
        pull = np.exp(-0.5 * (distance / (0.5 * self._scale)) ** 2)
        pull[self.types != before] = 0
        stronger = pull > self._pull
        self._pull[stronger] = pull[stronger]
        self._pulled_by[stronger] = row

    def reopen(self, label: int, type_now: str) -> None:
        """Take an answer back."""
        row = self._row.get(label)
        if row is not None:
            self._open[row] = True
            self.types[row] = type_now
            undone = self._pulled_by == row
            self._pull[undone], self._pulled_by[undone] = 0, -1

    # -- the parts of the score --------------------------------------------------------------------------------

    def _parts(self) -> dict[str, NDArray[np.float64]]:
        far = np.minimum(self._near / (0.1 * self._extent), 1.0)
        unlike = np.minimum(self._like / self._scale, 1.0) if self._looks.shape[1] else far
        return {
            "hesitates": self._hesitates,
            "differs": self._differs,
            "corrected": self._pull,
            "rare": self._rare,
            "outline": self._outline,
            "spread": (far + unlike) / 2,
        }

    def _disagreement(self, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Return the share (n,) of like cells that have another type, and the type that most of these have."""
        n = len(self.labels)
        known = np.flatnonzero((self.types != UNTYPED) & np.isfinite(self._looks).all(axis=1))
        if not self._looks.shape[1] or len(known) < 3 * NEIGHBOURS or len(set(self.types[known])) < 2:
            return np.zeros(n), np.full(n, "", dtype=object)
        chosen = np.sort(random.choice(known, min(REFERENCES, len(known)), replace=False))
        code, names = pd.factorize(self.types)
        votes = np.zeros((n, len(names)))
        reference = self._looks[chosen]
        squared = (reference**2).sum(axis=1)
        for begin in range(0, n, _BLOCK):
            block = self._looks[begin : begin + _BLOCK]
            distance = squared - 2 * block @ reference.T
            own = np.searchsorted(chosen, np.arange(begin, begin + len(block)))
            own = np.minimum(own, len(chosen) - 1)
            itself = chosen[own] == np.arange(begin, begin + len(block))
            distance[np.flatnonzero(itself), own[itself]] = np.inf
            nearest = np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
            for column in code[chosen][nearest].T:
                votes[np.arange(begin, begin + len(block)), column] += 1
        votes /= NEIGHBOURS
        share = 1 - votes[np.arange(n), code]
        votes[np.arange(n), code] = -1
        other = np.asarray(names, dtype=object)[votes.argmax(axis=1)]
        share[self.types == UNTYPED] = 0
        return share, other

    def _rarity(self) -> NDArray[np.float64]:
        code, names = pd.factorize(self.types)
        if len(names) < 2:
            return np.zeros(len(self.types))
        count = np.bincount(code, minlength=len(names))
        rare = np.log(count.max() / count) / np.log(max(float(count.max()), 2.0))
        rare[np.asarray(names) == UNTYPED] = 0
        return np.asarray(rare[code], dtype=np.float64)

    def _typical_distance(self, random: np.random.Generator) -> float:
        """Return how far in looks two cells of one type usually are apart."""
        n = len(self.labels)
        if n < 2 or not self._looks.shape[1]:
            return 1.0
        one, two = random.integers(0, n, (2, 5000))
        same = (self.types[one] == self.types[two]) & (one != two)
        distance = np.linalg.norm(self._looks[one] - self._looks[two], axis=1)[same]
        return float(np.median(distance)) or 1.0 if len(distance) else 1.0

    # -- words -------------------------------------------------------------------------------------------------

    def _reason(self, row: int, parts: dict[str, NDArray[np.float64]]) -> str:
        weight = {name: WEIGHTS[name] * float(part[row]) for name, part in parts.items()}
        order = sorted((name for name in weight if name != "spread"), key=lambda name: -weight[name])
        said = [self._words(name, row) for name in order if weight[name] > 0.15][:2]
        if not said:
            said = [
                "It lies far from every cell that was looked at so far." if not self._open.all() else _FIRST
            ]
        return " ".join(said)

    def _words(self, part: str, row: int) -> str:
        called = self.types[row]
        if part == "hesitates":
            best = np.argsort(-self._p[row])[:2]
            first, second = (f"{self._p_names[i]} {100 * self._p[row, i]:.0f} %" for i in best)
            return f"The model hesitates: {first}, {second}."
        if part == "differs":
            how = "looks like" if self.by_network else "has markers like"
            return f"It {how} {self._other[row]} cells but was called {called}."
        if part == "corrected":
            source = int(self._pulled_by[row])
            return f"It looks like cell {self.labels[source]}, which you corrected to {self.types[source]}."
        if part == "rare":
            count = int((self.types == called).sum())
            return f"{called} is rare here: {count} {'cell' if count == 1 else 'cells'}."
        return f"Its outline is doubtful (score {1 - self._outline[row]:.2f})."


_FIRST: Final = "Nothing was looked at yet; this is as good a start as any."


def looks_of(cells: pd.DataFrame, vectors: NDArray[np.floating[Any]] | None) -> NDArray[np.float32]:
    """Return each cell's looks as a short vector (n, d): principal parts of the network's, else the markers' log means."""
    if vectors is not None:
        values = np.asarray(vectors, dtype=np.float32)
    else:
        means = [name for name in cells.columns if str(name).startswith("mean_")]
        values = (
            np.log1p(np.maximum(cells[means].to_numpy(np.float32), 0))
            if means
            else np.zeros((len(cells), 0), np.float32)
        )
    if not values.shape[1] or not len(values):
        return np.zeros((len(cells), 0), np.float32)
    known: Any = np.isfinite(values).all(axis=1)
    if known.sum() < 2:
        return np.zeros((len(cells), 0), np.float32)
    values = np.where(known[:, None], values, values[known].mean(axis=0))
    values = values - values.mean(axis=0)
    spread = values.std(axis=0)
    values = values / np.where(spread > 0, spread, 1)
    if values.shape[1] > DIMENSIONS:
        covariance = values.T @ values / len(values)
        _, axes = np.linalg.eigh(covariance)
        values = values @ axes[:, -DIMENSIONS:]
    return np.asarray(values, dtype=np.float32)


def _probabilities(cells: pd.DataFrame, names: Mapping[str, str]) -> tuple[NDArray[np.float64], list[str]]:
    columns = [str(name) for name in cells.columns if str(name).startswith("p_")]
    values = np.nan_to_num(cells[columns].to_numpy(float)) if columns else np.zeros((len(cells), 0))
    return values, [names.get(column[2:], column[2:]) for column in columns]


def _hesitation(p: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return (n,) from 0 (sure) to 1 (all types alike); 0 where nothing was said."""
    if p.shape[1] < 2:
        return np.zeros(n)
    top = np.sort(p, axis=1)
    margin = 1 - (top[:, -1] - top[:, -2])
    safe = np.clip(p, 1e-12, 1)
    entropy = -(safe * np.log(safe)).sum(axis=1) / np.log(p.shape[1])
    out = 0.7 * margin + 0.3 * entropy
    out[p.sum(axis=1) <= 0] = 0
    return np.asarray(out)


def _outline_doubt(cells: pd.DataFrame) -> NDArray[np.float64]:
    if "score" not in cells:
        return np.zeros(len(cells))
    score = cells["score"].to_numpy(float)
    return np.where(np.isfinite(score), 1 - np.clip(score, 0, 1), 0.0)


def doubts(cells: pd.DataFrame, types: Sequence[str] | NDArray[Any]) -> NDArray[np.float64]:
    """Return how doubtful each cell's type is (n,), from 0 to 1: for a list with the largest doubts first.

    The model's hesitation, or, where a person or another model says something else than the probabilities do, how little the
    probabilities have for that type; the outline's doubt decides between equals.
    """
    p, names = _probabilities(cells, {})
    n = len(cells)
    doubt = _hesitation(p, n)
    if len(names) > 1:
        place = {name: column for column, name in enumerate(names)}
        column = np.array([place.get(str(name), -1) for name in types])
        given = np.where(column >= 0, p[np.arange(n), np.maximum(column, 0)], 1.0)
        doubt = np.maximum(doubt, np.where(p.sum(axis=1) > 0, 1 - given, 0))
    return 0.99 * doubt + 0.01 * _outline_doubt(cells)
