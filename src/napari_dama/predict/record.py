"""What a run leaves behind beside the labels: settings, the table, and the list of tiles that are done."""

from __future__ import annotations

import errno
import json
import os
import platform
import socket
import sys
import threading
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from napari_dama.cells.table import PARQUET as PARQUET
from napari_dama.cells.table import TABLE as TABLE
from napari_dama.cells.table import write_rows as write_rows
from napari_dama.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

RUN_FILE: Final = "run.json"
LABELS: Final = "labels.ome.zarr"
TILES: Final = "tiles.jsonl"
EMBEDDINGS: Final = "embeddings.npy"
EMBEDDINGS_LABELS: Final = "embeddings_labels.npy"
JOB: Final = "analysis_job"
"""Folder of the job that makes the result, where it is made by one; see `napari_dama.jobs.analysis`."""
BEGINNING: Final = "beginning"
"""State of a record whose files are not all there yet: what was cut off then begins anew."""


changing_table = threading.RLock()
"""Held while a finished result's table is changed: the window has several threads that may want to."""
_record_lock = threading.Lock()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step, so that a reader never sees half of it."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(
        json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    os.replace(draft, path)


def slide_path(run: Mapping[str, Any]) -> str:
    """Where the slide of a result lay when it was analysed, as its record says; "" where it does not."""
    slide = run.get("slide")
    return str((slide.get("path") if isinstance(slide, dict) else slide) or "")


def read_run(folder: Path) -> dict[str, Any]:
    """Content of a result's ``run.json``.

    Raises
    ------
    OutputError
        The folder is no result of napari-dama, or its record is damaged.
    """
    file = folder / RUN_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise OutputError(f"{folder} is not a result of `analyse`: it has no {RUN_FILE}") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != "napari-dama result":
        raise OutputError(f"{file} was not written by napari-dama's `analyse`")
    return content


def update_run(folder: Path, change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Change a finished result's ``run.json`` in one step; threads of this program take turns. Returns what it holds now.

    Raises
    ------
    OutputError
        As `read_run`.
    """
    with _record_lock:
        content = read_run(folder)
        change(content)
        write_json(folder / RUN_FILE, content)
        return content


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a result."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    for name in ("napari-dama", "torch", "timm", "numpy", "scikit-image", "zarr"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def check_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue a result with other settings.

    Raises
    ------
    SettingsError
        Names each setting that differs, with both values.
    """
    differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differing:
        parts = "; ".join(
            f"{key} was {_short(before.get(key))}, now {_short(now.get(key))}" for key in differing
        )
        raise SettingsError(
            f"the result cannot be continued with other settings: {parts}. "
            "Give the same settings, another folder, or --overwrite"
        )


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def peak_memory_bytes() -> int:
    """Largest memory this process has held so far, in bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


@contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the disk's errors into a sentence that says what to do."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the disk that holds {folder} is full; finished tiles are kept: free some space and "
                "continue with --resume"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
        raise


class Owner:
    """Who is writing a result now, as kept in its record: host, process and when that process began."""

    @staticmethod
    def here() -> dict[str, Any]:
        """Describe this process."""
        import psutil

        process = psutil.Process()
        return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}

    @staticmethod
    def alive(owner: Mapping[str, Any] | None) -> bool:
        """Whether a recorded process still runs; False for one on another machine, which cannot be told."""
        import psutil

        if not owner or owner.get("host") != socket.gethostname():
            return False
        try:
            process = psutil.Process(int(owner["pid"]))
            return (
                bool(abs(process.create_time() - float(owner["started"])) < 2) and process.pid != os.getpid()
            )
        except (psutil.Error, KeyError, TypeError, ValueError):
            return False


class TileLog:
    """``tiles.jsonl``: a line per finished tile with the table's length, to undo half a tile by."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, int]]:
        """Finished tiles in order; a line cut off by a crash is left out."""
        found: list[dict[str, int]] = []
        if not self.path.exists():
            return found
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                found.append({key: int(value) for key, value in json.loads(line).items()})
            except (ValueError, AttributeError):
                break
        return found

    def rewrite(self, lines: list[dict[str, int]]) -> None:
        """Keep exactly these lines."""
        draft = self.path.with_name(self.path.name + ".part")
        draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        os.replace(draft, self.path)

    def append(self, line: Mapping[str, int]) -> None:
        """Add a finished tile and hand it to the system."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
