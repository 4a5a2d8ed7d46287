"""A model that outlines nuclei without any training, so that the machinery can be tested by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class NucleusModel:
    """Stands in for `Model`: foreground from smoothed DAPI, types from the brightest marker in the crop's middle."""

    precision = "float32"

    def __init__(self) -> None:
        import torch

        from napari_dama.models.build import brain_card

        self.card = brain_card("nucleus-stand-in")
        self.device = torch.device("cpu")
        self.calls = 0

    def segment_maps(self, x):  # type: ignore[no-untyped-def]
        import torch
        from scipy import ndimage

        self.calls += 1
        assert x.shape[2] % 128 == 0 and x.shape[3] % 128 == 0 and x.dtype == torch.float32
        maps = []
        for dapi in x[:, 0].numpy():
            smooth = ndimage.gaussian_filter(dapi, 2.0, truncate=3)
            high = np.clip(smooth / 0.5, 0, 1)
            maps.append(np.stack([np.clip((smooth - 0.1) * 4, 0, 1), high]))
        return torch.from_numpy(np.stack(maps).astype(np.float32))

    def type_probabilities(self, crops):  # type: ignore[no-untyped-def]
        middle = crops[:, 2:, 44:84, 44:84].mean(dim=(2, 3))
        return (middle * 10).softmax(dim=1)


MARKERS = ("DAPI", "Histones", "NeuN", "S100", "Olig2", "Iba1", "RECA1")


def draw_cells(height: int, width: int, *, seed: int = 0, spacing: int = 30) -> NDArray[np.uint16]:
    """Round nuclei on a jittered grid, each with one bright type marker: (7, height, width)."""
    random = np.random.default_rng(seed)
    image = random.normal(100, 5, (7, height, width))
    rows, columns = np.mgrid[:height, :width]
    for y in range(spacing // 2, height, spacing):
        for x in range(spacing // 2, width, spacing):
            cy, cx = y + random.uniform(-4, 4), x + random.uniform(-4, 4)
            part = np.s_[max(0, y - 20) : y + 20, max(0, x - 20) : x + 20]
            blob = 2000 * np.exp(-(((rows[part] - cy) ** 2 + (columns[part] - cx) ** 2) / (2 * 4.5**2)))
            for channel in (0, 1, int(random.integers(2, 7))):
                image[channel][part] += blob
    return image.clip(0, 65535).astype(np.uint16)
