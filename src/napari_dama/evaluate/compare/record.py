"""The record in an experiment's folder: what was begun, where and with what; and whether it may be gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import yaml

from napari_dama.cells.store import CELLS
from napari_dama.errors import OutputError, SettingsError
from napari_dama.evaluate.compare.units import UNITS
from napari_dama.export.atomic import replacing
from napari_dama.predict.record import versions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dama.cells.store import CropStore
    from napari_dama.evaluate.compare.experiment import Experiment

FILE: Final = "experiment.yaml"
MEASURES: Final = "measures.parquet"
OUTPUTS: Final = ("results.csv", "table.csv", "table.md", "tests.csv", "plot.png", "README.md")
FREE: Final = frozenset({"device", "threads", "checkpoint_seconds", "log_every", "keep_models"})
"""Keys that may differ when an experiment is resumed: they change no result, or only its speed."""


def begin(plan: Experiment, store: CropStore, out: Path, *, resume: bool, overwrite: bool) -> dict[str, Any]:
    """Make the experiment's folder with its record, or check that the one there is of the same experiment."""
    file = out / FILE
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; choose a folder for the experiment")
    wanted = {"experiment": plan.model_dump(mode="json"), "store": store_facts(store)}
    if out.is_dir() and any(out.iterdir()):
        if not file.is_file():
            raise OutputError(f"{out} holds other things than an experiment; choose a new or empty folder")
        if resume:
            old = _read_record(file)
            differ = [
                line for part, value in wanted.items() for line in _differences(old.get(part), value, part)
            ]
            if differ:
                more = f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""
                raise SettingsError(
                    f"{out} was begun with another experiment: {differ[0]}{more}. Resume it with the experiment it "
                    "began with, or choose another folder"
                )
            return old
        if not overwrite:
            raise OutputError(f"{out} holds an experiment already; go on with --resume, or --overwrite it")
        _clear(out)
    record = {**wanted, "begun": datetime.now(UTC).isoformat("T", "seconds"), "machine": _machine()}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(file, overwrite=True) as part:
            part.write_text(yaml.safe_dump(record, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error}") from error
    return record


def write_whole(file: Path, facts: dict[str, Any]) -> None:
    """Write JSON in one step.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    with replacing(file, overwrite=True) as part:
        part.write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")


def _read_record(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise OutputError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict) or "experiment" not in found:
        raise OutputError(f"{file} is no record of an experiment; choose another folder")
    return found


def _differences(old: Any, now: Any, name: str) -> list[str]:
    """What differs between two plain values, by dotted names."""
    if name.rsplit(".", 1)[-1] in FREE:
        return []
    if isinstance(old, dict) and isinstance(now, dict):
        keys = [*old, *(key for key in now if key not in old)]
        return [line for key in keys for line in _differences(old.get(key), now.get(key), f"{name}.{key}")]
    if isinstance(old, list) and isinstance(now, list) and len(old) == len(now):
        return [
            line
            for place, (a, b) in enumerate(zip(old, now, strict=True))
            for line in _differences(a, b, f"{name}.{place}")
        ]
    return [] if old == now else [f"{name.removeprefix('experiment.')} was {old!r} and is {now!r}"]


def store_facts(store: CropStore) -> dict[str, Any]:
    """What tells a store from a changed one: its cells' table, and the size of its pixels."""
    digest = hashlib.sha256((store.path / CELLS).read_bytes()).hexdigest()
    return {"cells": len(store), "table_sha256": digest, "pixel_bytes": int(store.crops.nbytes)}


def _machine() -> dict[str, Any]:
    return {
        "versions": versions(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "name": platform.node(),
    }


def _clear(out: Path) -> None:
    """Remove what an experiment writes, and nothing else."""
    shutil.rmtree(out / UNITS, ignore_errors=True)
    for name in (FILE, MEASURES, *OUTPUTS):
        (out / name).unlink(missing_ok=True)
