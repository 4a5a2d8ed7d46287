"""What a job costs beside its training: overhead per step, attaching to a long job, from start to the first step.

    python benchmarks/jobs.py --json benchmarks/results/jobs.json

Each row has the number that is promised. The job's own work per step is looking for a stop and the heartbeat, and every 10
steps a row of metrics and a status; it is measured in a loop without training and set against a real step. Checkpoints
(every 2 minutes by default) stand in a row of their own, as their share of those two minutes. Where other work goes on
beside, the processor time until the first step says more than the time on the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from _table import Report

EVENTS = 100_000
LAPS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=30, help="real steps to time")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = Report("jobs", ("what", "value", "unit", "promised"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_DAMA_JOBS"] = str(Path(folder) / "list")
        store = make_store(Path(folder))
        measure(report, Path(folder), store, options)
    report.finish(options.json)


def make_store(folder: Path) -> Path:
    """Crops of two simulated slides."""
    from napari_dama.cells.crops import crop_slides
    from napari_dama.simulate.write import write_simulated
    from napari_dama.slides.panel import BRAIN7, match
    from napari_dama.slides.slide import open_slide

    slides = [open_slide(path) for path in write_simulated(folder / "slides", n=2, size=1024, seed=1)]
    crop_slides([(slide, match(slide.markers, BRAIN7)) for slide in slides], folder / "store")
    for slide in slides:
        slide.close()
    return folder / "store"


def measure(report: Report, folder: Path, store: Path, options: argparse.Namespace) -> None:
    from napari_dama.jobs.folder import read_events, read_job, read_metrics
    from napari_dama.jobs.process import request_stop, start
    from napari_dama.training.settings import PretrainSettings

    def settings(name: str, **changes: object) -> PretrainSettings:
        base = {"batch_size": options.batch_size, "device": "cpu", "threads": 1, "epochs": 100_000}
        return PretrainSettings(crops=store, out=folder / name, **(base | changes))  # type: ignore[arg-type]

    report.facts["job"] = (
        f"dama, tiny, 128 px, batch {options.batch_size}, one thread, crops of two slides of 1024 px"
    )
    waits, first_steps, cpu = [], [], []
    for lap in range(options.starts):
        begin = time.perf_counter()
        job = start(settings(f"start{lap}", log_every=1)).path
        waits.append(time.perf_counter() - begin)
        while not (view := read_job(job)).step:
            if not view.going:
                sys.exit(f"the job is {view.state}: {view.why}")
            time.sleep(0.02)
        first_steps.append(time.perf_counter() - begin)
        used = psutil.Process(view.pid).cpu_times()
        cpu.append(used.user + used.system)
        if lap + 1 == options.starts:
            while read_job(job).step < options.steps:
                time.sleep(0.2)
        request_stop(job)
        while read_job(job).going:
            time.sleep(0.05)
    report.add("start(): the caller waits, median", statistics.median(waits), "s", "-")
    report.add("start() to the first step, median", statistics.median(first_steps), "s", "< 10")
    report.add("start() to the first step, longest", max(first_steps), "s", "< 10")
    report.add("processor time of that, median", statistics.median(cpu), "s", "-")
    rate = read_job(job).images_per_s
    assert rate is not None
    step = options.batch_size / rate
    report.add("one step of training", 1000 * step, "ms", "-")

    own, checkpoint = overhead(settings("own"), folder / f"start{options.starts - 1}")
    report.add("the job's own work per step", 1000 * own, "ms", "-")
    report.add("the job's own work, share of a step", 100 * own / step, "%", "< 2")
    report.add("one checkpoint", 1000 * checkpoint, "ms", "-")
    report.add("checkpoints, share of 120 s", 100 * checkpoint / 120, "%", "< 2")

    long = folder / f"start{options.starts - 1}"
    record = {
        "time": 1.0,
        "kind": "validated",
        "step": 1,
        "validation_loss": 0.5,
        "score": -0.5,
        "note": "x" * 60,
    }
    with (long / "events.jsonl").open("w", encoding="utf-8") as events:
        events.writelines(json.dumps({**record, "step": n}) + "\n" for n in range(EVENTS))
    header = "step,epoch,loss,reconstruction_1,reconstruction_2,regression,lr\n"
    with (long / "metrics.csv").open("w", encoding="utf-8") as rows:
        rows.write(header)
        rows.writelines(
            f"{n},{n // 9},0.51234567,0.2345678,0.2345678,0.0123,0.001\n" for n in range(1, EVENTS + 1)
        )
    for name, work in {
        "attach: status and the last events of 100 000": lambda: (read_job(long), read_events(long)),
        "attach: with the whole curve of 100 000 rows": lambda: (
            read_job(long),
            read_events(long),
            read_metrics(long),
        ),
        "poll: what is new since the last look": lambda: (
            read_job(long),
            read_events(long, (long / "events.jsonl").stat().st_size - 1),
            read_metrics(long, EVENTS - 5),
        ),
    }.items():
        begin = time.perf_counter()
        work()
        report.add(name, time.perf_counter() - begin, "s", "< 0.5")


def overhead(settings: object, trained: Path) -> tuple[float, float]:
    """Seconds per step of what the loop does for the job, and per checkpoint of the size of ``trained``'s."""
    from napari_dama.training.folder import RunFolder

    with RunFolder.begin(settings, resume=False, overwrite=False) as run:  # type: ignore[arg-type]
        begin = time.perf_counter()
        for step in range(1, LAPS + 1):
            run.stop_asked()
            if step % 10 == 0:
                row = {
                    "step": step,
                    "epoch": 1,
                    "loss": 0.5,
                    "reconstruction_1": 0.2,
                    "reconstruction_2": 0.2,
                }
                run.metrics({**row, "regression": 0.1, "lr": 1e-3})
                run.status(state="running", step=step, steps=LAPS, loss=0.5, images_per_s=99.0, eta_s=9.0)
        seconds = (time.perf_counter() - begin) / LAPS
        found = RunFolder(trained).load_checkpoint("last")
        assert found is not None
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            run.save_checkpoint("last", *found)
            times.append(time.perf_counter() - begin)
    return seconds, statistics.median(times)


if __name__ == "__main__":
    main()
