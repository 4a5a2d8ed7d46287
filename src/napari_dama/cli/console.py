"""What commands share: facts as text or JSON, progress on stderr, and a Ctrl-C that lets work be put away."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType, TracebackType

PLAIN_SECONDS = 2.0
"""Where stderr is no terminal, a line of progress at most this often."""

Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
Device = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]
ModelName = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A model on the shelf (napari-dama models list), or a model's folder."
    ),
]
Map = Annotated[
    str | None,
    typer.Option(
        "--map", help='Which channel is which marker, where names do not match: "DAPI=nucleus,NeuN=CH_7".'
    ),
]
PixelUm = Annotated[
    float | None, typer.Option("--pixel-um", help="Pixel size in micrometres; overrides the file's.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run left there.")]


def print_json(facts: Any) -> None:
    """Print facts for other programs."""
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False, default=str))


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print facts for people, a line each."""
    width = max((len(key) for key in facts), default=0)
    for key, value in facts.items():
        lines = value if isinstance(value, list | tuple) else [value]
        for place, line in enumerate(lines or ["none"]):
            typer.echo(f"{key if place == 0 else '':<{width}}  {line}")


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under the names of their columns."""
    if not rows:
        return
    shown = [{key: _shown(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(row[key]) for row in shown)) for key in shown[0]}
    typer.echo("  ".join(f"{key:<{width}}" for key, width in widths.items()).rstrip())
    for row in shown:
        typer.echo("  ".join(f"{row[key]:<{width}}" for key, width in widths.items()).rstrip())


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Reporter:
    """Progress on stderr: a bar on a terminal, plain lines elsewhere. Use it in a ``with`` block.

    With ``quiet`` nothing is shown.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._stage = ""
        self._last = 0.0

    def __enter__(self) -> Self:
        """Open the bar where there is a terminal."""
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.fields[facts]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=1, facts="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, stage: str, done: float, total: float, *facts: str, left_s: float | None = None) -> None:
        """Report a step of a stage, with facts such as a rate, and the time left."""
        if self.quiet:
            return
        parts = [fact for fact in facts if fact]
        if left_s is not None and done < total:
            parts.append(f"{duration(left_s)} left")
        if self._bar is not None:
            self._bar.update(
                self._task, description=stage, completed=done, total=max(total, 1), facts=", ".join(parts)
            )
            return
        now = time.monotonic()
        if stage == self._stage and done < total and now - self._last < PLAIN_SECONDS:
            return
        self._stage, self._last = stage, now
        typer.echo(f"{stage} {done:.0f}/{total:.0f}" + "".join(f", {part}" for part in parts), err=True)

    def count(self, stage: str) -> Callable[[int, int], None]:
        """A callback (done, total) for work that reports no more than that; the time left follows from the pace."""
        begin = time.monotonic()

        def tell(done: int, total: int) -> None:
            seconds = time.monotonic() - begin
            left = seconds / done * (total - done) if done else None
            rate = f"{done / seconds:.2g}/s" if done and seconds > 0.5 else ""
            self.show(stage, done, total, rate, left_s=left)

        return tell


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """A stop callback that the first Ctrl-C (or a polite kill) sets, so that work is put away; a second one ends at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        typer.echo("stopping, and keeping what is finished (Ctrl-C again ends at once)", err=True)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, note)
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def chosen_from(text: str | None) -> dict[str, str] | None:
    """What ``--map`` says, or None."""
    from napari_dama.slides.panel import parse_map

    return None if text is None else dict(parse_map(text))


class GreedyCommand(TyperCommand):
    """A command some of whose options take all words up to the next option."""

    greedy = ("--labels", "--set", "--slurm-set", "--data", "--truth", "--pred")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat such an option before each of its words."""
        spread: list[str] = []
        option, fresh = "", False
        for word in args:
            if word.startswith("-"):
                option, fresh = (word if word in self.greedy else ""), True
            elif option and not fresh:
                spread.append(option)
            else:
                fresh = False
            spread.append(word)
        return super().parse_args(ctx, spread)
