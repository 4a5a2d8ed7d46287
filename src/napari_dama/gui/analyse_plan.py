"""What a click on *Find cells* would do, resolved from wishes and slide; and a run's progress in words. No Qt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dama.gui.resolve import default_out, duration, unused

if TYPE_CHECKING:
    from napari_dama.gui.session import Session
    from napari_dama.gui.state import AnalyseState
    from napari_dama.gui.work import Report, Stop
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
    from napari_dama.predict.device import describe_devices

    out = []
    for device in describe_devices():
        free = "" if device.free_bytes is None else f", {device.free_bytes / 2**30:.1f} GiB free"
        out.append((device.name, f"{device.name} ({device.title}{free})"))
    return out
