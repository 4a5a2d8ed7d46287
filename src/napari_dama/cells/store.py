"""CropStore: one memory-mapped array of crops and one table of their cells; what every training reads.

A store is a folder that can be moved: ``crops.npy`` (N, C, P, P) in the slides' dtype, ``cells.csv`` with one
row per crop in the same order, and ``store.json`` with the panel, the crop size and each slide's intensity
statistics. It is written into ``NAME.partial`` beside it and takes its name when all three files are whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from napari_dama.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

    from napari_dama.cells.writer import CropWriter

VERSION: Final = 1
FORMAT: Final = "napari-dama crop store"
CROPS, CELLS, CARD = "crops.npy", "cells.csv", "store.json"
COLUMNS: Final = ("slide", "group", "label", "y", "x", "y_um", "x_um", "type")
_TEXT: Final = ("slide", "group", "type")


@dataclass(frozen=True, slots=True)
class StoredSlide:
    """What a store keeps of one slide.

    Attributes
    ----------
    name, path, group
        Unique name, source file ("" for an array) and the field of view that splits must not cut apart.
    low, high
        Intensities (C,) float32 that normalise to 0 and 1, in the store's marker order; 0 and 1 where absent.
    present
        Which of the panel's markers (C,) the slide has; absent ones are zeros in the crops.
    notes
        What was assumed or repaired, one sentence each.
    profile
        What each marker looks like (`napari_dama.slides.profile`), by its name; empty in stores that do not say.
    """

    name: str
    path: str
    group: str
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    present: NDArray[np.bool_]
    notes: tuple[str, ...] = ()
    profile: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``store.json``."""
        return {
            "path": self.path,
            "group": self.group,
            "low": [float(v) for v in self.low],
            "high": [float(v) for v in self.high],
            "present": [bool(v) for v in self.present],
            "notes": list(self.notes),
            "profile": self.profile,
        }

    @classmethod
    def from_json(cls, name: str, value: Mapping[str, Any]) -> StoredSlide:
        """Read what :meth:`to_json` wrote."""
        return cls(
            name=name,
            path=str(value["path"]),
            group=str(value["group"]),
            low=np.asarray(value["low"], np.float32),
            high=np.asarray(value["high"], np.float32),
            present=np.asarray(value["present"], bool),
            notes=tuple(str(n) for n in value.get("notes", ())),
            profile={
                str(marker): {str(key): float(number) for key, number in numbers.items()}
                for marker, numbers in dict(value.get("profile") or {}).items()
            },
        )


class CropStore:
    """Crops of cells with their table; open one with :meth:`open`, write one with :meth:`create`.

    Attributes
    ----------
    path : Path
        The folder.
    crops : memmap (N, C, P, P)
        Raw pixels, read from the disk when they are indexed.
    table : DataFrame, N rows
        ``slide, group, label, y, x, y_um, x_um, type``; ``type`` is "" where it is not known.
    markers : tuple of str, C long
        The model's panel, in order.
    crop_um, crop_px, pixel_um : float, int, float
        Width of a crop in micrometres and pixels, and their ratio.
    slides : tuple of StoredSlide, S long
    slide_index : (N,) int64
        Position in ``slides`` of each crop's slide.
    present : (S, C) bool
    stats : (S, 2, C) float32
        Low and high intensity per slide and marker.
    """

    def __init__(self, path: Path, card: Mapping[str, Any], crops: NDArray[Any], table: pd.DataFrame) -> None:
        self.path = path
        self.crops = crops
        self.table = table
        self.markers: tuple[str, ...] = tuple(str(m) for m in card["markers"])
        self.crop_um = float(card["crop_um"])
        self.crop_px = int(card["crop_px"])
        self.pixel_um = self.crop_um / self.crop_px
        self.slides = tuple(StoredSlide.from_json(name, value) for name, value in card["slides"].items())
        self.present: NDArray[np.bool_] = np.stack([s.present for s in self.slides])
        self.stats: NDArray[np.float32] = np.stack([np.stack([s.low, s.high]) for s in self.slides])
        position = {s.name: i for i, s in enumerate(self.slides)}
        self.slide_index: NDArray[np.int64] = (
            table["slide"].map(position).to_numpy(np.float64, na_value=-1).astype(np.int64)
        )

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        what = f"{len(self)} crops of {len(self.markers)} markers, {self.crop_um:g} um"
        return f"CropStore({str(self.path)!r}: {what})"

    @property
    def types(self) -> tuple[str, ...]:
        """Names of the cell types in the table, sorted, without the unknown."""
        return tuple(sorted(set(self.table["type"]) - {""}))

    @property
    def groups(self) -> NDArray[Any]:
        """Field of view of each crop (N,), for splits that never cut one apart."""
        return self.table["group"].to_numpy()

    @classmethod
    def open(cls, path: str | Path) -> CropStore:
        """Open a finished store and check that its three files fit each other.

        Raises
        ------
        StoreError
            Missing, unfinished, damaged, or of a later version; the message names the file.
        """
        path = Path(path)
        if not path.is_dir():
            raise StoreError(
                f"{path} is no crop store: there is no such folder. "
                f"Make one with `napari-dama crops SLIDE -o {path}`."
            )
        if not (path / CARD).is_file():
            raise StoreError(
                f"{path} has no {CARD}: it is no crop store, or it was not finished. "
                "Make it again with `napari-dama crops`."
            )
        card = _read_card(path / CARD)
        try:
            crops: NDArray[Any] = np.load(path / CROPS, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(
                f"{path / CROPS} cannot be read ({error}); the store is damaged, make it again."
            ) from error
        table = _read_table(path / CELLS)
        expected = (len(table), len(card["markers"]), int(card["crop_px"]), int(card["crop_px"]))
        if crops.shape != expected:
            raise StoreError(
                f"{path} is damaged: {CROPS} has shape {crops.shape}, its {CELLS} and {CARD} say {expected}."
            )
        try:
            store = cls(path, card, crops, table)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"{path / CARD} is damaged ({error!r}); make the store again.") from error
        if store.stats.shape[2:] != (len(store.markers),) or store.present.shape[1:] != (len(store.markers),):
            raise StoreError(
                f"{path / CARD} is damaged: its statistics are not for {len(store.markers)} markers."
            )
        if (store.slide_index < 0).any():
            row = int(np.argmax(store.slide_index < 0))
            raise StoreError(
                f"{path / CELLS}, row {row + 2}: slide {table['slide'][row]!r} is not in {CARD}."
            )
        return store

    @staticmethod
    def create(
        path: str | Path,
        *,
        markers: Sequence[str],
        dtype: DTypeLike,
        crop_um: float = 32.5,
        crop_px: int = 100,
        overwrite: bool = False,
    ) -> CropWriter:
        """Start a store. As a context manager it finishes on success and removes itself on error."""
        from napari_dama.cells.writer import CropWriter

        return CropWriter(
            path, markers=markers, dtype=dtype, crop_um=crop_um, crop_px=crop_px, overwrite=overwrite
        )


def _read_card(path: Path) -> dict[str, Any]:
    """Read and check ``store.json``."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}); the store is damaged, make it again.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise StoreError(f"{path} does not describe a crop store of napari-dama.")
    if card.get("version") != VERSION:
        raise StoreError(
            f"{path} is of version {card.get('version')}, this napari-dama reads version {VERSION}; "
            "update it."
        )
    missing = {"markers", "crop_um", "crop_px", "slides"} - set(card)
    if missing or not card["slides"] or not card["markers"]:
        raise StoreError(f"{path} is damaged: {', '.join(sorted(missing)) or 'slides or markers'} missing.")
    return card


def _read_table(path: Path) -> pd.DataFrame:
    """Read ``cells.csv`` with text columns as text."""
    try:
        table = pd.read_csv(
            path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, na_values={"y_um": "", "x_um": ""}
        )
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise StoreError(f"{path} cannot be read ({error}); the store is damaged, make it again.") from error
    missing = [c for c in COLUMNS if c not in table]
    if missing:
        raise StoreError(f"{path} is damaged: no column {missing[0]!r}.")
    return table
