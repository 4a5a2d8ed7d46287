"""Which device computes."""

from __future__ import annotations

from dataclasses import dataclass

from napari_dama.errors import SettingsError

DEVICES = ("auto", "cuda", "mps", "cpu")


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device that torch can use here; memory in bytes, None where it is not known."""

    name: str
    title: str
    memory_bytes: int | None
    free_bytes: int | None


def pick_device(device: str = "auto") -> str:
    """Name of the device to use: the one asked for, or the fastest there is.

    Raises
    ------
    SettingsError
        The name is unknown, or the device asked for is not available here.
    """
    import torch

    kind = device.partition(":")[0]
    if kind not in DEVICES:
        raise SettingsError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if kind == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if kind == "cuda":
        if not cuda:
            built = "sees no GPU" if torch.version.cuda else "is built without CUDA"
            raise SettingsError(f"device cuda: torch {torch.__version__} {built}; use device cpu or auto")
        index = device.partition(":")[2]
        if index and not (index.isdigit() and int(index) < torch.cuda.device_count()):
            raise SettingsError(
                f"device {device!r}: there are {torch.cuda.device_count()} GPUs, counted from 0"
            )
    if kind == "mps" and not mps:
        raise SettingsError(
            "device mps: this is not a Mac with a GPU that torch can use; use device cpu or auto"
        )
    return device


def describe_devices() -> list[DeviceInfo]:
    """Every device torch can use here, the fastest first."""
    import platform

    import psutil
    import torch

    found: list[DeviceInfo] = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = f"cuda:{index}"
            found.append(DeviceInfo(name, torch.cuda.get_device_name(index), total, free))
    memory = psutil.virtual_memory()
    if torch.backends.mps.is_available():
        found.append(DeviceInfo("mps", "Apple GPU", memory.total, memory.available))
    title = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    found.append(DeviceInfo("cpu", title, memory.total, memory.available))
    return found
