"""crops: cells of slides, or crops that lie in folders, into a store that training reads."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_dama.cli.console import (
    GreedyCommand,
    Json,
    Map,
    Overwrite,
    PixelUm,
    Reporter,
    chosen_from,
    print_facts,
    print_json,
    stop_on_interrupt,
)
from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.cells.store import CropStore


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=GreedyCommand)(crops)


def crops(
    slides: Annotated[
        list[Path],
        typer.Argument(help="Slides to cut, or one folder that holds a folder of TIFFs per class."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the store.")],
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="Label images, one per slide in the same order; NAME.csv beside one gives types."),
    ] = None,
    max_cells: Annotated[
        int | None,
        typer.Option("--max-cells", help="Keep a random subset of so many, spread over the slides."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that subset.")] = 0,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Take the panel and the crop width of this model.")
    ] = None,
    panel: Annotated[
        str, typer.Option(help="Without a model: brain7, or own for the first slide's own markers.")
    ] = "brain7",
    crop_um: Annotated[
        float | None,
        typer.Option("--crop-um", help="Width of a crop in micrometres; by default the model's, else 32.5."),
    ] = None,
    crop_px: Annotated[
        int | None,
        typer.Option(
            "--crop-px", help="Pixels a crop is stored with; by default 100, or those of the files."
        ),
    ] = None,
    from_folders: Annotated[
        bool, typer.Option("--from-folders", help="Insist that the argument holds a folder per class.")
    ] = False,
    group_pattern: Annotated[
        str | None,
        typer.Option(
            help="Folders: a regular expression whose group 1 in a file's name is its field of view."
        ),
    ] = None,
    markers: Annotated[str | None, typer.Option(help="Folders: names of the channels, A,B,...")] = None,
    channel_axis: Annotated[
        str | None, typer.Option(help="Folders: first or last, where files do not tell.")
    ] = None,
    map_text: Map = None,
    pixel_um: PixelUm = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Find cells, or take those of label images, and cut a crop around each into a store that training reads.

    A folder with one folder of TIFFs per class (CLASS/xxx.tif) is read as it is, types from the folders' names.

    For example:

      napari-dama crops demo/*.ome.tif -o store

      napari-dama crops a.ome.tif b.ome.tif -o store --labels a_cells.tif b_cells.tif

      napari-dama crops slides/*.ome.tif -o noisy --max-cells 30000 --seed 0

      napari-dama crops codex/*.tif -o store --panel own --map "DAPI=nucleus"

      napari-dama crops manual_crops -o store --group-pattern "(.+)_\d+"
    """
    from napari_dama.cells.folders import class_folders

    common: dict[str, Any] = {"max_cells": max_cells, "seed": seed, "overwrite": overwrite}
    if from_folders or (len(slides) == 1 and class_folders(slides[0])):
        own = {"--labels": labels, "--model": model, "--map": map_text, "--pixel-um": pixel_um}
        _only_for("slides", {**own, "--panel": panel != "brain7"})
        if len(slides) != 1:
            raise SettingsError(f"--from-folders takes one folder, got {len(slides)} paths")
        if channel_axis not in (None, "first", "last"):
            raise SettingsError(f"--channel-axis is first or last, not {channel_axis!r}")
        names = None if markers is None else [name.strip() for name in markers.split(",")]
        common |= {"crop_um": crop_um or 32.5, "crop_px": crop_px, "channel_axis": channel_axis}
        store = _folders(slides[0], out, markers=names, group_pattern=group_pattern, **common)
    else:
        _only_for(
            "folders of crops",
            {"--group-pattern": group_pattern, "--markers": markers, "--channel-axis": channel_axis},
        )
        if labels and len(labels) != len(slides):
            raise SettingsError(
                f"there are {len(slides)} slides and {len(labels)} label images; give one per slide"
            )
        store = _slides(
            slides, out, labels, model, panel, crop_um, crop_px or 100, map_text, pixel_um, **common
        )
    facts: dict[str, Any] = {
        "store": str(out),
        "crops": len(store),
        "markers": ", ".join(store.markers),
        "crop": f"{store.crop_um:g} um, {store.crop_px} px",
        "types": {name: int((store.table["type"] == name).sum()) for name in store.types},
        "groups": len(set(store.groups)),
        "notes": list(dict.fromkeys(note for slide in store.slides for note in slide.notes)),
    }
    if as_json:
        print_json(facts)
        return
    facts["types"] = ", ".join(f"{name} {count}" for name, count in facts["types"].items()) or "none"
    print_facts(facts)


def _only_for(what: str, options: dict[str, Any]) -> None:
    """Refuse options that would silently do nothing."""
    given = [name for name, value in options.items() if value]
    if given:
        raise SettingsError(f"{given[0]} is for {what}; leave it out")


def _folders(folder: Path, out: Path, **options: Any) -> CropStore:
    from napari_dama.cells.folders import crop_folders

    with Reporter() as reporter, stop_on_interrupt() as stop:
        return crop_folders(folder, out, progress=reporter.count("files"), stop=stop, **options)


def _slides(
    slides: Sequence[Path],
    out: Path,
    labels: Sequence[Path] | None,
    model: str | None,
    panel: str,
    crop_um: float | None,
    crop_px: int,
    map_text: str | None,
    pixel_um: float | None,
    **options: Any,
) -> CropStore:
    from napari_dama.training.sources import cut_slides

    if panel not in ("brain7", "own"):
        raise SettingsError(f"--panel is brain7 or own, not {panel!r}; for a model's panel give --model")
    if model is not None and panel == "own":
        raise SettingsError("--model brings its panel; leave --panel out")
    with Reporter() as reporter, stop_on_interrupt() as stop:
        tell = reporter.count("crops, percent")
        return cut_slides(
            [(path, pixel_um) for path in slides],
            out,
            cells=labels,
            model=model,
            own=panel == "own",
            chosen=chosen_from(map_text),
            crop_um=crop_um,
            advice="say it with --map DAPI=CHANNEL, or give the cells with --labels",
            crop_px=crop_px,
            progress=lambda done, total: tell(round(100 * done / max(total, 1)), 100),
            stop=stop,
            **options,
        )
