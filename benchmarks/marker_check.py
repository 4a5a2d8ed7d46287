"""How often the comparison with the training slides finds swapped channels, and how often it warns for nothing.

Simulated slides that the bundled model never saw (seeds from 5000) are measured as they are, and with every pair of channels
other than the nuclear one swapped: ``python benchmarks/marker_check.py --slides 24``.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np

from napari_dama.models.shelf import load_card
from napari_dama.simulate import simulate_tissue
from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.panel import BRAIN7
from napari_dama.slides.profile import Finding, Profile, sampled_um2, slide_profiles, unlike
from napari_dama.slides.slide import open_slide

FIRST_SEED = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=24)
    parser.add_argument("--size", type=int, default=1024)
    options = parser.parse_args()
    typical = load_card().statistics
    pairs = list(itertools.combinations(BRAIN7.names[1:], 2))
    named = dict.fromkeys(pairs, 0)
    warned = dict.fromkeys(pairs, 0)
    noise: list[tuple[int, list[Finding]]] = []
    for index in range(options.slides):
        difficulty = ("normal", "easy", "normal", "hard")[index % 4]
        tissue = simulate_tissue(options.size, seed=FIRST_SEED + index, difficulty=difficulty)
        slide = open_slide(tissue.image, markers=list(tissue.markers), pixel_um=tissue.pixel_um)
        area = sampled_um2(slide, tissue.pixel_um)
        found = slide_profiles(slide, slide_stats(slide), list(range(7)), [0], pixel_um=tissue.pixel_um)
        profiles: dict[str, Profile] = {
            name: p for name, p in zip(BRAIN7.names, found, strict=True) if p is not None
        }
        alone = unlike(profiles, typical, area_um2=area)
        if alone:
            noise.append((FIRST_SEED + index, alone))
        for a, b in pairs:
            swapped = profiles | {a: profiles[b], b: profiles[a]}
            findings = unlike(swapped, typical, area_um2=area)
            named[a, b] += any(set(finding.markers) == {a, b} for finding in findings)
            warned[a, b] += any({a, b} & set(finding.markers) for finding in findings)
    print(f"{len(noise)} of {options.slides} slides as they are were warned of:")
    for seed, findings in noise:
        print(f"  seed {seed}:", *(finding.sentence for finding in findings))
    print("pair                  named  warned")
    for a, b in pairs:
        print(f"{a:>9} {b:<10} {named[a, b] / options.slides:6.0%} {warned[a, b] / options.slides:7.0%}")
    share = np.mean([named[pair] for pair in pairs]) / options.slides
    print(f"all pairs: {share:.0%} named, {np.mean([warned[p] for p in pairs]) / options.slides:.0%} warned")


if __name__ == "__main__":
    main()
