"""One of two processes that train together, with small networks: ``python pair.py JOBS.json``, told its rank.

Each job is a dict: ``port``, ``kind``, ``settings``, and maybe ``resume``, ``stop_at`` (asked before that step by process
1), ``spoil_at`` (process 1's loss is no number at that step), ``most`` (process 1 has memory for so many samples, from
step ``late`` on).
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from napari_dama.errors import DamaError
from napari_dama.nets.dama import Losses
from napari_dama.nets.encoder import SIZES
from napari_dama.training.finetune import finetune
from napari_dama.training.pretrain import PretrainTask, pretrain
from napari_dama.training.settings import FinetuneSettings, PretrainSettings

WHOLE_LOSS = PretrainTask._losses


def stopper(at: int | None) -> Any:
    asked = -1

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == at

    return stop


def spoil(job: dict[str, Any], rank: int) -> None:
    """Let the loss of pretraining fail as the job says, in process 1 alone (or in the only one)."""
    calls = -1
    most, at = job.get("most"), job.get("spoil_at")

    def losses(self: PretrainTask, rows: Any, how: Any, generator: torch.Generator) -> Losses:
        nonlocal calls
        training = torch.is_grad_enabled()
        if training and most is not None and len(rows) > most and calls >= job.get("late", -1):
            raise torch.OutOfMemoryError("out of memory: this test has little")
        found = WHOLE_LOSS(self, rows, how, generator)
        calls += training
        if at is not None and calls - 1 == at:  # the first is the rehearsal
            return Losses(found.total * float("nan"), found.parts)
        return found

    PretrainTask._losses = losses if rank else WHOLE_LOSS  # type: ignore[method-assign]


def run(job: dict[str, Any], *, rank: int) -> None:
    """Run one job, and leave what it ended with in ``job["settings"]["out"] + ".RANK"``."""
    said = "done"
    stop = stopper(job.get("stop_at")) if rank else None
    spoil(job, rank)
    try:
        if job["kind"] == "finetune":
            finetune(FinetuneSettings(**job["settings"]), resume=job.get("resume", False), stop=stop)
        else:
            pretrain(PretrainSettings(**job["settings"]), resume=job.get("resume", False), stop=stop)
    except DamaError as error:
        said = f"{type(error).__name__}: {error}"
    Path(f"{job['settings']['out']}.{rank}").write_text(said, encoding="utf-8")


def main() -> None:
    warnings.simplefilter("ignore")
    SIZES["tiny"] = (48, 2, 3)
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    for job in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        os.environ["MASTER_PORT"] = str(job["port"])
        run(job, rank=rank)


if __name__ == "__main__":
    main()
