"""Which of several processes of a run this one is. No torch.

A run of one process has no place. Otherwise the place is taken from what `torchrun` or SLURM left in the environment, or
this process is the first and starts the others of this machine itself (`napari_dama.training.launch`).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_dama.training.settings import RunSettings

INSTALL: Final = "pip install 'napari-dama[cluster]'"


@dataclass(frozen=True, slots=True)
class Place:
    """A process among those of a run.

    Attributes
    ----------
    rank, world : int
        Number of the process, from 0, and how many there are.
    local_rank, local_world : int
        The same among those of its machine; the first picks the GPU.
    node, nodes : int
        The same of machines.
    address, port : str, int
        Where the first process listens; port 0 is for it to choose.
    launches : bool
        Whether this process, the first, starts the others itself.
    served : bool
        Whether somebody else (torchrun's agent) listens there already.
    attempt : str
        Tells a restart by torchrun from what came before.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    node: int = 0
    nodes: int = 1
    address: str = "127.0.0.1"
    port: int = 0
    launches: bool = False
    served: bool = False
    attempt: str = "0"

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def environment_of(self, rank: int, port: int) -> dict[str, str]:
        """What `torchrun` would leave in the environment of a process of this machine."""
        return {
            "RANK": str(rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "GROUP_RANK": "0",
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(port),
            "TORCHELASTIC_RESTART_COUNT": "0",
            "TORCHELASTIC_USE_AGENT_STORE": "False",
        }


def find_place(settings: RunSettings) -> Place | None:
    """The place of this process in a run; None where the run has one process.

    Raises
    ------
    SettingsError
        If the environment or the settings do not fit each other, or what is needed is not installed.
    """
    given = environment_place(os.environ)
    wanted = settings.devices * settings.nodes
    if given is None and wanted == 1:
        return None
    if given is None:
        given = _slurm_place(wanted)
    if given is None:
        if settings.nodes > 1:
            raise SettingsError(_other_machines(settings))
        given = Place(0, settings.devices, 0, settings.devices, launches=True)
    elif wanted > 1 and wanted != given.world:
        raise SettingsError(
            f"devices={settings.devices} x nodes={settings.nodes} asks for {wanted} processes, and this is one of "
            f"{given.world}; leave devices and nodes out where torchrun or SLURM starts the processes"
        )
    if find_spec("lightning_fabric") is None:
        raise SettingsError(f"training on several devices needs lightning-fabric: {INSTALL}")
    _check(settings, given)
    return given


def _check(settings: RunSettings, place: Place) -> None:
    kind, _, index = settings.device.partition(":")
    if index:
        raise SettingsError(
            f"device {settings.device!r} is one device, and the run has {place.world}; say device={kind}"
        )
    if kind == "mps":
        raise SettingsError("an Apple GPU cannot share a batch with others; take devices=1, or device=cpu")
    if settings.batch_size < place.world:
        raise SettingsError(
            f"batch_size {settings.batch_size} is shared by {place.world} processes and must be at least as much"
        )
    if settings.strategy == "fsdp" and settings.precision == "float16":
        raise SettingsError("strategy=fsdp takes precision=bfloat16 or float32, got float16")


def is_follower() -> bool:
    """Whether `torchrun`, or this program, started this process as another than the first of a run."""
    place = environment_place(os.environ)
    return place is not None and not place.leads


def environment_place(environment: Mapping[str, str]) -> Place | None:
    """The place that `torchrun` left in the environment; None for none, and for the only one.

    Raises
    ------
    SettingsError
        If a part is missing or no number.
    """
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    try:
        rank, world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        if world == 1:
            return None
        local_world = int(environment.get("LOCAL_WORLD_SIZE", world))
        place = Place(
            rank=rank,
            world=world,
            local_rank=int(environment["LOCAL_RANK"]),
            local_world=local_world,
            node=int(environment.get("GROUP_RANK", rank // local_world)),
            nodes=-(-world // local_world),
            address=environment["MASTER_ADDR"],
            port=int(environment["MASTER_PORT"]),
            served=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
        )
    except KeyError as error:
        raise SettingsError(
            f"RANK and WORLD_SIZE are set, and {error.args[0]} is not: start the run with torchrun, or unset them"
        ) from error
    except ValueError as error:
        raise SettingsError(f"RANK, WORLD_SIZE and their kin must be whole numbers: {error}") from error
    if not 0 <= place.rank < place.world or place.local_rank < 0:
        raise SettingsError(f"RANK is {place.rank} of {place.world} processes, which are counted from 0")
    return place


def _slurm_place(wanted: int) -> Place | None:
    """The place among the tasks that ``srun`` started, where there are as many as the settings ask for."""
    found = os.environ
    if "SLURM_PROCID" not in found or found.get("SLURM_STEP_ID") is None:
        return None
    try:
        world, rank = int(found["SLURM_NTASKS"]), int(found["SLURM_PROCID"])
        local, node = int(found["SLURM_LOCALID"]), int(found["SLURM_NODEID"])
        nodes = int(found.get("SLURM_STEP_NUM_NODES", found.get("SLURM_JOB_NUM_NODES", "1")))
    except (KeyError, ValueError):
        return None
    if world == 1:
        return None
    if world != wanted:
        raise SettingsError(
            f"SLURM started {world} tasks, and the settings ask for {wanted} processes; --ntasks must be devices x nodes"
        )
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    slurm = SLURMEnvironment(auto_requeue=False)
    return Place(rank, world, local, world // nodes, node, nodes, slurm.main_address, slurm.main_port)


def _other_machines(settings: RunSettings) -> str:
    words = " ".join(("napari_dama", "pretrain" if "crops" in type(settings).model_fields else "finetune"))
    python = "torchrun" if sys.platform != "win32" else "python -m torch.distributed.run"
    return (
        f"nodes={settings.nodes}: this machine cannot start processes on others. Start the run on each of them, with NAME "
        f"the first machine: {python} --nnodes {settings.nodes} --nproc-per-node {settings.devices} --rdzv-backend c10d "
        f"--rdzv-endpoint NAME:29500 -m {words} ... (without --devices and --nodes), or with srun --ntasks "
        f"{settings.nodes * settings.devices}"
    )


def share_threads(place: Place) -> int:
    """Threads of torch for each process of a machine that computes on its CPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // place.local_world)
