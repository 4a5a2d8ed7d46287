"""Commands one after the other in processes of their own, which outlive the window."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

from napari_dama.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Chain:
    """Start commands one after the other; `poll` moves on. What they print goes to a log file beside the job."""

    def __init__(self, commands: Sequence[Sequence[str]], log: Path) -> None:
        self.commands = list(commands)
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.code: int | None = None

    def start(self) -> None:
        """Start the next command.

        Raises
        ------
        OutputError
            When the log cannot be written or the process cannot be started.
        """
        command = list(self.commands.pop(0))
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as out:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, **_detached()
                )
        except OSError as error:
            raise OutputError(
                f"Training cannot be started: {error.strerror or error} ({self.log})"
            ) from error

    def poll(self) -> bool:
        """Move on to the next command when one ended well; False once all is over (then `code` says how)."""
        if self.process is None:
            return False
        code = self.process.poll()
        if code is None:
            return True
        self.process = None
        if code == 0 and self.commands:
            self.start()
            return True
        self.code = code
        return False

    @property
    def is_last(self) -> bool:
        """Whether the last command runs."""
        return not self.commands

    def cancel(self) -> None:
        """End the present command; for steps that leave nothing half done."""
        self.commands = []
        if self.process is not None:
            self.process.terminate()

    def let_go(self) -> None:
        """Leave the process to itself: it goes on without the window."""
        if self.process is not None:
            self.process.returncode = 0 if self.process.poll() is None else self.process.returncode
        self.process = None


def _detached() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}
