"""Send a job to a SLURM cluster through submitit: the script to look at, the submission, its end. No torch.

The job's folder on storage that the nodes share is the only link: what runs on a node writes the same files as a run on this
computer, and whoever sees the folder can watch it and ask it to stop.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_dama.errors import JobError, OutputError, SettingsError
from napari_dama.jobs import scheduler
from napari_dama.jobs.cluster import CLUSTER, ClusterSettings, option_of, settings_of
from napari_dama.jobs.cluster_task import Task
from napari_dama.jobs.folder import ENDED, JobView, process_lives, read_job, read_status
from napari_dama.jobs.process import ENDING_S, read_settings, with_whole_paths
from napari_dama.jobs.shelf import remember
from napari_dama.training.folder import RunFolder, reached
from napari_dama.training.lock import FolderLock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from submitit import Executor

    from napari_dama.training.job_settings import JobSettings

FOLDER: Final = "slurm"
"""Folder in the job's, in which submitit keeps the script, what it calls and what the nodes print."""
INSTALL: Final = "pip install 'napari-dama[cluster]'"
NOBODY: Final[dict[str, Any]] = {"pid": None, "born": None, "host": None}


def why_not_here() -> str:
    """Why nothing can be submitted from this computer; empty where it can."""
    from importlib.util import find_spec

    if find_spec("submitit") is None:
        return f"submitit is not installed: {INSTALL}"
    missing = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
    return f"there is no {' and no '.join(missing)} on this computer" if missing else ""


def script_text(job: Path, cluster: ClusterSettings, name: str) -> str:
    """The script that ``sbatch`` would be given, word for word, for a job's folder and name.

    Works without SLURM and writes nothing.

    Raises
    ------
    SettingsError
        If submitit is not installed.
    """
    executor: Any = slurm_executor(job, cluster, name)
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def slurm_executor(job: Path, cluster: ClusterSettings, name: str) -> Executor:
    """Executor of submitit for a job, with all that the settings ask for."""
    try:
        from submitit import SlurmExecutor
    except ImportError as error:
        raise SettingsError(f"sending jobs to a cluster needs submitit: {INSTALL}") from error

    class Slurm(SlurmExecutor):
        """Shows its script on computers without SLURM, too."""

        job_class = SlurmExecutor.job_class

        @classmethod
        def affinity(cls) -> int:
            return 2

    executor = Slurm(job / FOLDER, python=cluster.python, max_num_timeout=cluster.restarts + 1)
    executor.update_parameters(**_parameters(cluster, name))
    return executor


def _parameters(cluster: ClusterSettings, name: str) -> dict[str, Any]:
    """The settings as submitit's SLURM executor takes them."""
    found: dict[str, Any] = {
        "job_name": "".join(letter if letter.isprintable() else "_" for letter in name) or "dama",
        "time": cluster.minutes,
        "nodes": cluster.nodes,
        "ntasks_per_node": cluster.tasks_per_node,
        "cpus_per_task": cluster.cpus,
        # since SLURM 22.05 srun no longer takes this over from sbatch
        "srun_args": [f"--cpus-per-task={cluster.cpus}"],
        "signal_delay_s": cluster.checkpoint_s,
        "stderr_to_stdout": True,
        "wckey": None,
    }
    for key in ("partition", "account", "qos", "constraint"):
        if getattr(cluster, key) is not None:
            found[key] = getattr(cluster, key)
    if cluster.gpus:
        kind = f"{cluster.gpu_type}:" if cluster.gpu_type else ""
        if cluster.gpu_request == "gres":
            found["gres"] = f"gpu:{kind}{cluster.gpus}"
        else:
            found["gpus_per_node"] = f"{kind}{cluster.gpus}"
    if cluster.memory_gb is not None:
        whole = cluster.memory_gb == int(cluster.memory_gb)
        found["mem"] = f"{int(cluster.memory_gb)}GB" if whole else f"{int(cluster.memory_gb * 1024)}MB"
    if cluster.setup:
        found["setup"] = list(cluster.setup)
    if cluster.extra:
        found["additional_parameters"] = dict(option_of(line) for line in cluster.extra)
    return found


def submit(
    settings: JobSettings,
    cluster: ClusterSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    executor: Callable[[Path], Executor] | None = None,
) -> JobView:
    """Begin a job's folder here and give the work to the cluster.

    Parameters
    ----------
    settings
        The whole run; ``settings.out`` is the job's folder, which the nodes must see under the same path.
    cluster
        What to ask for; kept as ``cluster.yaml`` in the folder.
    resume, overwrite
        Continue, or replace, a run that stands there.
    executor
        Makes another one of submitit's in place of SLURM's, such as ``LocalExecutor``, from the folder for its files.

    Raises
    ------
    JobError
        If there is no SLURM here, it refuses the submission, or the job is at work already.
    OutputError, SettingsError
        As `napari_dama.jobs.process.start`.
    """
    settings = _begun(settings, cluster, here=executor is not None)
    with _folder(settings, resume=resume, overwrite=overwrite) as run:
        cluster.to_file(run.path / CLUSTER)
        so_far = reached(run.path)
        run.status(state="waiting", why="it is being submitted to SLURM", **NOBODY, **so_far)
        try:
            name = settings.name or run.path.name
            chosen = executor(run.path / FOLDER) if executor else slurm_executor(run.path, cluster, name)
            job = chosen.submit(Task(str(run.path), cluster.restarts)).job_id
        except Exception as error:
            why = f"sbatch refused the submission: {' '.join(str(error).split()) or type(error).__name__}"
            run.failed(why)
            raise JobError(f"{why}. Change the cluster's settings and submit {run.path} again") from error
        run.status(state="waiting", why=f"submitted as SLURM job {job}", slurm=job, **NOBODY, **so_far)
        run.event("submitted", slurm=job)
    scheduler.look_again()
    remember(run.path)
    return read_job(run.path)


def prepare(settings: JobSettings, cluster: ClusterSettings) -> JobView:
    """Write a job's folder for a computer that has SLURM, such as a login node: ``jobs submit`` goes on there.

    Raises
    ------
    OutputError, JobError, SettingsError
        As `submit`.
    """
    settings = _begun(settings, cluster, here=True)
    with _folder(settings, resume=False, overwrite=False) as run:
        cluster.to_file(run.path / CLUSTER)
        run.status(state="stopped", **NOBODY)
        run.event("prepared")
    remember(run.path)
    return read_job(run.path)


def submit_folder(path: str | Path, cluster: ClusterSettings | None = None) -> JobView:
    """Submit a job that has a folder, for the first time or to go on from its last checkpoint.

    Parameters
    ----------
    path
        The job's folder.
    cluster
        What to ask for; None for what it was submitted with.

    Raises
    ------
    JobError
        If it is at work or finished, or no job, and as `submit`.
    """
    path = Path(path).absolute()
    view = read_job(path)
    if view.going:
        raise JobError(f"{view.name} is {view.state} already ({view.place}): stop it first")
    if view.state == "finished":
        raise JobError(f"{view.name} is finished: there is nothing to go on with")
    return submit(read_settings(path), cluster or settings_of(path), resume=True)


def cancel_now(path: str | Path) -> None:
    """End a submitted job at once: SLURM tells it to stop, which saves a checkpoint if there is time, and kills it after.

    Raises
    ------
    JobError
        If it was not submitted to SLURM, or there is no ``scancel`` here.
    """
    path = Path(path)
    status = read_status(path)
    if not status.get("slurm"):
        raise JobError(f"{path} does not run on a cluster")
    scheduler.cancel(str(status["slurm"]))


def leave_queue(path: Path, view: JobView) -> None:
    """Take a job that waits in SLURM's queue out of it; where that cannot be done here, its stop file ends it later."""
    if shutil.which("scancel") is None:
        return
    seen = scheduler.ask(view.slurm)
    if seen is None or not seen.waits:
        return
    scheduler.cancel(view.slurm)
    try:
        lock = FolderLock(path)
    except JobError:  # it began at this very moment, and heeds the stop file
        return
    run = RunFolder(path, lock=lock)
    try:
        run.status(state="stopped", slurm=view.slurm, **NOBODY, **reached(path))
        run.event("stopped", step=view.step)
    finally:
        run.close()


def _begun(settings: JobSettings, cluster: ClusterSettings, *, here: bool) -> JobSettings:
    """The settings as the nodes need them, if the job may be submitted at all."""
    if cluster.gpus == 0 and settings.device.startswith("cuda"):
        raise SettingsError(f"device is {settings.device}, but the submission asks for no GPU: set gpus=1")
    # settings of runs that are shared by several processes
    devices, nodes = getattr(settings, "devices", 1), getattr(settings, "nodes", 1)
    if (
        devices * nodes > 1
        and cluster.tasks != devices * nodes
        and not (nodes == 1 and settings.device == "cpu")
    ):
        raise SettingsError(
            f"the run is for {devices} devices on {nodes} nodes, and the submission asks for {cluster.gpus} GPUs on "
            f"{cluster.nodes}: set gpus={devices} and nodes={nodes}, or leave devices and nodes out"
        )
    if "%" in str(settings.out.absolute()):  # SLURM and submitit would put numbers in its place
        raise SettingsError(f"the folder of a cluster job must have no % in its path: {settings.out}")
    if not here and (why := why_not_here()):
        raise JobError(f"nothing can be sent to a cluster: {why}. Submit on a computer that has SLURM")
    return with_whole_paths(settings)


def fitted(cluster: ClusterSettings, settings: JobSettings, pairs: Sequence[str] = ()) -> ClusterSettings:
    """Resources for as many devices as a run says, with ``key=value`` texts on top."""
    devices, nodes = getattr(settings, "devices", 1), getattr(settings, "nodes", 1)
    if devices * nodes > 1:
        gpus = 0 if settings.device == "cpu" else devices
        cluster = cluster.with_overrides([f"gpus={gpus}", f"nodes={nodes}"])
    return cluster.with_overrides(pairs)


def _folder(settings: JobSettings, *, resume: bool, overwrite: bool) -> RunFolder:
    path = settings.out
    status = read_status(path)
    if status.get("slurm") and (view := read_job(path)).going:
        raise JobError(f"{view.name} is {view.state} already ({view.place}): stop it first")
    ending = status.get("state") in ENDED or not process_lives(status)
    run = RunFolder.begin(settings, resume=resume, overwrite=overwrite, wait_s=ENDING_S if ending else 0)
    try:
        (path / FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        run.close()
        raise OutputError(f"cannot write to {path}: {error.strerror or error}") from error
    return run


def wait_or_cancel(path: Path, seconds: float, *, poll_s: float = 0.5) -> JobView:
    """Wait until a job that was asked to stop has ended; after ``seconds`` SLURM is told to end it."""
    until = time.monotonic() + seconds
    while (view := read_job(path)).going:
        if time.monotonic() > until and view.slurm:
            cancel_now(path)
            until = float("inf")
        time.sleep(poll_s)
    return view
