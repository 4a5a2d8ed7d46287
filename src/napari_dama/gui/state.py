"""What the user wishes, as evented models without Qt: the widgets are thin views of these.

Every model refuses fields that it does not know and checks values when they are set; whoever wants to know of a
change connects to ``state.events.<field>``.
"""

from __future__ import annotations

from typing import Literal

from psygnal import EventedModel
from pydantic import ConfigDict, Field

from napari_dama.jobs.cluster import ClusterSettings  # noqa: TC001 - pydantic reads annotations

RegionKind = Literal["whole", "view", "shape"]
ExplainMask = Literal["random", "adaptive"]
AnalyseRun = Literal["window", "now", "queue"]
JobPage = Literal["curves", "pictures", "log", "about"]
ExplainShow = Literal["seen", "filled", "difference", "error", "overlap", "slide"]
ExplainQuestion = Literal["fill", "type", "missing", "like"]
ExplainMap = Literal["spots", "pooled", "class", "rollout"]


class _State(EventedModel):
    """Base of the models: no unknown fields, values checked when set."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class ChannelsState(_State):
    """What the user said about the slide's markers.

    Attributes
    ----------
    pixel_um : float or None
        Pixel size typed by the user, um; None when the file's own is used.
    chosen : dict of str to str
        Model marker to slide marker; an empty slide marker says *absent on purpose*.
    """

    pixel_um: float | None = None
    chosen: dict[str, str] = Field(default_factory=dict)


class AnalyseState(_State):
    """What to analyse, where, and where to put it.

    Attributes
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    region : str
        Whole slide, the part of the view that is seen, or the selected shape.
    types : bool
        Tell cell types when the slide's markers allow it.
    out : str
        Result folder; empty for the default beside the slide.
    run : str
        In this window (``window``), or in a process of its own that outlives it: ``now``, or when its device is free
        (``queue``).
    """

    device: str = "auto"
    region: RegionKind = "whole"
    types: bool = True
    out: str = ""
    run: AnalyseRun = "window"


class ResultsState(_State):
    """Which result is open and how it is shown.

    Attributes
    ----------
    path : str
        The open result folder, empty when none is.
    colour_by : str
        ``type``, ``instance`` (a random colour per cell), ``doubt``, or a column of the table.
    colormap : str
        napari's name of the colours of numbers.
    low, high : float
        Percentiles of the column that get the first and the last colour.
    hidden : frozenset of str
        Types that are not shown.
    hidden_values : frozenset of str
        Values of the column in ``colour_by`` that are not shown, where it holds text.
    selected : int
        Label of the cell clicked last, 0 for none.
    """

    path: str = ""
    colour_by: str = "type"
    colormap: str = "viridis"
    low: float = Field(default=2.0, ge=0.0, le=100.0)
    high: float = Field(default=98.0, ge=0.0, le=100.0)
    hidden: frozenset[str] = frozenset()
    hidden_values: frozenset[str] = frozenset()
    selected: int = 0


class ExplainState(_State):
    """Where and how the model is asked to fill in what it cannot see.

    Attributes
    ----------
    at : tuple of float or None
        Centre (y, x) of the crop, level-0 pixels of the slide.
    mask_ratio, overlap_ratio : float
        Share of patches hidden; share of the visible patches that both masks have in common.
    seed : int
        Number of the random mask.
    mask, show : str
        Which of the explanation's layers are visible.
    question : str
        What is asked: what the model fills in, what the type rests on, what if a marker were missing, which cells are alike.
    follow : bool
        Ask anew wherever the cursor is.
    marker : str
        Marker in the small pictures, empty for all of them.
    map : str
        What the map of a cell shows: spots darkened one by one, or one of three kinds of attention.
    missing : str
        Marker that is taken away and predicted; empty until one is chosen.
    """

    at: tuple[float, float] | None = None
    mask_ratio: float = Field(default=0.8, ge=0.5, le=0.95)
    overlap_ratio: float = Field(default=0.5, ge=0.0, le=1.0)
    seed: int = Field(default=0, ge=0)
    mask: ExplainMask = "random"
    show: ExplainShow = "filled"
    question: ExplainQuestion = "fill"
    follow: bool = False
    marker: str = ""
    map: ExplainMap = "spots"
    missing: str = ""


class AnnotateState(_State):
    """How cells are corrected.

    Attributes
    ----------
    everywhere : bool
        The keys count in every tab, and not only while *Annotate* is in front.
    box : bool
        A drag selects the cells in a box, without Shift.
    advance : bool
        Go on to the next cell after each answer.
    """

    everywhere: bool = False
    box: bool = False
    advance: bool = False


class TrainState(_State):
    """Settings of a training run that is started from the window.

    Attributes
    ----------
    kind : str
        ``pretrain`` (no labels needed), ``types`` or ``segments`` (fine-tuning).
    init : str
        Name of the model to start from, or ``random``.
    data : str
        Crop store, slides or folders of slides, several with ``;`` between them; empty: the open slides.
    annotation : str
        Name of the layer whose classes (types) or outlines (segments) are learned, empty to learn from ``data``.
    area : str
        Name of the Shapes layer around what was outlined completely (segments); empty for the box around all outlines.
    run : str
        Where and when: a key of `napari_dama.gui.run_choice.RUNS`.
    cluster : ClusterSettings or None
        What to ask of a cluster; None for the user's defaults.
    """

    kind: Literal["pretrain", "types", "segments"] = "pretrain"
    init: str = "random"
    epochs: int = Field(default=20, ge=1)
    max_steps: int = Field(default=0, ge=0)
    batch_size: int = Field(default=64, ge=1)
    seed: int = Field(default=0, ge=0)
    data: str = ""
    annotation: str = ""
    area: str = ""
    run: Literal["now", "queue", "cluster"] = "now"
    cluster: ClusterSettings | None = None


class JobsState(_State):
    """Which job is looked at, and how.

    Attributes
    ----------
    selected : str
        Folder of the job in the detail view, empty when none is.
    page : str
        What of it is shown.
    log_axis : bool
        Draw the loss on a logarithmic axis.
    """

    selected: str = ""
    page: JobPage = "curves"
    log_axis: bool = False


class DamaState(_State):
    """Everything the dock knows.

    Attributes
    ----------
    slide : str
        Path of the slide that the dock works on, empty when none is open.
    model : str
        Name of the model on the shelf.
    """

    slide: str = ""
    model: str = ""
    channels: ChannelsState = Field(default_factory=ChannelsState)
    analyse: AnalyseState = Field(default_factory=AnalyseState)
    results: ResultsState = Field(default_factory=ResultsState)
    explain: ExplainState = Field(default_factory=ExplainState)
    annotate: AnnotateState = Field(default_factory=AnnotateState)
    train: TrainState = Field(default_factory=TrainState)
    jobs: JobsState = Field(default_factory=JobsState)
