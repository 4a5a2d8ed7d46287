"""What submitit runs on the compute node: the job's own runner as a child, and what SLURM's signals mean for it. No torch.

submitit pickles the function that it is to call. A `Task` holds nothing but two words, the job's folder and how often it
may be queued again; the class itself is pickled by its name. submitit's own ``CommandFunction`` would do for a plain run,
but it kills its command at the time limit and is not queued again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dama.errors import JobError
from napari_dama.jobs.runner import AGAIN_SIGNAL, RESTARTS, SLURM, STOPPED

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

POLL_S, AGAIN_S = 0.2, 1.0


class Task:
    """Run a job's folder; submitit calls it on every task of the submission.

    Parameters
    ----------
    job
        The job's folder, as the nodes see it.
    restarts
        How often it may be queued again, after its time limit or a pre-emption.
    """

    def __init__(self, job: str, restarts: int) -> None:
        self.job = job
        self.restarts = restarts

    def __call__(self) -> int:
        """Run to the end and return the runner's exit code.

        Raises
        ------
        JobError
            If the run failed, so that SLURM counts it as failed, too.
        """
        code = _Child(self.job, self.restarts).wait()
        if code not in (0, STOPPED):
            raise JobError(f"the run in {self.job} failed; log.txt in that folder says why")
        return code

    def checkpoint(self) -> DelayedSubmission | None:
        """Let the runner save and end; what is to be queued again, or None where the run is over.

        submitit calls this in the first task, in a handler of the signal that comes before the time limit.
        """
        from submitit.helpers import DelayedSubmission

        code = _running.end() if _running is not None else STOPPED
        if code not in (STOPPED, -AGAIN_SIGNAL) or self.restarts < 1 or (Path(self.job) / "stop").exists():
            return None
        return DelayedSubmission(Task(self.job, self.restarts - 1))


class _Child:
    """The runner in a process of its own, whose end may be waited for in a signal handler, too."""

    def __init__(self, job: str, restarts: int) -> None:
        global _running
        environment, rank = _environment(restarts)
        command = [sys.executable, "-m", "napari_dama.jobs.runner", job]
        with (Path(job) / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=None if rank else log,  # of other tasks submitit keeps the text
                stderr=None if rank else subprocess.STDOUT,
                env=environment,
                preexec_fn=_unmoved,
            )
        self._waiter = threading.Thread(target=self._process.wait, name="runner", daemon=True)
        self._waiter.start()
        _running = self

    def wait(self) -> int:
        """Exit code, once it has ended. Only looks: a handler that interrupts this may wait as well."""
        while self._waiter.is_alive():
            time.sleep(POLL_S)
        return int(self._process.returncode)

    def end(self) -> int:
        """Ask it to save and end because it will be begun again, and wait; it may not have got so far as to listen."""
        while self._waiter.is_alive():
            self._process.send_signal(AGAIN_SIGNAL)
            self._waiter.join(AGAIN_S)
        return int(self._process.returncode)


def _unmoved() -> None:
    """Let the child begin deaf to SLURM's signal, which goes to every process: by itself it would kill it.

    The runner of the first task hears it as soon as it can heed it; the first task stops the others.
    """
    signal.signal(AGAIN_SIGNAL, signal.SIG_IGN)


_running: _Child | None = None


def _environment(restarts: int) -> tuple[dict[str, str], int]:
    """Environment of the runner, and this task's rank; several tasks find each other as under torchrun."""
    from submitit import JobEnvironment
    from submitit.helpers import TorchDistributedEnvironment

    place = JobEnvironment()
    if place.num_tasks > 1:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    mine = {SLURM: place.job_id, RESTARTS: str(restarts), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **mine}, place.global_rank
