"""Which axis of a file is what, which names and which pixel size to believe; every assumption becomes a note."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_dama.errors import SettingsError, SlideError

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALLEST_PIXEL_UM = 0.01
LARGEST_PIXEL_UM = 50.0
_MANY = 64
_UNKNOWN = "QI?"
_WORDS = {"Z": "Z planes", "T": "time points", "C": "channels"}


@dataclass(frozen=True, slots=True)
class AxesPlan:
    """One letter per axis of the pixels; exactly one Y and one X, at most one C; of every other the first is taken."""

    axes: str
    shape: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def czyx(self) -> tuple[int, int, int]:
        """``(C, Y, X)`` of the slide."""
        return self.length("C"), self.length("Y"), self.length("X")

    def length(self, letter: str) -> int:
        """Length of an axis, 1 if there is none."""
        return self.shape[self.axes.index(letter)] if letter in self.axes else 1


def plan_axes(
    axes: str, shape: Sequence[int], *, what: str, chosen: str | None = None, n_given: int | None = None
) -> AxesPlan:
    """Decide what each axis is.

    Parameters
    ----------
    axes
        What the file's metadata say, a letter per axis; ``Q``, ``I`` or ``?`` where they say nothing, ``S`` samples.
    shape
        Length of each axis.
    what
        Name of the slide, for messages.
    chosen
        What the user says instead, such as ``"CYX"`` or ``"ZCYX"``.
    n_given
        How many marker names the user gave: it can settle an open question.

    Raises
    ------
    SlideError
        If the axes cannot be settled.
    SettingsError
        If `chosen` is no description of axes.
    """
    shape = tuple(int(length) for length in shape)
    if 0 in shape:
        raise SlideError(f"{what} holds no pixels: its shape is {shape}.")
    if chosen is not None:
        return _as_chosen(chosen, shape, what)
    if len(shape) < 2:
        raise SlideError(
            f"{what} is no image: its shape is {shape}, and at least rows and columns are needed."
        )
    letters = axes.upper()
    notes: list[str] = []
    if letters.count("Y") != 1 or letters.count("X") != 1:
        raise SlideError(
            f"{what} has axes {axes} of lengths {shape}, and it is not clear which are rows and columns; "
            "say it with axes, for example axes='CYX'."
        )
    if "C" not in letters:
        letters = _find_channels(letters, shape, n_given, notes)
    for letter, length in zip(letters, shape, strict=True):
        if letter not in "CYX" and length > 1:
            name = _WORDS.get(letter, f"planes along axis {letter}")
            other = letters.translate(str.maketrans(letter + "C", "C" + (letter if letter in "ZT" else "Z")))
            notes.append(
                f"The slide has {length} {name}; the first is taken. If they are the markers, say so with axes='{other}'."
            )
    return AxesPlan(letters, shape, tuple(notes))


def _find_channels(letters: str, shape: tuple[int, ...], n_given: int | None, notes: list[str]) -> str:
    """Name the axis of the channels where the metadata do not."""
    if "S" in letters:
        return letters.replace("S", "C", 1)
    open_axes = [i for i, letter in enumerate(letters) if letter in _UNKNOWN and shape[i] > 1]
    if not open_axes:
        return letters
    first, last = open_axes[-1], len(shape) - 1
    swapped = letters[:first] + "YXC"
    if len(letters) == first + 3 and letters.endswith("YX"):
        if n_given is not None and n_given == shape[last] and n_given != shape[first]:
            return swapped
        if shape[first] > _MANY >= shape[last] and n_given != shape[first]:
            notes.append(
                f"The file does not say which axis is which; of {shape[first:]} the last is taken as "
                f"{shape[last]} channels. If that is wrong, say so with axes, for example axes='{letters[:first]}CYX'."
            )
            return swapped
    if n_given != shape[first]:
        notes.append(
            f"The file does not say what its {shape[first]} planes are; they are taken as {shape[first]} channels. "
            f"If that is wrong, say so with axes, for example axes='{letters[:first]}Z{letters[first + 1 :]}'."
        )
    return letters[:first] + "C" + letters[first + 1 :]


def _as_chosen(chosen: str, shape: tuple[int, ...], what: str) -> AxesPlan:
    letters = chosen.strip().upper()
    if not letters.isalpha() or len(set(letters)) != len(letters) or not {"Y", "X"} <= set(letters):
        raise SettingsError(
            f"axes={chosen!r} is no description of axes: one letter for each, with Y and X, for example 'CYX' or 'ZCYX'."
        )
    if len(letters) > len(shape):  # axes of length 1 are not stored by every format
        for letter in "TZC" if len(shape) == 2 else "TZ":
            if len(letters) > len(shape):
                letters = letters.replace(letter, "")
    if len(letters) != len(shape):
        raise SlideError(
            f"axes={chosen!r} names {len(chosen.strip())} axes, but {what} has {len(shape)}, of lengths {shape}."
        )
    return AxesPlan(letters, shape)


def tidy_markers(
    names: Sequence[str | None], count: int, *, what: str, given: Sequence[str] | None, notes: list[str]
) -> tuple[str, ...]:
    """Give every channel a name of its own, and note what had to be made up.

    Parameters
    ----------
    names
        From the metadata; may be too few, too many, empty or None.
    count
        Number of channels.
    what
        Name of the slide, for messages.
    given
        The user's names instead.
    notes
        Grows by what was assumed.
    """
    if isinstance(given, str):
        raise SettingsError(
            f"markers is the text {given!r}; a list with one name for each channel is needed."
        )
    if given is not None and len(given) != count:
        raise SlideError(
            f"{len(given)} marker names were given ({', '.join(map(str, given))}), "
            f"but {what} has {count} channel{'s' if count > 1 else ''}; give one name for each."
        )
    source = list(given if given is not None else names)
    if given is None and source and len(source) != count:
        notes.append(f"The file names {len(source)} channels but has {count}; names go to the first ones.")
    source = (source + [None] * count)[:count]
    tidy: list[str] = []
    missing, doubled = [], []
    for i, name in enumerate(source):
        text = " ".join(str(name).split()) if name is not None else ""
        if not text:
            text = f"channel {i + 1}"
            missing.append(text)
        unique, copy = text, 1
        while unique in tidy:
            copy += 1
            unique = f"{text} ({copy})"
        if copy > 1:
            doubled.append(unique)
        tidy.append(unique)
    if len(missing) == count:
        notes.append(
            "The file gives no marker names; channels are numbered. Name them to match them with a model."
        )
    elif missing:
        notes.append(f"Without a name in the file: {', '.join(missing)}.")
    if doubled:
        notes.append(f"Marker names that occur more than once were numbered: {', '.join(doubled)}.")
    return tuple(tidy)


def tidy_pixel_um(found: float | None, *, given: float | None, notes: list[str]) -> float | None:
    """Settle the pixel size in micrometres: the user's, else the file's if it can be true, else None with a note."""
    if given is not None:
        if not _plausible(given):
            raise SettingsError(
                f"A pixel size of {given} um cannot be; it must lie between {SMALLEST_PIXEL_UM} and {LARGEST_PIXEL_UM} um."
            )
        return float(given)
    if found is None:
        notes.append(
            "The file gives no pixel size; give it in micrometres (pixel_um) before sizes are trusted."
        )
        return None
    if not _plausible(found):
        notes.append(
            f"The file gives a pixel size of {found:g} um, which cannot be, so it is not used; give the true one (pixel_um)."
        )
        return None
    return float(found)


def _plausible(pixel_um: float) -> bool:
    return math.isfinite(pixel_um) and SMALLEST_PIXEL_UM <= pixel_um <= LARGEST_PIXEL_UM


_UM = {
    "m": 1e6, "meter": 1e6, "metre": 1e6, "dm": 1e5, "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4, "mm": 1e3,
    "millimeter": 1e3, "millimetre": 1e3, "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "micrometre": 1.0, "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3, "pm": 1e-6,
    "angstrom": 1e-4, "Å": 1e-4, "å": 1e-4, "in": 25400.0, "inch": 25400.0,
}  # fmt: skip


def to_um(length: float, unit: str | None) -> float | None:
    """Convert a length to micrometres; None where the unit is no length (pixels, unknown)."""
    if unit is None:
        return None
    text = unit.strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    factor = _UM.get(text, _UM.get(text.casefold(), _UM.get(text.casefold().removesuffix("s"))))
    return None if factor is None else length * factor


def square_pixel_um(x_um: float | None, y_um: float | None, notes: list[str]) -> float | None:
    """Give one pixel size from those along X and Y, with a note where they differ."""
    if x_um is None or y_um is None:
        return x_um if y_um is None else y_um
    if abs(x_um - y_um) > 0.01 * max(abs(x_um), abs(y_um)):
        notes.append(
            f"Pixels are not square ({x_um:g} x {y_um:g} um); the width, {x_um:g} um, is taken for both."
        )
    return x_um
