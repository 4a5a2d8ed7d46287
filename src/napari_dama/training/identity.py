"""Which process wrote something, so that a recycled pid, a reboot or another machine is not taken for it. No torch."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping


_PROC = Path("/proc/self/stat").is_file()


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for all times.

    Attributes
    ----------
    pid : int
    born : str
        When it began: on Linux the boot's id with clock ticks since then, which no change of the clock moves; elsewhere
        seconds since 1970 as the system recorded them.
    host : str
        Name of the machine.
    """

    pid: int
    born: str
    host: str

    @classmethod
    def of(cls, pid: int | None = None) -> ProcessId:
        """Identity of a process that runs here (this one by default); ``born`` is empty where there is none."""
        pid = os.getpid() if pid is None else pid
        return cls(pid, _born(pid), host_name())

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> ProcessId | None:
        """Identity in what `facts` wrote; None where it is missing or damaged."""
        pid, born, host = facts.get("pid"), facts.get("born"), facts.get("host")
        if isinstance(pid, bool) or not isinstance(pid, int) or pid <= 0:
            return None
        if not isinstance(born, str) or not born or not isinstance(host, str):
            return None
        return cls(pid, born, host)

    def facts(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"pid": self.pid, "born": self.born, "host": self.host}

    @property
    def here(self) -> bool:
        """Whether it belongs to this machine, so that `alive` can tell."""
        return self.host == host_name()

    @property
    def alive(self) -> bool:
        """Whether this very process still runs on this machine; a zombie does not, and is reaped if it is a child."""
        if not self.here or _born(self.pid) != self.born:
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                return True
            if sys.platform != "win32" and process.ppid() == os.getpid():
                os.waitpid(self.pid, os.WNOHANG)
        except (psutil.Error, ChildProcessError):
            pass
        return False


@lru_cache(maxsize=1)
def host_name() -> str:
    """Name of this machine."""
    return platform.node() or "localhost"


def _born(pid: int) -> str:
    if _PROC:
        try:
            line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            # the second field is a name in brackets that may hold anything
            return f"{_boot()}:{line.rpartition(')')[2].split()[19]}"
        except (OSError, IndexError):
            return ""
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return "boot"
