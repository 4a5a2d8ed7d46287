"""Write into the bundled model's card what its markers look like on the simulated slides that it learned from.

``scripts/build_weights.py`` simulates slides from fixed seeds; the same slides are made again here and measured
(`napari_dama.slides.profile`). A model that is built anew has these numbers from its crop store already.
"""

from __future__ import annotations

import argparse
import json

from napari_dama.models.card import CARD
from napari_dama.models.shelf import BUNDLED, DEFAULT_MODEL
from napari_dama.simulate import simulate_tissue
from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.panel import BRAIN7
from napari_dama.slides.profile import slide_profiles, typical_profiles
from napari_dama.slides.slide import open_slide

FIRST_SEED = 1000
"""As in ``scripts/build_weights.py``, with its difficulties and bit depths."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=32)
    parser.add_argument("--size", type=int, default=1024)
    options = parser.parse_args()
    nuclear = [i for i, marker in enumerate(BRAIN7.markers) if marker.nuclear]
    found = []
    for index in range(options.slides):
        tissue = simulate_tissue(
            options.size,
            seed=FIRST_SEED + index,
            difficulty=("normal", "easy", "normal", "hard")[index % 4],
            bits=8 if index % 3 == 2 else 16,
        )
        slide = open_slide(tissue.image, markers=list(tissue.markers), pixel_um=tissue.pixel_um)
        order = [tissue.markers.index(name) for name in BRAIN7.names]
        profiles = slide_profiles(slide, slide_stats(slide), order, nuclear, pixel_um=tissue.pixel_um)
        found.append(
            {name: p.to_json() for name, p in zip(BRAIN7.names, profiles, strict=True) if p is not None}
        )
        print(f"slide {index + 1} of {options.slides}", flush=True)
    file = BUNDLED / DEFAULT_MODEL / CARD
    card = json.loads(file.read_text(encoding="utf-8"))
    for marker, numbers in typical_profiles(found).items():
        card["statistics"][marker] |= numbers
        print(marker, numbers)
    file.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
