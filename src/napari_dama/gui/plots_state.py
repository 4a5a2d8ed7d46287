"""What the user wishes of the plots; no Qt."""

from __future__ import annotations

from typing import Literal

from psygnal import EventedModel
from pydantic import ConfigDict, Field


class PlotsState(EventedModel):
    """Settings of the window *DAMA plots*.

    Attributes
    ----------
    vectors : str
        What likeness means on the map: the network's features, or the markers' means.
    method : str
        Principal components or UMAP.
    values : str
        Heat map of z-scores, or of raw means.
    by_likeness : bool
        Like types and like markers beside each other.
    column, shape : str
        Column whose spread is shown, as violins or boxes.
    reach : str
        Neighbours within a radius, or the nearest ones.
    radius_um, nearest, permutations, seed
        As in `napari_dama.evaluate.neighbourhoods.neighbourhoods`.
    matrix : str
        Neighbours per cell, or their enrichment.
    truth : str
        What is compared with: ``corrections``, ``layer:NAME`` or ``file:PATH``; empty while nothing is chosen.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    vectors: Literal["features", "markers"] = "features"
    method: Literal["pca", "umap"] = "pca"
    values: Literal["z", "mean"] = "z"
    by_likeness: bool = False
    column: str = ""
    shape: Literal["violin", "box"] = "violin"
    reach: Literal["radius", "nearest"] = "radius"
    radius_um: float = Field(default=30.0, gt=0, le=10_000)
    nearest: int = Field(default=6, ge=1, le=1000)
    permutations: int = Field(default=200, ge=0, le=100_000)
    seed: int = Field(default=0, ge=0)
    matrix: Literal["z", "mean"] = "z"
    truth: str = ""
