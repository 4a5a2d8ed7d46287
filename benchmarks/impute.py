"""How well a hidden marker is predicted from the others, on simulated slides: the network against plain regressions.

For each marker of the panel and each slide: share of the variation between patches (4 um) explained by the network's
prediction, by a line on the most correlated other marker, and by a plane on all others, each fitted on one half of the
patches and tested on the other. The slides are none that the bundled model was trained on (other seeds).

    python benchmarks/impute.py --json benchmarks/results/impute.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from _table import Report

if TYPE_CHECKING:
    from napari_dama.predict.impute_quality import Quality


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=2, help="simulated slides")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seed", type=int, default=9001)
    parser.add_argument("--model", default="dama-brain7")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    from napari_dama.predict.explain import Explainer
    from napari_dama.predict.impute import impute_region
    from napari_dama.simulate.write import write_simulated
    from napari_dama.slides.region import Region
    from napari_dama.slides.slide import open_slide

    found: dict[str, list[Quality]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "slides"
        write_simulated(
            folder, n=args.n, size=args.size, seed=args.seed, difficulty="normal", bits=16, overwrite=False
        )
        for path in sorted(folder.glob("*.ome.tif")):
            with open_slide(path) as slide:
                explainer = Explainer(slide, model=args.model)
                for marker in explainer.card.panel:
                    made = impute_region(explainer, Region.whole(explainer.plan.grid.shape_yx), marker)
                    if made.quality is not None:
                        found.setdefault(marker, []).append(made.quality)
    names = ("network", "best", "every", "correlation")
    facts = {
        "explained": "share of a hidden marker's variation between patches, on the half that was not fitted",
        "columns": "network's prediction, best single other marker, all other markers, correlation of the prediction",
        "model": args.model,
        "slides": f"{args.n} simulated, {args.size} px, seed {args.seed}, normal",
    }
    report = Report("a missing marker predicted from the others", ("marker", *names, "slides"), facts)
    for marker, qualities in found.items():
        means = [
            round(float(np.mean([getattr(quality, name) for quality in qualities])), 3) for name in names
        ]
        report.add(marker, *means, len(qualities))
    report.finish(args.json)


if __name__ == "__main__":
    main()
