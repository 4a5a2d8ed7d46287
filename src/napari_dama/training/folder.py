"""The folder of a training run: settings, status, metrics, events and checkpoints, all plain files.

``job.yaml`` all settings; ``metrics.csv`` one row per logged step; ``events.jsonl`` typed records; ``status.json`` the
present state; ``last/`` and ``best/`` checkpoints; ``model/`` the finished model; ``log.txt``; a file named ``stop`` asks
the run to checkpoint and end.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_dama.errors import OutputError, SettingsError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dama.training.settings import RunSettings

STOP = "stop"
ANNOTATIONS = "annotations"
"""Cells given for a run's slides, which may lie in its folder before it begins."""


@dataclass
class RunFolder:
    """Writes what a run says about itself. Make one with `begin`."""

    path: Path
    columns: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, settings: RunSettings, *, resume: bool, overwrite: bool) -> RunFolder:
        """Make the folder, or take up one that stands.

        Raises
        ------
        OutputError
            If the folder holds something and neither ``resume`` nor ``overwrite`` is set, or it is no run at all.
        SettingsError
            If a run is resumed with other settings than it began with.
        """
        path, file = settings.out, settings.out / "job.yaml"
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file; choose a folder for the run")
        if path.is_dir() and any(entry.name != ANNOTATIONS for entry in path.iterdir()):
            if not file.is_file():
                raise OutputError(
                    f"{path} holds other things than a training run; choose a new or empty folder"
                )
            if resume:
                _same_settings(type(settings).from_file(file), settings)
            elif overwrite:
                _clear(path)
            else:
                raise OutputError(f"{path} holds a run already; continue it with --resume, or --overwrite it")
        try:
            path.mkdir(parents=True, exist_ok=True)
            settings.to_file(file)
        except OSError as error:
            raise OutputError(f"cannot write to {path}: {error.strerror or error}") from error
        (path / STOP).unlink(missing_ok=True)
        return cls(path)

    def status(self, **facts: Any) -> None:
        """Replace ``status.json``; pid and heartbeat are added."""
        write_json(self.path / "status.json", {"pid": os.getpid(), "heartbeat": time.time(), **facts})

    def event(self, kind: str, **facts: Any) -> None:
        """Append a record to ``events.jsonl``."""
        line = json.dumps({"time": time.time(), "kind": kind, **facts}, ensure_ascii=False)
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def log(self, text: str) -> None:
        """Append a line with the time to ``log.txt``."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def metrics(self, row: dict[str, float | int]) -> None:
        """Append a row to ``metrics.csv``; the first row decides the columns."""
        file = self.path / "metrics.csv"
        if not self.columns and file.is_file():
            with file.open(newline="", encoding="utf-8") as old:
                self.columns = next(csv.reader(old), [])
        fresh = not self.columns
        if fresh:
            self.columns = list(row)
        with file.open("a", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, self.columns, restval="", extrasaction="ignore")
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def forget_after(self, step: int) -> None:
        """Drop rows of ``metrics.csv`` beyond ``step``: a resumed run writes them again."""
        file = self.path / "metrics.csv"
        if not file.is_file():
            return
        with file.open(newline="", encoding="utf-8") as old:
            rows = list(csv.reader(old))
        # a kill may have cut the last row short
        whole = [row for row in rows[1:] if len(row) == len(rows[0]) and row[0].isdigit()]
        kept = rows[:1] + [row for row in whole if int(row[0]) <= step]
        partial = file.with_suffix(".part")
        with partial.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows(kept)
        os.replace(partial, file)

    def stop_asked(self) -> bool:
        """Whether someone put a file named ``stop`` into the folder."""
        return (self.path / STOP).exists()

    def save_checkpoint(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Write checkpoint ``last`` or ``best`` so that a kill at any moment leaves the old or the new one whole."""
        target = self.path / name
        partial = self.path / f"{name}.part"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            save_file(
                {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
                partial / "state.safetensors",
            )
            write_json(partial / "state.json", facts)
            old = self.path / f"{name}.old"
            if target.exists():  # else a kill left `old` as the only whole one: it stays until the end
                shutil.rmtree(old, ignore_errors=True)
                os.replace(target, old)
            os.replace(partial, target)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise OutputError(
                f"cannot write checkpoint {target}: {error.strerror or error}; the one before it is kept"
            ) from error

    def load_checkpoint(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and facts of a checkpoint, or None where there is none.

        Raises
        ------
        StoreError
            If the checkpoint is damaged.
        """
        for folder in (self.path / name, self.path / f"{name}.old"):
            if (folder / "state.json").is_file():
                try:
                    facts = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                    return load_file(folder / "state.safetensors"), facts
                except (OSError, ValueError, SafetensorError) as error:
                    raise StoreError(f"checkpoint {folder} is damaged: {error}") from error
        return None


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write JSON so that readers see the old or the new text, never a part."""
    partial = file.with_name(file.name + ".part")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, file)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of an optimiser as named tensors, so that it needs no pickle."""
    tensors = {}
    for index, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimiser.{index}.{key}"] = torch.as_tensor(value)
    return tensors


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Fill an optimiser from `optimiser_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    whole = optimiser.state_dict()
    whole["state"] = state
    optimiser.load_state_dict(whole)


def _same_settings(old: RunSettings, asked: RunSettings) -> None:
    free = {"out", "device", "threads", "checkpoint_seconds", "log_every", "previews"}
    for name in type(old).model_fields:
        before, now = getattr(old, name), getattr(asked, name)
        if name not in free and before != now:
            raise SettingsError(
                f"the run in {old.out} was started with {name}={before}, not {now}; resume it unchanged or start anew"
            )


def _clear(path: Path) -> None:
    """Remove what a run writes, and nothing else that may lie in its folder."""
    for name in (
        "last",
        "best",
        "model",
        "last.part",
        "best.part",
        "last.old",
        "best.old",
        "previews",
        "crops",
    ):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in ("job.yaml", "metrics.csv", "events.jsonl", "status.json", "log.txt", "parent.json", STOP):
        (path / name).unlink(missing_ok=True)
