"""CropWriter: a crop store written chunk by chunk, which bears its name only when it is whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import psutil

from napari_dama.cells.store import CARD, CELLS, COLUMNS, CROPS, FORMAT, VERSION, CropStore, StoredSlide
from napari_dama.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import pandas as pd
    from numpy.typing import ArrayLike, DTypeLike, NDArray

WRITER: Final = "writer.pid"
_HEADER_BYTES: Final = 256  # a .npy header of fixed length, so that N can be patched in when it is known


class CropWriter:
    """Writes a :class:`CropStore` chunk by chunk; memory is that of one chunk."""

    def __init__(
        self,
        path: str | Path,
        *,
        markers: Sequence[str],
        dtype: DTypeLike,
        crop_um: float = 32.5,
        crop_px: int = 100,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.markers = tuple(markers)
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.crop_um, self.crop_px = float(crop_um), int(crop_px)
        if not self.markers or self.crop_px < 1 or not self.crop_um > 0:
            raise StoreError(
                f"A store needs markers and crops above 0; got {len(self.markers)} markers, "
                f"{crop_px} px, {crop_um} um."
            )
        if self.dtype.kind not in "uif":
            raise StoreError(f"Crops hold integers or floats, not {self.dtype}.")
        self._overwrite = overwrite
        self._check_free()
        self.folder = self.path.with_name(self.path.name + ".partial")
        self._claim()
        self._slides: dict[str, StoredSlide] = {}
        self._cells = 0
        self._crops: IO[bytes] = (self.folder / CROPS).open("wb")
        self._table: IO[str] = (self.folder / CELLS).open("w", encoding="utf-8", newline="")
        self._crops.write(self._header())
        self._table.write(",".join(COLUMNS) + "\n")

    def __enter__(self) -> CropWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif self.folder.exists():
            self.finish()

    def __len__(self) -> int:
        return self._cells

    def add_slide(
        self,
        name: str,
        *,
        low: ArrayLike,
        high: ArrayLike,
        present: ArrayLike | None = None,
        path: str | Path = "",
        group: str | None = None,
        notes: Sequence[str] = (),
        profile: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """Announce a slide before its crops; ``low``, ``high``, ``present`` are (C,) in the store's order.

        Announcing it again replaces what was said, so notes may be added once the slide was read.
        """
        channels = len(self.markers)
        slide = StoredSlide(
            name=name,
            path=str(path),
            group=name if group is None else group,
            low=np.array(low, np.float32),
            high=np.array(high, np.float32),
            present=np.ones(channels, bool) if present is None else np.array(present, bool),
            notes=tuple(notes),
            profile={marker: dict(numbers) for marker, numbers in (profile or {}).items()},
        )
        for what in ("low", "high", "present"):
            shape = getattr(slide, what).shape
            if shape != (channels,):
                raise StoreError(
                    f"Slide {name!r}: {what} has shape {shape}, the store has {channels} markers."
                )
        if not (np.isfinite(slide.low).all() and np.isfinite(slide.high).all()):
            raise StoreError(f"Slide {name!r}: its intensity statistics are not finite.")
        self._slides[name] = slide

    def append(self, crops: NDArray[Any], cells: pd.DataFrame) -> None:
        """Append crops (n, C, P, P) and their n rows.

        Columns are ``slide``, ``label``, ``y``, ``x`` and, where known, ``y_um``, ``x_um``, ``type``, and ``group`` where it
        is not the slide's.

        Raises
        ------
        StoreError
            Shapes differ, the slide was not announced, or pixels would lose precision in the store's dtype.
        """
        expected = (len(cells), len(self.markers), self.crop_px, self.crop_px)
        if crops.shape != expected:
            raise StoreError(f"Crops have shape {crops.shape}, the table and the store say {expected}.")
        if not np.can_cast(crops.dtype, self.dtype, "safe"):
            raise StoreError(f"Crops of {crops.dtype} would lose precision in this store of {self.dtype}.")
        unknown = set(cells["slide"]) - set(self._slides)
        if unknown:
            raise StoreError(f"Crops of a slide that was not announced: {sorted(unknown)}.")
        if not len(cells):
            return
        rows = cells.copy()
        if "group" not in rows:
            rows["group"] = [self._slides[name].group for name in rows["slide"]]
        rows["type"] = rows["type"].fillna("").astype(str) if "type" in rows else ""
        for axis in ("y", "x"):
            if f"{axis}_um" not in rows:
                rows[f"{axis}_um"] = np.nan
        rows[list(COLUMNS)].to_csv(
            self._table, header=False, index=False, float_format="%.4f", lineterminator="\n"
        )
        np.ascontiguousarray(crops, self.dtype).tofile(self._crops)
        self._cells += len(cells)

    def finish(self) -> CropStore:
        """Write the header and ``store.json``, give the folder its name, and open it.

        Raises
        ------
        StoreError
            No cell was appended; nothing is left behind.
        """
        if self._cells == 0:
            self.abort()
            raise StoreError(f"No cells were found, so {self.path} was not written.")
        self._crops.seek(0)
        self._crops.write(self._header())
        for file in (self._crops, self._table):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        card = {
            "format": FORMAT,
            "version": VERSION,
            "markers": list(self.markers),
            "crop_um": self.crop_um,
            "crop_px": self.crop_px,
            "pixel_um": self.crop_um / self.crop_px,
            "dtype": self.dtype.name,
            "cells": self._cells,
            "slides": {name: slide.to_json() for name, slide in self._slides.items()},
        }
        temporary = self.folder / (CARD + ".tmp")
        temporary.write_text(json.dumps(card, indent=1), encoding="utf-8")
        os.replace(temporary, self.folder / CARD)
        (self.folder / WRITER).unlink()
        self._check_free()
        if self.path.exists():
            shutil.rmtree(self.path)
        os.replace(self.folder, self.path)
        return CropStore.open(self.path)

    def abort(self) -> None:
        """Leave nothing behind."""
        self._crops.close()
        self._table.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _header(self) -> bytes:
        """Return the .npy header (format 1.0) of the crops written so far, always of the same length."""
        shape = (self._cells, len(self.markers), self.crop_px, self.crop_px)
        descr = np.lib.format.dtype_to_descr(self.dtype)
        text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode("latin1")
        length = _HEADER_BYTES - 10
        return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"

    def _check_free(self) -> None:
        """Refuse to write over anything that is not asked for; never over a folder that is no store."""
        if not self.path.exists():
            return
        empty = self.path.is_dir() and not any(self.path.iterdir())
        store = (self.path / CARD).is_file()
        if not empty and not store:
            raise StoreError(f"{self.path} exists and is no crop store; choose another place for the crops.")
        if store and not self._overwrite:
            raise StoreError(f"{self.path} exists already; pass --overwrite, or choose another folder.")

    def _claim(self) -> None:
        """Make the partial folder ours: remove what a crash left, refuse what is being written."""
        if self.folder.exists():
            try:
                pid = int((self.folder / WRITER).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                pid = -1
            if pid > 0 and pid != os.getpid() and psutil.pid_exists(pid):
                raise StoreError(
                    f"{self.path} is being written by process {pid}; wait for it or choose another folder."
                )
            foreign = {p.name for p in self.folder.iterdir()} - {CROPS, CELLS, CARD, CARD + ".tmp", WRITER}
            if foreign:
                raise StoreError(
                    f"{self.folder} is in the way and holds other files ({sorted(foreign)[0]}); move it away."
                )
            shutil.rmtree(self.folder)
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be made: {error.strerror}.") from error
        (self.folder / WRITER).write_text(str(os.getpid()), encoding="utf-8")
