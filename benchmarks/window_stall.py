"""The window's longest stall while a job trains on all cores, and how long a look at a job takes.

    xvfb-run -a python benchmarks/window_stall.py --seconds 30 --json window_stall.json

A timer of 10 ms counts how late it comes, in a napari window with the dock open and its *Train* tab reading the jobs every
second. `longest` is the longest time between two ticks. Rows: the window idle; while a pretraining runs in its own process
on all cores; the same with the pictures open; with many jobs on the list. `drawing` is the longest time that Qt's thread
itself spends on one look (list, curves, pictures). The statement to hold: under 100 ms.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from _table import Report
from _ticks import Ticks, spin

COLUMNS = ("what", "seconds", "ticks", "median ms", "99 % ms", "longest ms", "drawing ms", "job steps")


def timed(panel: Any, spent: list[float]) -> None:
    """Let a panel note how long its drawing takes."""
    draw = panel._on_read

    def noted(found: Any) -> None:
        begin = time.perf_counter()
        draw(found)
        spent.append((time.perf_counter() - begin) * 1000)

    panel._on_read = noted


def many_jobs(folder: Path, count: int) -> None:
    """Put ended jobs on the list."""
    import json

    from napari_dama.jobs.shelf import remember

    for number in range(count):
        job = folder / f"old_{number:03d}"
        job.mkdir(parents=True)
        (job / "job.yaml").write_text(
            f"kind: pretrain\nmethod: dama\nout: {job}\ninit: random\nname: old {number}\n"
        )
        status = {
            "state": "stopped",
            "step": 10,
            "steps": 100,
            "loss": 0.5,
            "started": number,
            "heartbeat": number,
        }
        (job / "status.json").write_text(json.dumps(status))
        remember(job)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30, help="of each row")
    parser.add_argument("--jobs", type=int, default=200, help="jobs on the list in the last row")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads of the job")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["NAPARI_DAMA_JOBS"] = str(folder / "jobs")
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.pop(variable, None)  # the job takes all cores
        measure(folder, options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    import napari

    from napari_dama.gui.dock import DamaDock
    from napari_dama.gui.jobs_panel import POLL_MS
    from napari_dama.gui.sample_data import write_sample
    from napari_dama.gui.train_plan import TrainPlan, begin, resolve_train
    from napari_dama.jobs.process import request_stop

    slide = write_sample(folder, size=768)
    viewer = napari.Viewer(show=True)
    viewer.open(str(slide), plugin="napari-dama")
    _, dock = viewer.window.add_plugin_dock_widget("napari-dama", "DAMA")
    if not isinstance(dock, DamaDock):
        raise TypeError(f"the dock is a {type(dock).__name__}")
    dock.show_tab(dock.train)
    panel, drawn = dock.train.jobs, [0.0]
    # Qt's thread runs what `finished` of a look calls: the panel's own slot is looked up when a look begins
    timed(panel, drawn)
    report = Report("window_stall", COLUMNS)
    report.facts["window"] = f"napari, 7 markers of 768 x 768 px, a look at the jobs every {POLL_MS} ms"
    report.facts["job"] = f"DAMA pretraining, tiny, batch 8, {options.threads} threads of torch"
    ticks = Ticks()
    spin(3)

    def row(what: str) -> None:
        drawn.clear()
        before = 0 if panel.view is None else panel.view.step
        gaps = ticks.watch(options.seconds)
        steps = (0 if panel.view is None else panel.view.step) - before
        spread = [float(np.percentile(gaps, share)) for share in (50, 99, 100)]
        report.add(what, options.seconds, len(gaps), *spread, max(drawn, default=0.0), steps)

    row("idle")
    state = dock.state.train
    state.max_steps, state.epochs, state.batch_size = 100_000, 100_000, 8
    plan = resolve_train(state, [str(slide)], {}, None, folder)
    changed = plan.settings.model_copy(
        update={"validate_every": 20, "checkpoint_seconds": 5.0, "log_every": 1, "threads": options.threads}
    )
    view = begin(TrainPlan(changed), None)
    panel.show_started(view)
    spin(180, lambda: panel.view is not None and panel.view.step > 0)
    try:
        row("a job trains, curves open")
        dock.state.jobs.page = "pictures"
        row("a job trains, pictures open")
        many_jobs(folder / "many", options.jobs)
        spin(3)
        dock.state.jobs.page = "curves"
        row(f"a job trains, {options.jobs} more on the list")
    finally:
        request_stop(view.path)
        spin(120, lambda: panel.view is not None and not panel.view.going)
        dock.close_down()
        viewer.close()
    report.finish(options.json)


if __name__ == "__main__":
    main()
