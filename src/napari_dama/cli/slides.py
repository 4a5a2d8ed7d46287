"""info and simulate: slides looked at, and made."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_dama.cli.console import (
    Json,
    Map,
    Overwrite,
    PixelUm,
    Reporter,
    chosen_from,
    print_facts,
    print_json,
)
from napari_dama.errors import DamaError, SettingsError

if TYPE_CHECKING:
    from napari_dama.models.card import Card
    from napari_dama.slides.slide import Slide


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(info)
    app.command()(simulate)


def info(
    slide: Annotated[Path, typer.Argument(help="The slide.")],
    map_text: Map = None,
    pixel_um: PixelUm = None,
    as_json: Json = False,
) -> None:
    """Say what a slide holds, and how its markers fit each model on the shelf.

    For example:

      napari-dama info tissue.ome.tif

      napari-dama info codex.tif --map "DAPI=nucleus" --json
    """
    from napari_dama.models.shelf import list_models
    from napari_dama.slides.slide import open_slide

    chosen = chosen_from(map_text)
    with open_slide(slide, pixel_um=pixel_um) as found:
        facts: dict[str, Any] = {
            "slide": str(slide),
            "shape": [int(size) for size in found.shape],
            "axes": "CYX",
            "dtype": str(found.dtype),
            "levels": [[int(size) for size in level] for level in found.levels],
            "markers": list(found.markers),
            "pixel_um": found.pixel_um,
            "notes": list(found.notes),
            "models": {card.name: _fit(found, card, chosen) for card in list_models()},
        }
    if as_json:
        print_json(facts)
        return
    channels, height, width = facts["shape"]
    shown: dict[str, Any] = {
        "slide": facts["slide"],
        "shape": f"{channels} markers x {height} x {width} px (C, Y, X), {facts['dtype']}",
        "levels": ", ".join(f"{rows} x {columns}" for rows, columns in facts["levels"]),
        "pixel size": f"{facts['pixel_um']:.5g} um" if facts["pixel_um"] else "unknown: give --pixel-um",
        "markers": ", ".join(facts["markers"]),
    }
    if facts["notes"]:
        shown["notes"] = facts["notes"]
    print_facts(shown)
    for name, fit in facts["models"].items():
        typer.echo(f"\nmodel {name}")
        for line in fit["says"]:
            typer.echo(f"  {line}")
    if not facts["models"]:
        typer.echo("\nno model is on the shelf")


def _fit(slide: Slide, card: Card, chosen: dict[str, str] | None) -> dict[str, Any]:
    """How a slide's markers fit a model, and what the model can do with them."""
    from napari_dama.predict.prepare import type_gate
    from napari_dama.slides.panel import match

    try:
        channels = match(slide.markers, card.to_panel(), chosen=chosen)
    except DamaError as error:
        return {"usable": False, "types": False, "map": None, "says": [str(error)]}
    types, why = type_gate(card, channels, types=True)
    says = [*channels.describe(), "types: yes" if types else f"no types: {why}"]
    pairs = {found.marker: found.slide_marker for found in channels.matches}
    return {"usable": True, "types": types, "types_why": why, "map": pairs, "says": says}


def simulate(
    out_dir: Annotated[Path, typer.Argument(help="Folder for the files.")],
    n: Annotated[int, typer.Option(help="Images to make.")] = 4,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 1024,
    seed: Annotated[int, typer.Option(help="Of the first image; the next ones follow.")] = 1,
    panel: Annotated[str, typer.Option(help="brain7 is the one there is.")] = "brain7",
    difficulty: Annotated[str, typer.Option(help="easy, normal or hard.")] = "normal",
    bits: Annotated[int, typer.Option(help="8 or 16.")] = 16,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make simulated tissue with the outline and type of every cell.

    Each image is NAME.ome.tif with NAME_cells.tif (labels) and NAME_cells.csv (label, y, x, type).

    For example:

      napari-dama simulate demo --n 2 --size 1024 --seed 1

      napari-dama simulate hard --n 20 --difficulty hard
    """
    from napari_dama.simulate.write import write_simulated

    if panel != "brain7":
        raise SettingsError(f"--panel knows brain7 only, not {panel!r}")
    if difficulty not in ("easy", "normal", "hard"):
        raise SettingsError(f"--difficulty is easy, normal or hard, not {difficulty!r}")
    if bits not in (8, 16):
        raise SettingsError(f"--bits is 8 or 16, not {bits}")
    with Reporter() as reporter:
        paths = write_simulated(
            out_dir,
            n=n,
            size=size,
            seed=seed,
            difficulty=difficulty,  # type: ignore[arg-type]
            bits=bits,  # type: ignore[arg-type]
            overwrite=overwrite,
            progress=reporter.count("images"),
        )
    if as_json:
        print_json([str(path) for path in paths])
    else:
        for path in paths:
            typer.echo(str(path))
