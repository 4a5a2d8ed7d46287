"""Slides from TIFF files: OME-TIFF (pyramids, linked files), ImageJ, QPTIFF, plain multi-page TIFF."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from napari_dama.errors import DamaError, SettingsError, SlideError
from napari_dama.slides.array import ArrayLevel, check_dtype
from napari_dama.slides.axes import AxesPlan, plan_axes, tidy_markers, tidy_pixel_um
from napari_dama.slides.levels import Level, LeveledSlide
from napari_dama.slides.slide import FORMATS
from napari_dama.slides.tiff_metadata import read_facts
from napari_dama.slides.tiff_pixels import Plane, SeriesRows, TiffFiles, TiffLevel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_RGB, _YCBCR = 2, 6
_TRUNCATED = "is cut off: parts of it are missing, so it was probably not copied or saved completely"


def open_tiff(
    path: Path,
    *,
    markers: Sequence[str] | None = None,
    pixel_um: float | None = None,
    axes: str | None = None,
    series: int = 0,
) -> LeveledSlide:
    """Open a TIFF file of any kind; see `napari_dama.slides.slide.open_slide`."""
    with _listening() as said:
        tif = _open_file(path)
        try:
            return _build(tif, path, said, markers=markers, pixel_um=pixel_um, axes=axes, series=series)
        except DamaError:
            tif.close()
            raise
        except Exception as error:  # tifffile and damaged metadata raise whatever they like
            tif.close()
            raise SlideError(
                f"{path} cannot be read as a TIFF; it is damaged or incomplete ({error})."
            ) from error


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect what tifffile would log, for our own message instead of lines on the terminal."""
    said: list[str] = []
    me = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != me:
            return True
        said.append(record.getMessage())
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(collect)
    try:
        yield said
    finally:
        logger.removeFilter(collect)


def _open_file(path: Path) -> tifffile.TiffFile:
    try:
        tif = tifffile.TiffFile(path)
        if tif.is_ome and "BinaryOnly" in (tif.ome_metadata or "")[:4000]:
            return _open_owner(tif, path)
    except tifffile.TiffFileError as error:
        with path.open("rb") as file:
            is_tiff = file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
        if is_tiff:
            raise SlideError(f"{path} {_TRUNCATED}.") from error
        raise SlideError(
            f"{path} is not a TIFF file. Slides can be {FORMATS}; others can be converted with QuPath or bioformats2raw."
        ) from error
    except OSError as error:
        raise SlideError(f"{path} cannot be opened: {error.strerror or error}.") from error
    except DamaError:
        raise
    except Exception as error:  # damaged headers raise struct.error, IndexError and more
        raise SlideError(f"{path} {_TRUNCATED} ({error}).") from error
    return tif


def _open_owner(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffFile:
    """Follow a file of an OME set that only holds pixels to the one that describes the set."""
    root = ElementTree.fromstring(tif.ome_metadata or "")
    link = next((element for element in root if str(element.tag).endswith("BinaryOnly")), None)
    if link is None:
        return tif
    owner = path.parent / str(link.get("MetadataFile", ""))
    if not owner.is_file():
        tif.close()
        raise SlideError(
            f"{path} is part of a set that {owner.name} describes, and that file is not beside it."
        )
    if owner.suffix.lower() in (".tif", ".tiff", ".btf"):
        tif.close()
        return tifffile.TiffFile(owner)
    tif.close()
    return tifffile.TiffFile(path, omexml=owner.read_text(encoding="utf-8"))


def _build(
    tif: tifffile.TiffFile,
    path: Path,
    said: list[str],
    *,
    markers: Sequence[str] | None,
    pixel_um: float | None,
    axes: str | None,
    series: int,
) -> LeveledSlide:
    images = tif.series
    if not images or not len(tif.pages):
        raise SlideError(f"{path} {_TRUNCATED}.")
    if series >= len(images):
        raise SettingsError(f"series is {series}, but {path} holds {len(images)} image(s), counted from 0.")
    image = images[series]
    _check_complete(tif, image, path, said)
    keyframe = image.keyframe
    _refuse_colour(keyframe, image.axes, path, axes)
    check_dtype(np.dtype(image.dtype), str(path))
    n_given = None if markers is None else len(markers)
    plan = plan_axes(image.axes, image.shape, what=str(path), chosen=axes, n_given=n_given)
    notes = list(plan.notes)
    files = TiffFiles()
    levels, planes, numbers = _levels(image, plan, files, notes)
    facts = read_facts(tif, series, [plane.page for plane in planes], numbers)
    notes += facts.notes
    if len(images) > 1 and not _only_thumbnails(images, image):
        notes.append(
            f"The file holds {len(images)} images; number {series} is taken, others with series=1 and so on."
        )
    names = tidy_markers(facts.names, plan.czyx[0], what=str(path), given=markers, notes=notes)
    size = tidy_pixel_um(facts.pixel_um, given=pixel_um, notes=notes)

    def close() -> None:
        files.close()
        tif.close()

    name = path.name
    for ending in (".ome.tiff", ".ome.tif", ".ome.btf", path.suffix):
        if ending and name.lower().endswith(ending.lower()):
            name = name[: -len(ending)]
            break
    return LeveledSlide(
        levels, name=name, path=path, markers=names, pixel_um=size, notes=notes, on_close=close
    )


def _check_complete(tif: tifffile.TiffFile, image: Any, path: Path, said: list[str]) -> None:
    """Refuse files that end too early and sets whose files are missing, before anything is read."""
    pages = list(image.pages)
    missing = sum(page is None for page in pages)
    if missing:
        raise SlideError(
            f"{path} belongs to a set of files, and {missing} of its {len(pages)} planes are in files that are not "
            "there or are incomplete; put the whole set in one folder."
        )
    if any("invalid page offset" in line or "corrupted page list" in line for line in said):
        raise SlideError(f"{path} {_TRUNCATED}.")
    ends: dict[int, int] = {}
    for level in image.levels:
        for page in level.pages:
            if page is not None and len(page.dataoffsets):
                counts = page.databytecounts
                if len(level.pages) == 1 and level.dataoffset is not None:
                    end = int(level.dataoffset) + int(level.nbytes)
                else:
                    end = max(offset + count for offset, count in zip(page.dataoffsets, counts, strict=False))
                owner = page.parent.filehandle
                ends[id(owner)] = max(end, ends.get(id(owner), 0))
                if ends[id(owner)] > owner.size:
                    raise SlideError(f"{owner.path} {_TRUNCATED}.")


def _refuse_colour(keyframe: Any, axes: str, path: Path, chosen: str | None) -> None:
    if chosen is None and "S" in axes and int(keyframe.photometric) in (_RGB, _YCBCR):
        raise SlideError(
            f"{path} is a colour (RGB) picture, not a slide of markers; if its {keyframe.samplesperpixel} colours do "
            f"hold markers, say so with axes='{axes.replace('S', 'C')}'."
        )


def _only_thumbnails(images: Sequence[Any], image: Any) -> bool:
    """Whether the other images are small pictures of the slide and its label, as scanners add."""
    side = ("thumbnail", "label", "macro", "overview")
    return all(other is image or str(other.name).casefold() in side for other in images)


def _levels(
    image: Any, plan: AxesPlan, files: TiffFiles, notes: list[str]
) -> tuple[list[Level], list[Plane], list[int]]:
    """Give the levels, the planes of level 0 and their numbers among the pages of the series."""
    levels: list[Level] = []
    first: list[Plane] = []
    numbers: list[int] = []
    for level in image.levels:
        same = len(level.shape) == len(plan.shape)
        if not same or (levels and level.shape[plan.axes.index("X")] >= levels[-1].shape[2]):
            continue
        at = AxesPlan(plan.axes, tuple(int(n) for n in level.shape))
        if at.length("C") != plan.length("C"):
            continue
        found = _planes(level, at)
        if found is None:
            if not levels:  # an odd layout: right, if not quick
                notes.append("The file's layout cannot be read in parts; it is read whole.")
                pixels = level.asarray() if level.dataoffset is None else level.asarray(out="memmap")
                levels.append(ArrayLevel(pixels, at))
                first, numbers = [Plane(level.keyframe)], [0]
            break
        planes, at_pages = found
        levels.append(TiffLevel(planes, files))
        if not first:
            first, numbers = planes, at_pages
    return levels, first, numbers


def _planes(level: Any, plan: AxesPlan) -> tuple[list[Plane], list[int]] | None:
    """Find page and sample of each channel; None if pages do not hold rows and columns as the plan has it."""
    keyframe = level.keyframe
    separate, depth, height, width, contiguous = keyframe.shaped
    samples = int(separate * contiguous)
    trailing = "SYX" if separate > 1 else "YXS" if contiguous > 1 else "YX"
    lead = len(plan.shape) - len(trailing)
    if depth != 1 or lead < 0:
        return None
    inner = plan.axes[lead:]
    expected = tuple({"Y": int(height), "X": int(width), "S": samples}[letter] for letter in trailing)
    if plan.shape[lead:] != expected or any(inner.find(letter) != trailing.index(letter) for letter in "YX"):
        return None
    total = int(np.prod(plan.shape[:lead], dtype=int))
    virtual = len(level.pages) != total or (len(level.pages) == 1 and total > 1)
    if virtual and level.dataoffset is None:
        return None
    planes, numbers = [], []
    for channel in range(plan.length("C")):
        index = [channel if letter == "C" else 0 for letter in plan.axes[:lead]]
        number = int(np.ravel_multi_index(index, plan.shape[:lead])) if lead else 0
        sample = channel if "C" in inner else 0
        page = SeriesRows(level, number) if virtual else level.pages[number]
        planes.append(Plane(page, sample))
        numbers.append(number)
    return planes, numbers
