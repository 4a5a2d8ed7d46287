"""How long from a click to an answer: reconstruction, what a type rests on, attention, on this machine's CPU.

On a simulated slide, at places drawn at random. Cold is a process of its own: from importing torch and loading the model to
the first answer. Warm is the model kept loaded, as in the window; the slide's file is in the page cache. Each answer is
computed in one thread as the window does (see `napari_dama.predict.threads`); ``--threads`` measures with several, beside.
``processor_ms`` is the median of the processor's time, which other work on the machine stretches little.

    python benchmarks/explain.py --json benchmarks/results/explain.json
    python benchmarks/explain.py --repeats 10 --threads 2
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from _table import Report, machine

if TYPE_CHECKING:
    from collections.abc import Callable

COLD = """
import sys, time
begin = time.perf_counter()
from napari_dama.slides.slide import open_slide
from napari_dama.predict.explain import Explainer
from napari_dama.predict.threads import few_threads
with open_slide(sys.argv[1]) as slide, few_threads(small=True):
    Explainer(slide).reconstruct((200, 200))
print(time.perf_counter() - begin, time.process_time())
"""


def make_slide(folder: Path, size: int) -> Path:
    """Write one simulated slide."""
    from napari_dama.simulate.write import write_simulated

    write_simulated(folder, n=1, size=size, seed=501, difficulty="normal", bits=16, overwrite=False)
    return next(folder.glob("*.ome.tif"))


def laps(
    answer: Callable[[tuple[float, float]], object], places: list[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Milliseconds of an answer at each place, by the clock and by the processor, after one that does not count."""
    answer(places[0])
    out = []
    for place in places[1:]:
        begin, used = time.perf_counter(), time.process_time()
        answer(place)
        out.append((1000 * (time.perf_counter() - begin), 1000 * (time.process_time() - used)))
    return out


def warm(slide_path: Path, repeats: int, threads: int) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of each kind of answer with the model loaded."""
    import torch

    from napari_dama.predict.attention import attention_at
    from napari_dama.predict.explain import Explainer
    from napari_dama.predict.occlusion import marker_effects, occlusion_map
    from napari_dama.slides.slide import open_slide

    torch.set_num_threads(threads)
    random = np.random.default_rng(0)
    with open_slide(slide_path) as slide:
        explainer = Explainer(slide)
        height, width = slide.shape[1:]
        places = [
            (float(y), float(x))
            for y, x in random.uniform((20, 20), (height - 20, width - 20), (repeats + 1, 2))
        ]
        answers: dict[str, tuple[Callable[[tuple[float, float]], object], int]] = {
            "reconstruct, both masks": (explainer.reconstruct, repeats),
            "type of one cell": (explainer.types, repeats),
            "type with and without each marker": (lambda at: marker_effects(explainer, at), repeats),
            "attention, last block": (lambda at: attention_at(explainer, at), repeats),
            "attention, rollout": (
                lambda at: attention_at(explainer, at, query="pooled", depth="rollout"),
                repeats,
            ),
            "map of spots that matter": (lambda at: occlusion_map(explainer, at), max(repeats // 5, 3)),
        }
        return {name: laps(answer, places[: count + 1]) for name, (answer, count) in answers.items()}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512, help="side of the simulated slide, px")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--cold", type=int, default=3, help="fresh processes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        slide = make_slide(Path(name) / "slide", args.size)
        colds = []
        for _ in range(args.cold):
            done = subprocess.run(
                [sys.executable, "-c", COLD, str(slide)], capture_output=True, text=True, check=True
            )
            clock, used = done.stdout.split()[-2:]
            colds.append((1000 * float(clock), 1000 * float(used)))
        found = warm(slide, args.repeats, args.threads)
    found = {"cold: import, load, first reconstruction": colds, **found}
    facts = {"model": "dama-brain7", "threads": args.threads, "slide_px": args.size}
    report = Report(
        "from click to answer, milliseconds",
        ("answer", "median_ms", "p95_ms", "processor_ms", "runs"),
        facts,
        started=before,
    )
    for name, times in found.items():
        report.add(
            name,
            round(float(np.median([clock for clock, _ in times])), 1),
            round(float(np.percentile([clock for clock, _ in times], 95)), 1),
            round(float(np.median([used for _, used in times])), 1),
            len(times),
        )
    report.finish(args.json)


if __name__ == "__main__":
    main()
