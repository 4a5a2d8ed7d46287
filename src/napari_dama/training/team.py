"""The processes of one run: how they meet, agree, notice each other's end, and part.

The first process writes the folder and decides; the others compute. There are two lines between them: a small store that
the first process (or torchrun's agent) serves, for words, signs of life and failures; and torch's process groups, for
tensors. Each process has a thread that looks at the store, so that none waits for one that is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # as torch documents it

from napari_dama.errors import DamaError, Interrupted, JobError
from napari_dama.nets.share import SharedGenerator
from napari_dama.training.accumulate import MemoryRanOut
from napari_dama.training.files import read_json, write_json
from napari_dama.training.launch import end_followers, start_followers

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

    from napari_dama.training.folder import RunFolder
    from napari_dama.training.place import Place

T = TypeVar("T")
JOIN_S: Final = 300.0
"""How long a process waits for the first one to be there."""
LOOK_S: Final = 0.5
SILENT_S: Final = 60.0
"""A process without a sign of life for so long counts as gone."""
GRACE_S: Final = 10.0
COLLECTIVE_S: Final = 1800.0


class Team:
    """A process among those of a run; make one with `team_for`.

    Attributes
    ----------
    place : Place
    device : torch.device
        Of this process.
    generator : SharedGenerator
        The randomness of every step.
    """

    def __init__(self, place: Place, device: torch.device) -> None:
        self.place = place
        self.device = device
        self.generator = SharedGenerator(device)
        self.generator.rank, self.generator.world = place.rank, place.world
        self.control: Any = None  # a process group on the CPU for decisions
        self.failure: dict[str, Any] | None = None  # of another process
        self._server = self._connected(server=place.leads and not place.served)
        self._words = PrefixStore(f"dama/{place.attempt}", self._server)
        self._told = self._met = 0
        self._broken = False
        self._children: list[subprocess.Popen[bytes]] = []
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look_around, name="team", daemon=True)
        self._run: RunFolder | None = None

    def _connected(self, *, server: bool) -> Any:
        port = self.place.port if self.place.port or server else self._server.port
        try:
            store = TCPStore(
                self.place.address,
                port,
                world_size=None,
                is_master=server,
                timeout=timedelta(seconds=JOIN_S),
                wait_for_workers=False,
                use_libuv=sys.platform != "win32",  # torch for Windows is built without it
            )
        except (RuntimeError, TimeoutError) as error:
            raise JobError(
                f"process {self.place.rank} of {self.place.world} found nobody at {self.place.address}:{port} within "
                f"{JOIN_S:.0f} s: {str(error).splitlines()[0]}"
            ) from error
        store.set_timeout(timedelta(days=30))  # the watching thread ends what waits in vain
        return store

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.place.leads

    @property
    def world(self) -> int:
        """How many processes there are."""
        return self.place.world

    @property
    def title(self) -> str:
        """The devices in words, for a status."""
        kind = self.device.type
        where = f" on {self.place.nodes} machines" if self.place.nodes > 1 else ""
        return f"{self.world} x {kind}{where}"

    # words, through the store

    def told(self, value: T) -> T:
        """What the first process has as ``value``, a plain one that JSON can hold; the others wait for it."""
        self._told += 1
        key = f"told/{self._told}"
        if self.leads:
            self._words.set(key, json.dumps(value))
            return value
        self._await([key])
        found: T = json.loads(self._words.get(key))
        return found

    def meet(self) -> None:
        """Wait until every process is here.

        Raises
        ------
        JobError
            If one of them failed.
        """
        self._met += 1
        self._words.set(f"met/{self._met}/{self.place.rank}", "")
        self._await([f"met/{self._met}/{rank}" for rank in range(self.world)])

    def _await(self, keys: list[str]) -> None:
        while not self._words.check(keys):
            if self.failure is not None:
                raise JobError(self._sentence(self.failure))
            time.sleep(0.02)

    # tensors, through torch

    def connect(self) -> None:
        """Form the process groups, when every process has built its network."""
        self.meet()
        distributed.init_process_group(
            "nccl" if self.device.type == "cuda" else "gloo",
            store=PrefixStore("groups", self._words),
            rank=self.place.rank,
            world_size=self.world,
            timeout=timedelta(seconds=COLLECTIVE_S),
            device_id=self.device if self.device.type == "cuda" else None,
        )
        self.control = distributed.new_group(backend="gloo", timeout=timedelta(seconds=COLLECTIVE_S))

    def agreed(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag as any process raises it."""
        raised = torch.tensor([int(flag) for flag in flags])
        distributed.all_reduce(raised, distributed.ReduceOp.MAX, group=self.control)
        return tuple(bool(flag) for flag in raised.tolist())

    def means(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scalars by name, averaged over processes."""
        if not values:
            return {}
        stacked = torch.stack([value.float() for value in values.values()])
        distributed.all_reduce(stacked)
        return dict(zip(values, (stacked / self.world).unbind(), strict=True))

    def lowest(self, value: Tensor) -> Tensor:
        """The lowest of a whole number over processes."""
        found = value.clone()
        distributed.all_reduce(found, distributed.ReduceOp.MIN)
        return found

    # beginning and end

    def start(self, run: RunFolder) -> None:
        """Start the other processes of this machine where that is up to this one, and begin to look around."""
        self._run = run if self.leads else None
        if self.place.launches:
            self._children = start_followers(self.place, run.path.absolute(), int(self._server.port))
        self._watch.start()

    def fail(self, error: BaseException) -> None:
        """Tell the others that this process cannot go on, unless one of them has failed before."""
        self._broken = True
        text = str(error) if isinstance(error, DamaError) else f"{type(error).__name__}: {error}"
        failure = {"rank": self.place.rank, "text": " ".join(text.split()).removesuffix(".")}
        if isinstance(error, MemoryRanOut):
            failure["parts"] = error.parts
            self._remember_parts(error.parts)
        with suppress(RuntimeError):
            self._words.compare_set("failed", "", json.dumps(failure))

    def _remember_parts(self, parts: int) -> None:
        """Let a resumed run begin with so many parts of a batch; without a checkpoint it finds out anew."""
        if self._run is None:
            return
        file = self._run.path / "last" / "state.json"
        facts = read_json(file)
        if facts and facts.get("parts", 1) < parts:
            write_json(file, {**facts, "parts": parts})

    def explained(self, error: BaseException) -> BaseException:
        """The error, or what is behind it where it only says that another process is gone."""
        if isinstance(error, DamaError) or not isinstance(error, RuntimeError):
            return error
        end = time.monotonic() + 2 * LOOK_S + 3
        while self.failure is None and time.monotonic() < end:
            time.sleep(0.1)
        return error if self.failure is None else JobError(self._sentence(self.failure))

    def close(self) -> None:
        """Part from the others; what this process started is ended."""
        self._over.set()
        if self._watch.is_alive() and self._watch is not threading.current_thread():
            self._watch.join()
        if distributed.is_initialized():
            with suppress(RuntimeError):
                self._part()
        end_followers(self._children, wait_s=GRACE_S)
        self._children = []
        del self._words, self._server

    def _part(self) -> None:
        """Leave the process groups; nccl would wait there for those that are gone."""
        abort = getattr(distributed.distributed_c10d, "_abort_process_group", None)
        if self._broken and self.device.type == "cuda" and abort is not None:
            abort()
        else:
            distributed.destroy_process_group()

    def _sentence(self, failure: Mapping[str, Any]) -> str:
        text = f"process {failure['rank']} of {self.world} (counted from 0) ended: {failure['text']}"
        kept = "The last checkpoint is kept; resume the job"
        return text if "checkpoint is kept" in text else f"{text}. {kept}"

    def _look_around(self) -> None:
        """Give signs of life and look for failures, until this process is done."""
        try:
            words = PrefixStore(f"dama/{self.place.attempt}", self._connected(server=False))
            seen: dict[int, tuple[bytes, float]] = {}
            beats = 0
            while not self._over.wait(LOOK_S):
                beats += 1
                words.set(f"beat/{self.place.rank}", str(beats))
                failure = self._failure_in(words) or (self._gone(words, seen) if self.leads else None)
                if failure is not None and failure["rank"] != self.place.rank:
                    words.compare_set("failed", "", json.dumps(failure))
                    self._end_with(failure)
                    return
            words.set(f"beat/{self.place.rank}", "done")
        except (RuntimeError, JobError):  # whoever serves the words is gone
            if not self._over.is_set():
                self._end_with({"rank": 0, "text": "it is gone without a word"})

    def _failure_in(self, words: Any) -> dict[str, Any] | None:
        if not words.check(["failed"]):
            return None
        found: dict[str, Any] = json.loads(words.get("failed"))
        return found

    def _gone(self, words: Any, seen: dict[int, tuple[bytes, float]]) -> dict[str, Any] | None:
        """A process that ended without a word, or is silent."""
        for rank, child in enumerate(self._children, start=1):
            code = child.poll()
            if code not in (None, 0, 130):
                time.sleep(LOOK_S)  # its last word may be on its way
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                return self._failure_in(words) or {"rank": rank, "text": f"it is gone ({how})"}
        now = time.monotonic()
        for rank in range(1, self.world):
            key = f"beat/{rank}"
            beat = words.get(key) if words.check([key]) else b""
            if beat != seen.get(rank, (None, 0.0))[0]:
                seen[rank] = beat, now
            elif beat not in (b"done", b"") and now - seen[rank][1] > SILENT_S:
                return {"rank": rank, "text": f"no sign of life for {SILENT_S:.0f} s"}
        return None

    def _end_with(self, failure: dict[str, Any]) -> None:
        """Let this process end: by itself, as it notices, or else without further ado."""
        self.failure = failure
        if self.leads and self._run is not None:
            if isinstance(failure.get("parts"), int):
                self._remember_parts(failure["parts"])
            self._run.failed(self._sentence(failure))
        if self._over.wait(GRACE_S):
            return
        if not self.leads:
            os._exit(1)
        if self.device.type == "cuda":  # nccl waits for those that are gone
            self._broken = True
            with suppress(RuntimeError):
                self._part()


@contextmanager
def team_for(place: Place | None, device: torch.device) -> Iterator[Team | None]:
    """The team of a run, None for one process; other processes hear of what goes wrong in the block, and end."""
    if place is None:
        yield None
        return
    team = Team(place, device)
    try:
        yield team
    except Interrupted:
        raise  # all stop together
    except BaseException as error:
        team.fail(error)
        raise
    finally:
        team.close()


@contextmanager
def together(team: Team | None, run: RunFolder) -> Iterator[None]:
    """Start the other processes; an error that only says that one of them is gone is replaced by what is behind it."""
    if team is None:
        yield
        return
    team.start(run)
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        behind = team.explained(error)
        team.fail(behind)  # here, where the folder is still held
        if behind is error:
            raise
        raise behind from error
