"""What the tests of analyses run and kill: the runner with a model that needs no training, forked with torch loaded."""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch

from napari_dama.jobs import runner
from napari_dama.predict import analyse, prepare  # noqa: F401 - loaded once, before the forks
from stand_in import NucleusModel


class SlowModel(NucleusModel):
    """Takes a moment for every tile, so that there are moments to be killed in."""

    def segment_maps(self, x: Any) -> Any:
        time.sleep(0.02)
        return super().segment_maps(x)


def work(job: str) -> None:
    """Run a job to its end in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    prepare.load_model = lambda *_, **__: SlowModel()  # type: ignore[assignment]
    raise SystemExit(runner.main([job]))
