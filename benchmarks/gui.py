"""A scripted session in a real window: how long the window is deaf at each step, and how long answers take.

    bash scripts/with_display.sh python benchmarks/gui.py --minutes 10 --json benchmarks/results/gui.json

Steps follow one another until the time is over: on a slide of simulated tissue with the bundled model (open, look at
markers, analyse in the window and as a job, click, explain, look at jobs), then on a slide of 100 000 cells. That one is
made, not found: discs on a grid as labels, bright in their type's marker, with a table of their measurements. Colours,
keys, the gallery and the plots know cells only by labels and table, so they are as slow as with real ones.

A 10 ms timer of Qt's thread runs all the time. `longest` is the longest time between two ticks in a step; `own` is the
longest time that Qt's thread itself computed in one gap, which other processes on the machine do not lengthen. `held by`
counts gaps over 100 ms by who took the time (from the processor's clocks): `window` is Qt's thread, plugin, napari and
OpenGL alike; `another thread` held Python; `garbage collector`; `machine` is what gave none of them a processor. The rows
*napari alone* do the same without the plugin. `--where` prints the lines at which Qt's thread was caught.
The statements to hold: no gap over 100 ms; a click to its answer under 300 ms; a key to the recoloured cell under 50 ms;
a gallery of 500 crops under 1 s.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from _gui_session import Person, environment, plain_napari
from _table import Report, format_table
from _ticks import LIMIT_MS, StallWatch
from annotate import make_slide

if TYPE_CHECKING:
    from _gui_session import Step

COLUMNS = ("step", "n", "median ms", "95 % ms", "longest ms", "own ms", "over 100", "held by")
SIZE = 512


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument(
        "--only", default="", help="only steps with this in their name, and the opening before them"
    )
    parser.add_argument(
        "--skip", default="", help="words, comma between: no steps with one of them in their name"
    )
    parser.add_argument("--where", action="store_true", help="print at which lines the window was caught")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        os.environ["NAPARI_DAMA_JOBS"] = str(Path(name) / "jobs")
        os.environ["NAPARI_DAMA_PRESETS"] = str(Path(name) / "presets")
        measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    from napari.qt import get_qapp

    from napari_dama.gui.sample_data import write_sample

    app = get_qapp()  # a timer lives only within one
    app.setQuitOnLastWindowClosed(False)  # type: ignore[attr-defined]

    report = Report("gui", COLUMNS)
    tissue = write_sample(folder / "tissue", size=SIZE)
    many, result, labels = make_slide(folder, options.cells)
    watch = StallWatch(where=options.where)
    watch.start()
    plain_napari(tissue, labels, watch)
    del labels
    person = Person(folder, tissue, many, result, watch)
    failed: list[str] = []
    end, rounds = time.monotonic() + 60 * options.minutes, 0
    lists = [chosen(steps, options) for steps in person.steps()]
    while not rounds or time.monotonic() < end:
        rounds += 1
        for steps in lists:
            for name, step in steps:
                seen = watch.begin(name)
                try:
                    step()
                except Exception:  # the other steps are still worth their numbers
                    failed.append(name)
                    traceback.print_exc()
                longest = max((gap.wall for gap in seen.gaps), default=0.0)
                own = max((gap.own for gap in seen.gaps), default=0.0)
                print(f"{time.strftime('%H:%M:%S')} {name}: {longest:.0f} ms, own {own:.0f}", flush=True)
                if time.monotonic() > end and rounds > 1:
                    break
    watch.begin("(end)")
    person.close()
    watch.stop()
    report.facts |= {
        "minutes": options.minutes,
        "rounds": rounds,
        "cells of the large slide": options.cells,
        "window": environment(),
        "tissue": f"7 markers of {SIZE} x {SIZE} px, simulated",
        "load after": [round(load, 1) for load in os.getloadavg()],
        "objects that Python's collector goes through": len(gc.get_objects()),
    }
    report.facts["steps that failed"] = failed
    finish(report, watch, options)
    if failed:
        sys.exit(1)


def chosen(steps: list[Step], options: argparse.Namespace) -> list[Step]:
    """Leave out what is not asked for; opening and closing stay."""
    skipped = [word.strip() for word in options.skip.split(",") if word.strip()]
    left = [step for step in steps if not any(word in step[0] for word in skipped)]
    if not options.only:
        return left
    wanted = [options.only in name for name, _ in left]
    if not any(wanted):
        return []
    needed = ("open", "close") if "many cells" in left[0][0] else ("open", "close", "analyse in")
    return [
        step for step, want in zip(left, wanted, strict=True) if want or any(n in step[0] for n in needed)
    ]


def finish(report: Report, watch: StallWatch, options: argparse.Namespace) -> None:
    """Print and write the tables."""
    answers: list[tuple[Any, ...]] = []
    for name, step in watch.steps.items():
        if not step.gaps or name == "(end)":
            continue
        over = Counter(gap.who for gap in step.gaps if gap.wall > LIMIT_MS)
        held = ", ".join(f"{who} {number}" for who, number in over.most_common())
        own = max(gap.own for gap in step.gaps)
        report.add(name, step.rounds, *step.spread(), own, sum(over.values()), held)
        for what, times in step.answers.items():
            spread = (float(np.percentile(times, share)) for share in (50, 95, 100))
            answers.append((f"{what} [{name}]", len(times), *spread))
    columns = ("answer", "n", "median ms", "95 % ms", "longest ms")
    report.facts["answers"] = [dict(zip(columns, row, strict=True)) for row in answers]
    shown = report.facts.pop("answers")
    print(f"\n{format_table(columns, answers)}" if answers else "")
    if options.where:
        for name, step in watch.steps.items():
            for place, number in step.seen.most_common(8):
                print(f"{name} | {number} | {place}")
    report.facts["answers"] = shown
    report.finish(options.json)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
