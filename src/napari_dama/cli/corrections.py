"""corrections: what people corrected on a result, and the result's table brought up to it."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated, Any

import typer

from napari_dama.cli.console import Json, print_facts, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(corrections)


def corrections(
    result: Annotated[Path, typer.Argument(help="Folder that analyse left.")],
    as_json: Json = False,
) -> None:
    """Say what was corrected by hand on a result, and bring its cells.csv and cells.parquet up to that.

    The window does so by itself; this is for a result whose window was killed, or that was corrected elsewhere. type stays
    what the model said; type_corrected is what counts, corrected_by who said so.

    For example:

      napari-dama corrections tissue_result
    """
    from napari_dama.cells.kept import notes_of
    from napari_dama.export.source import ResultSource
    from napari_dama.predict.amend import catch_up_outlines
    from napari_dama.predict.saved_table import save_table

    redrawn = catch_up_outlines(result)
    saved = save_table(result)
    source = ResultSource.open(result)
    facts: dict[str, Any] = {
        "result": str(result),
        "types_changed": saved.changed,
        "types_confirmed": saved.confirmed,
        "outlines_drawn": source.corrections.get("outlines drawn", 0),
        "outlines_brought_in": redrawn,
        "kept_columns": source.kept_names,
        "notes": [*notes_of(source.kept, source.cells), *([saved.why_not] if saved.why_not else [])],
    }
    if as_json:
        print_json(facts)
    else:
        print_facts(
            {name.replace("_", " "): value for name, value in facts.items() if value not in ([], False)}
        )
