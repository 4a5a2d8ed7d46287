"""Pretraining as the published code is built: one TIFF per crop, read and varied one by one, float32, losses read each step.

The networks are this project's, so that what is compared is the structure around them. Randomness is torch's global one, as
there. Nothing in the package uses this.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import tifffile
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_dama.cells.store import CropStore
    from napari_dama.nets.method import Method


def write_crops(store: CropStore, folder: Path, rows: np.ndarray) -> list[Path]:
    """One TIFF of (P, P, C) per crop, as the authors' data lie."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for row in rows.tolist():
        file = folder / f"{row:06d}.tif"
        if not file.is_file():
            tifffile.imwrite(file, np.moveaxis(np.asarray(store.crops[row]), 0, -1), photometric="minisblack")
        files.append(file)
    return files


class CropFiles(Dataset[torch.Tensor]):
    """Crops read from their files, scaled to 0..1, and varied one at a time as the published recipe says."""

    def __init__(self, files: list[Path], image_px: int) -> None:
        self.files = files
        self.vary = v2.Compose(
            [
                v2.RandomResizedCrop(image_px, scale=(0.4, 1.0), antialias=True),
                v2.RandomAffine(degrees=90, translate=(0.3, 0.3)),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        pixels = tifffile.imread(self.files[index]).astype(np.float32)
        pixels /= max(float(pixels.max()), 1.0)
        varied: torch.Tensor = self.vary(torch.from_numpy(np.moveaxis(pixels, -1, 0).copy()))
        return varied


def _batches(loader: DataLoader[torch.Tensor]) -> Iterator[torch.Tensor]:
    while True:
        yield from loader


def per_image_steps(
    method: Method, files: list[Path], *, steps: int, batch_size: int, workers: int, device: torch.device
) -> tuple[list[float], list[float]]:
    """Seconds of each step, and the part of them that was spent waiting for data."""
    image_px = method.encoder.spec.image_px
    loader = DataLoader(
        CropFiles(files, image_px),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    method.to(device).train()
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05)
    batches = _batches(loader)
    seconds, waited = [], []
    for step in range(steps):
        begin = time.perf_counter()
        views = [next(batches).to(device, non_blocking=True) for _ in range(method.views)]
        waited.append(time.perf_counter() - begin)
        losses = method(*views)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        for value in losses.parts.values():
            value.item()
        method.after_step((step + 1) / steps)
        seconds.append(time.perf_counter() - begin)
    return seconds, waited
