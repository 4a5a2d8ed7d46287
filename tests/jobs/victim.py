"""What the kill test kills: the runner with a small network, forked from a process that has torch already."""

from __future__ import annotations

import warnings

import torch

from napari_dama.jobs import runner
from napari_dama.nets.encoder import SIZES
from napari_dama.training import finetune, pretrain  # noqa: F401 - loaded once, before the forks


def work(job: str) -> None:
    """Run a job to its end in this process."""
    warnings.simplefilter("ignore")
    SIZES["tiny"] = (48, 2, 3)
    torch.set_num_threads(1)
    raise SystemExit(runner.main([job]))
