"""models: the shelf of bundled and own models."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated

import typer

from napari_dama.cli.console import Json, Overwrite, print_facts, print_json, print_table
from napari_dama.errors import SettingsError

models = typer.Typer(no_args_is_help=True, help="The models on the shelf: list, info, import.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(models, name="models")


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models that analyse and the others can use.

    For example: napari-dama models list
    """
    from napari_dama.models import shelf

    cards = shelf.list_models()
    if as_json:
        print_json([{"path": str(card.path), **card.model_dump(mode="json")} for card in cards])
        return
    print_table(
        [
            {
                "name": card.name,
                "version": card.version,
                "tasks": ", ".join(card.tasks),
                "markers": len(card.panel),
                "where": "bundled" if card.path and card.path.parent == shelf.BUNDLED else "own",
                "summary": card.summary,
            }
            for card in cards
        ]
    )
    if not cards:
        typer.echo("no model is on the shelf")
    for folder, why in shelf.broken_models().items():
        typer.echo(f"left out: {folder}: {why}", err=True)


@models.command()
def info(
    model: Annotated[str, typer.Argument(help="Name on the shelf, or a model's folder.")],
    as_json: Json = False,
) -> None:
    """Show a model's card: panel, scale, classes, training, metrics, limits.

    For example: napari-dama models info dama-brain7
    """
    from napari_dama.models.shelf import load_card

    card = load_card(model)
    if as_json:
        print_json({"path": str(card.path), **card.model_dump(mode="json")})
        return
    facts = {
        "name": f"{card.name}, version {card.version}",
        "summary": card.summary,
        "tasks": ", ".join(card.tasks),
        "markers": ", ".join(card.panel),
        "nuclear": ", ".join(card.nuclear),
        "scale": f"{card.pixel_um:.5g} um per pixel; crops of {card.crop_um:g} um, {card.image_px} px",
        "classes": ", ".join(card.classes) or "none",
        "size": card.architecture.size,
        "training": [f"{key}: {value}" for key, value in card.training.items()],
        "metrics": [f"{key}: {value}" for key, value in card.metrics.items()],
        "limits": card.limits,
        "parent": card.parent or "none",
        "licence": card.licence,
        "folder": str(card.path),
    }
    if card.type_markers:
        facts["types need"] = f"{card.type_markers_min} of {', '.join(card.type_markers)}"
    print_facts(facts)


@models.command("import")
def import_model(
    file: Annotated[
        Path, typer.Argument(help="A model's folder, or a checkpoint: .pth, .pt or .safetensors.")
    ],
    name: Annotated[str | None, typer.Option(help="Name on the shelf; a folder brings its own.")] = None,
    size: Annotated[
        str | None, typer.Option(help="tiny, small or base; else found from the weights.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Put a model on the shelf: what is in it is checked, and copied. No code in it is ever run.

    For example:

      napari-dama models import job/model

      napari-dama models import checkpoint.pth --name dama-authors
    """
    from napari_dama.models.card import Card
    from napari_dama.models.importer import import_model as bring

    if name is None:
        if not file.is_dir():
            raise SettingsError("a checkpoint needs a --name on the shelf")
        name = Card.read(file).name
    place = bring(file, name=name, size=size, overwrite=overwrite)
    print_facts({"model": name, "folder": str(place)})
