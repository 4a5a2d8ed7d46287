"""embed: what the network makes of every cell of a result, kept beside it."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import TYPE_CHECKING, Annotated

import typer

from napari_dama.cli.console import Device, Overwrite, Reporter, print_facts, stop_on_interrupt
from napari_dama.errors import OutputError

if TYPE_CHECKING:
    from napari_dama.predict.progress import Progress


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(embed)


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
