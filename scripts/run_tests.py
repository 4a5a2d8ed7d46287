"""Run the tests as two processes side by side: the window's (tests/gui, on a screen of their own) and all others.

    python scripts/run_tests.py                  # everything
    python scripts/run_tests.py -k panel         # pytest's own arguments: one process, on a screen

Two cores are then both at work; each process keeps to one thread. The window's output follows when the other is done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
NOTHING_COLLECTED = 5


def with_screen(arguments: list[str]) -> list[str]:
    """A pytest command on a screen: the one that is there, or a virtual one."""
    return [
        "bash",
        str(REPOSITORY / "scripts" / "with_display.sh"),
        sys.executable,
        "-m",
        "pytest",
        *arguments,
    ]


def main() -> int:
    chosen = sys.argv[1:]
    if chosen:
        return subprocess.run(with_screen(chosen), cwd=REPOSITORY, check=False).returncode
    environment = {**os.environ, **{name: os.environ.get(name, "1") for name in THREADS}}
    with tempfile.TemporaryFile("w+b") as said:
        window = subprocess.Popen(
            with_screen(["tests/gui", "-p", "no:cacheprovider"]),
            cwd=REPOSITORY, env=environment, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            others = subprocess.run(
                [sys.executable, "-m", "pytest", "--ignore=tests/gui"],
                cwd=REPOSITORY,
                env=environment,
                check=False,
            )
            code = window.wait()
        finally:
            if window.poll() is None:
                window.terminate()
                window.wait(20)
        said.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(b"\n== the window's tests\n" + said.read())
        sys.stdout.flush()
    return others.returncode or (0 if code == NOTHING_COLLECTED else code)


if __name__ == "__main__":
    raise SystemExit(main())
