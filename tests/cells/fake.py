"""A slide in memory that is not the plugin's own, to test what only needs the Slide protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_dama.errors import SlideError
from napari_dama.slides.region import Region


class FakeSlide:
    """Counts the largest read, and refuses to be read as a whole when it is told so."""

    def __init__(
        self,
        pixels: np.ndarray,
        markers: Sequence[str],
        pixel_um: float | None = 0.325,
        name: str = "fake",
        path: Path | None = None,
    ) -> None:
        self.pixels = pixels
        self.markers = tuple(markers)
        self.pixel_um = pixel_um
        self.name = name
        self.path = path
        self.notes: tuple[str, ...] = ()
        self.largest_read = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.pixels.shape  # type: ignore[return-value]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.pixels.dtype

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        return (self.pixels.shape[1:],)  # type: ignore[return-value]

    def read(
        self, region: Region | None = None, *, channels: Sequence[int] | None = None, level: int = 0
    ) -> np.ndarray:
        part = Region.whole(self.shape) if region is None else region.clip(self.shape)
        if part.is_empty:
            raise SlideError(f"outside: {region}")
        self.largest_read = max(self.largest_read, part.height * part.width)
        picked = self.pixels if channels is None else self.pixels[list(channels)]
        return picked[:, part.y0 : part.y1, part.x0 : part.x1].copy()

    def lazy(self, level: int = 0) -> Any:
        import dask.array as da

        return da.from_array(self.pixels)

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeSlide:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def blobs(
    shape: tuple[int, int], *, spacing: int = 40, radius: float = 9.0, seed: int = 0, top: int = 20000
) -> tuple[np.ndarray, np.ndarray]:
    """Round nuclei on a jittered grid: image (1, Y, X) uint16 with noise, and their centres (n, 2)."""
    rng = np.random.default_rng(seed)
    ys, xs = np.meshgrid(
        np.arange(spacing // 2, shape[0] - spacing // 4, spacing),
        np.arange(spacing // 2, shape[1] - spacing // 4, spacing),
        indexing="ij",
    )
    centres = np.stack([ys.ravel(), xs.ravel()], 1) + rng.uniform(-4, 4, (ys.size, 2))
    image = np.zeros(shape, np.float32)
    reach = int(radius * 2)
    for y, x in centres:
        y0, x0 = max(0, int(y) - reach), max(0, int(x) - reach)
        yy, xx = np.ogrid[y0 : min(shape[0], int(y) + reach), x0 : min(shape[1], int(x) + reach)]
        distance = np.hypot(yy - y, xx - x)
        window = image[y0 : y0 + len(yy), x0 : x0 + xx.shape[1]]
        np.maximum(window, top / (1 + np.exp((distance - radius) / 0.8)), out=window)
    image += rng.normal(800, 120, shape)
    return np.clip(image, 0, 65535).astype(np.uint16)[None], centres
