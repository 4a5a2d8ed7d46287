"""Slides that a run makes its own crop store of before its first step; part of its settings, which stay one file."""

from __future__ import annotations

import time
from collections.abc import Callable  # noqa: TC003 - pydantic reads annotations
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_dama.errors import Interrupted, PanelError, SlideError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dama.cells.store import CropStore
    from napari_dama.training.folder import RunFolder

STORE: Final = "crops"
"""Name of the store in the job's folder where settings name no other."""
CROPPING: Final = "Finding cells and cutting crops of them"
_TELL_S: Final = 1.0


class SlideSource(BaseModel):
    """One slide, with the cells that somebody gave for it.

    ``cells`` is a label image, a result folder or a table (``label, y, x, type``), or None to find the nuclei; ``pixel_um``
    is for a file that does not say how large its pixels are.
    """

    model_config = ConfigDict(extra="forbid")

    path: Path
    cells: Path | None = None
    pixel_um: float | None = Field(None, gt=0.01, lt=50)


class Sources(BaseModel):
    """Where crops are cut from, as `napari-dama crops` would.

    Panel and crop width are those of ``model``, else ``panel`` (the brain panel, or the first slide's own markers) and 32.5
    um. ``chosen`` says which channel of the slides feeds which marker of the panel, where names do not.
    """

    model_config = ConfigDict(extra="forbid")

    slides: list[SlideSource] = Field(min_length=1)
    panel: Literal["brain7", "own"] = "brain7"
    model: str | None = None
    chosen: dict[str, str] = {}
    crop_um: float | None = Field(None, ge=1, le=1000)
    crop_px: int = Field(100, ge=8, le=2048)
    max_cells: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)


def ensure_store(
    sources: Sources | None, store: Path, run: RunFolder, stop: Callable[[], bool] | None
) -> None:
    """Cut the crops of a run where it has sources and its store is not there yet, saying in its folder how far it is.

    Raises
    ------
    Interrupted
        If a stop was asked for; no store is left, and a resumed run begins with it again.
    DamaError
        For slides, cells or panels that do not fit.
    """
    if sources is None or (store / "store.json").is_file():
        return
    told = 0.0
    run.event("cropping", slides=[str(slide.path) for slide in sources.slides])

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told > _TELL_S:
            told = now
            run.status(state="running", step=0, steps=0, doing=CROPPING, share=done / max(total, 1))

    def stopped() -> bool:
        return run.stop_asked() or (stop is not None and stop())

    tell(0, 1)
    try:
        made = cut_sources(sources, store, progress=tell, stop=stopped)
    except Interrupted:
        run.status(state="stopped", step=0, steps=0)
        run.event("stopped", step=0)
        raise
    types = {name: int((made.table["type"] == name).sum()) for name in made.types}
    run.event("cropped", crops=len(made), types=types)
    run.status(state="running", step=0, steps=0)


def cut_sources(
    sources: Sources,
    out: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
    **options: Any,
) -> CropStore:
    """Cut the crops of all slides into a store at ``out``; errors as in `cut_slides`."""
    for slide in sources.slides:
        if not slide.path.exists():
            raise SlideError(f"The slide {slide.path} is not there (any more); crops cannot be cut from it.")
    return cut_slides(
        [(slide.path, slide.pixel_um) for slide in sources.slides],
        out,
        cells=[slide.cells for slide in sources.slides],
        model=sources.model,
        own=sources.panel == "own",
        chosen=sources.chosen or None,
        crop_um=sources.crop_um,
        advice="choose it in Channels, or give the cells",
        crop_px=sources.crop_px,
        max_cells=sources.max_cells,
        seed=sources.seed,
        progress=progress,
        stop=stop,
        **options,
    )


def cut_slides(
    slides: Sequence[tuple[Path, float | None]],
    out: Path,
    *,
    cells: Sequence[Path | None] | None,
    model: str | None,
    own: bool,
    chosen: Mapping[str, str] | None,
    crop_um: float | None,
    advice: str,
    **options: Any,
) -> CropStore:
    """Open slides, settle the panel and cut their cells; what the command line, the window and a job share.

    Parameters
    ----------
    slides
        Path of each, and its pixel size where the file does not say it.
    out
        Folder of the store.
    cells
        Given cells of each slide, or None to find the nuclei.
    model, own
        Whose panel it is: that of a model, which also brings its crop width, or the first slide's own markers; else the
        brain panel.
    chosen
        Channel that feeds a marker of the panel, where names do not tell.
    crop_um
        Width of a crop; None for the model's, else 32.5.
    advice
        How to name a nuclear marker, for the error where there is none.
    options
        Of `napari_dama.cells.crops.crop_slides`.

    Raises
    ------
    PanelError
        No marker is known to show nuclei, and cells are not given.
    DamaError
        For a model, slides or cells that do not fit, as `crop_slides` says.
    """
    from napari_dama.cells.crops import crop_slides
    from napari_dama.models.shelf import load_card
    from napari_dama.slides.panel import BRAIN7, match, own_panel
    from napari_dama.slides.slide import open_slide

    wanted = BRAIN7
    if model is not None:
        card = load_card(model)
        wanted, crop_um = card.to_panel(), card.crop_um if crop_um is None else crop_um
    with ExitStack() as stack:
        opened = [stack.enter_context(open_slide(path, pixel_um=pixel_um)) for path, pixel_um in slides]
        if model is None and own:
            wanted, chosen = own_panel(opened[0].markers, chosen=chosen), None  # it named the nuclear channel
        nuclear = [marker.name for marker in wanted.markers if marker.nuclear]
        if not nuclear and (not cells or any(given is None for given in cells)):
            raise PanelError(f"nothing says which of {', '.join(wanted.names)} shows nuclei; {advice}")
        return crop_slides(
            [(slide, match(slide.markers, wanted, chosen=chosen)) for slide in opened],
            out,
            crop_um=32.5 if crop_um is None else crop_um,
            labels=cells,
            nuclear=nuclear,
            **options,
        )
