"""Checkpoints: tensors and facts of a run, without pickle, whole after a kill at any moment."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from napari_dama.errors import OutputError, StoreError
from napari_dama.training.files import write_json
from napari_dama.training.shards import like

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from napari_dama.training.folder import RunFolder


def save(target: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old or the new one whole.

    Raises
    ------
    OutputError
        If it cannot be written; the one before it is kept.
    """
    partial, old = (target.with_name(f"{target.name}.{what}") for what in ("part", "old"))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        save_file(
            {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
            partial / "state.safetensors",
        )
        write_json(partial / "state.json", facts)
        if target.exists():  # else a kill left `old` as the only whole one: it stays until the end
            shutil.rmtree(old, ignore_errors=True)
            os.replace(target, old)
        os.replace(partial, target)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)  # on a full disk it stands in its own way
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write checkpoint {target}: {why}; the one before it is kept") from error


def load(target: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and facts of a checkpoint, or None where there is none.

    Raises
    ------
    StoreError
        If the checkpoint is damaged.
    """
    for folder in (target, target.with_name(f"{target.name}.old")):
        if (folder / "state.json").is_file():
            try:
                facts = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                return load_file(folder / "state.safetensors"), facts
            except (OSError, ValueError, SafetensorError) as error:
                raise StoreError(f"checkpoint {folder} is damaged: {error}") from error
    return None


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
    parameters = [each for group in optimiser.param_groups for each in group["params"]]
    for place, own in state.items():
        for key, value in own.items():
            own[key] = like(value, parameters[place])
    whole = optimiser.state_dict()
    whole["state"] = state
    optimiser.load_state_dict(whole)


def module_state(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's own tensors in a checkpoint."""
    return {
        name.removeprefix("module."): value for name, value in tensors.items() if name.startswith("module.")
    }


def unlogged(
    held: tuple[dict[str, Tensor], dict[str, Any]] | None, device: torch.device
) -> tuple[dict[str, Tensor], int]:
    """Sums of losses since the last row of ``metrics.csv``, so that the next row is that of a run never stopped."""
    if held is None:
        return {}, 0
    tensors, state = held
    sums = {
        name.removeprefix("sums."): value.to(device)
        for name, value in tensors.items()
        if name.startswith("sums.")
    }
    return sums, int(state.get("summed", 0))


def take_up(
    run: RunFolder,
    found: tuple[dict[str, Tensor], dict[str, Any]] | None,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> tuple[int, dict[str, float]]:
    """Fill network and optimiser from a checkpoint, if there is one; the step to go on at, and the best metrics so far."""
    if found is None:
        run.forget_after(0)
        return 0, {}
    tensors, state = found
    own = module.state_dict()
    module.load_state_dict(
        {key: like(value, own[key]) if key in own else value for key, value in module_state(tensors).items()}
    )
    restore_optimiser(optimiser, tensors)
    run.forget_after(state["step"])
    return int(state["step"]), dict(state["best"])
