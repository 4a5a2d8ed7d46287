"""Writes a result folder tile by tile, so that finished tiles stay whatever happens."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from napari_dama.cells.table import write_parquet as write_parquet
from napari_dama.errors import OutputError
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import (
    BEGINNING,
    EMBEDDINGS,
    EMBEDDINGS_LABELS,
    JOB,
    LABELS,
    PARQUET,
    RUN_FILE,
    TABLE,
    TILES,
    Owner,
    TileLog,
    check_settings,
    clear_disk_errors,
    read_run,
    write_json,
    write_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.slides.region import Region
    from napari_dama.slides.tiles import Tile

OURS = (LABELS, TABLE, PARQUET, TILES, EMBEDDINGS, EMBEDDINGS_LABELS, RUN_FILE)  # the record last


class ResultWriter:
    """A result folder that is being written.

    ``record`` is what ``run.json`` holds; call `save` after changing it.
    """

    def __init__(self, folder: Path, record: dict[str, Any], labels: LabelImage, log: TileLog) -> None:
        self.folder = folder
        self.record = record
        self.labels = labels
        self._log = log
        lines = log.read()
        self.finished = {line["tile"] for line in lines}
        self.next_label = lines[-1]["next_label"] if lines else 1
        self.cells = lines[-1]["cells"] if lines else 0
        self._open: Region | None = None

    @classmethod
    def begin(
        cls,
        folder: Path,
        record: dict[str, Any],
        columns: list[str],
        shape_yx: tuple[int, int],
        *,
        overwrite: bool,
    ) -> ResultWriter:
        """Begin a result in a new or empty folder, or with ``overwrite`` in place of an old result.

        Raises
        ------
        OutputError
            Something else is there, or the folder cannot be written.
        """
        check_place(folder, overwrite=overwrite)
        with clear_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # the record first, and marked until all is there: a kill leaves nothing that looks like a result
            record["owner"] = Owner.here()
            write_json(folder / RUN_FILE, {**record, "state": BEGINNING})
            clear_result(folder, but_record=True)
            pixel_um = record["settings"]["pixel_um"]
            labels = LabelImage.create(
                folder / LABELS, shape_yx, pixel_um=pixel_um, name=record["slide"]["name"]
            )
            (folder / TABLE).write_text(",".join(columns) + "\n", encoding="utf-8")
            log = TileLog(folder / TILES)
            log.rewrite([])
            write_json(folder / RUN_FILE, record)
        return cls(folder, record, labels, log)

    @classmethod
    def resume(cls, folder: Path, settings: Mapping[str, Any]) -> ResultWriter:
        """Continue a result: what half a tile left behind is undone.

        Raises
        ------
        SettingsError
            It was begun with other settings.
        OutputError
            It is no result, is damaged, or another process is writing it.
        """
        record = check_same(folder, settings)
        refuse_running(folder)
        labels = LabelImage.open(folder / LABELS)
        log = TileLog(folder / TILES)
        lines = log.read()
        with clear_disk_errors(folder):
            log.rewrite(lines)
            table = folder / TABLE
            if not table.exists():
                raise OutputError(f"{table} is missing, so the result cannot be continued; use --overwrite")
            if lines:
                os.truncate(table, lines[-1]["bytes"])
            else:
                with table.open("r+b") as file:
                    file.readline()
                    file.truncate(file.tell())
        return cls(folder, record, labels, log)

    def save(self) -> None:
        """Write ``run.json``."""
        with clear_disk_errors(self.folder):
            write_json(self.folder / RUN_FILE, self.record)

    def existing(self, region: Region) -> NDArray[np.uint32]:
        """Labels (h, w) of finished tiles in a region of level 0, without those of an unfinished one."""
        labels = self.labels.read(region)
        labels[labels >= self.next_label] = 0
        return labels

    def write(self, tile: Tile, labels: NDArray[np.uint32]) -> None:
        """Write the labels of a tile's outer region."""
        self._open = tile.outer
        with clear_disk_errors(self.folder):
            self.labels.write(tile.outer, labels)

    def finish_tile(self, tile: Tile, table: pd.DataFrame, *, next_label: int) -> None:
        """Append a tile's cells and count the tile as finished."""
        with clear_disk_errors(self.folder):
            path = self.folder / TABLE
            size = write_rows(path, table, header=False) if len(table) else path.stat().st_size
            self.cells += len(table)
            line = {"tile": tile.index, "next_label": next_label, "cells": self.cells, "bytes": size}
            self._log.append(line)
        self.next_label = next_label
        self.finished.add(tile.index)
        self._open = None

    def discard(self) -> None:
        """Undo the labels and rows of a tile that was begun and not finished."""
        if self._open is None:
            return
        self.labels.write(self._open, self.existing(self._open))
        lines = self._log.read()
        if lines:
            os.truncate(self.folder / TABLE, lines[-1]["bytes"])
        self._open = None

    def finish(self, region: Region, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Build the pyramid and the Parquet table."""
        with clear_disk_errors(self.folder):
            self.labels.build_pyramid(region, progress=progress)
            write_parquet(self.folder)


def check_place(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place where a result must not be put; nothing is changed.

    Raises
    ------
    OutputError
        A file is there; or a folder that is not our result; or a result, and ``overwrite`` is False.
    """
    if folder.is_file():
        raise OutputError(f"{folder} is a file; give the name of a folder for the result")
    if holds_something(folder):
        if not (folder / RUN_FILE).exists():
            raise OutputError(
                f"{folder} holds other files and no result of `analyse`; it is left alone: give another name"
            )
        record = read_run(folder)
        if not overwrite and record.get("state") != BEGINNING:
            state = record.get("state", "unknown")
            way = "--resume continues it, " if state != "done" else ""
            raise OutputError(f"{folder} already holds a result ({state}); {way}--overwrite replaces it")
        refuse_running(folder)
    _check_writable(folder)


def holds_something(folder: Path) -> bool:
    """Whether a folder holds anything but the job that is to make a result there, or what a kill left of a first record."""
    nothing = (JOB, RUN_FILE + ".part")
    return folder.is_dir() and any(entry.name not in nothing for entry in folder.iterdir())


def holds_result(folder: Path) -> bool:
    """Whether a result was begun there so far that it can be continued."""
    return (folder / RUN_FILE).is_file() and read_run(folder).get("state") != BEGINNING


def refuse_running(folder: Path) -> None:
    """Refuse a result that another process is writing now."""
    record = read_run(folder)
    if record.get("state") in ("running", BEGINNING) and Owner.alive(record.get("owner")):
        raise OutputError(
            f"{folder} is being written by process {record['owner']['pid']}; wait, or stop it first"
        )


def check_same(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Record of a result that was begun with these settings.

    Raises
    ------
    SettingsError
        Some differ.
    """
    record = read_run(folder)
    check_settings(record["settings"], settings)
    return record


def _check_writable(folder: Path) -> None:
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise OutputError(f"{folder} cannot be made: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"{folder} cannot be written: no permission to write in {place}")


def check_space(folder: Path, needed_bytes: int) -> None:
    """Refuse to begin on a disk that will be too full.

    Raises
    ------
    OutputError
        With the space needed and the space there is.
    """
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise OutputError(
            f"the disk that holds {folder} has {free / 1e6:.0f} MB free, and the result may need "
            f"{needed_bytes / 1e6:.0f} MB"
        )


def clear_result(folder: Path, *, but_record: bool = False) -> None:
    """Remove the files of an old result and nothing else in its folder; its record last, or not at all."""
    for name in OURS[:-1] if but_record else OURS:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
