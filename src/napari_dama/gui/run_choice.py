"""Where and when a run from the window runs: the choices, what each needs, and its start. No Qt, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from napari_dama.gui import tooltips
from napari_dama.jobs.cluster import default_settings, defaults_file
from napari_dama.jobs.submission import prepare, submit, why_not_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dama.jobs.cluster import ClusterSettings
    from napari_dama.jobs.folder import JobView
    from napari_dama.training.settings import RunSettings


@dataclass(frozen=True, slots=True)
class RunChoice:
    """One entry of *Run*: its key in ``state.train.run``, its words and its tooltip."""

    key: str
    title: str
    tip: str


RUNS: Final = (
    RunChoice("now", "now, here", tooltips.RUN_NOW),
    RunChoice("queue", "when the device is free", tooltips.RUN_QUEUE),
    RunChoice("cluster", "on a cluster", tooltips.RUN_CLUSTER),
)


def why_off(key: str) -> str:
    """Why an entry cannot be chosen; empty where it can.

    A cluster can be chosen where jobs can be submitted, or where the user keeps settings for one: then the job's folder is
    made ready for a computer that can submit.
    """
    if key != "cluster" or defaults_file().is_file():
        return ""
    why = why_not_here()
    return f"Not from here: {why}. {tooltips.RUN_CLUSTER_OFF}" if why else ""


def cluster_hint(cluster: ClusterSettings | None) -> str:
    """What *Start* does when a cluster is chosen, in a sentence or two.

    Raises
    ------
    SettingsError
        If the user's defaults are damaged.
    """
    asked = cluster or default_settings()
    where = f"partition {asked.partition}" if asked.partition else "the cluster's own partition"
    gpus = (
        f"{asked.nodes * asked.gpus} GPU{'s' if asked.nodes * asked.gpus > 1 else ''}"
        if asked.gpus
        else "no GPU"
    )
    text = f"Asks for {gpus} on {where} for {asked.time}; a longer run is queued again and goes on."
    if why := why_not_here():
        text += f" Here {why}, so Start only makes the job's folder ready; it is submitted on the cluster."
    return text


def launcher(run: str, cluster: ClusterSettings | None) -> Callable[[RunSettings], JobView]:
    """What starts a run; it may be called in a thread. ``cluster`` None takes the user's defaults."""
    if run == "cluster":
        asked = cluster or default_settings()
        send = prepare if why_not_here() else submit
        return lambda settings: send(settings, asked)
    if run == "queue":
        from napari_dama.jobs.queue import enqueue

        return enqueue
    from napari_dama.jobs.process import start

    return start


def said_after(view: JobView) -> str:
    """What must be done by hand after a start; empty where nothing is."""
    if view.state != "stopped" or view.slurm:
        return ""
    return (
        f"The job's folder is ready. On the cluster's login node, where the same folder must be seen, type: "
        f'napari-dama jobs submit "{view.path}"'
    )
