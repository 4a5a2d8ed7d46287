"""The crop stores of the study in docs/science.md, and its experiments beside them.

    python benchmarks/study_data.py STUDY --real ../shared/data
    napari-dama evaluate compare STUDY/cpu_methods.yaml -o STUDY/methods

``store`` holds typed cells of simulated hard tissue (seeds from 5000), cut around the true cells; ``more`` holds cells
types for pretraining: other simulated tissue (seeds from 6000), found by the noisy recipe (erosion, watershed), and the
nuclei of real images, of whose markers this panel knows no other. Slides of one are never in the other.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dama.cells.crops import crop_slides
from napari_dama.simulate import write_simulated
from napari_dama.slides.panel import BRAIN7, match
from napari_dama.slides.slide import open_slide

if TYPE_CHECKING:
    from napari_dama.slides.slide import Slide

EXPERIMENTS = Path(__file__).parent / "experiments"
# pixel size where the file has none (an assumption), channel map where names do not tell; codex_lymphoid stays unseen
REAL = (
    ("mif_breast/ABCM22001_B14_MiniCrop.ome.tif", 0.5, {}),
    ("mif_lymphoma/FIHC4_HP_IM3_2.ome.tif", None, {}),
    ("codex_lymph/input_500.ome.tif", 0.377, {}),
    ("cellpainting/plate1_A14_site1_Ch1.ome.tif", None, {"DAPI": 0}),
)


def tissue(folder: Path, n: int, size: int, seed: int, difficulty: str) -> list[Path]:
    """Simulated slides, made once."""
    if not list(folder.glob(f"sim_{difficulty}_*.ome.tif")):
        write_simulated(folder, n=n, size=size, seed=seed, difficulty=difficulty, bits=16, overwrite=True)
    return sorted(folder.glob(f"sim_{difficulty}_*.ome.tif"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--real", type=Path, help="folder of the real images; without it simulation alone")
    parser.add_argument("--slides", type=int, default=8, help="labelled slides")
    parser.add_argument("--size", type=int, default=448, help="their side, px")
    parser.add_argument("--more", type=int, default=10, help="slides for pretraining")
    parser.add_argument("--more-size", type=int, default=640)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    labelled = tissue(options.out / "labelled", options.slides, options.size, 5000, "hard")
    hard = options.more * 3 // 5
    unlabelled = tissue(options.out / "unlabelled", hard, options.more_size, 6000, "hard")
    unlabelled += tissue(options.out / "unlabelled", options.more - hard, options.more_size, 6500, "normal")

    slides: list[Slide] = [open_slide(file) for file in labelled]
    pairs = [(slide, match(slide.markers, BRAIN7)) for slide in slides]
    truth = [file.with_name(file.name.replace(".ome.tif", "_cells.tif")) for file in labelled]
    print(crop_slides(pairs, options.out / "store", labels=truth, overwrite=True), flush=True)

    slides = [open_slide(file) for file in unlabelled]
    pairs = [(slide, match(slide.markers, BRAIN7)) for slide in slides]
    if options.real is not None:
        for name, pixel_um, chosen in REAL:
            slide = open_slide(options.real / name, pixel_um=pixel_um)
            by_name = {marker: slide.markers[index] for marker, index in chosen.items()}
            pairs.append((slide, match(slide.markers, BRAIN7, chosen=by_name or None)))
    print(crop_slides(pairs, options.out / "more", overwrite=True), flush=True)
    for file in EXPERIMENTS.glob("cpu_*.yaml"):
        shutil.copy(file, options.out)


if __name__ == "__main__":
    main()
