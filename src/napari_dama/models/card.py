"""A model's card: what it is, what it saw, and how to feed it. Plain JSON, no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from napari_dama.errors import ModelError
from napari_dama.slides.panel import BRAIN7, Marker, Panel

Task = Literal["segments", "types", "reconstruct", "features"]
CARD, WEIGHTS = "card.json", "weights.safetensors"

_Sides = tuple[Annotated[float, Field(gt=0, le=4096)], ...]


def _as_many_each(anchors: tuple[_Sides, ...]) -> tuple[_Sides, ...]:
    counts = sorted({len(sides) for sides in anchors})
    if counts[0] == 0 or len(counts) > 1:
        raise ValueError(f"anchors need as many sizes at each of the four strides, got {anchors}")
    return anchors


Head = Literal["dense", "mask-rcnn"]
Anchors = Annotated[tuple[_Sides, _Sides, _Sides, _Sides], AfterValidator(_as_many_each)]
ANCHORS: Anchors = ((8, 16), (24, 32), (48, 64), (96, 128))
"""Sides of Mask R-CNN's anchors at strides 4, 8, 16 and 32, in pixels: cells are 20 to 60 px wide."""


class Architecture(BaseModel):
    """Shapes of the networks in ``weights.safetensors``.

    ``head`` is the segmentation head: ``dense_widths`` and ``use_tokens`` belong to the dense one, ``box_width``,
    ``anchors_px`` and ``detections`` (most per image) to Mask R-CNN, ``use_pixels`` to both.
    """

    model_config = ConfigDict(extra="forbid")

    size: Literal["tiny", "small", "base"] = "tiny"
    decoder_depth: int = Field(4, ge=1, le=32)
    decoder_width: int = Field(128, ge=16, le=4096)
    decoder_heads: int = Field(4, ge=1, le=64)
    pool: Literal["mean", "centre"] = "centre"
    type_zoom: float = Field(1.0, ge=1, le=4)
    type_pixels: bool = False
    type_norm: Literal["layer", "batch"] = "layer"
    dense_widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    use_pixels: bool = True
    use_tokens: bool = True
    head: Head = "dense"
    box_width: int = Field(64, ge=8, le=1024)
    anchors_px: Anchors = ANCHORS
    detections: int = Field(1000, ge=1, le=100_000)


class Card(BaseModel):
    """Everything that a model's user must know, and that the code needs to run it.

    ``pixel_um`` is the size of a pixel of the network's input; ``crop_um`` the width of a cell's crop, which fills
    ``image_px`` pixels. ``moments`` says over which channels a patch was normalised for its reconstruction: all of the panel
    (models made before this field was), or those that the slide has. ``statistics`` holds, per marker, the typical
    background and bright level of the training slides.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    name: str = Field(min_length=1, max_length=100, pattern=r"^[\w][\w.\- ]*$")
    version: str = "1"
    summary: str = ""
    tasks: list[Task] = Field(min_length=1)
    panel: list[str] = Field(min_length=1)
    nuclear: list[str]
    pixel_um: float = Field(32.5 / 128, gt=0.01, lt=50)
    moments: Literal["all", "present"] = "all"
    crop_um: float = Field(32.5, gt=1, lt=1000)
    image_px: int = Field(128, ge=32, le=1024)
    patch_px: int = Field(16, ge=4, le=64)
    classes: list[str] = []
    class_colours: list[str] = []
    type_markers: list[str] = []
    type_markers_min: int = Field(0, ge=0)
    statistics: dict[str, dict[str, float]] = {}
    architecture: Architecture = Architecture()
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    limits: list[str] = []
    parent: str | None = None
    licence: str = "BSD-3-Clause"

    _path: Path | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _consistent(self) -> Card:
        if len(set(self.panel)) != len(self.panel):
            raise ValueError(f"panel names a marker twice: {', '.join(self.panel)}")
        for field in ("nuclear", "type_markers"):
            strange = set(getattr(self, field)) - set(self.panel)
            if strange:
                raise ValueError(f"{field} names {', '.join(sorted(strange))}, which the panel lacks")
        if not self.nuclear and "segments" in self.tasks:
            raise ValueError("nuclear names no marker: a model of segments needs one that shows nuclei")
        if "types" in self.tasks and len(self.classes) < 2:
            raise ValueError("a model of types needs at least two classes")
        if self.class_colours and len(self.class_colours) != len(self.classes):
            raise ValueError(f"{len(self.classes)} classes but {len(self.class_colours)} colours")
        if self.type_markers_min > len(self.type_markers):
            raise ValueError(
                f"type_markers_min {self.type_markers_min} exceeds {len(self.type_markers)} markers"
            )
        return self

    @property
    def path(self) -> Path | None:
        """The folder that the card was read from, or None for a card made in memory."""
        return self._path

    def to_panel(self) -> Panel:
        """The panel with the aliases that are known for its markers."""
        known = {marker.name: marker for marker in BRAIN7.markers}
        markers = [
            known.get(name, Marker(name=name, aliases=(), nuclear=name in self.nuclear, colour="#ffffff"))
            for name in self.panel
        ]
        return Panel(name=self.name, markers=tuple(markers))

    def save(self, folder: Path) -> None:
        """Write ``card.json`` into ``folder``."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Card:
        """The card in ``folder``.

        Raises
        ------
        ModelError
            If there is none, or it is no valid card; the message names the file and the field.
        """
        file = folder / CARD
        try:
            card = cls.model_validate_json(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ModelError(f"{folder} is no model: it has no {CARD}") from error
        except OSError as error:
            raise ModelError(f"{file} cannot be read: {error.strerror or error}") from error
        except (ValidationError, UnicodeDecodeError) as error:
            first = (
                error.errors()[0] if isinstance(error, ValidationError) else {"msg": str(error), "loc": ()}
            )
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ModelError(f"{file}: {place}: {first['msg']}") from error
        card._path = folder
        return card
