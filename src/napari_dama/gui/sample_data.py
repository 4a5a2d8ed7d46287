"""Sample data: simulated brain tissue with its truth, written once to a cache folder: a slide like any other."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from napari_dama.gui.layers import KEY, LayerData
from napari_dama.gui.reader import slide_layers

NAME = "simulated_brain_tissue"
SIZE_PX = 1024
SEED = 7


def cache_folder() -> Path:
    """Return the folder for files that can be made again; ``NAPARI_DAMA_CACHE`` chooses another."""
    chosen = os.environ.get("NAPARI_DAMA_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "napari-dama"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "napari-dama"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "napari-dama"


def write_sample(folder: Path, *, size: int = SIZE_PX, seed: int = SEED) -> Path:
    """Return the slide of simulated tissue in a folder, simulating it when it is not there yet."""
    from napari_dama.simulate.write import write_simulated

    slide = folder / f"sim_normal_{seed:04d}.ome.tif"
    if not truth_of(slide).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_simulated(folder, 1, size, seed, difficulty="normal", bits=16, overwrite=True)
    return slide


def truth_of(slide: Path) -> Path:
    """Return where the true cells of a simulated slide lie."""
    return slide.with_name(slide.name.removesuffix(".ome.tif") + "_cells.csv")


def simulated_brain_tissue() -> list[LayerData]:
    """Return simulated brain tissue: seven markers and the true cells, coloured by their types."""
    from napari_dama.slides.slide import open_slide

    path = write_sample(cache_folder() / NAME)
    slide = open_slide(path)
    return [*slide_layers(slide, path), truth_layer(path, slide.pixel_um)]


def truth_layer(path: Path, pixel_um: float | None) -> LayerData:
    """Return the true cells of a simulated slide as a hidden labels layer, coloured by type."""
    import pandas as pd
    import tifffile

    from napari_dama.gui.cell_table import feature_table, type_colormap
    from napari_dama.gui.layers import scale_of
    from napari_dama.simulate.tissue import TYPE_COLOURS

    cells = pd.read_csv(truth_of(path))
    labels = tifffile.imread(path.with_name(path.name.removesuffix(".ome.tif") + "_cells.tif"))
    kwargs = {
        "name": "True cells (simulated)",
        "colormap": type_colormap(cells, dict(TYPE_COLOURS), hidden=frozenset()),
        "features": feature_table(cells),
        "opacity": 0.5,
        "visible": False,
        "metadata": {KEY: {"role": "truth", "slide": str(path)}},
        **scale_of(pixel_um),
    }
    return labels, kwargs, "labels"
