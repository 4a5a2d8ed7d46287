"""evaluate and export: results compared with truth, and handed to other programs."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated

import typer

from napari_dama.cli.console import GreedyCommand, Json, Overwrite, print_facts, print_json
from napari_dama.errors import SettingsError

evaluate = typer.Typer(no_args_is_help=True, help="Compare results with truth: segments, types.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(evaluate, name="evaluate")
    app.command()(export)


@evaluate.command(cls=GreedyCommand)
def segments(
    truth: Annotated[list[Path], typer.Option(help="True label images (TIFF, result folder, .npy).")],
    pred: Annotated[list[Path], typer.Option(help="Predicted ones, in the same order.")],
    plot: Annotated[Path | None, typer.Option(help="Draw precision-recall curves into this file.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score outlines: COCO mAP, AP50, AP75 of masks and boxes, F1 at IoU 0.5, panoptic quality.

    For example:

      napari-dama evaluate segments --truth demo/sim_normal_0001_cells.tif --pred tissue_result --plot curves.png
    """
    from napari_dama.evaluate.segments import evaluate_segments

    if len(truth) != len(pred):
        raise SettingsError(
            f"there are {len(truth)} true and {len(pred)} predicted images; give as many of each"
        )
    scores = evaluate_segments(list(truth), list(pred))
    if plot is not None:
        from napari_dama.evaluate.curves import plot_curves

        plot_curves(scores, plot, title=pred[0].name, overwrite=overwrite)
    if as_json:
        print_json(scores.to_json())
    else:
        for line in scores.describe():
            typer.echo(line)


@evaluate.command()
def types(
    truth: Annotated[Path, typer.Option(help="Table with label (or y, x) and type.")],
    pred: Annotated[Path, typer.Option(help="Table, or result folder, with label, y, x and type.")],
    as_json: Json = False,
) -> None:
    """Score types: accuracy, balanced accuracy, macro-F1, confusion matrix.

    For example:

      napari-dama evaluate types --truth demo/sim_normal_0001_cells.csv --pred tissue_result/cells.csv --json
    """
    from napari_dama.evaluate.types import evaluate_types

    scores = evaluate_types(truth, pred)
    if as_json:
        print_json(scores.to_json())
    else:
        for line in scores.describe():
            typer.echo(line)


def export(
    result: Annotated[Path, typer.Argument(help="Folder that analyse left.")],
    file: Annotated[Path, typer.Argument(help="File to write.")],
    to: Annotated[str, typer.Option("--to", help="csv, labels-tiff or coco.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a result in the format of another program.

    For example:

      napari-dama export tissue_result --to csv cells.csv

      napari-dama export tissue_result --to labels-tiff labels.tif

      napari-dama export tissue_result --to coco annotations.json
    """
    from napari_dama.export import FORMATS

    if to not in FORMATS:
        raise SettingsError(f"--to is one of {', '.join(FORMATS)}, not {to!r}")
    FORMATS[to](result, file, overwrite=overwrite)
    print_facts({"written": str(file)})
