"""embed and impute: what the network makes of every cell of a result; a missing marker predicted from the others."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import TYPE_CHECKING, Annotated

import typer

from napari_dama.cli.console import (
    Device,
    Json,
    Map,
    ModelName,
    Overwrite,
    PixelUm,
    Reporter,
    chosen_from,
    print_facts,
    print_json,
    stop_on_interrupt,
)
from napari_dama.errors import OutputError

if TYPE_CHECKING:
    from napari_dama.predict.progress import Progress


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(embed)
    app.command()(impute)


def embed(
    result: Annotated[Path, typer.Argument(help="Result of analyse.")],
    slide: Annotated[
        Path | None, typer.Option(help="The slide, where it is not where the result says any more.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Another model than the result's.")
    ] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Keep the network's vector of every cell of a result: for plots, export and finding like cells.

    Leaves embeddings.npy (cells x features, float16) and embeddings_labels.npy in the result's folder.

    For example:

      napari-dama embed tissue_result

      napari-dama embed tissue_result --slide moved/tissue.ome.tif --overwrite
    """
    from napari_dama.predict.embeddings import embed_cells, has_embeddings
    from napari_dama.predict.record import EMBEDDINGS

    if has_embeddings(result) and not overwrite:
        raise OutputError(f"{result} has embeddings already; --overwrite computes them anew")
    with Reporter() as reporter, stop_on_interrupt() as stop:

        def tell(now: Progress) -> None:
            reporter.show("cells", now.done, now.total, left_s=now.eta_s)

        made = embed_cells(result, slide=slide, model=model, device=device, progress=tell, stop=stop)
    cells, features = made.vectors.shape
    print_facts({"written": str(result / EMBEDDINGS), "cells": cells, "features of each": features})


def impute(
    slide: Annotated[Path, typer.Argument(help="The slide.")],
    marker: Annotated[str, typer.Option(help="Marker of the model's panel to predict from the others.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="An OME-TIFF of one channel (.tif).")],
    model: ModelName = "dama-brain7",
    map_text: Map = None,
    pixel_um: PixelUm = None,
    region: Annotated[str | None, typer.Option(help="Part of the slide in pixels, Y0:Y1,X0:X1.")] = None,
    seed: Annotated[int, typer.Option(help="Of the masks.")] = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Predict a marker as if it were missing, and say how good the prediction is where the marker is there.

    The networks were trained to fill in hidden patches, not hidden markers: read what is said about the quality before the
    picture. A slide that lacks the marker gets a prediction that nothing there can check.

    For example:

      napari-dama impute tissue.ome.tif --marker NeuN -o neun_predicted.tif

      napari-dama impute tissue.ome.tif --marker Iba1 -o corner.tif --region 0:1024,0:1024 --json
    """
    from dataclasses import asdict

    from napari_dama.predict.impute_slide import impute as run
    from napari_dama.slides.region import Region

    place = None if region is None else Region.parse(region)
    with Reporter() as reporter, stop_on_interrupt() as stop:

        def tell(now: Progress) -> None:
            reporter.show("tiles", now.done, now.total, left_s=now.eta_s)

        quality = run(
            slide,
            output,
            marker=marker,
            model=model,
            chosen=chosen_from(map_text),
            pixel_um=pixel_um,
            region=place,
            device=device,
            seed=seed,
            overwrite=overwrite,
            progress=tell,
            stop=stop,
        )
    if as_json:
        print_json({"written": str(output), "quality": None if quality is None else asdict(quality)})
        return
    said = (
        f"unknown: the slide has no {marker} to compare with" if quality is None else quality.sentence(marker)
    )
    print_facts({"written": str(output), "quality": said})
