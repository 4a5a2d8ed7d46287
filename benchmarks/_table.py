"""What every benchmark shares: a table on the screen, and a JSON file that says where the numbers come from.

Example
-------
>>> from _table import Report
>>> report = Report("analyse", columns=("what", "seconds"))
>>> report.add("segment 1024 px", 12.3)
>>> report.finish(args.json)
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("napari-dama", "numpy", "scipy", "scikit-image", "tifffile", "zarr", "dask", "torch", "napari")


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GiB and system of this machine, and what else kept it busy."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "load_before": [round(load, 2) for load in psutil.getloadavg()],
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, those that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit of the checkout, with a `+` where files differ from it."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+" if changed else head


@dataclass
class Report:
    """Rows of one benchmark, and the surroundings they were measured in."""

    name: str
    columns: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    started: dict[str, Any] = field(default_factory=machine)

    def add(self, *row: Any) -> None:
        """Add one row: as many values as there are columns."""
        if len(row) != len(self.columns):
            raise ValueError(f"{len(row)} values for {len(self.columns)} columns: {row!r}")
        self.rows.append(row)

    def finish(self, json_file: Path | None) -> None:
        """Print the table and, when a file is named, write everything to it as JSON."""
        print(f"\n{self.name}")
        for key, value in self.facts.items():
            print(f"  {key}: {value}")
        print()
        print(format_table(self.columns, self.rows))
        here = self.started
        print(f"\n{here['cpu']}, {here['cores']} cores, {here['memory_gib']} GiB; load {here['load_before']}")
        if json_file is None:
            return
        document = {
            "name": self.name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join([Path(sys.executable).name, *sys.argv]),
            "commit": commit(),
            "machine": self.started,
            "versions": versions(),
            "facts": self.facts,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
        print(f"written: {json_file}")


def format_table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Lay out rows under their column names: numbers to the right, text to the left."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    right = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]

    def line(values: list[str]) -> str:
        padded = [
            value.rjust(width) if to_right else value.ljust(width)
            for value, width, to_right in zip(values, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    rule = ["-" * width for width in widths]
    return "\n".join(line(values) for values in [list(columns), rule, *cells])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)
