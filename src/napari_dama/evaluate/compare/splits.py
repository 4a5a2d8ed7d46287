"""Who is trained on, chosen by and tested on, fold by fold: groups of cells that no split cuts apart."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

    from numpy.typing import NDArray

    from napari_dama.cells.store import CropStore
    from napari_dama.evaluate.compare.experiment import Experiment


@dataclass(frozen=True, slots=True)
class FoldPlan:
    """Groups of one fold; they share none. ``train`` holds groups without types as well, which only pretraining sees.

    ``n_train``, ``n_validation`` and ``n_test`` count cells with a type. ``notes`` say what a class lacks.
    """

    fold: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    n_train: int
    n_validation: int
    n_test: int
    notes: tuple[str, ...]


def plan_folds(store: CropStore, experiment: Experiment) -> list[FoldPlan]:
    """Part the store's groups as the experiment says; the same experiment gives the same parts.

    Folds are made alike in cells and classes as far as whole groups allow (scikit-learn's StratifiedGroupKFold).

    Raises
    ------
    SettingsError
        There are too few groups for so many folds, or a test group is unknown; the message gives the numbers.
    """
    types = store.table["type"].to_numpy(object)
    typed = np.flatnonzero(types != "")
    if len(store.types) < 2:
        raise SettingsError(
            f"{store.path} has {len(store.types)} of at least two cell types; nothing to compare"
        )
    block_of, names = blocks(store, experiment.group_by)
    with_types = np.unique(block_of[typed])
    seed, folds = experiment.split_seed, experiment.folds
    if experiment.test == "folds":
        _enough(store, len(with_types), folds, fixed=0, by=experiment.group_by)
        tests = _parts(block_of, types, with_types, folds, seed)
        triples = []
        for fold, test in enumerate(tests):
            rest = np.setdiff1d(with_types, test)
            triples.append((test, _share(block_of, types, rest, experiment.validation, (seed, fold))))
    else:
        test = _fixed_test(store, experiment.test, block_of, types, with_types, seed)
        rest = np.setdiff1d(with_types, test)
        _enough(store, len(rest), folds, fixed=len(test), by=experiment.group_by)
        parts = (
            _parts(block_of, types, rest, folds, seed)
            if folds > 1
            else [_share(block_of, types, rest, experiment.validation, (seed, 0))]
        )
        triples = [(test, part) for part in parts]
    return [_plan(store, fold, names, block_of, test, held) for fold, (test, held) in enumerate(triples)]


def blocks(
    store: CropStore, by: Literal["slide", "group"]
) -> tuple[NDArray[np.int64], list[tuple[str, ...]]]:
    """Number (N,) of each crop's block, and the groups of each block; a block is what no split cuts apart."""
    groups, group_of = np.unique(store.groups.astype(str), return_inverse=True)
    number = np.arange(len(groups))
    if by == "slide":  # groups are one block when they share a slide
        link = coo_array(
            (np.ones(len(group_of), bool), (group_of, store.slide_index)),
            shape=(len(groups), len(store.slides)),
        ).tocsr()
        _, number = connected_components(link @ link.T, directed=False)
    names = [tuple(str(g) for g in groups[number == block]) for block in range(int(number.max()) + 1)]
    return number[group_of].astype(np.int64), names


def _enough(store: CropStore, have: int, folds: int, *, fixed: int, by: str) -> None:
    """Every fold needs a group to test on, one to choose by and one to train on."""
    turns = fixed == 0
    needed = max(folds, 2) if not turns else max(folds, 3)
    largest = -(-have // max(folds, 1))
    if have >= needed and (not turns or have - largest >= 2):
        return
    beside = f" beside the {fixed} for tests" if fixed else ""
    what = "slides" if by == "slide" else "fields of view"
    way = f"folds: {max(2, min(folds, have - 1))}, " if have >= 4 else ""
    raise SettingsError(
        f"{store.path} has typed cells in {have} {what}{beside}: too few for {folds} folds, each of which needs one to "
        f"test on, one to choose by and one to train on. Ways out: {way}more slides in the store, or group_by: group where "
        "a slide holds several fields"
    )


def _parts(
    block_of: NDArray[np.int64], types: NDArray[Any], chosen: NDArray[np.int64], n: int, seed: int
) -> list[NDArray[np.int64]]:
    """Blocks in ``n`` parts alike in classes and cells, none empty."""
    from sklearn.model_selection import StratifiedGroupKFold

    rows = np.flatnonzero(np.isin(block_of, chosen) & (types != ""))
    kinds, counts = np.unique(types[rows].astype(str), return_counts=True)
    parts: list[NDArray[np.int64]] = []
    if len(kinds) and counts.max() >= n:
        maker = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # rare classes: said in the plan's notes instead
            found = list(maker.split(rows, types[rows].astype(str), block_of[rows]))
        parts = [np.unique(block_of[rows[test]]) for _, test in found]
    if not parts or min(len(part) for part in parts) == 0:
        order = np.random.default_rng(seed).permutation(chosen)
        parts = [np.sort(part) for part in np.array_split(order, n)]
    return parts


def _share(
    block_of: NDArray[np.int64],
    types: NDArray[Any],
    chosen: NDArray[np.int64],
    share: float,
    seed: tuple[int, int],
) -> NDArray[np.int64]:
    """About this share of the blocks, at least one and not all."""
    n = int(np.clip(round(1 / share), 2, len(chosen)))
    number = int(np.random.default_rng(seed).integers(2**31))
    return _parts(block_of, types, chosen, n, number)[0]


def _fixed_test(
    store: CropStore,
    test: float | Sequence[str],
    block_of: NDArray[np.int64],
    types: NDArray[Any],
    with_types: NDArray[np.int64],
    seed: int,
) -> NDArray[np.int64]:
    if isinstance(test, float):
        if len(with_types) < 3:
            raise SettingsError(
                f"{store.path} has typed cells in {len(with_types)} slides or fields of view; a fixed test part needs 3 "
                "or more: one to test on, one to choose by, one to train on"
            )
        return _share(block_of, types, with_types, test, (seed, 2**20))
    known = store.groups.astype(str)
    strange = sorted(set(test) - set(known))
    if strange or not test:
        some = ", ".join(sorted(set(known))[:8])
        raise SettingsError(f"test names {strange[0] if strange else 'no group'}; {store.path} has {some}")
    return np.intersect1d(np.unique(block_of[np.isin(known, list(test))]), with_types)


def _plan(
    store: CropStore,
    fold: int,
    names: list[tuple[str, ...]],
    block_of: NDArray[np.int64],
    test: NDArray[np.int64],
    held: NDArray[np.int64],
) -> FoldPlan:
    types = store.table["type"].to_numpy(object)
    side = np.zeros(len(names), int)
    side[held], side[test] = 1, 2
    of_row = side[block_of]
    typed = types != ""
    notes = []
    for kind in store.types:
        for place, what in ((0, "training"), (1, "validation"), (2, "test")):
            if not ((types == kind) & (of_row == place)).any():
                notes.append(f"fold {fold + 1}: no {kind} in the {what} part")
    parts = [tuple(g for b in np.flatnonzero(side == place) for g in names[b]) for place in range(3)]
    counts = [int((typed & (of_row == place)).sum()) for place in range(3)]
    return FoldPlan(
        fold=fold,
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        n_train=counts[0],
        n_validation=counts[1],
        n_test=counts[2],
        notes=tuple(notes),
    )
