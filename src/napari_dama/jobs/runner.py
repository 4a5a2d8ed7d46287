"""What a job's own process does: ``python -m napari_dama.jobs.runner JOB``. Its output goes to the job's ``log.txt``.

It holds the folder from its first moment, waits for the device where it was enqueued, trains or analyses, and leaves in
``status.json`` how it ended, whatever it met. A polite kill (SIGTERM, Ctrl-C) is a request to stop: the step is finished
and a checkpoint kept; of an analysis, the tiles that are finished.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dama.errors import DamaError, Interrupted, JobError, SettingsError
from napari_dama.jobs.analysis import AnalyseSettings, run_analysis
from napari_dama.jobs.process import read_settings
from napari_dama.jobs.tickets import Place
from napari_dama.training.files import write_json
from napari_dama.training.folder import RunFolder, reached
from napari_dama.training.identity import ProcessId
from napari_dama.training.improve_settings import ImproveSettings
from napari_dama.training.place import is_follower
from napari_dama.training.settings import PretrainSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_dama.training.job_settings import JobSettings

POLL_S = 1.0
SLURM, RESTARTS = "NAPARI_DAMA_SLURM", "NAPARI_DAMA_RESTARTS"
"""Variables of the environment of a run that was submitted: SLURM's number, and how often it may be queued again."""
AGAIN_SIGNAL = getattr(signal, "SIGUSR2", signal.SIGTERM)
"""What SLURM sends before a time limit, through submitit's settings: save, end, and be begun again."""
DONE, FAILED, WRONG_SETTINGS, STOPPED = 0, 1, 2, 130


def main(words: Sequence[str] | None = None) -> int:
    """Run a job to its end.

    Returns
    -------
    int
        0 done, 1 failed, 2 settings that are no longer valid, 130 stopped.
    """
    parser = argparse.ArgumentParser(prog="napari_dama.jobs.runner", description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--queue", action="store_true", help="wait until the device is free")
    parser.add_argument("--priority", type=int, default=0)
    parser.add_argument("--since", type=float, default=None)
    options = parser.parse_args(words)
    warnings.simplefilter("ignore")  # of libraries: the log is for people
    logging.disable(logging.ERROR)
    stop, again = _stop_when_asked()
    path: Path = options.job
    if is_follower():  # torchrun or SLURM runs this several times
        from napari_dama.training.follow import main as follow

        return follow([str(path)])
    try:
        settings = read_settings(path)
        with RunFolder.begin(settings, resume=True, overwrite=False, wait_s=30, keep_stop=True) as run:
            run.break_why = again
            return _work(run, settings, options, stop)
    except JobError as error:  # another runner has the folder, and says itself how it fares
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except DamaError as error:
        _leave_word(path, str(error))
        print(f"error: {error}", file=sys.stderr)
        return WRONG_SETTINGS if isinstance(error, SettingsError) else FAILED


def _work(
    run: RunFolder, settings: JobSettings, options: argparse.Namespace, stop: Callable[[], bool]
) -> int:
    """Wait, do the work, and say how it ended; the folder is held."""
    so_far = reached(run.path)
    place: Place | None = None
    try:
        run.status(state="waiting" if options.queue else "starting", **so_far)
        place = Place(run.path, _resolved(settings), priority=options.priority, since=options.since)
        if _wait(run, place, so_far, stop, wait=options.queue):
            run.status(state="starting", device=place.ticket.device, **so_far)
            _do(run, settings, stop)
            return DONE
        run.status(state="stopped", **so_far)
        run.event("stopped", step=so_far.get("step", 0))
        return STOPPED
    except Interrupted as error:
        run.log(str(error))
        if why := run.goes_on():
            run.event("waiting", why=why)
        return STOPPED
    except Exception as error:
        if isinstance(error, DamaError):
            why = " ".join(str(error).split())
            print(f"error: {why}", file=sys.stderr)
        else:
            why = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        run.failed(why)
        return WRONG_SETTINGS if isinstance(error, SettingsError) else FAILED
    finally:
        if place is not None:
            place.leave()


def _wait(
    run: RunFolder, place: Place, so_far: dict[str, Any], stop: Callable[[], bool], *, wait: bool
) -> bool:
    """Wait for the device, saying in the status what for; False if a stop came first."""
    said = ""
    while why := place.claim(wait=wait):
        if stop() or run.stop_asked():
            return False
        if why != said:
            run.status(state="waiting", why=why, device=place.ticket.device, **so_far)
            run.event("waiting", why=why)
            said = why
        time.sleep(POLL_S)
    return True


def _do(run: RunFolder, settings: JobSettings, stop: Callable[[], bool]) -> None:
    if isinstance(settings, AnalyseSettings):
        run_analysis(settings, run, stop)
    elif isinstance(settings, PretrainSettings):
        from napari_dama.training.pretrain import pretrain

        pretrain(settings, folder=run, stop=stop)
    elif isinstance(settings, ImproveSettings):
        from napari_dama.training.improve import improve

        improve(settings, folder=run, stop=stop)
    else:
        from napari_dama.training.finetune import finetune
        from napari_dama.training.settings import FinetuneSettings

        if not isinstance(settings, FinetuneSettings):
            raise SettingsError(f"{run.path / 'job.yaml'} is of no kind that can be run")
        finetune(settings, folder=run, stop=stop)


def _resolved(settings: JobSettings) -> str:
    """The device behind ``auto``, for which torch must be asked; several GPUs stand against every device."""
    device = settings.device
    if device == "auto":
        from napari_dama.predict.device import pick_device

        device = pick_device(device)
    return "auto" if getattr(settings, "devices", 1) > 1 and device != "cpu" else device


def _leave_word(path: Path, why: str) -> None:
    """Say why the run could not even begin, unless its folder is gone."""
    if path.is_dir():
        facts = {"state": "failed", "why": why, "heartbeat": time.time(), "started": time.time()}
        write_json(path / "status.json", {**ProcessId.of().facts(), **reached(path), **facts})


def _stop_when_asked() -> tuple[Callable[[], bool], Callable[[], str]]:
    """Whether a signal asked for the end, and why the run goes on later all the same; empty where it does not."""
    asked, again = threading.Event(), threading.Event()

    def note(number: int, frame: object) -> None:
        if number == AGAIN_SIGNAL != signal.SIGTERM:
            again.set()
        asked.set()

    def why() -> str:
        left = os.environ.get(RESTARTS, "0")
        if not again.is_set() or not left.isdigit() or int(left) < 1:
            return ""
        return f"its time on the node was over; SLURM job {os.environ.get(SLURM)} is queued again and goes on from here"

    for number in (signal.SIGTERM, signal.SIGINT, AGAIN_SIGNAL):
        signal.signal(number, note)
    return asked.is_set, why


if __name__ == "__main__":
    ended = main()
    signal.signal(AGAIN_SIGNAL, signal.SIG_IGN)  # Python's own end would let it kill
    sys.exit(ended)
