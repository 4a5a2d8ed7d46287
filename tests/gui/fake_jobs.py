"""Job folders as runs leave them, made by hand, so that every state can be looked at without training."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from napari_dama.jobs.shelf import remember
from napari_dama.training.identity import ProcessId
from napari_dama.training.preview_files import save_confusion, save_preview


def fake_job(
    folder: Path, state: str = "running", *, steps: int = 40, kind: str = "pretrain", **status: Any
) -> Path:
    """Write a job half through, known to the list; ``state`` may be ``dead`` or ``stopping`` as well."""
    folder.mkdir(parents=True)
    task = "method: dama" if kind == "pretrain" else "task: types"
    (folder / "job.yaml").write_text(
        f"kind: {kind}\n{task}\nout: {folder}\ninit: random\nepochs: 3\nbatch_size: 8\nlr: 0.001\nseed: 0\n"
        "size: tiny\nvalidate_every: 10\ncheckpoint_seconds: 120\ncrops: /some/where/crops\n"
    )
    said = {"dead": "running", "stopping": "running"}.get(state, state)
    who = (
        ProcessId.of().facts()
        if state != "dead"
        else ProcessId(999_999_999, "long ago", ProcessId.of().host).facts()
    )
    facts = {
        "state": said,
        "step": steps // 2,
        "steps": steps,
        "loss": 0.5,
        "images_per_s": 123.4,
        "eta_s": 200.0,
    }
    facts |= {"device": "cpu", "started": time.time(), "heartbeat": time.time(), **who, **status}
    (folder / "status.json").write_text(json.dumps(facts))
    if state == "stopping":
        (folder / "stop").touch()
    add_rows(folder, 1, steps // 2)
    remember(folder)
    return folder


def add_rows(folder: Path, first: int, last: int) -> None:
    """Log steps ``first`` to ``last``, and a validation at the last."""
    file = folder / "metrics.csv"
    if not file.exists():
        file.write_text("step,epoch,loss,reconstruction_1,reconstruction_2,regression,lr\n")
    with file.open("a") as rows:
        for step in range(first, last + 1):
            rows.write(f"{step},0,{3 / step},{1 / step},{2 / step},{0.01 / step},0.001\n")
    found = {"validation_reconstruction_1": 1 / last, "score": -1 / last}
    with (folder / "events.jsonl").open("a") as events:
        events.write(json.dumps({"time": time.time(), "kind": "validated", "step": last, **found}) + "\n")


def add_previews(folder: Path, *steps: int) -> None:
    """Leave pictures at some steps."""
    for step in steps:
        picture = np.full((300, 664, 3), step % 250, np.uint8)
        save_preview(folder, step, picture, every=10, note="Validation cells.")


def add_confusion(folder: Path) -> None:
    """Leave a confusion matrix of three classes."""
    save_confusion(
        folder, 20, ["neuron", "astrocyte", "microglia"], np.array([[8, 1, 1], [0, 5, 5], [2, 0, 0]])
    )
