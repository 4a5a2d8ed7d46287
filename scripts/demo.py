"""The main job from end to end on a simulated slide, whose true cells are known; pictures go into demo-output/.

Run it as `make demo`. It can be run again: what an earlier run left is replaced.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_dama.predict.progress import Progress

SEED = 6001  # the bundled weights were trained on seeds from 1000 on, and on none from 5000
SIZE_PX = 640
EXPLAINED_TYPES = ("neuron", "microglia")


@contextmanager
def step(headline: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    print(f"{headline} ...", flush=True)
    begin = time.perf_counter()
    yield
    print(f"   {time.perf_counter() - begin:.1f} s", flush=True)


def main() -> None:
    """Simulate, analyse, compare with the truth, explain two cells, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "demo-output")
    parser.add_argument("--size", type=int, default=SIZE_PX, help="px a side")
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()

    import pandas as pd
    import tifffile

    from napari_dama.errors import DamaError
    from napari_dama.predict.analyse import analyse
    from napari_dama.simulate.write import write_simulated

    try:
        with step(f"Simulate a slide of {args.size} x {args.size} px, seven markers, seed {args.seed}"):
            (slide,) = write_simulated(
                args.out / "slide", n=1, size=args.size, seed=args.seed, overwrite=True
            )
            stem = slide.name.removesuffix(".ome.tif")
            true_labels = tifffile.imread(slide.with_name(f"{stem}_cells.tif"))
            true_cells = pd.read_csv(slide.with_name(f"{stem}_cells.csv"))
        with step("Find, measure and type every cell"):
            result = analyse(slide, args.out / "result", overwrite=True, progress=tell)
            labels = np.asarray(result.labels)
            cells = result.cells()
        with step("Compare with the truth"):
            summary = compare(true_labels, true_cells, result.path, cells)
            summary["seconds"] = result.run["seconds"]
            summary["megapixels_per_second"] = result.run["megapixels_per_second"]
        with step("Draw the cells"):
            draw_cells(slide, (true_labels, true_cells), (labels, cells), args.out / "cells.png")
        with step("Hide and rebuild the surroundings of two cells"):
            explain(slide, cells, args.out)
    except DamaError as error:
        raise SystemExit(f"error: {error}") from error

    (args.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(
        "\nOn this one simulated slide, which the weights never saw but which comes from the simulator that they"
    )
    print("were trained on (so these numbers say that the program works, not how it does on real tissue):")
    for key, value in summary.items():
        print(f"  {key:<24}{value:.3g}" if isinstance(value, float) else f"  {key:<24}{value}")
    print(f"\nLook at {args.out / 'cells.png'}")
    for picture in sorted(args.out.glob("explained_*.png")):
        print(f"    and {picture}")


def tell(progress: Progress) -> None:
    """Print a line per finished tile."""
    if progress.stage == "tiles" and progress.done:
        print(f"   {progress.done} of {progress.total} tiles, {progress.cells} cells", flush=True)


def compare(
    true_labels: NDArray[Any], true_cells: pd.DataFrame, result: Path, cells: pd.DataFrame
) -> dict[str, float | int]:
    """Outlines and types beside the truth, in a few numbers; the types of paired cells, beside a rule without a network."""
    from napari_dama.evaluate.baselines import mean_intensity_rule
    from napari_dama.evaluate.segments import evaluate_segments
    from napari_dama.evaluate.types import evaluate_types

    segments = evaluate_segments(true_labels, result)
    found: dict[str, float | int] = {
        "true cells": int(true_labels.max()),
        "found cells": len(cells),
        "F1 at IoU 0.5": segments.f1_50,
        "panoptic quality": segments.pq,
        "mask mAP": segments.mAP,
        "mask AP50": segments.AP50,
    }
    if "type" in cells:
        paired = {"truth_labels": true_labels, "pred_labels": result}
        types = evaluate_types(true_cells, cells, **paired)
        rule = evaluate_types(true_cells, cells.assign(type=mean_intensity_rule(cells)), **paired)
        found |= {
            "cells paired": types.n_matched,
            "type accuracy": types.accuracy,
            "type balanced accuracy": types.balanced_accuracy,
            "type macro-F1": types.macro_f1,
            "  macro-F1, no network": rule.macro_f1,
        }
    return found


def composite(slide_path: Path) -> NDArray[np.float32]:
    """Return all markers in their colours, added up: (Y, X, 3) in 0..1."""
    from napari_dama.slides.intensity import normalise, slide_stats
    from napari_dama.slides.panel import colour_of
    from napari_dama.slides.slide import open_slide

    with open_slide(slide_path) as slide:
        pixels = normalise(slide.read(), slide_stats(slide))
        colours = [rgb(colour_of(marker)) for marker in slide.markers]
    # Squared, so that nuclei and bodies stand out of the network of dim processes; dark, so that outlines show.
    picture = np.tensordot(np.clip(pixels, 0, 1) ** 2, np.asarray(colours, np.float32), axes=(0, 0))
    return np.clip(0.4 * picture, 0, 1).astype(np.float32)


def rgb(colour: str) -> tuple[float, float, float]:
    """Turn `#rrggbb` into three numbers in 0..1."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def outlined(
    picture: NDArray[np.float32], labels: NDArray[Any], cells: pd.DataFrame, colours: Mapping[str, str]
) -> NDArray[np.float32]:
    """Enlarge the picture twofold and draw each cell's outline in the colour of its type."""
    from skimage.segmentation import expand_labels, find_boundaries

    table = np.ones((int(labels.max()) + 1, 3), np.float32)
    if "type" in cells:
        for label, kind in zip(cells["label"], cells["type"], strict=True):
            table[int(label)] = rgb(colours.get(kind, "#ffffff"))
    enlarged = expand_labels(np.kron(labels, np.ones((2, 2), labels.dtype)), 1)
    edges = find_boundaries(enlarged, mode="thick") & (enlarged > 0)
    drawn = np.kron(picture, np.ones((2, 2, 1), np.float32))
    drawn[edges] = table[enlarged[edges]]
    return drawn


def draw_cells(
    slide: Path,
    truth: tuple[NDArray[Any], pd.DataFrame],
    found: tuple[NDArray[Any], pd.DataFrame],
    path: Path,
) -> None:
    """Draw the true and the found cells over the markers, side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from napari_dama.simulate.tissue import TYPE_COLOURS

    picture = composite(slide)
    figure = Figure(figsize=(15, 8.2), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    axes: list[Axes] = list(figure.subplots(1, 2))
    for axis, title, (labels, cells) in zip(axes, ("true", "found"), (truth, found), strict=True):
        axis.imshow(outlined(picture, labels, cells, TYPE_COLOURS), interpolation="antialiased")
        axis.set_title(f"{len(cells)} cells, {title}")
        axis.set_axis_off()
    patches = [Patch(color=colour, label=kind) for kind, colour in TYPE_COLOURS.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    figure.suptitle(f"Simulated tissue, {slide.name}")
    figure.savefig(path)


def explain(slide: Path, cells: pd.DataFrame, out: Path) -> None:
    """Write a figure of masks and reconstructions for two cells that the network is sure of."""
    from napari_dama.predict.explain import reconstruct

    for old in out.glob("explained_*.png"):
        old.unlink()
    ranked = cells.sort_values("score", ascending=False)
    for index, wanted in enumerate(EXPLAINED_TYPES):
        pool = ranked[ranked["type"] == wanted] if "type" in ranked else ranked[index:]
        if pool.empty:
            print(f"   no {wanted} was found")
            continue
        cell = pool.iloc[0]
        explanation = reconstruct(slide, at=(float(cell["y"]), float(cell["x"])))
        name = cell["type"] if "type" in cells else "cell"
        explanation.save(out / f"explained_{name}_{int(cell['label'])}.png")


if __name__ == "__main__":
    main()
