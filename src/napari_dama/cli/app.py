"""The commands put together, and the way they end: exit codes, and one sentence for an error."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_dama import __version__
from napari_dama.cli import (
    analyse,
    corrections,
    crops,
    evaluate,
    explain,
    improve,
    jobs,
    models,
    slides,
    system,
    train,
)
from napari_dama.errors import DamaError, Interrupted, SettingsError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


class PlainErrors(TyperGroup):
    """Ends every command with a documented exit code, and says what went wrong in one sentence on stderr.

    ``--debug``, anywhere on the line, shows the traceback instead.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``--debug`` out wherever it stands."""
        ctx.obj = {"debug": "--debug" in args}
        return super().parse_args(ctx, [word for word in args if word != "--debug"])

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        debug = bool(ctx.obj and ctx.obj["debug"])
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Interrupted as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(FAILED) from None
        except (DamaError, OSError, MemoryError) as error:
            if debug:
                raise
            typer.echo(f"error: {_sentence(error)}", err=True)
            raise typer.Exit(WRONG_USAGE if isinstance(error, SettingsError) else FAILED) from None
        except Exception as error:
            if debug or type(error).__module__.startswith(("click", "typer")):
                raise
            text = " ".join(str(error).split())
            typer.echo(f"error: unexpected {type(error).__name__}: {text} (--debug shows where)", err=True)
            raise typer.Exit(FAILED) from None


def _sentence(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for this"
    if isinstance(error, OSError) and not isinstance(error, DamaError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


app = typer.Typer(
    name="napari-dama",
    cls=PlainErrors,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"napari-dama {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """See every marker of a multiplexed slide, find every cell and its type, and see why."""


system.register(app)
slides.register(app)
crops.register(app)
analyse.register(app)
explain.register(app)
train.register(app)
improve.register(app)
corrections.register(app)
jobs.register(app)
evaluate.register(app)
models.register(app)


def main() -> None:
    """Entry point of ``napari-dama``; warnings of libraries stay out of sight unless ``--debug`` is given."""
    if "--debug" not in sys.argv:
        import logging
        import warnings

        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
    app(prog_name="napari-dama")
