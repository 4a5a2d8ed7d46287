"""Labels as OME-Zarr where viewers look for them: in the ``labels`` of an image, with the colours of types."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.cells.table import UNTYPED_COLOUR
from napari_dama.errors import OutputError, SettingsError
from napari_dama.export.folders import attributes, is_zarr, replacing_folder
from napari_dama.export.ngff import add_metadata, metadata, new_group, write_pyramid
from napari_dama.export.source import ResultSource, rgb
from napari_dama.export.watch import Watch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.slides.slide import Slide

NAME: Final = "cells"
_MARK: Final = "napari_dama"
"""Attribute of images that an export wrote as a whole, and may replace."""


def to_ome_zarr(
    result_dir: str | Path,
    file: str | Path,
    *,
    overwrite: bool = False,
    watch: Watch | None = None,
    image: bool = True,
    name: str = NAME,
) -> Path:
    """Write the cells as a label image with a pyramid, each cell in its type's colour.

    Three ways, by what is at ``file``:

    - an OME-Zarr image (0.4 or 0.5) of the same size: the cells are added to it as ``labels/NAME``, nothing else changes;
    - nothing: a new OME-Zarr 0.4 with the slide's markers and the cells as its ``labels/NAME``;
    - nothing, and ``image=False``: the label image by itself.

    Parameters
    ----------
    result_dir
        What ``analyse`` left.
    file
        A folder ``.zarr``.
    overwrite
        Replace labels of that name in an image; replace an OME-Zarr that an earlier export wrote.
    watch
        Told of progress, asked whether to stop.
    image
        Copy the slide's pixels, too.
    name
        Of the labels in the image.

    Raises
    ------
    OutputError
        There is no result; the slide cannot be read; or the target exists, has another size or cannot be written.
    SettingsError
        The name cannot be a folder's.
    Interrupted
        ``watch`` said so; nothing is left behind.
    """
    target, watch = Path(file), watch or Watch()
    if not name or name.startswith(".") or set(name) & set('/\\:*?"<>|'):
        raise SettingsError(f"{name!r} cannot be the name of labels: it becomes the name of a folder.")
    source = ResultSource.open(result_dir)
    if target.is_dir() and is_zarr(target) and (_MARK not in attributes(target) or _is_slide(source, target)):
        _add_to_image(source, target, name, overwrite=overwrite, watch=watch)
        return target
    with replacing_folder(target, source=source, overwrite=overwrite, mark=_MARK) as part:
        group = new_group(part)
        if image:
            with source.open_slide() as slide:
                _write_image(group, source, slide, watch)
            _write_labels(group.create_group("labels"), source, name, watch, share=(0.6, 1.0))
        else:
            _fill_labels(group, source, watch, share=(0.0, 1.0))
        group.attrs[_MARK] = {"written": "export"}
    return target


def _is_slide(source: ResultSource, target: Path) -> bool:
    """Whether the target is the slide that was analysed: then the cells are added to it."""
    return source.slide_path is not None and source.slide_path.resolve() == target.resolve()


def _add_to_image(source: ResultSource, target: Path, name: str, *, overwrite: bool, watch: Watch) -> None:
    """Add labels to somebody's image: written beside, then moved in, then listed."""
    import zarr

    try:
        image: Any = zarr.open_group(str(target), mode="r+")
        scales: Any = metadata(image)["multiscales"]
        found = tuple(int(n) for n in image[scales[0]["datasets"][0]["path"]].shape[-2:])
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise OutputError(
            f"{target} is no OME-Zarr image, so that no labels can be added to it: {error}"
        ) from error
    if found != source.shape_yx:
        raise OutputError(
            f"{target} has {found} pixels (Y, X) and the labels {source.shape_yx}: another image."
        )
    place = target / "labels" / name
    if place.exists() and not overwrite:
        raise OutputError(
            f"{target} has labels {name!r} already: give another name, or allow overwriting (--overwrite)."
        )
    try:
        labels = image.require_group("labels")
        part = f".{os.getpid()}.part.{name}"
        try:
            _fill_labels(labels.create_group(part), source, watch, share=(0.0, 1.0), image="../../")
            if place.exists():
                shutil.rmtree(place)
            os.replace(target / "labels" / part, place)
        finally:
            shutil.rmtree(target / "labels" / part, ignore_errors=True)
        listed = [entry for entry in metadata(labels).get("labels", []) if entry != name]
        add_metadata(labels, {"labels": [*listed, name]})
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error}.") from error


def _write_labels(
    labels: Any, source: ResultSource, name: str, watch: Watch, *, share: tuple[float, float]
) -> None:
    _fill_labels(labels.create_group(name), source, watch, share=share, image="../../")
    add_metadata(labels, {"labels": [name]})


def _fill_labels(
    group: Any, source: ResultSource, watch: Watch, *, share: tuple[float, float], image: str = ""
) -> None:
    """Pixels, pyramid, colours and types of the labels."""

    def read(rows: slice, columns: slice) -> NDArray[Any]:
        return np.asarray(source.labels[rows, columns], np.uint32)

    write_pyramid(
        group,
        read,
        source.shape_yx,
        np.uint32,
        pixel_um=source.pixel_um,
        name=NAME,
        reduce="pick",
        step=lambda done, total: _tell(watch, done, total, share),
    )
    numbers = source.cells["label"].tolist()
    codes = source.type_codes().tolist()
    colours = [[*rgb(colour), 255] for colour in source.colours.values()]
    plain = [*rgb(UNTYPED_COLOUR), 255]
    about: dict[str, Any] = {
        "colors": [
            {"label-value": number, "rgba": colours[code] if code >= 0 else plain}
            for number, code in zip(numbers, codes, strict=True)
        ]
    }
    if source.types:
        about["properties"] = [
            {"label-value": number, "type": source.types[code]}
            for number, code in zip(numbers, codes, strict=True)
            if code >= 0
        ]
    if image:
        about["source"] = {"image": image}
    if group.metadata.zarr_format == 2:
        about["version"] = "0.4"
    add_metadata(group, {"image-label": about})


def _write_image(group: Any, source: ResultSource, slide: Slide, watch: Watch) -> None:
    """The slide's markers with names, colours and contrast."""
    from napari_dama.export.blend import shown_markers
    from napari_dama.slides.region import Region

    def read(rows: slice, columns: slice) -> NDArray[Any]:
        return slide.read(Region(rows.start, rows.stop, columns.start, columns.stop))

    write_pyramid(
        group,
        read,
        tuple(slide.shape),
        slide.dtype,
        pixel_um=source.pixel_um,
        name=source.name,
        reduce="mean",
        step=lambda done, total: _tell(watch, done, total, (0.0, 0.6)),
    )
    shown = {marker.name for marker in shown_markers(source, slide)}
    every = shown_markers(source, slide, dict.fromkeys(slide.markers))
    channels = [
        {
            "label": marker.name,
            "color": marker.colour[1:].upper(),
            "active": marker.name in shown,
            "window": {"start": marker.low, "end": marker.high, "min": 0.0, "max": max(marker.high, 1.0)},
        }
        for marker in every
    ]
    add_metadata(group, {"omero": {"channels": channels, "rdefs": {"model": "color"}}})


def _tell(watch: Watch, done: int, total: int, share: tuple[float, float]) -> None:
    begin, end = share
    watch.step(round(1000 * (begin + (end - begin) * done / max(total, 1))), 1000)
