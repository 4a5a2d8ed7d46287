"""Settings of a run that improves a model with what people corrected. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_dama.training.settings import RunSettings


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


class ImproveSettings(RunSettings):
    """Improvement of a model's cell types with corrected cells.

    The cells lie in the job's folder, ``annotations/cells.csv``, each with the side that it is on: what is learned and what
    is held out is fixed before the run begins. ``init`` is the model to improve. Of `RunSettings` the rest that counts is
    ``epochs``, ``batch_size`` and ``lr``, for ``encoder`` only; the head alone is fitted to the end.

    Attributes
    ----------
    slides : list of CorrectedSlide
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

    slides: list[CorrectedSlide] = Field(min_length=1)
    classes: list[str] = Field(min_length=2)
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
    def _as_many(self) -> Self:
        if not len(self.classes) == len(self.class_colours) == len(self.parent_classes):
            raise ValueError(
                f"{len(self.classes)} classes need as many class_colours and parent_classes, got "
                f"{len(self.class_colours)} and {len(self.parent_classes)}"
            )
        return self
