"""A task on several devices by Lightning Fabric: replicas that average gradients (DDP), or weights in shards (FSDP)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from napari_dama.errors import SettingsError
from napari_dama.nets.method import Losses
from napari_dama.nets.share import share_layers, share_of
from napari_dama.training.crew import Crew, T
from napari_dama.training.shards import make_plain, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from torch.distributed.device_mesh import DeviceMesh

    from napari_dama.training.accumulate import Accumulator, Attempt, Part
    from napari_dama.training.loop import Task
    from napari_dama.training.place import Place
    from napari_dama.training.team import Team


class Step(nn.Module):
    """The loss of a task as a module, so that whatever a task calls of its network runs within one forward pass.

    Losses are weighted by this process's share of the batch: their mean over processes is the whole batch's.
    """

    def __init__(self, task: Task, team: Team) -> None:
        super().__init__()
        self.module = task.module
        self._team = team
        self._task = task

    def forward(self, step: int, part: Part) -> tuple[Tensor, dict[str, Tensor]]:
        """Total and parts of the loss of this process's share of a batch, or of a part of it."""
        generator = self._team.generator
        generator.share = None
        try:
            losses = self._task.loss(step, generator, part)
            share = share_of(generator)
        finally:
            generator.share = None  # validation has the whole batch
        weight = 1.0 if share is None else share.count * self._team.world / share.whole
        if weight == 1.0:
            return losses.total, losses.parts
        return losses.total * weight, {name: value * weight for name, value in losses.parts.items()}

    def measured(self, kind: str) -> dict[str, float]:
        """``validate`` or ``trial`` of the task, as a forward pass of its own."""
        found: dict[str, float] = getattr(self._task, kind, self._task.validate)()
        return found


class _Here(ClusterEnvironment):
    """The place of this process, in Fabric's words."""

    def __init__(self, place: Place) -> None:
        self.place = place

    creates_processes_externally = True
    main_address = property(lambda self: self.place.address)
    main_port = property(lambda self: self.place.port)

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.place.world

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.place.local_rank

    def node_rank(self) -> int:
        return self.place.node


class Devices(Crew):
    """One of several processes; their groups must be formed (`Team.connect`).

    Parameters
    ----------
    task
        Its module is on this process's device, with the weights that all begin with.
    team
        The processes.
    strategy
        ``ddp``, which ``auto`` is as well, or ``fsdp``.
    """

    def __init__(self, task: Task, team: Team, strategy: str) -> None:
        super().__init__(task, team.device)
        self.team = team
        self.title, self.world, self.leads = team.title, team.world, team.leads
        self.sharded = strategy == "fsdp"
        self.pictures = team.leads and not self.sharded
        place = team.place
        share_layers(task.module, team.generator)
        plan: Any = (
            _in_shards(place.world)
            if self.sharded
            else DDPStrategy(gradient_as_bucket_view=True, **_own_buffers())
        )
        self.fabric = Fabric(
            accelerator="cuda" if team.device.type == "cuda" else "cpu",
            devices=place.local_world,
            num_nodes=place.nodes,
            strategy=plan,
            plugins=[_Here(place)],
        )
        self.fabric.launch()
        self.step: Any = self.fabric.setup_module(Step(task, team))

    def generator(self) -> torch.Generator:
        """Randomness that all processes seed alike."""
        return self.team.generator

    def loss(self, step: int, generator: torch.Generator, part: Part, *, alone: bool = False) -> Losses:
        """Losses of this process's share, weighted so that their mean over processes is that of the batch."""
        return self.task.loss(step, generator, part) if alone else Losses(*self.step(step, part))

    def exchange(self, part: Part) -> AbstractContextManager[None]:
        """Around the passes of a part of a step: gradients are exchanged after the last."""
        return self.fabric.no_backward_sync(self.step, enabled=part[0] < part[1] - 1)

    def told(self, value: T) -> T:
        """What the first process has as ``value``."""
        return self.team.told(value)

    def agreed(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag as any process raises it."""
        return self.team.agreed(*flags)

    def lowest(self, value: Tensor) -> Tensor:
        """A whole number, the lowest of all processes."""
        return self.team.lowest(value)

    def means(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars averaged over processes."""
        return self.team.means(values)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors, gathered where they lie in shards."""
        return whole(tensors)

    def measured(self, kind: str) -> dict[str, float]:
        """A validation by the first process, for which the others wait; by all where weights are in shards."""
        found: dict[str, float] = {}
        if self.sharded:
            found = self.step.module.measured(kind)
            for part in self.step.modules():
                if hasattr(part, "reshard"):  # the outermost ones wait for a backward pass otherwise
                    part.reshard()
        elif self.leads:
            found = super().measured(kind)
        return self.told(found)

    def rehearse(self, batches: Accumulator, attempt: Callable[[], Attempt]) -> None:
        """Try a step without the others, and halve until it fits in every process: later nobody could wait for that.

        What the optimiser will keep is counted in. Weights in shards cannot be tried alone.
        """
        if self.sharded:
            return
        module, generator = self.task.module, self.team.generator
        kept = {name: value.clone() for name, value in module.named_buffers()}
        learning = [p for p in module.parameters() if p.requires_grad]
        moments = [torch.empty_like(p) for p in learning for _ in range(2)]
        generator.alone = True
        try:
            prepare, loss, backward = attempt()
            batches.fit(prepare, loss, backward, lambda flag: self.agreed(flag)[0])
        finally:
            generator.alone = False
            del moments
        with torch.no_grad():
            for name, value in module.named_buffers():
                value.copy_(kept[name])
        module.zero_grad(set_to_none=True)

    def unite(self, module: nn.Module) -> None:
        """Let the module be whole again."""
        if self.sharded:
            make_plain(module)


def _own_buffers() -> dict[str, Any]:
    """Buffers are alike in all processes by themselves; torch changed the word for not sending them around."""
    words = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in words else "broadcast_buffers": False}


def _in_shards(world: int) -> Any:
    """Fabric's strategy for weights in shards."""
    try:
        from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
        from torch.distributed.fsdp import fully_shard  # noqa: F401
    except ImportError as error:
        raise SettingsError(f"strategy=fsdp needs torch 2.6 or newer, this is {torch.__version__}") from error
    return ModelParallelStrategy(_sharded, data_parallel_size=world, tensor_parallel_size=1)


def _sharded(step: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard attention and MLPs each by themselves (they hold nearly all weights), and the rest together.

    Not whole blocks: the encoder calls what is in them one by one.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    over = mesh["data_parallel"]
    for each in step.parameters():
        each.data = each.data.contiguous()  # a kernel may lie in channels-last order, which cannot be sharded
    for part in list(step.modules()):
        if isinstance(part, Attention | Mlp):
            fully_shard(part, mesh=over)
    fully_shard(step, mesh=over)
    register_fsdp_forward_method(step, "measured")
    return step
