"""Slides from OME-Zarr folders, zarr 2 and 3."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_dama.errors import DamaError, SettingsError, SlideError
from napari_dama.slides.array import check_dtype, native
from napari_dama.slides.axes import AxesPlan, plan_axes, square_pixel_um, tidy_markers, tidy_pixel_um, to_um
from napari_dama.slides.levels import LeveledSlide
from napari_dama.slides.slide import FORMATS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_dama.slides.region import Region

_MARKS = (".zarray", ".zgroup", ".zattrs", "zarr.json")


class ZarrLevel:
    """A level over a zarr array; implements `napari_dama.slides.levels.Level`."""

    def __init__(self, array: Any, plan: AxesPlan) -> None:
        self._array, self._plan = array, plan
        self.shape = plan.czyx
        self.dtype = native(np.dtype(array.dtype))
        self._chunk = dict(zip(plan.axes, array.chunks, strict=True))
        self.tile = (int(self._chunk["Y"]), int(self._chunk["X"]))

    def read(self, channels: Sequence[int], region: Region) -> NDArray[Any]:
        """Read (c, h, w); chunks that hold several channels are read once."""
        out = np.empty((len(channels), *region.shape), self.dtype)
        per_chunk = int(self._chunk.get("C", 1))
        groups: dict[int, list[int]] = {}
        for i, channel in enumerate(channels):
            groups.setdefault(channel // per_chunk, []).append(i)
        for members in groups.values():
            first, last = (pick(channels[i] for i in members) for pick in (min, max))
            block = self._block(first, last + 1, region)
            for i in members:
                out[i] = block[channels[i] - first]
        return out

    def _block(self, first: int, stop: int, region: Region) -> NDArray[Any]:
        rows, columns = region.slices
        index = tuple(
            {"C": slice(first, stop), "Y": rows, "X": columns}.get(letter, 0) for letter in self._plan.axes
        )
        pixels = np.asarray(self._array[index])
        kept = [letter for letter in self._plan.axes if letter in "CYX"]
        pixels = pixels.transpose([kept.index(letter) for letter in "CYX" if letter in kept])
        return pixels if "C" in kept else pixels[np.newaxis]


def open_zarr(
    path: Path,
    *,
    markers: Sequence[str] | None = None,
    pixel_um: float | None = None,
    axes: str | None = None,
    series: int = 0,
) -> LeveledSlide:
    """Open an OME-Zarr folder; see `napari_dama.slides.slide.open_slide`."""
    if not any((path / mark).is_file() for mark in _MARKS):
        raise SlideError(f"{path} is a folder but no OME-Zarr. Slides can be {FORMATS}.")
    try:
        return _build(path, markers=markers, pixel_um=pixel_um, axes=axes, series=series)
    except DamaError:
        raise
    except Exception as error:  # zarr and damaged metadata raise whatever they like
        raise SlideError(
            f"{path} cannot be read as OME-Zarr; it is damaged or incomplete ({error})."
        ) from error


def _build(
    path: Path, *, markers: Sequence[str] | None, pixel_um: float | None, axes: str | None, series: int
) -> LeveledSlide:
    node = zarr.open(str(path), mode="r")
    notes: list[str] = []
    meta: Mapping[str, Any] = {}
    sizes: dict[str, float | None] = {}
    if isinstance(node, zarr.Array):
        arrays, letters = [node], _unknown(node.ndim)
    else:
        group, meta = _image(node, path, series, notes)
        arrays, letters, sizes = _pyramid(group, meta, path)
    what = str(path)
    check_dtype(np.dtype(arrays[0].dtype), what)
    n_given = None if markers is None else len(markers)
    plan = plan_axes(letters, arrays[0].shape, what=what, chosen=axes, n_given=n_given)
    notes += plan.notes
    levels: list[ZarrLevel] = []
    for array in arrays:
        if len(array.shape) != len(plan.axes):
            raise SlideError(
                f"{path}: its levels have different numbers of axes ({arrays[0].shape} and {array.shape})."
            )
        level = ZarrLevel(array, AxesPlan(plan.axes, tuple(int(n) for n in array.shape)))
        if not levels or (level.shape[0] == levels[0].shape[0] and level.shape[2] < levels[-1].shape[2]):
            levels.append(level)
    names = [
        c.get("label") if isinstance(c, dict) else None
        for c in (meta.get("omero") or {}).get("channels") or []
    ]
    tidy = tidy_markers(names, plan.czyx[0], what=what, given=markers, notes=notes)
    found = square_pixel_um(sizes.get("X"), sizes.get("Y"), notes)
    size = tidy_pixel_um(found, given=pixel_um, notes=notes)
    name = path.name
    for ending in (".ome.zarr", ".zarr"):
        name = name.removesuffix(ending)
    return LeveledSlide(levels, name=name, path=path, markers=tidy, pixel_um=size, notes=notes)


def _unknown(ndim: int) -> str:
    return "Q" * (ndim - 2) + "YX"


def _metadata(group: Any) -> Mapping[str, Any]:
    """OME metadata of a group, which zarr 3 keeps under 'ome'."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def _image(group: Any, path: Path, series: int, notes: list[str]) -> tuple[Any, Mapping[str, Any]]:
    """Find the group of one image: this one, or one below as bioformats2raw writes them."""
    meta = _metadata(group)
    if "plate" in meta or "well" in meta:
        raise SlideError(
            f"{path} is a plate of many images; open one field of it, a folder such as {path.name}/A/1/0."
        )
    if meta.get("multiscales"):
        if series:
            raise SettingsError(f"series is {series}, but {path} holds one image.")
        return group, meta
    images = [
        key
        for key in sorted(group.group_keys(), key=lambda k: (len(k), k))
        if _metadata(group[key]).get("multiscales")
    ]
    if images:
        if series >= len(images):
            raise SettingsError(
                f"series is {series}, but {path} holds {len(images)} image(s), counted from 0."
            )
        if len(images) > 1:
            notes.append(
                f"The folder holds {len(images)} images; number {series} is taken, others with series=1 and so on."
            )
        chosen = group[images[series]]
        return chosen, _metadata(chosen)
    keys = list(group.array_keys())
    if len(keys) == 1:
        notes.append(f"The zarr has no OME metadata; its only array, '{keys[0]}', is taken.")
        return group, {
            "multiscales": [{"datasets": [{"path": keys[0]}], "axes": _unknown(group[keys[0]].ndim)}]
        }
    raise SlideError(
        f"{path} is a zarr without OME metadata (multiscales), so it is not clear what in it is the image."
    )


def _pyramid(
    group: Any, meta: Mapping[str, Any], path: Path
) -> tuple[list[Any], str, dict[str, float | None]]:
    """Give arrays from fine to coarse, axes, and pixel sizes in micrometres by axis."""
    scales = meta["multiscales"][0]
    datasets = scales.get("datasets") or []
    if not datasets:
        raise SlideError(f"{path} lists no resolution levels in its OME metadata.")
    arrays = []
    for dataset in datasets:
        key = str(dataset["path"])
        if key not in group or not isinstance(group[key], zarr.Array):
            raise SlideError(f"{path} is incomplete: its resolution level '{key}' is missing.")
        arrays.append(group[key])
    listed = scales.get("axes")
    units: list[str | None] = []
    if not listed:  # versions 0.1 and 0.2 fix the axes
        letters = "TCZYX" if arrays[0].ndim == 5 else _unknown(arrays[0].ndim)
        units = [None] * len(letters)
    elif all(isinstance(axis, str) for axis in listed):
        letters, units = "".join(axis.upper() for axis in listed), [None] * len(listed)
    else:
        letters = "".join(_letter(axis) for axis in listed)
        units = [axis.get("unit") for axis in listed]
    if len(letters) != arrays[0].ndim:
        raise SlideError(
            f"{path} names {len(letters)} axes in its OME metadata, but its pixels have {arrays[0].ndim}."
        )
    return arrays, letters, _sizes(letters, units, scales, datasets[0])


def _letter(axis: Mapping[str, Any]) -> str:
    name = str(axis.get("name", "?")).upper()
    if axis.get("type") == "channel":
        return "C"
    return name if len(name) == 1 else name[:1] if name[:1] in "TCZYX" else "?"


def _sizes(
    letters: str, units: Sequence[str | None], scales: Mapping[str, Any], dataset: Mapping[str, Any]
) -> dict[str, float | None]:
    """Multiply the scales that apply to level 0; without a unit they are no lengths."""
    factors = np.ones(len(letters))
    for transforms in (dataset.get("coordinateTransformations"), scales.get("coordinateTransformations")):
        for transform in transforms or []:
            scale = transform.get("scale")
            if transform.get("type") == "scale" and isinstance(scale, list) and len(scale) == len(letters):
                factors *= np.asarray(scale, float)
    sizes: dict[str, float | None] = {}
    for letter, unit, factor in zip(letters, units, factors, strict=True):
        if letter in "YX":
            sizes[letter] = to_um(float(factor), unit) if math.isfinite(factor) else None
    return sizes
