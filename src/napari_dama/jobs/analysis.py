"""An analysis as a job: its settings, the checks before it begins, and the run itself with progress and stop. No torch.

The job's folder lies in the result that it makes, ``RESULT/analysis_job``: both move together, a resumed job needs no path
to find its result, and on shared storage both are seen by every machine.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field, field_validator

from napari_dama.errors import Interrupted, SettingsError
from napari_dama.models.shelf import DEFAULT_MODEL
from napari_dama.predict.prepare import make_plan
from napari_dama.predict.record import JOB, read_run
from napari_dama.predict.writer import check_place, check_same, clear_result, holds_result, refuse_running
from napari_dama.slides.region import Region
from napari_dama.slides.slide import open_slide
from napari_dama.training.files import read_json
from napari_dama.training.job_settings import JobSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_dama.predict.progress import Progress
    from napari_dama.slides.slide import Slide
    from napari_dama.training.folder import RunFolder

TELL_S: Final = 0.5
DOING: Final = {
    "statistics": "Measuring how bright each marker is",
    "finish": "Writing the overview levels and the table",
}
"""What a run does while it finishes no tiles."""


class AnalyseSettings(JobSettings):
    """One slide, analysed by one model: what `napari_dama.analyse` takes.

    Attributes
    ----------
    slide : Path
    markers : list of str or None
        One name per channel, instead of those in the file.
    model : str
        Name on the shelf, or a model's folder.
    chosen : dict of str to str
        Slide marker for a model's marker, where names do not match by themselves.
    pixel_um : float or None
        Pixel size in micrometres, instead of the file's.
    region : str or None
        ``Y0:Y1,X0:X1`` in level-0 pixels; None for the whole slide.
    types : bool
        Name types, where the model can.
    tile_px : int
        About the side of a tile, in model pixels.
    threads : int or None
        Of torch on the CPU.
    """

    slide: Path
    markers: list[str] | None = None
    model: str = DEFAULT_MODEL
    chosen: dict[str, str] = Field(default_factory=dict)
    pixel_um: float | None = Field(None, ge=0.01, le=50)
    region: str | None = None
    types: bool = True
    tile_px: int = Field(1024, ge=128)
    threads: int | None = Field(None, ge=1)

    @field_validator("region")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        return None if value is None else str(Region.parse(value))

    @property
    def result(self) -> Path:
        """The result's folder: the one that the job's lies in."""
        return self.out.parent

    def open(self) -> Slide:
        """Open the slide; errors as `open_slide`."""
        return open_slide(self.slide, markers=self.markers, pixel_um=self.pixel_um)

    def arguments(self) -> dict[str, Any]:
        """What decides the result, as `make_plan` and `analyse` take it."""
        return {
            "model": self.model,
            "chosen": self.chosen or None,
            "pixel_um": self.pixel_um,
            "region": None if self.region is None else Region.parse(self.region),
            "types": self.types,
            "tile_px": self.tile_px,
        }


def job_folder(result: str | Path) -> Path:
    """Folder of the job that makes a result."""
    return Path(result) / JOB


def check(settings: AnalyseSettings, *, resume: bool, overwrite: bool) -> None:
    """Refuse what could not be run, before a process begins; nothing is written and no pixel is read.

    Raises
    ------
    SettingsError, PanelError, ModelError, SlideError, OutputError
        As `napari_dama.analyse` says them.
    """
    result = settings.result
    continuing = resume and holds_result(result)
    if continuing:
        refuse_running(result)
    else:
        check_place(result, overwrite=overwrite)
    with settings.open() as slide:
        plan = make_plan(slide, **settings.arguments())
        if continuing:
            check_same(result, plan.settings())


def begin_anew(settings: AnalyseSettings) -> None:
    """Remove the result that stood there, whose replacement was asked for."""
    clear_result(settings.result)


def run_analysis(settings: AnalyseSettings, run: RunFolder, stop: Callable[[], bool]) -> None:
    """Analyse the slide, or go on with what was begun, saying in the job's folder how far it is.

    Raises
    ------
    Interrupted
        If it was stopped; finished tiles are kept.
    DamaError
        As `napari_dama.analyse`.
    """
    from napari_dama.predict.analyse import analyse

    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    if not settings.slide.exists():
        raise SettingsError(
            f"The slide {settings.slide} is not there (any more): put it back, or change slide in job.yaml"
        )
    telling = _Telling(run, settings, stop)
    telling.say("Loading the model")
    try:
        with settings.open() as slide:
            result = analyse(
                slide,
                settings.result,
                device=settings.device,
                resume=True,
                live=True,
                progress=telling.progress,
                stop=telling.stop,
                **settings.arguments(),
            )
    except Interrupted:
        telling.ended("stopped")
        raise
    telling.finished(result.run)


class _Telling:
    """Brings an analysis' progress into its job's folder, and the folder's wish to stop into the analysis."""

    def __init__(self, run: RunFolder, settings: AnalyseSettings, stop: Callable[[], bool]) -> None:
        self.run, self.settings, self._asked = run, settings, stop
        status = read_json(run.path / "status.json")
        self.facts: dict[str, Any] = {
            key: status[key] for key in ("step", "steps", "cells", "device") if key in status
        }
        self._between = True  # between two tiles, where a stop costs nothing
        self._begun = False
        self._told = 0.0
        self._before = (0.0, 0.0)

    def stop(self) -> bool:
        """Whether to end now: asked for in the folder, after the tile; by the system, at once."""
        self.run.refuse_gone()
        if self._asked():
            return True
        between, self._between = self._between, False
        return between and self.run.stop_asked()

    def say(self, doing: str, share: float | None = None) -> None:
        """Say what is done while no tile is."""
        more = {} if share is None else {"share": share}
        self.run.status(state="running", doing=doing, **more, **self.facts)

    def progress(self, now: Progress) -> None:
        """Take a report of the analysis."""
        if now.stage == "tiles":
            self._tiles(now)
        elif time.monotonic() - self._told > TELL_S or not now.done:
            self._told = time.monotonic()
            self.say(DOING.get(now.stage, now.stage), now.done / now.total if now.done else None)

    def _tiles(self, now: Progress) -> None:
        self._between = True
        self.facts |= {"step": now.done, "steps": now.total, "cells": now.cells}
        if not self._begun:
            self._begin(now)
        else:
            seconds, megapixels = self._before
            pace = (now.megapixels - megapixels) / max(now.seconds - seconds, 1e-9)
            self.run.metrics(
                {"step": now.done, "cells": now.cells, "mpx_per_s": pace, "seconds": now.seconds}
            )
        self._before = (now.seconds, now.megapixels)
        if time.monotonic() - self._told > TELL_S or now.done in (now.done_before, now.total):
            self._told = time.monotonic()
            facts = {"mpx_per_s": now.rate or None, "eta_s": now.eta_s}
            self.run.status(state="running", **facts, **self.facts)

    def _begin(self, now: Progress) -> None:
        self._begun = True
        self.run.forget_after(now.done)
        record = read_run(self.settings.result)
        self.facts["device"] = record["device"]
        self.run.log(f"{now.done} of {now.total} tiles are done; on {record['device']}")
        self.run.event(
            "analysing",
            tiles=now.total,
            tiles_done=now.done,
            device=record["device"],
            precision=record["precision"],
            model=record["model"]["name"],
            notes=_notes(record),
        )

    def ended(self, state: str) -> None:
        """Say that it was stopped, and what is kept."""
        kept = {key: self.facts.get(key, 0) for key in ("steps", "cells")}
        self.run.status(state=state, **self.facts)
        self.run.event(state, step=self.facts.get("step", 0), tiles=kept["steps"], cells=kept["cells"])

    def finished(self, record: dict[str, Any]) -> None:
        """Say what came out."""
        tiles, cells = int(record["tiles"]), int(record["cells"])
        pace = float(record["megapixels_per_second"])
        self.facts |= {"step": tiles, "steps": tiles, "cells": cells, "mpx_per_s": pace}
        self.run.log(f"finished: {cells} cells in {tiles} tiles")
        self.run.status(state="finished", **self.facts)
        self.run.event(
            "finished",
            step=tiles,
            tiles=tiles,
            cells=cells,
            seconds=float(record["seconds"]),
            mpx_per_s=pace,
            notes=_notes(record),
        )


def _notes(record: Mapping[str, Any]) -> list[str]:
    """What must be known of a result: why there are no types, and what was assumed."""
    why = record.get("types_why")
    return [*([f"no types: {why}"] if why else []), *map(str, record.get("notes", ()))]
