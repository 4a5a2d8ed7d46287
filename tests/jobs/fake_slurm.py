"""Programs with the names of SLURM's, which print what SLURM's would: for calls and parsing only."""

from __future__ import annotations

import stat
from pathlib import Path

from napari_dama.jobs import scheduler


class Slurm:
    """Programs named as SLURM's, on PATH; they print what stands in files, and note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.program("srun", "exit 1")
        self.program("sbatch", f'cp "$1" {folder}/script; echo "Submitted batch job $(cat {folder}/number)"')
        self.program("squeue", f"cat {folder}/queue; test ! -e {folder}/down")
        self.program("sacct", f"cat {folder}/accounts")
        self.program("scancel", f': > {folder}/queue; echo "$1|CANCELLED by 1000|n7" > {folder}/accounts')
        (folder / "number").write_text("4711")
        self.says()

    def program(self, name: str, body: str) -> None:
        file = self.folder / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.folder}/calls"\n{body}\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def says(self, squeue: str = "", sacct: str = "") -> None:
        (self.folder / "queue").write_text(squeue)
        (self.folder / "accounts").write_text(sacct)
        scheduler.look_again()

    def calls(self, name: str) -> list[str]:
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.is_file() else []
        return [line for line in lines if line.split()[0] == name]
