"""What the other processes of a run do: ``python -m napari_dama.training.follow JOB``, their place in the environment.

The first process writes the folder and decides; these compute their share and end when the run ends, or when the first
process is gone.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from napari_dama.errors import DamaError, Interrupted, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DONE, FAILED, STOPPED = 0, 1, 130


def main(words: Sequence[str] | None = None) -> int:
    """Take part in the run of a folder; the exit code is 0 done, 1 failed, 130 stopped."""
    (path,) = map(Path, sys.argv[1:] if words is None else words)
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    stop = _stop_when_asked()
    try:
        take_part(path, stop)
    except Interrupted:
        return STOPPED
    except DamaError:
        return FAILED  # the first process says it
    except Exception:
        traceback.print_exc()
        return FAILED
    return DONE


def take_part(path: Path, stop: Callable[[], bool]) -> None:
    """Train as the settings in a folder say, in the place that the environment says."""
    from napari_dama.training.settings import FinetuneSettings, PretrainSettings

    file = path / "job.yaml"
    kind = yaml.safe_load(file.read_text(encoding="utf-8")).get("kind")
    if kind == "pretrain":
        from napari_dama.training.pretrain import pretrain

        pretrain(PretrainSettings.from_file(file).model_copy(update={"out": path}), stop=stop)
    elif kind == "finetune":
        from napari_dama.training.finetune import finetune

        finetune(FinetuneSettings.from_file(file).model_copy(update={"out": path}), stop=stop)
    else:
        raise SettingsError(f"{file} is of no kind that can be run in several processes: {kind}")


def _stop_when_asked() -> Callable[[], bool]:
    """Whether somebody asked this process politely to end: the run is stopped then. Ctrl-C is for the first process."""
    asked = threading.Event()

    def note(number: int, frame: object) -> None:
        asked.set()

    for name in ("SIGTERM", "SIGUSR2"):  # the second is SLURM's, shortly before a time limit
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), note)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return asked.is_set


if __name__ == "__main__":
    sys.exit(main())
