"""napari's reader: a multiplexed slide opens as one named, coloured, scaled layer per marker, lazily."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dama.gui.layers import LayerData, marker_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_dama.slides.slide import Slide

SUFFIXES = (".tif", ".tiff", ".qptiff", ".npy")


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return a reader for a slide, None when the path is none of ours.

    Parameters
    ----------
    path : str or list of str
        File or OME-Zarr folder; of a list, every entry must be a slide.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return read_slides if paths and all(_is_slide(Path(entry)) for entry in paths) else None


def read_slides(path: str | Sequence[str]) -> list[LayerData]:
    """Open the slide(s) and return their layers."""
    from napari_dama.slides.slide import open_slide

    paths = [path] if isinstance(path, str) else list(path)
    out: list[LayerData] = []
    for entry in paths:
        out += slide_layers(open_slide(entry), Path(entry).absolute())
    return out


def slide_layers(slide: Slide, path: Path) -> list[LayerData]:
    """Return the layers of a slide; in a window those of a large one have a guess of the contrast at first."""
    from napari_dama.gui.limits import LimitsFollow, must_wait
    from napari_dama.slides.rough import rough_stats

    if not must_wait(slide):
        return marker_layers(slide, path)
    layers = marker_layers(slide, path, rough_stats(slide))
    LimitsFollow(path)
    return layers


def _is_slide(path: Path) -> bool:
    if path.is_dir():
        return path.suffix.lower() == ".zarr" or any(
            (path / name).exists() for name in (".zattrs", ".zgroup", "zarr.json")
        )
    return path.suffix.lower() in SUFFIXES
