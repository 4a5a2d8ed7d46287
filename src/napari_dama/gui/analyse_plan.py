"""What a click on *Find cells* would do, resolved from wishes and slide; and a run's progress in words. No Qt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_dama.errors import SettingsError
from napari_dama.gui.resolve import default_out, duration, unused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.gui.session import Session
    from napari_dama.gui.state import AnalyseState
    from napari_dama.gui.work import Report, Stop
    from napari_dama.jobs.analysis import AnalyseSettings
    from napari_dama.jobs.folder import JobView
    from napari_dama.predict.progress import Progress
    from napari_dama.slides.region import Region


@dataclass(frozen=True, slots=True)
class AnalysePlan:
    """Settings of the run that would start now.

    Attributes
    ----------
    ready : bool
        Whether it can start.
    blocker : str
        Why not, empty when it can.
    out : Path or None
        The result folder; it does not exist yet.
    types, types_wanted, types_possible, types_reason : bool, bool, bool, str
        Whether types will be told, are wished for, could be told, and why not; the wish goes into the run, so that its
        record says why there are none.
    """

    ready: bool
    blocker: str
    out: Path | None
    types: bool
    types_wanted: bool
    types_possible: bool
    types_reason: str
    model: str
    device: str
    chosen: dict[str, str]
    pixel_um: float | None

    def arguments(self, region: Region | None) -> dict[str, Any]:
        """Return the keyword arguments of ``predict.analyse``."""
        return {
            "model": self.model,
            "chosen": self.chosen or None,
            "pixel_um": self.pixel_um,
            "region": region,
            "device": self.device,
            "types": self.types_wanted,
        }


LARGE_MPX: Final = 50.0
"""Above so many megapixels an analysis takes so long that it should not hang on a window."""
RUNS: Final = {
    "window": "in this window",
    "now": "in the background, now",
    "queue": "in the background, when free",
}


def run_hint(run: str, region: Region) -> str:
    """Return what must be known of a way to run; empty where nothing must."""
    megapixels = region.height * region.width / 1e6
    if run == "window" and megapixels > LARGE_MPX:
        return f"{megapixels:.0f} megapixels take a while: run it in the background, and it goes on when napari is closed."
    return ""


def job_settings(
    plan: AnalysePlan, slide: Path, markers: Sequence[str], region: Region | None
) -> AnalyseSettings:
    """Return the settings of a job that does what the plan says.

    Raises
    ------
    SettingsError
        When one is out of bounds.
    """
    from napari_dama.jobs.analysis import AnalyseSettings, job_folder
    from napari_dama.training.job_settings import checked

    if plan.out is None:
        raise SettingsError(plan.blocker)
    wanted = plan.arguments(region)
    raw = wanted | {"out": job_folder(plan.out), "slide": slide, "markers": list(markers)}
    raw |= {"chosen": plan.chosen, "region": None if region is None else str(region)}
    return checked(AnalyseSettings, raw, where="Analyse")


def begin_job(settings: AnalyseSettings, *, wait: bool) -> JobView:
    """Start it in a process of its own, at once or when its device is free; checks the slide first, so use a thread.

    Raises
    ------
    DamaError
        As `napari_dama.jobs.process.start`.
    """
    from napari_dama.jobs import process, queue

    return queue.enqueue(settings) if wait else process.start(settings)


def resolve_analyse(state: AnalyseState, session: Session) -> AnalysePlan:
    """Resolve the wishes for an analysis against the open slide and the model."""
    types = session.types
    out = None
    if session.slide is not None:
        out = unused(Path(state.out).expanduser()) if state.out else default_out(session.path)
    blocker = session.blocker
    card = session.card
    if not blocker and card is not None and "segments" not in card.tasks:
        blocker = f"The model {card.name} cannot outline cells (it was made for {', '.join(card.tasks)}). Choose another."
    return AnalysePlan(
        ready=not blocker,
        blocker=blocker,
        out=out,
        types=state.types and types.possible,
        types_wanted=state.types,
        types_possible=types.possible,
        types_reason=types.reason,
        model=session.state.model,
        device=state.device,
        chosen=dict(session.state.channels.chosen),
        pixel_um=session.pixel.pixel_um,
    )


STAGES = {
    "statistics": "Measuring how bright each marker is.",
    "model": "Loading the model.",
    "finish": "Writing the overview levels and the table.",
}


def progress_share(progress: Progress) -> float | None:
    """Return the share that is done, None when it cannot be told."""
    if progress.stage != "tiles" or progress.total <= 0:
        return None
    return progress.done / progress.total


def progress_text(progress: Progress) -> str:
    """Say how far a run is: ``6 of 24 tiles, 412 cells, 1.3 Mpx/s, about 2 min left``."""
    if progress.stage != "tiles":
        return STAGES.get(progress.stage, progress.stage)
    parts = [f"{progress.done} of {progress.total} tiles", f"{progress.cells} cells"]
    if progress.rate > 0:
        parts.append(f"{progress.rate:.2g} Mpx/s")
    if progress.eta_s is not None:
        parts.append(f"about {duration(progress.eta_s)} left")
    return ", ".join(parts)


def kept_text(folder: Path) -> str:
    """Say what a cancelled run left."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "Cancelled before anything was written."
    done, total, cells = run.get("tiles_done", 0), run.get("tiles", "?"), run.get("cells", 0)
    return f"Cancelled: {done} of {total} tiles with {cells} cells are kept in {folder}."


def device_lines(progress: Report, stop: Stop) -> list[tuple[str, str]]:
    """Return name and title of each device with its memory; imports torch, so run it in a thread."""
    from napari_dama.gui.quiet import load_torch
    from napari_dama.predict.device import describe_devices

    load_torch()
    out = []
    for device in describe_devices():
        free = "" if device.free_bytes is None else f", {device.free_bytes / 2**30:.1f} GiB free"
        out.append((device.name, f"{device.name} ({device.title}{free})"))
    return out
