"""evaluate: results compared with truth; export, its neighbour in the help, is registered here."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated

import typer

from napari_dama.cli.console import (
    GreedyCommand,
    Json,
    Overwrite,
    PixelUm,
    Reporter,
    print_facts,
    print_json,
    print_table,
    stop_on_interrupt,
)
from napari_dama.cli.export import export
from napari_dama.errors import DamaError, OutputError, SettingsError

evaluate = typer.Typer(
    no_args_is_help=True, help="Compare results with truth: segments, types, pictures; and methods."
)


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


@evaluate.command()
def neighbourhoods(
    out: Annotated[Path, typer.Argument(help="Folder that analyse left, or a table of typed cells.")],
    radius_um: Annotated[
        float | None, typer.Option(help="Largest distance of neighbours' centres, in um (default 30).")
    ] = None,
    nearest: Annotated[
        int | None, typer.Option(help="The N nearest cells are the neighbours instead.")
    ] = None,
    permutations: Annotated[
        int,
        typer.Option(min=0, help="How often the types are dealt anew for the z-scores; 0 leaves them out."),
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same z-scores.")] = 0,
    table: Annotated[Path | None, typer.Option(help="Write one row per pair of types into this CSV.")] = None,
    per_cell: Annotated[
        Path | None, typer.Option(help="Write every cell's number of neighbours of each type into this CSV.")
    ] = None,
    by_model: Annotated[
        bool,
        typer.Option("--model-types", help="Count by the model's types, whatever was corrected by hand."),
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Count who lives beside whom: neighbours by type, and whether that is more than chance (z-scores of permutations).

    Of a result the types count that people corrected.

    For example:

      napari-dama evaluate neighbourhoods tissue_result --radius-um 30

      napari-dama evaluate neighbourhoods tissue_result --nearest 6 --per-cell neighbours.csv --json
    """
    from napari_dama.cells.given import read_table
    from napari_dama.evaluate.neighbourhoods import neighbourhoods as count
    from napari_dama.export.atomic import replacing
    from napari_dama.export.source import ResultSource
    from napari_dama.predict.result import ResultFolder

    for file in (table, per_cell):
        if file is not None and file.exists() and not overwrite:
            raise OutputError(f"{file} exists already: choose another file, or give --overwrite")
    if not out.is_dir():
        cells = read_table(out)
    elif by_model:
        cells = ResultFolder.open(out).cells()
    else:
        cells = ResultSource.open(out).cells
    found = count(cells, radius_um=radius_um, nearest=nearest, permutations=permutations, seed=seed)
    for file, rows in (
        (table, found.to_frame()),
        (per_cell, cells[["label"]].assign(**found.columns())),
    ):
        if file is not None:
            with replacing(file, overwrite=overwrite) as part:
                rows.to_csv(part, index=False)
    if as_json:
        print_json(found.to_json())
    else:
        for line in found.describe():
            typer.echo(line)


@evaluate.command()
def compare(
    experiment: Annotated[Path, typer.Argument(help="Experiment file (YAML).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for units, tables, tests and plot.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the experiment in that folder.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compare methods over folds, label fractions and seeds: tables, paired tests, label-efficiency plot.

    Ctrl-C keeps what is finished; --resume goes on. A unit that fails is reported at the end, and the others go on.

    For example:

      napari-dama evaluate compare study.yaml -o study

      napari-dama evaluate compare study.yaml -o study --resume
    """
    from napari_dama.evaluate.compare import CompareProgress, Experiment
    from napari_dama.evaluate.compare import compare as run

    if resume and overwrite:
        raise SettingsError("--overwrite begins anew and --resume continues: give one of them")
    plan = Experiment.from_file(experiment)
    with Reporter() as reporter, stop_on_interrupt() as stop:

        def tell(now: CompareProgress) -> None:
            step = f"step {now.step}/{now.steps}, {now.images_per_s:.0f} images/s" if now.step else ""
            reporter.show("units", now.done, now.units, now.unit, step, left_s=now.eta_s)

        found = run(plan, out, resume=resume, overwrite=overwrite, progress=tell, stop=stop)
    facts = {"out": str(out), "units": len(found.results), "failed": found.failed}
    if as_json:
        rows = {
            name: json.loads(getattr(found, name).to_json(orient="records")) for name in ("table", "tests")
        }
        print_json({**facts, **rows})
    else:
        main = found.table[found.table["metric"] == "balanced_accuracy"] if len(found.table) else found.table
        shown = [
            name for name in main if name not in ("metric", "ci95") and not str(name).startswith("fold_")
        ]
        print_table(json.loads(main[shown].to_json(orient="records")))
        print_facts({"balanced accuracy": "the table above", "more": f"{out}/README.md"})
    if found.failed:
        first, why = next(iter(found.failed.items()))
        raise DamaError(
            f"{len(found.failed)} of {len(found.results)} units failed, the first {first}: {why}; the others are compared "
            f"in {out}, and --resume tries again what failed"
        )
