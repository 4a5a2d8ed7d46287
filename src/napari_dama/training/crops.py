"""Batches of crops from a store, and its split by field of view."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from napari_dama.cells.augment import NO_VARIATION, Variation, prepare
from napari_dama.errors import SettingsError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_dama.cells.store import CropStore
    from napari_dama.training.settings import RunSettings


MEMORY_BYTES: Final = 4e9
"""A store smaller than this is read into memory once."""


@dataclass(frozen=True, slots=True)
class Split:
    """Rows for training and for validation, and how they were parted."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    note: str


def split_rows(
    store: CropStore,
    *,
    share: float,
    seed: int,
    rows: NDArray[np.int64] | None = None,
    validation_groups: Sequence[str] | None = None,
    test_groups: Sequence[str] = (),
) -> Split:
    """Part rows so that no field of view is on both sides.

    A store of one field is parted in space, by bands along its longer side with a gap of one crop between them.

    Parameters
    ----------
    store
        Where the rows are from.
    share
        Part of the fields that is drawn for validation, where ``validation_groups`` does not name them.
    seed
        Of that draw.
    rows
        Those to part; all by default.
    validation_groups
        Groups of the store that make up the validation side.
    test_groups
        Groups of the store that are on neither side.

    Raises
    ------
    StoreError
        If fewer than two cells remain on a side.
    SettingsError
        If the store has no such group, or a group is to be in validation and test.
    """
    rows = np.arange(len(store)) if rows is None else rows
    _check_groups(store, validation_groups or (), test_groups)
    kept_back = f"; {len(test_groups)} kept back for tests" if test_groups else ""
    rows = rows[~np.isin(store.groups[rows], list(test_groups))]
    groups = store.groups[rows]
    names = np.unique(groups)
    if validation_groups is not None:
        inside = np.isin(groups, list(validation_groups))
        note = f"{len(set(validation_groups))} of {len(names)} fields of view held out, as was asked for"
        split = Split(rows[~inside], rows[inside], note + kept_back)
    elif len(names) > 1:
        order = np.random.default_rng(seed).permutation(len(names))
        held = set(names[order[: min(max(1, round(share * len(names))), len(names) - 1)]])
        inside = np.array([group in held for group in groups])
        note = f"{len(held)} of {len(names)} fields of view held out"
        split = Split(rows[~inside], rows[inside], note + kept_back)
    elif len(rows) == 0:
        split = Split(rows, rows, "no cell")
    else:
        table = store.table.iloc[rows]
        in_um = bool(table[["y_um", "x_um"]].notna().all(axis=None))
        places = table[["y_um", "x_um"] if in_um else ["y", "x"]].to_numpy(float)
        axis = int(np.ptp(places, axis=0).argmax())
        along = places[:, axis]
        cut = np.quantile(along, 1 - share)
        gap = store.crop_um if in_um else store.crop_px
        split = Split(
            rows[along < cut - gap / 2],
            rows[along > cut + gap / 2],
            "one field of view only: its far end is held out, with a gap of one crop" + kept_back,
        )
    if min(len(split.train), len(split.validation)) < 2:
        raise StoreError(
            f"{store.path} cannot be parted into training and validation: {len(split.train)} and "
            f"{len(split.validation)} cells{kept_back}; add slides, or change validation_share"
        )
    return split


def split_of(store: CropStore, settings: RunSettings, *, rows: NDArray[np.int64] | None = None) -> Split:
    """The split that a run's settings ask for; raises as `split_rows`."""
    return split_rows(
        store,
        share=settings.validation_share,
        seed=settings.seed,
        rows=rows,
        validation_groups=settings.validation_groups,
        test_groups=settings.test_groups,
    )


def with_label_share(split: Split, targets: NDArray[np.int64], *, share: float, seed: int) -> Split:
    """The split with labels of a part of its training cells only.

    Of each class ``round(share * n)`` of its ``n`` training cells stay, and at least one; a class without a training cell
    has none at any share. The choice follows from ``seed`` and the cells alone, and a smaller share is a part of a
    larger one. Validation cells stay all.

    Parameters
    ----------
    split
        Rows for training and validation.
    targets
        Class (N,) of every row of the store.
    share
        Above 0, up to 1.
    seed
        Of the choice.
    """
    if share >= 1:
        return split
    rank = np.random.default_rng(seed).permutation(len(targets))  # of rows, whatever number a class has
    kept = [np.zeros(0, np.int64)]
    for kind in np.unique(targets[split.train]):
        own = split.train[targets[split.train] == kind]
        kept.append(own[np.argsort(rank[own])][: max(1, round(share * len(own)))])
    train = np.sort(np.concatenate(kept))
    note = f"{split.note}; labels of {len(train)} of {len(split.train)} training cells"
    return Split(train, split.validation, note)


def _check_groups(store: CropStore, validation: Sequence[str], test: Sequence[str]) -> None:
    known = set(store.groups)
    strange = sorted((set(validation) | set(test)) - known)
    if strange:
        some = ", ".join(sorted(known)[:8]) + (", ..." if len(known) > 8 else "")
        raise SettingsError(f"{store.path} has no group {strange[0]!r}; it has {some}")
    both = sorted(set(validation) & set(test))
    if both:
        raise SettingsError(f"group {both[0]!r} cannot be in validation_groups and test_groups at once")


class CropBatches:
    """Network input from rows of a store, normalised and varied on the device.

    Crops keep their whole numbers until they are there. Those of a store that fits are moved to the device once; of others
    the next batch is read by a thread while the network works on this one (`expect`).
    """

    def __init__(
        self, store: CropStore, *, nuclear: tuple[str, ...], image_px: int, device: torch.device
    ) -> None:
        self.store = store
        self.image_px = image_px
        self.device = device
        self.stats = torch.from_numpy(np.ascontiguousarray(store.stats)).to(device)  # (S, 2, C)
        self.present = torch.from_numpy(np.ascontiguousarray(store.present)).to(device)  # (S, C)
        self.nuclear = torch.tensor([marker in nuclear for marker in store.markers], device=device)
        self.crops = store.crops
        if store.crops.nbytes < MEMORY_BYTES:
            self.crops = np.array(store.crops)  # in memory: random reads from the disk would starve the loop
        self.resident: Tensor | None = None  # all crops (N, C, P, P) on the device
        if device.type == "cuda" and store.crops.nbytes < 0.4 * torch.cuda.mem_get_info(device)[0]:
            self.resident = _as_signed(self.crops).to(device)
        self._reader: ThreadPoolExecutor | None = None
        self._coming: tuple[NDArray[np.int64], Future[Tensor]] | None = None

    def batch(
        self,
        rows: NDArray[np.int64],
        *,
        how: Variation = NO_VARIATION,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Input (N, C, image_px, image_px) and present markers (N, C) of some rows."""
        return self.prepared(self.raw(rows), rows, how=how, generator=generator)

    def prepared(
        self,
        pixels: Tensor,
        rows: NDArray[np.int64],
        *,
        how: Variation = NO_VARIATION,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same from pixels that `raw` gave: several views of a batch are read once."""
        slides = torch.from_numpy(self.store.slide_index[rows]).to(self.device)
        stats = self.stats[slides]
        return prepare(
            pixels,
            stats[:, 0],
            stats[:, 1],
            self.present[slides],
            self.nuclear,
            image_px=self.image_px,
            how=how,
            generator=generator,
        )

    def raw(self, rows: NDArray[np.int64]) -> Tensor:
        """Pixels (N, C, P, P) of some rows as they are stored, on the device."""
        if self.resident is not None:
            taken = self.resident.index_select(0, torch.from_numpy(rows).to(self.device))
            return taken.view(torch.uint16) if self.crops.dtype == np.uint16 else taken
        if self._coming is not None and np.array_equal(self._coming[0], rows):
            return self._coming[1].result().to(self.device, non_blocking=True)
        return self._read(rows).to(self.device, non_blocking=True)

    def expect(self, rows: NDArray[np.int64]) -> None:
        """Read rows that `raw` is asked for next, in a thread; without effect where there is nothing to wait for."""
        in_memory = not isinstance(self.crops, np.memmap)
        if self.resident is not None or (in_memory and self.device.type == "cpu"):
            return
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="dama-crops")
        self._coming = rows, self._reader.submit(self._read, rows)

    def _read(self, rows: NDArray[np.int64]) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(self.crops[rows]))
        return pixels.pin_memory() if self.device.type == "cuda" else pixels


def _as_signed(crops: NDArray[Any]) -> Tensor:
    """Crops as a tensor of a type that can be indexed on every device: 16-bit numbers are taken for signed ones."""
    return torch.from_numpy(crops.view(np.int16) if crops.dtype == np.uint16 else crops)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Order of an epoch, drawn once and not at each of its steps."""
    order = np.random.default_rng((seed, epoch)).permutation(count)
    order.flags.writeable = False
    return order


def rows_of_step(
    rows: NDArray[np.int64],
    step: int,
    *,
    batch_size: int,
    seed: int,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Rows of one step: every epoch is a new permutation, and drawn with ``weights`` where they are given.

    Follows from ``seed`` and ``step`` alone.
    """
    if weights is not None:
        rng = np.random.default_rng((seed, step))
        return rng.choice(rows, batch_size, p=weights)
    per_epoch = max(1, len(rows) // batch_size)
    epoch, place = divmod(step, per_epoch)
    order = _order(seed, epoch, len(rows))
    return rows[order[place * batch_size : (place + 1) * batch_size]]
