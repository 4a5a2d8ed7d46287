"""The pictures of docs/evaluation.md: curves, errors, and methods side by side, from a real and from a simulated slide.

    NAPARI_DAMA_DATA=/path/to/data python scripts/evaluation_pictures.py

It can be run again: what an earlier run left is replaced. It takes a minute or two on a CPU.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

REGION = (300, 700, 400, 800)
VIEW = (300, 520, 400, 620)
SEED = 6002  # the bundled weights were trained on seeds from 1000 on, and on none from 5000
SIZE_PX = 768


def main() -> None:
    """Analyse a crop of a real slide and a simulated slide, evaluate both, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "images")
    args = parser.parse_args()
    data = Path(os.environ.get("NAPARI_DAMA_DATA", "shared/data")) / "codex_lymphoid"
    if not data.is_dir():
        parser.error(f"there is no folder {data}; set NAPARI_DAMA_DATA to the folder of real images")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        real(data / "R001_X003_Y004.ome.tif", Path(folder), args.out)
        simulated(Path(folder), args.out)


def real(slide: Path, work: Path, out: Path) -> None:
    """Curves of the bundled model and of an automatic mask against one expert; three methods side by side."""
    import tifffile

    from napari_dama.evaluate.pictures import draw_pictures
    from napari_dama.predict.analyse import analyse
    from napari_dama.slides.region import Region
    from napari_dama.slides.slide import open_slide

    stem = slide.name.removesuffix(".ome.tif")
    region, view = Region(REGION[0], REGION[1], REGION[2], REGION[3]), Region(*VIEW)
    with open_slide(slide) as opened:
        result = analyse(opened, work / "dama-brain7", region=region, types=False)
    truth, deepcell, cellpose = (
        slide.with_name(f"{stem}_{name}.tif") for name in ("expert1", "deepcell090", "cellpose061")
    )
    crop = {}
    for name, labels in (("truth", tifffile.imread(truth)), ("dama", result.labels.compute())):
        crop[name] = work / f"{name}_crop.tif"
        tifffile.imwrite(crop[name], labels[region.slices])
    (result.path / "cells.csv").rename(crop["dama"].with_suffix(".csv"))
    curves(crop["truth"], crop["dama"], work / "real", "dama-brain7 against expert 1, codex_lymphoid")
    small(work / "real" / "pr.png", out / "evaluation_pr.png")
    report = draw_pictures(
        slide,
        truth,
        [result.path, deepcell, cellpose],
        work / "side_by_side.png",
        names=["dama-brain7", "DeepCell 0.9.0", "Cellpose 0.6.1"],
        iou=0.5,
        region=view,
        overwrite=True,
        dpi=100,
    )
    print("\n".join(report.describe()))
    small(work / "side_by_side.png", out / "evaluation_pictures.png")


def simulated(work: Path, out: Path) -> None:
    """Errors by type of the bundled model on a hard simulated slide."""
    from napari_dama.predict.analyse import analyse
    from napari_dama.simulate.write import write_simulated

    (slide,) = write_simulated(work / "sim", n=1, size=SIZE_PX, seed=SEED, difficulty="hard")
    result = analyse(slide, work / "result")
    truth = slide.with_name(f"{slide.name.removesuffix('.ome.tif')}_cells.tif")
    curves(
        truth, result.path, work / "simulated", "dama-brain7 on a hard simulated slide, by type", by_type=True
    )
    small(work / "simulated" / "errors.png", out / "evaluation_errors.png")


def curves(truth: Path, pred: Path, folder: Path, title: str, *, by_type: bool = False) -> None:
    """Write all curves, and print the areas."""
    from napari_dama.evaluate.detections import read_detections
    from napari_dama.evaluate.report import write_curves

    report = write_curves(read_detections(truth, pred), folder, by_type=by_type, title=title, overwrite=True)
    print(title, *report.describe(), sep="\n")


def small(picture: Path, file: Path) -> None:
    """Store a picture with few colours, which keeps the repository small."""
    from PIL import Image

    with Image.open(picture) as image:
        image.convert("RGB").quantize(96, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
