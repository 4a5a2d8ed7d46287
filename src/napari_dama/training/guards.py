"""What is looked at before the first step: data, leaks between the splits, memory, room on the disk.

Each check returns findings: an error stops the run, a warning is recorded and printed, a note is recorded. A leak is a
warning while few validation cells are touched, and an error when most are, for then validation measures memory alone.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from napari_dama.errors import OutputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray
    from torch import nn

    from napari_dama.cells.store import CropStore
    from napari_dama.training.crops import Split
    from napari_dama.training.folder import RunFolder

LOOKED_AT: Final = 20_000
LOOKED_AT_ON_DISK: Final = 2_000
"""Crops of each side that are compared; drawn at random from larger sides, and fewer where each is a read of the disk."""
FEW: Final = 10
PATCH_PX: Final = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, in a sentence."""

    level: Literal["error", "warning", "note"]
    text: str


def report(run: RunFolder, findings: Sequence[Finding]) -> None:
    """Record findings as an event ``checked`` and in the log.

    Raises
    ------
    StoreError
        If any of them is an error; all of those are in the message.
    """
    run.event("checked", findings=[asdict(finding) for finding in findings])
    for finding in findings:
        if finding.level != "note":
            run.log(f"{finding.level}: {finding.text}")
    errors = [finding.text for finding in findings if finding.level == "error"]
    if errors:
        raise StoreError("; ".join(errors))


def store_findings(
    store: CropStore, split: Split, crops: NDArray[Any], *, batch_size: int, image_px: int
) -> list[Finding]:
    """Panel, crop size, empty slides, small sides and leaks of a crop store.

    Parameters
    ----------
    store, split
        The store and its rows for training and validation.
    crops
        Its pixels (N, C, P, P), in memory or mapped.
    batch_size, image_px
        Of the run; crops are resized to ``image_px``.
    """
    found = [
        Finding(
            "note",
            f"{len(split.train)} cells for training, {len(split.validation)} for validation, {len(store.markers)} "
            f"markers, crops of {store.crop_um:g} um and {store.crop_px} px",
        )
    ]
    lacking = [
        marker for marker, column in zip(store.markers, store.present.T, strict=True) if not column.any()
    ]
    if lacking:
        names = ", ".join(lacking)
        found.append(Finding("warning", f"no slide has {names}: nothing is learned of it"))
    if image_px > 2 * store.crop_px:
        found.append(
            Finding(
                "warning",
                f"crops of {store.crop_px} px are enlarged to {image_px}: there is no more detail to see",
            )
        )
    counts = np.bincount(store.slide_index, minlength=len(store.slides))
    empty = [slide.name for slide, n in zip(store.slides, counts, strict=True) if n == 0]
    if empty:
        found.append(Finding("warning", f"no cell is from {_names(empty)}"))
    if batch_size > len(split.train):
        found.append(
            Finding(
                "warning", f"batch_size {batch_size} is more than the {len(split.train)} cells for training"
            )
        )
    if len(split.validation) < FEW:
        found.append(
            Finding(
                "warning",
                f"{len(split.validation)} cells are held out: what is measured on so few means little",
            )
        )
    return [*found, *_same_file(store, split), *_same_crops(split, crops)]


def class_findings(
    classes: Sequence[str], train: NDArray[np.int64], held: NDArray[np.int64]
) -> list[Finding]:
    """Cells of each class for training and validation.

    Parameters
    ----------
    classes
        K names.
    train, held
        Class numbers of the cells on either side.
    """
    many, out = (np.bincount(side, minlength=len(classes)) for side in (train, held))
    counts = ", ".join(f"{name} {a} + {b}" for name, a, b in zip(classes, many, out, strict=True))
    found = [Finding("note", f"cells per class, training + validation: {counts}")]
    few = [f"{name} ({n})" for name, n in zip(classes, many, strict=True) if 0 < n < FEW]
    if few:
        found.append(Finding("warning", f"few cells for training of {_names(few)}"))
    unseen = [name for name, a, b in zip(classes, many, out, strict=True) if a and not b]
    if unseen:
        found.append(Finding("warning", f"no cell is held out of {_names(unseen)}: it is not measured"))
    return found


def _same_file(store: CropStore, split: Split) -> list[Finding]:
    """Slide files whose fields are on both sides."""
    sides = []
    for rows in (split.train, split.validation):
        slides = (store.slides[i] for i in np.unique(store.slide_index[rows]))
        sides.append({slide.path: slide for slide in slides if Path(slide.path).suffix})
    both = sorted(set(sides[0]) & set(sides[1]))
    groups = [path for path in both if sides[0][path].group != sides[1][path].group]
    if not groups:
        return []  # one field that is parted in space has a gap, and the split says so
    names = _names([Path(path).name for path in groups])
    return [Finding("warning", f"leak: fields of {names} are in training and in validation")]


def _same_crops(split: Split, crops: NDArray[Any]) -> list[Finding]:
    """Crops that are the same, pixel by pixel, on both sides; blank ones say nothing."""
    most = LOOKED_AT_ON_DISK if isinstance(crops, np.memmap) else LOOKED_AT
    train, held = (_some(rows, most) for rows in (split.train, split.validation))
    known: dict[bytes, list[int]] = {}
    for row in train:
        if (key := _middle(crops[row])) is not None:
            known.setdefault(key, []).append(int(row))
    twice = 0
    for row in held:
        key = _middle(crops[row])
        if key is not None and any(np.array_equal(crops[row], crops[other]) for other in known.get(key, ())):
            twice += 1
    if not twice:
        return []
    share = twice / len(held)
    looked = f"{twice} of the {len(held)} held-out cells looked at are in training too, pixel by pixel"
    if share > 0.5:
        text = f"leak: {looked}; validation would measure memory. Give copies of a slide the same group"
        return [Finding("error", text)]
    return [Finding("warning", f"leak: {looked}")]


def _some(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _middle(crop: NDArray[Any]) -> bytes | None:
    """The middle of a crop (C, P, P) as bytes; None where it is blank."""
    first = max(0, crop.shape[-1] // 2 - PATCH_PX // 2)
    patch = crop[:, first : first + PATCH_PX, first : first + PATCH_PX]
    return None if (patch == patch.flat[0]).all() else patch.tobytes()


def same_fields(
    train: Sequence[tuple[str, NDArray[Any]]], held: Sequence[tuple[str, NDArray[Any]]]
) -> list[Finding]:
    """Labelled fields (name, pixels (C, H, W)) that are the same on both sides: an error, for there are few."""
    pairs = [
        (a, b)
        for a, mine in train
        for b, other in held
        if mine.shape == other.shape
        and np.array_equal(mine[:, :64, :64], other[:, :64, :64])
        and np.array_equal(mine, other)
    ]
    return [
        Finding("error", f"leak: {a} for training and {b} for validation are the same picture; leave one out")
        for a, b in pairs
    ]


def state_bytes(module: nn.Module) -> int:
    """Size of a checkpoint ``last``: weights, and two moments of those that learn (AdamW), as they lie in memory."""
    weights = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    learning = (p for p in module.parameters() if p.requires_grad)
    return int(weights + 2 * sum(p.numel() * p.element_size() for p in learning))


def memory_findings(module: nn.Module, device: torch.device) -> list[Finding]:
    """Whether weights, gradients and moments fit; what a batch needs beyond shows at a step, which then splits it."""
    need = state_bytes(module) + sum(
        p.numel() * p.element_size() for p in module.parameters() if p.requires_grad
    )
    free = _free_memory(device)
    text = f"weights, gradients and moments take {_size(need)} of {_size(free)} that are free on {device}"
    return [Finding("warning" if need > free else "note", text)]


def require_room(path: Path, module: nn.Module, *, checkpoints: int = 3) -> None:
    """Check that checkpoints fit on the disk.

    Parameters
    ----------
    path
        The run's folder.
    module
        What is trained.
    checkpoints
        How many: the last one, the one that replaces it, and the best.

    Raises
    ------
    OutputError
        With both numbers.
    """
    need = checkpoints * state_bytes(module)
    try:
        free = shutil.disk_usage(path).free
    except FileNotFoundError:
        return  # whoever writes there says it
    except OSError as error:
        raise OutputError(f"cannot look at {path}: {error.strerror or error}") from error
    if free < need:
        what = "checkpoints need" if checkpoints > 1 else "a checkpoint needs"
        raise OutputError(
            f"the disk of {path} is full: {what} {_size(need)}, and {_size(free)} are free. "
            "Make room, or choose another disk"
        )


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
