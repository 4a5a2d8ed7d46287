"""Settings of a run that improves a model with what people corrected. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from napari_dama.slides.region import Region
from napari_dama.training.settings import RunSettings

Lesson = Literal["types", "outlines"]


class CorrectedSlide(BaseModel):
    """One slide with a result whose cells were corrected.

    Attributes
    ----------
    slide, result, journal : Path
        The slide, the result's folder, and the journal of corrections.
    journal_hash : str
        SHA-256 of the journal when the job was made.
    """

    model_config = ConfigDict(extra="forbid")

    slide: Path
    result: Path
    journal: Path
    journal_hash: str = ""


class CorrectedArea(BaseModel):
    """One area around corrected outlines, learned from or held out as a whole.

    Attributes
    ----------
    slide : int
        Place in the job's ``slides``.
    region : str
        ``Y0:Y1,X0:X1`` in level-0 pixels of the slide.
    labels, zone : str
        Images (Y, X) of the region, files in the job's folder: outlines; and what of it counts, 1 where it was checked, 2
        where pixels are held out and must not be seen, 0 where nothing is said.
    part : str
        ``learn`` or ``held``.
    """

    model_config = ConfigDict(extra="forbid")

    slide: int = Field(ge=0)
    region: str
    labels: str
    zone: str
    part: Literal["learn", "held"]

    @field_validator("region")
    @classmethod
    def _readable(cls, value: str) -> str:
        return str(Region.parse(value))


class ImproveSettings(RunSettings):
    """Improvement of a model's cell types, its outlines or both with what people corrected.

    The cells lie in the job's folder, ``annotations/cells.csv``, each with the side that it is on, and so do the outlines of
    ``areas``: what is learned and what is held out is fixed before the run begins. ``init`` is the model to improve. Of
    `RunSettings` the rest that counts is ``epochs``, ``batch_size`` and ``lr``, for ``encoder`` and types only; the head
    alone is fitted to the end.

    Attributes
    ----------
    learn : list of str
        ``types``, ``outlines`` or both.
    slides : list of CorrectedSlide
    areas : list of CorrectedArea
        What outlines are learned from and tested on.
    near_um : float
        How far from a corrected outline others are taken as right.
    outline_steps, outline_batch, outline_lr
        Steps of the optimiser, tiles of a step, and its rate at the beginning. Measured by ``benchmarks/improve.py``.
    rehearse_outlines : float
        How much it counts that in another brightness or size the network goes on to say what its parent says; against
        forgetting other slides.
    classes, class_colours : list of str
        Of the improved model.
    parent_classes : list of str or None
        For each class the parent's class whose weights it starts from; None for a new one.
    encoder : bool
        Let the whole network learn, and not its last layer only: some minutes on a CPU.
    hold : float
        How strongly the last layer is held at the parent's weights, against forgetting. Measured by
        ``benchmarks/improve.py``: less forgets more of other slides, and from few cells learns no more.
    rehearse : int
        Unreviewed cells of the slides on which the model should go on to say what its parent says.
    rehearse_weight : float
        How much those count beside the corrected cells; 0 leaves them out.
    pseudo_labels : bool
        Learn from unreviewed cells of which the parent is sure, too, as if they had been reviewed.
    sure : float
        Least probability of such a cell.
    """

    learn: list[Lesson] = Field(default=["types"], min_length=1)
    slides: list[CorrectedSlide] = Field(min_length=1)
    areas: list[CorrectedArea] = Field(default_factory=list)
    near_um: float = Field(8.0, ge=1, le=100)
    outline_steps: int = Field(60, ge=1, le=100_000)
    outline_batch: int = Field(4, ge=1, le=1024)
    outline_lr: float = Field(5e-4, gt=0, le=1)
    rehearse_outlines: float = Field(2.0, ge=0, le=100)
    classes: list[str]
    class_colours: list[str]
    parent_classes: list[str | None]
    epochs: int = Field(12, ge=1, le=1000)
    batch_size: int = Field(32, ge=2, le=4096)
    lr: float = Field(1e-3, gt=0, le=10)
    validation_share: float = Field(0.3, gt=0, lt=0.9)
    encoder: bool = False
    hold: float = Field(3.0, ge=0, le=1e9)
    rehearse: int = Field(200, ge=0, le=100_000)
    rehearse_weight: float = Field(0.0, ge=0, le=100)
    pseudo_labels: bool = False
    sure: float = Field(0.95, gt=0, le=1)

    @model_validator(mode="after")
    def _enough_of_each(self) -> Self:
        if "types" in self.learn and len(self.classes) < 2:
            raise ValueError(f"types need at least two classes, got {len(self.classes)}")
        if "outlines" in self.learn and {area.part for area in self.areas} != {"learn", "held"}:
            raise ValueError("outlines need areas to learn from and areas that are held out")
        if strange := [area.slide for area in self.areas if area.slide >= len(self.slides)]:
            raise ValueError(f"an area lies on slide {strange[0]}, and there are {len(self.slides)}")
        return self

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if not len(self.classes) == len(self.class_colours) == len(self.parent_classes):
            raise ValueError(
                f"{len(self.classes)} classes need as many class_colours and parent_classes, got "
                f"{len(self.class_colours)} and {len(self.parent_classes)}"
            )
        return self
