"""A result as the exporters need it: its table, labels, types with colours, and its slide where it can be read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.cells.corrected import anything, as_it_counts
from napari_dama.cells.correction_records import NO_TYPE
from napari_dama.cells.kept import OUTDATED, Kept, file_names, judged, notes_of, read_kept
from napari_dama.cells.table import OUTLINE, UNTYPED_COLOUR
from napari_dama.errors import OutputError, SlideError
from napari_dama.predict.record import LABELS, RUN_FILE
from napari_dama.predict.saved_table import journal_of, state_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from napari_dama.cells.corrections import Corrections
    from napari_dama.slides.slide import Slide

UNTYPED: Final = NO_TYPE
_SPARE: Final = ("#f0e442", "#0072b2", "#999999", "#8c564b", "#bcbd22", "#9467bd", "#17becf", "#7f7f7f")
_HEX: Final = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class ResultSource:
    """A result folder, read for export; nothing is read before it is asked for.

    Attributes
    ----------
    folder
        The result.
    run
        Its ``run.json``.
    """

    folder: Path
    run: dict[str, Any]

    @classmethod
    def open(cls, result_dir: str | Path) -> ResultSource:
        """Open a result folder.

        Raises
        ------
        OutputError
            It is no result.
        """
        from napari_dama.predict.result import ResultFolder

        folder = Path(result_dir)
        for name in (LABELS, RUN_FILE):
            if not (folder / name).exists():
                raise OutputError(f"{result_dir} is no result of napari-dama: it has no {name}.")
        return cls(folder, ResultFolder.open(folder).run)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The table, one row per cell in ascending labels; types as text, "" where a cell has none."""
        from napari_dama.predict.result import ResultFolder

        table = ResultFolder(self.folder, self.run).cells()
        if "label" not in table:
            raise OutputError(f"the table of {self.folder} has no column label")
        if "type" in table:
            table["type"] = table["type"].astype(object).where(table["type"].notna(), "").astype(str)
        table = table.sort_values("label", kind="stable", ignore_index=True)
        kept = self.kept
        return as_it_counts(file_names(table, kept), self.by_hand)

    @cached_property
    def by_hand(self) -> Corrections | None:
        """What was corrected by hand on this very result; None where nothing was."""
        try:
            found = journal_of(self.folder, self.run)
        except SlideError as error:
            raise OutputError(f"Corrections of {self.folder} cannot be read: {error}") from error
        return found if anything(found) else None

    @cached_property
    def _saved(self) -> dict[str, Any]:
        """What the record says of the corrections that the result's table has: counts, classes, other names."""
        found = (self.run.get("corrections") or {}).get("table")
        return found if isinstance(found, dict) and self.by_hand is None else {}

    @cached_property
    def kept(self) -> tuple[Kept, ...]:
        """Columns that were kept from plots, judged by the outlines and types that count now.

        Where the journal is not at hand, what was found when the result was saved last.
        """
        from napari_dama.predict.result import ResultFolder

        kept = read_kept(self.run.get("columns"))
        if not kept:
            return ()
        try:
            hand = journal_of(self.folder, self.run)
        except SlideError as error:
            raise OutputError(f"Corrections of {self.folder} cannot be read: {error}") from error
        if hand is None and self._saved:
            return kept
        return judged(kept, state_of(ResultFolder(self.folder, self.run).cells(), hand))

    @cached_property
    def kept_names(self) -> list[str]:
        """Columns of `cells` that were kept from plots, outdated ones under the name that says so."""
        names = [name + OUTDATED if one.outdated else name for one in self.kept for name in one.names]
        return [name for name in names if name in self.cells]

    @property
    def corrected(self) -> bool:
        """Whether `cells` has anything that a person corrected."""
        return not {"reviewed", OUTLINE}.isdisjoint(self.cells.columns)

    @cached_property
    def labels(self) -> Any:
        """Level 0 of the labels (Y, X), as a zarr array."""
        from napari_dama.cells.given import open_level

        try:
            return open_level(self.folder / LABELS)
        except SlideError as error:
            raise OutputError(str(error)) from error

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Size of the slide in level-0 pixels."""
        height, width = self.labels.shape
        return int(height), int(width)

    @property
    def pixel_um(self) -> float:
        """Side of a level-0 pixel in micrometres."""
        return float(self.run["settings"]["pixel_um"])

    @property
    def name(self) -> str:
        """Short name of the slide."""
        return str(self._slide.get("name") or self.folder.name)

    @cached_property
    def markers(self) -> list[str]:
        """Markers whose mean intensity the table holds, in the slide's order."""
        return [str(column)[5:] for column in self.cells.columns if str(column).startswith("mean_")]

    @cached_property
    def types(self) -> list[str]:
        """Cell types: those of the model in its order, then others that the table has; empty without types."""
        if "type" not in self.cells:
            return []
        hand = self.by_hand
        known = [str(name) for name in self.run.get("model", {}).get("classes", [])]
        if self._saved:
            renamed = self._saved.get("renamed") or {}
            known = [str(renamed.get(name, name)) for name in known]
            known += [str(name) for name in self._saved.get("classes") or {} if name not in known]
        if hand is not None:
            known = [hand.renamed.get(name, name) for name in known if name not in hand.deleted]
            known += [name for name in hand.classes if name not in known]
        found = sorted(set(self.cells["type"]) - {""} - set(known))
        return known + found

    @cached_property
    def colours(self) -> dict[str, str]:
        """A colour ``#rrggbb`` per type: the model's, else one that no other type has."""
        model = self.run.get("model", {})
        pairs = zip(model.get("classes", []), model.get("class_colours", []), strict=False)
        given = {str(name): str(colour) for name, colour in pairs if _HEX.fullmatch(str(colour))}
        if self.by_hand is not None:
            given = {self.by_hand.renamed.get(name, name): colour for name, colour in given.items()}
            given |= {name: colour for name, colour in self.by_hand.classes.items() if _HEX.fullmatch(colour)}
        renamed = self._saved.get("renamed") or {}
        given = {str(renamed.get(name, name)): colour for name, colour in given.items()}
        made = self._saved.get("classes") or {}
        given |= {str(name): str(colour) for name, colour in made.items() if _HEX.fullmatch(str(colour))}
        spare = [colour for colour in _SPARE if colour not in given.values()]
        out: dict[str, str] = {}
        for name in self.types:
            out[name] = given.get(name) or (spare.pop(0) if spare else UNTYPED_COLOUR)
        return out

    @property
    def corrections(self) -> dict[str, int]:
        """What was changed by hand: a plain word for the kind of change and how many cells; empty when nothing was."""
        found = self.run.get("corrections") or {}
        out: dict[str, int] = {}
        if isinstance(found, dict):
            drawn = found.get("drawn")
            out = {"outlines drawn": len(drawn)} if isinstance(drawn, list) and drawn else {}
            named = {
                kind: count for kind, count in found.items() if kind != "applied" and isinstance(count, int)
            }
            out |= {str(kind): int(count) for kind, count in named.items() if count}
        if "type_model" in self.cells:
            looked = self.cells[self.cells["reviewed"]]
            changed = int((looked["type"] != looked["type_model"]).sum())
            counts = {"types changed": changed, "types confirmed": len(looked) - changed}
            out |= {kind: count for kind, count in counts.items() if count}
        return out

    @property
    def _slide(self) -> dict[str, Any]:
        slide = self.run.get("slide")
        return slide if isinstance(slide, dict) else {"path": slide}

    @property
    def slide_path(self) -> Path | None:
        """Where the slide was; None for an array in memory."""
        path = self._slide.get("path")
        return Path(str(path)) if path else None

    def open_slide(self) -> Slide:
        """Open the slide that was analysed, with the pixel size of the analysis.

        Raises
        ------
        OutputError
            It is not where it was, cannot be read, or is another one by now.
        """
        from napari_dama.slides.slide import open_slide

        path = self.slide_path
        if path is None:
            raise OutputError(
                f"{self.folder} was made from an array in memory: there is no slide to read from."
            )
        try:
            slide = open_slide(path, pixel_um=self.pixel_um)
        except SlideError as error:
            raise OutputError(f"The slide of {self.folder} cannot be read: {error}") from error
        if tuple(slide.shape[1:]) != self.shape_yx:
            found = tuple(slide.shape[1:])
            slide.close()
            raise OutputError(
                f"{path} has {found} pixels (Y, X), and the labels of {self.folder} {self.shape_yx}: it is not the slide "
                "that was analysed."
            )
        return slide

    def type_column(self) -> pd.Categorical[str]:
        """Types of the cells as an ordered category, in the order of `types`; missing where a cell has none."""
        import pandas as pd

        categories = pd.Index(np.array(self.types, object))
        return pd.Categorical.from_codes(self.type_codes(), categories=categories, ordered=True)

    def type_codes(self) -> NDArray[np.int64]:
        """Position of each cell's type in `types` (n,), -1 for none."""
        place = {name: index for index, name in enumerate(self.types)}
        if "type" not in self.cells:
            return np.full(len(self.cells), -1, np.int64)
        return np.array([place.get(name, -1) for name in self.cells["type"]], np.int64)


def outdated_notes(result_dir: str | Path) -> list[str]:
    """Return what who exports a table should know: columns kept from plots that do not fit the cells any more."""
    folder = Path(result_dir)
    if not (folder / RUN_FILE).is_file():
        return []
    source = ResultSource.open(folder)
    return notes_of(source.kept, source.cells) if source.kept else []


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of ``#rrggbb``."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def need(module: str, extra: str) -> Any:
    """Import a library that only one format needs.

    Raises
    ------
    OutputError
        It is not installed; the sentence holds the line that installs it.
    """
    import importlib
    import sys

    try:
        return importlib.import_module(module)
    except ImportError as error:
        why = "which is not installed" if isinstance(error, ModuleNotFoundError) else f"which fails: {error}"
        raise OutputError(
            f"This format needs the library {module}, {why}. Install it with: "
            f'"{sys.executable}" -m pip install "napari-dama[{extra}]"'
        ) from error
