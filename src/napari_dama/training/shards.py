"""Weights that lie in shards on several devices: gathered, parted, and made plain again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping


def _kind() -> Any:
    """Torch's class of such tensors, if anything has loaded it: nothing is in shards otherwise."""
    module = sys.modules.get("torch.distributed.tensor")
    return () if module is None else module.DTensor


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, with shards gathered: every process must call this for the same ones, in the same order."""
    kind = _kind()
    return {
        name: value.full_tensor() if isinstance(value, kind) else value for name, value in tensors.items()
    }


def like(value: Tensor, target: Tensor) -> Tensor:
    """A whole tensor as the shards of ``target``, if that is in shards and of the same shape."""
    if not isinstance(target, _kind()) or value.shape != target.shape or isinstance(value, _kind()):
        return value
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = target
    return distribute_tensor(value.to(sharded.device), sharded.device_mesh, sharded.placements)


def make_plain(module: nn.Module) -> None:
    """Give a module whole parameters in place of shards, in every process together; it is sharded no more."""
    from torch.distributed.fsdp import FSDPModule

    kind = _kind()
    for part in module.modules():
        # torch's hooks would look for shards; networks here have none of their own
        part._state_dict_pre_hooks.clear()
        part._load_state_dict_pre_hooks.clear()
        part._load_state_dict_post_hooks.clear()
        if isinstance(part, FSDPModule):
            part._forward_pre_hooks.clear()
            part._forward_hooks.clear()
            part.__class__ = type(part).__bases__[1]
        for name, value in list(part.named_parameters(recurse=False)):
            if isinstance(value, kind):
                part._parameters[name] = nn.Parameter(value.full_tensor(), value.requires_grad)
