"""evaluate and export: results compared with truth, and handed to other programs."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated

import typer

from napari_dama.cli.console import GreedyCommand, Json, Overwrite, PixelUm, print_facts, print_json
from napari_dama.errors import SettingsError

evaluate = typer.Typer(no_args_is_help=True, help="Compare results with truth: segments, types, pictures.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(evaluate, name="evaluate")
    app.command()(export)


@evaluate.command(cls=GreedyCommand)
def segments(
    truth: Annotated[list[Path], typer.Option(help="True label images (TIFF, result folder, .npy).")],
    pred: Annotated[list[Path], typer.Option(help="Predicted ones, in the same order.")],
    plot: Annotated[
        Path | None, typer.Option(help="Draw precision-recall curves at COCO's IoUs into this file.")
    ] = None,
    curves: Annotated[
        Path | None,
        typer.Option(help="Write curves per IoU 0.1 to 0.9 and the error breakdown into this folder."),
    ] = None,
    by_type: Annotated[
        bool, typer.Option("--by-type", help="With --curves: a detection must have the right type too.")
    ] = False,
    max_detections: Annotated[
        int | None,
        typer.Option(min=1, help="Count only the best N detections per image in AP and curves (COCO: 100)."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score outlines: COCO mAP, AP50, AP75 of masks and boxes, F1 at IoU 0.5, panoptic quality.

    For example:

      napari-dama evaluate segments --truth demo/sim_normal_0001_cells.tif --pred tissue_result --plot curves.png

      napari-dama evaluate segments --truth demo/sim_normal_0001_cells.tif --pred tissue_result --curves curves --by-type
    """
    from napari_dama.evaluate.detections import read_detections
    from napari_dama.evaluate.segments import score_segments

    if len(truth) != len(pred):
        raise SettingsError(
            f"there are {len(truth)} true and {len(pred)} predicted images; give as many of each"
        )
    if by_type and curves is None:
        raise SettingsError("--by-type breaks errors down: say with --curves DIR where to put them")
    title = pred[0].name if len(pred) == 1 else f"{len(pred)} images"
    if curves is not None:
        from napari_dama.evaluate.report import check_folder

        check_folder(curves, overwrite=overwrite)
    detections = read_detections(list(truth), list(pred), max_detections=max_detections)
    scores = score_segments(detections)
    facts, lines = scores.to_json(), scores.describe()
    if plot is not None:
        from napari_dama.evaluate.curves import plot_curves

        plot_curves(scores, plot, title=title, overwrite=overwrite)
    if curves is not None:
        from napari_dama.evaluate.report import write_curves

        report = write_curves(detections, curves, by_type=by_type, title=title, overwrite=overwrite)
        facts["curves"] = report.to_json()
        lines += [*report.describe(), f"written    {curves}"]
    if as_json:
        print_json(facts)
    else:
        for line in lines:
            typer.echo(line)


@evaluate.command(cls=GreedyCommand)
def pictures(
    image: Annotated[Path, typer.Option(help="The slide, shown in grey.")],
    truth: Annotated[Path, typer.Option(help="True label image (TIFF, result folder, .npy).")],
    pred: Annotated[list[Path], typer.Option(help="Predicted ones, one per method.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG, PDF or SVG to draw.")],
    names: Annotated[str | None, typer.Option(help="Names of the methods, parted by commas.")] = None,
    iou: Annotated[float, typer.Option(help="Least overlap of a hit.")] = 0.75,
    region: Annotated[str | None, typer.Option(help="View, in pixels: Y0:Y1,X0:X1.")] = None,
    channel: Annotated[str | None, typer.Option(help="Marker to show; by default the nuclear one.")] = None,
    pixel_um: PixelUm = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Draw methods side by side on one field: cells hit, missed and invented, over the image in grey.

    For example:

      napari-dama evaluate pictures --image tissue.ome.tif --truth tissue_cells.tif --pred result_a --pred result_b
      --names DAMA,MAE --region 0:400,0:400 -o side_by_side.png
    """
    from napari_dama.evaluate.pictures import draw_pictures
    from napari_dama.slides.region import Region

    report = draw_pictures(
        image,
        truth,
        list(pred),
        out,
        names=None if names is None else [name.strip() for name in names.split(",")],
        iou=iou,
        region=None if region is None else Region.parse(region),
        channel=channel,
        pixel_um=pixel_um,
        overwrite=overwrite,
    )
    if as_json:
        print_json(report.to_json())
    else:
        for line in [*report.describe(), f"written {out}"]:
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
