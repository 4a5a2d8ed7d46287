"""Lists of marker names: pasted, in the files of other programs, and in the small file beside a slide.

The names file of a slide ``tissue.ome.tif`` is ``tissue.ome.tif.markers.csv`` in the same folder: a CSV with the columns
``channel_number`` (from 1) and ``marker_name``, as MCMICRO's ``markers.csv``.
`napari_dama.slides.slide.open_slide` reads it.
"""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING, Final

from napari_dama.errors import OutputError, SettingsError
from napari_dama.slides.axes import tidy_markers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_dama.slides.levels import LeveledSlide

ENDING: Final = ".markers.csv"
LARGEST_BYTES: Final = 1_000_000
"""A list of names is small; anything larger is another file, chosen by mistake."""
_NAME_COLUMNS = ("marker_name", "marker", "markername", "target", "antibody", "name", "channel_name", "label")
_OF_NAMES = (
    "The file gives no marker names",
    "The file names ",
    "Without a name in the file",
    "Marker names that occur",
)
"""How notes on the names in the slide itself begin; they mean nothing once other names count."""
_NUMBER_COLUMNS = ("channel_number", "channel", "channelnumber", "index", "number", "#", "ch")


def names_file(slide: Path) -> Path:
    """Return where the names file of a slide is, whether it exists or not."""
    return slide.with_name(slide.name + ENDING)


def read_names(file: Path) -> list[str]:
    """Read marker names from a text, CSV or TSV file; see `parse_names`.

    Raises
    ------
    SettingsError
        If the file cannot be read, or holds no names.
    """
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise SettingsError(
                f"{file} is too large for a list of marker names; choose a text, CSV or TSV file."
            )
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{file} is no text file; choose a text, CSV or TSV file with marker names."
        ) from error
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror or error}.") from error
    try:
        return parse_names(text)
    except SettingsError as error:
        raise SettingsError(f"{file.name}: {error}") from error


def parse_names(text: str) -> list[str]:
    r"""Read marker names from a text.

    One name per line, or names with commas, semicolons or tabs between them on one line, or a table with a header that has
    a column ``marker_name`` or ``marker`` (MCMICRO, CODEX), and perhaps ``channel_number`` or ``channel``, by which its
    rows are sorted. In a list of one name per line an empty line stands for a channel without a name; empty lines at the
    end do not count.

    Raises
    ------
    SettingsError
        If there are no names, or a channel number stands there twice or is none.

    Examples
    --------
    >>> parse_names("DAPI, NeuN, Iba1")
    ['DAPI', 'NeuN', 'Iba1']
    >>> parse_names("channel,marker\n2,NeuN\n1,DAPI\n")
    ['DAPI', 'NeuN']
    """
    lines = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines:
        raise SettingsError(
            "there are no marker names in it: give one per line, or separate them with commas."
        )
    separator = next((mark for mark in ("\t", ";", ",") if mark in lines[0]), None)
    if separator is None:
        names = [_tidy(line) for line in lines]
        titled = names[0].casefold() in ("marker_name", "marker", "markers", "channel_name", "channel names")
        return names[1:] if titled and len(names) > 1 else names
    rows = [
        row
        for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, skipinitialspace=True)
        if any(row)
    ]
    if len(rows) == 1:
        return _without_empty_end([_tidy(name) for name in rows[0]])
    header = [cell.strip().casefold().replace(" ", "_") for cell in rows[0]]
    column = next((header.index(name) for name in _NAME_COLUMNS if name in header), None)
    if column is not None:
        number = next(
            (
                header.index(name)
                for name in _NUMBER_COLUMNS
                if name in header and header.index(name) != column
            ),
            None,
        )
        return _of_table(rows[1:], column, number)
    if all(len(row) == 2 and row[0].strip().isdigit() for row in rows):  # number and name without a header
        return _of_table(rows, 1, 0)
    return _without_empty_end([_tidy(name) for row in rows for name in row])


def _of_table(rows: Sequence[Sequence[str]], column: int, number: int | None) -> list[str]:
    names = [_tidy(row[column]) if column < len(row) else "" for row in rows]
    if number is None:
        return names
    places: dict[int, str] = {}
    for row, name in zip(rows, names, strict=True):
        text = row[number].strip() if number < len(row) else ""
        if not text.isdigit():
            return names  # a column of channel names, not of numbers: the order of the rows counts
        if int(text) in places:
            raise SettingsError(f"channel number {text} stands there twice ({places[int(text)]} and {name}).")
        places[int(text)] = name
    return [places[key] for key in sorted(places)]


def _without_empty_end(names: list[str]) -> list[str]:
    while names and not names[-1]:
        names.pop()
    return names


def _tidy(name: str) -> str:
    return " ".join(name.strip().strip('"').split())


def named(slide: LeveledSlide, path: Path, markers: Sequence[str] | None) -> LeveledSlide:
    """Return a slide that was just opened, with the names of its names file where it has one and `markers` is None."""
    if markers is not None:
        return slide
    notes: list[str] = []
    names = load_names(path, slide.shape[0], notes)
    if names is not None:
        slide.markers = tidy_markers([], slide.shape[0], what=slide.name, given=names, notes=notes)
        slide.notes = tuple(note for note in slide.notes if not note.startswith(_OF_NAMES))
    slide.notes = (*slide.notes, *notes)
    return slide


def load_names(slide: Path, count: int, notes: list[str]) -> list[str] | None:
    """Return the names in a slide's names file, None where there is no such file or it does not fit; `notes` grows."""
    file = names_file(slide)
    try:
        if not file.is_file():
            return None
        names = read_names(file)
    except (OSError, SettingsError) as error:
        notes.append(f"The names file {file.name} beside the slide was left out: {error}")
        return None
    if len(names) != count:
        notes.append(
            f"The names file {file.name} beside the slide was left out: "
            f"it names {len(names)} channels, the slide has {count}."
        )
        return None
    notes.append(f"Marker names are those of {file.name} beside the slide.")
    return names


def save_names(slide: Path, names: Sequence[str]) -> Path:
    """Write the names file of a slide, and return where it is.

    Raises
    ------
    OutputError
        If it cannot be written, as in a folder that is read-only.
    """
    file = names_file(slide)
    part = file.with_name(f".{os.getpid()}.part.{file.name}")
    try:
        with part.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(["channel_number", "marker_name"])
            writer.writerows((i + 1, name) for i, name in enumerate(names))
        os.replace(part, file)
    except OSError as error:
        raise OutputError(
            f"The marker names cannot be saved beside the slide ({file}): {error.strerror or error}."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return file


def forget_names(slide: Path) -> None:
    """Remove the names file of a slide, so that its own names count again.

    Raises
    ------
    OutputError
        If it cannot be removed.
    """
    file = names_file(slide)
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{file} cannot be removed: {error.strerror or error}.") from error
