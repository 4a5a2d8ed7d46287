"""analyse and reconstruct: slides in, cells and explanations out."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_dama.cli.apart import Detach, Priority, Queue, apart_facts
from napari_dama.cli.console import (
    Device,
    Json,
    Map,
    ModelName,
    Overwrite,
    PixelUm,
    Reporter,
    chosen_from,
    duration,
    print_facts,
    print_json,
    stop_on_interrupt,
)
from napari_dama.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from napari_dama.jobs.analysis import AnalyseSettings
    from napari_dama.predict.progress import Progress

STAGES = {
    "statistics": "measuring intensities",
    "tiles": "tiles",
    "finish": "writing",
    "embeddings": "embeddings",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(analyse)
    app.command()(reconstruct)


def analyse(
    slide: Annotated[Path, typer.Argument(help="The slide: OME-TIFF, TIFF, OME-Zarr or .npy.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the result.")],
    model: ModelName = "dama-brain7",
    map_text: Map = None,
    pixel_um: PixelUm = None,
    region: Annotated[
        str | None,
        typer.Option(help="Part of the slide in pixels, Y0:Y1,X0:X1, for example 0:2048,1024:3072."),
    ] = None,
    device: Device = "auto",
    no_types: Annotated[bool, typer.Option("--no-types", help="Outline and measure only.")] = False,
    tile_px: Annotated[
        int, typer.Option(help="About the side of a tile, in pixels of the model; less takes less memory.")
    ] = 1024,
    embeddings: Annotated[
        bool,
        typer.Option("--embeddings", help="Keep the network's vector of every cell too: embeddings.npy."),
    ] = False,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a result that was interrupted, with the same settings.")
    ] = False,
    detach: Detach = False,
    queue: Queue = False,
    priority: Priority = 0,
    as_json: Json = False,
) -> None:
    """Outline, measure and type every cell of a slide.

    Leaves labels.ome.zarr, cells.csv, cells.parquet and run.json in the folder. Ctrl-C keeps finished tiles, and --resume
    continues.

    For example:

      napari-dama analyse tissue.ome.tif -o tissue_result

      napari-dama analyse codex.tif -o out --map "DAPI=nucleus,NeuN=CH_7" --pixel-um 0.377

      napari-dama analyse tissue.ome.tif -o corner --region 0:2048,0:2048 --no-types

      napari-dama analyse huge.ome.tif -o huge_result --detach
    """
    from napari_dama.slides.region import Region

    if overwrite and resume:
        raise SettingsError("--overwrite begins anew and --resume continues: give one of them")
    place = None if region is None else Region.parse(region)
    chosen = chosen_from(map_text)
    if priority and not queue:
        raise SettingsError("--priority is for a job that waits: give --queue, too")
    if detach or queue:
        from napari_dama.jobs.analysis import AnalyseSettings, job_folder
        from napari_dama.training.job_settings import checked

        raw = {"slide": slide, "model": model, "chosen": chosen or {}, "pixel_um": pixel_um, "region": region}
        raw |= {"device": device, "types": not no_types, "tile_px": tile_px, "out": job_folder(out)}
        settings = checked(AnalyseSettings, raw, where="analyse")
        facts = _apart(settings, priority if queue else None, resume=resume, overwrite=overwrite)
        print_json(facts) if as_json else print_facts(facts)
        return
    from napari_dama.predict.analyse import analyse as run

    with Reporter() as reporter, stop_on_interrupt() as stop:

        def tell(now: Progress) -> None:
            facts = [f"{now.cells} cells", f"{now.rate:.2f} Mpx/s"] if now.megapixels else []
            reporter.show(STAGES.get(now.stage, now.stage), now.done, now.total, *facts, left_s=now.eta_s)

        result = run(
            slide,
            out,
            model=model,
            chosen=chosen,
            pixel_um=pixel_um,
            region=place,
            device=device,
            types=not no_types,
            overwrite=overwrite,
            resume=resume,
            tile_px=tile_px,
            embeddings=embeddings,
            progress=tell,
            stop=stop,
        )
    if as_json:
        print_json(result.run)
        return
    record = result.run
    facts = {
        "result": str(result.path),
        "cells": record["cells"],
        "types": _type_counts(result) if record["types"] else f"none: {record['types_why']}",
        "time": f"{duration(record['seconds'])}, {record['megapixels_per_second']:.3g} Mpx/s on {record['device']}, "
        f"peak memory {record['peak_memory_bytes'] / 1e9:.2f} GB",
        "channels": _channels(record),
    }
    if record["notes"]:
        facts["notes"] = record["notes"]
    print_facts(facts)


def _apart(
    settings: AnalyseSettings, priority: int | None, *, resume: bool, overwrite: bool
) -> dict[str, Any]:
    """Leave the analysis to a process of its own, at once or (with a priority) when its device is free."""
    from napari_dama.jobs import process
    from napari_dama.jobs.queue import enqueue

    if priority is None:
        view = process.start(settings, resume=resume, overwrite=overwrite)
    else:
        view = enqueue(settings, priority=priority, resume=resume, overwrite=overwrite)
    return {"result": str(settings.result), **apart_facts(view)}


def _channels(record: dict[str, Any]) -> list[str]:
    """The channel map in few lines: only what is not plain from the names is spelled out."""
    pairs = record["channel_map"]["channels"]
    plain = [pair["marker"] for pair in pairs if pair["how"] == "exact"]
    lines = [f"{', '.join(plain)}: by name"] if plain else []
    lines += [
        f"{pair['marker']}: {pair['slide_marker']} ({pair['how']})"
        for pair in pairs
        if pair["how"] != "exact" and pair["slide_marker"]
    ]
    absent = [pair["marker"] for pair in pairs if pair["slide_index"] is None]
    return lines + ([f"{', '.join(absent)}: not on this slide"] if absent else [])


def _type_counts(result: Any) -> str:
    counts = result.cells()["type"].value_counts()
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "no cells"


def reconstruct(
    slide: Annotated[Path, typer.Argument(help="The slide.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png figure, or a .tif with all images.")],
    at: Annotated[
        str | None, typer.Option("--at", help="Centre of the crop, Y,X in pixels of the slide.")
    ] = None,
    cell: Annotated[int | None, typer.Option(help="Label of a cell in --result.")] = None,
    result: Annotated[Path | None, typer.Option(help="Result of analyse with the cell.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model; else the result's, or dama-brain7.")
    ] = None,
    map_text: Map = None,
    pixel_um: PixelUm = None,
    mask_ratio: Annotated[float, typer.Option(help="Share of patches that are hidden.")] = 0.8,
    overlap_ratio: Annotated[float, typer.Option(help="Share of visible patches that both views see.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the random mask.")] = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Show what the model rebuilds of a crop whose patches are hidden, and where it fails.

    For example:

      napari-dama reconstruct tissue.ome.tif --at 512,640 -o crop.png

      napari-dama reconstruct tissue.ome.tif --cell 17 --result tissue_result -o cell17.tif
    """
    if (at is None) == (cell is None):
        raise SettingsError("give either --at Y,X, or --cell LABEL with --result OUT")
    if (cell is None) != (result is None):
        raise SettingsError("--cell and --result belong together")
    if output.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise SettingsError(f"{output.name}: the name must end in .png (figure) or .tif (images)")
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists; --overwrite replaces it")
    if not output.absolute().parent.is_dir():
        raise OutputError(f"there is no folder {output.absolute().parent}")
    place = None if at is None else _place(at)
    chosen = chosen_from(map_text)
    stats = None
    if result is not None and cell is not None:
        from napari_dama.predict.result import ResultFolder
        from napari_dama.slides.intensity import IntensityStats

        found = ResultFolder.open(result)
        table = found.cells()
        row = table[table["label"] == cell]
        if row.empty:
            raise SettingsError(
                f"there is no cell {cell} in {result}; its labels go from 1 to {table['label'].max()}"
            )
        place = float(row["y"].iloc[0]), float(row["x"].iloc[0])
        model = model or found.run["model"]["path"] or found.run["model"]["name"]
        pixel_um = pixel_um or found.pixel_um
        if chosen is None:
            chosen = {marker: name or "" for marker, name in found.run["settings"]["map"].items()}
        if found.run.get("intensity"):
            stats = IntensityStats.from_json(found.run["intensity"])
    from napari_dama.predict.explain import reconstruct as run

    assert place is not None
    made = run(
        slide,
        at=place,
        model=model or "dama-brain7",
        chosen=chosen,
        pixel_um=pixel_um,
        mask_ratio=mask_ratio,
        overlap_ratio=overlap_ratio,
        seed=seed,
        device=device,
        stats=stats,
    )
    made.save(output)
    print_facts(
        {
            "written": str(output),
            "error": f"random mask {made.error_random[made.hidden_random].mean():.4f}, "
            f"adaptive mask {made.error_adaptive[made.hidden_adaptive].mean():.4f} per hidden patch",
        }
    )


def _place(text: str) -> tuple[float, float]:
    try:
        y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--at takes Y,X in pixels, for example 512,640, not {text!r}") from None
    return y, x
