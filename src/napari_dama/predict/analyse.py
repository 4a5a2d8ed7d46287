"""The main job: a slide in; every cell with its outline, measurements and type out."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dama.errors import Interrupted, OutputError
from napari_dama.models.shelf import DEFAULT_MODEL
from napari_dama.predict.arrays import classify, segment
from napari_dama.predict.overview import Overview
from napari_dama.predict.pipeline import Pipeline, Stages
from napari_dama.predict.prepare import Plan, make_plan, opened
from napari_dama.predict.progress import Progress
from napari_dama.predict.record import Owner, peak_memory_bytes, versions
from napari_dama.predict.result import ResultFolder
from napari_dama.predict.tiles import run_tiles
from napari_dama.predict.writer import (
    ResultWriter,
    check_place,
    check_same,
    check_space,
    holds_result,
    holds_something,
    refuse_running,
)
from napari_dama.slides.intensity import IntensityStats, slide_stats
from napari_dama.slides.region import Region

__all__ = ["analyse", "classify", "segment"]

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_dama.models.model import Model
    from napari_dama.predict.grid import WorkTile
    from napari_dama.predict.progress import ProgressFn, StopFn
    from napari_dama.slides.slide import Slide


def analyse(
    slide: Slide | str | Path | NDArray[Any],
    out: str | Path,
    *,
    model: str | Path | Model = DEFAULT_MODEL,
    chosen: Mapping[str, str] | None = None,
    pixel_um: float | None = None,
    region: Region | None = None,
    device: str = "auto",
    types: bool = True,
    overwrite: bool = False,
    resume: bool = False,
    tile_px: int = 1024,
    live: bool = False,
    embeddings: bool = False,
    progress: ProgressFn | None = None,
    stop: StopFn | None = None,
) -> ResultFolder:
    """Segment, measure and type every cell of a slide, tile by tile.

    Parameters
    ----------
    slide
        A path, an open slide, or pixels (C, Y, X).
    out
        Folder for the result: ``labels.ome.zarr``, ``cells.csv``, ``cells.parquet``, ``run.json``.
    model
        Name on the shelf, a model's folder, or a loaded model.
    chosen
        Slide marker for a model's marker, where names do not match by themselves.
    pixel_um
        Pixel size in micrometres; overrides the file's.
    region
        Part of the slide, in level-0 pixels; cells whose centre lies in it.
    device
        ``"auto"``, ``"cuda"``, ``"mps"`` or ``"cpu"``.
    types
        Name types, where the model can and the slide has the markers for it; otherwise
        ``result.run["types_why"]`` says why not.
    overwrite, resume
        Replace an old result, or continue one that was interrupted, with the same settings.
    tile_px
        About the side of a tile, in model pixels.
    live
        Keep the label image's coarser levels up to date while it grows, so that it can be looked at from afar (for at most
        a twentieth of the time).
    embeddings
        Keep the network's vector of every cell as well, for plots and for finding like cells: a second pass over the tiles;
        see `napari_dama.predict.embeddings`.
    progress, stop
        Told how far the run is; asked whether to end it.

    Raises
    ------
    SettingsError, PanelError, ModelError, SlideError, OutputError
        What was wrong, and the way out.
    Interrupted
        ``stop`` returned True, or Ctrl-C; finished tiles are kept and ``resume=True`` continues.
    """
    folder = Path(out)
    continuing = resume and holds_something(folder) and holds_result(folder)
    if not continuing:
        check_place(folder, overwrite=overwrite)
    else:
        refuse_running(folder)
    with opened(slide, pixel_um=pixel_um) as source:
        plan = make_plan(
            source,
            model=model,
            chosen=chosen,
            pixel_um=pixel_um,
            region=region,
            types=types,
            tile_px=tile_px,
        )
        finished = False
        if not continuing:
            check_space(folder, _space_needed(plan))
        else:
            finished = check_same(folder, plan.settings())["state"] == "done"
        if finished and not embeddings:
            return ResultFolder.open(folder)
        loaded = plan.load_model(device)
        if finished:
            _embed(folder, source, loaded, progress, stop)
            return ResultFolder.open(folder)
        if continuing:
            writer = ResultWriter.resume(folder, plan.settings())
        else:
            shape_yx = plan.grid.shape_yx
            writer = ResultWriter.begin(folder, _record(plan), plan.columns(), shape_yx, overwrite=overwrite)
        _Run(plan, writer, loaded, progress, stop, live=live).go()
        if embeddings:
            _embed(folder, source, loaded, progress, stop)
    return ResultFolder.open(folder)


def _embed(
    folder: Path, slide: Slide, model: Model, progress: ProgressFn | None, stop: StopFn | None
) -> None:
    """Keep the vectors of all cells, unless there are none or they are kept already."""
    from napari_dama.predict.embeddings import embed_cells, is_current

    labels = ResultFolder.open(folder).cells()["label"].to_numpy()
    if len(labels) and not is_current(folder, labels):
        embed_cells(folder, slide=slide, model=model, progress=progress, stop=stop)


class _Run:
    """One run into one result folder."""

    def __init__(
        self,
        plan: Plan,
        writer: ResultWriter,
        model: Model,
        progress: ProgressFn | None,
        stop: StopFn | None,
        *,
        live: bool,
    ) -> None:
        self.overview = Overview(writer.labels) if live else None
        self.plan, self.writer, self.model = plan, writer, model
        self.progress, self.stop = progress, stop
        self.stages = Stages()
        self.begin = time.perf_counter()
        self.before = len(writer.finished)
        self.megapixels = 0.0
        self.skipped = 0
        record = writer.record
        self.seconds_before = float(record.get("seconds", 0.0))
        self.megapixels_before = float(record.get("megapixels", 0.0))
        self.stages_before = dict(record.get("stages", {}))

    def go(self) -> None:
        """Run to the end, or record why not."""
        record = self.writer.record
        record.update(state="running", owner=Owner.here(), device=str(self.model.device), error=None)
        record["precision"] = str(getattr(self.model, "precision", "float32"))
        self.writer.save()
        try:
            self._tiles()
            self._finish()
        except (KeyboardInterrupt, Interrupted) as error:
            self._leave("interrupted", None)
            done, total = len(self.writer.finished), len(self.plan.tiles)
            raise Interrupted(
                f"stopped; {done} of {total} tiles with {self.writer.cells} cells are kept in "
                f"{self.writer.folder}: --resume continues"
            ) from error
        except BaseException as error:
            self._leave("failed", str(error) or type(error).__name__)
            raise
        self._leave("done", None)

    def _tiles(self) -> None:
        plan, writer = self.plan, self.writer
        pipeline = Pipeline(plan.slide, plan.channels, self._stats(), self.model, plan.grid, self.stages)
        todo = [work for work in plan.tiles if work.tile.index not in writer.finished]
        self._tell("tiles", self.before, len(plan.tiles))
        tiles = run_tiles(
            pipeline,
            todo,
            types=plan.types,
            existing=writer.existing,
            next_label=writer.next_label,
            region=plan.region,
            stop=self.stop,
        )
        with closing(tiles):
            for finished in tiles:
                with self.stages.time("write"):
                    writer.write(finished.tile, finished.labels)
                    table = finished.table.reindex(columns=plan.columns())
                    writer.finish_tile(finished.tile, table, next_label=finished.next_label)
                if self.overview is not None:
                    self.overview.add(finished.tile.outer)
                core = finished.tile.core
                self.megapixels += core.height * core.width / 1e6
                self.skipped += finished.empty
                self._tell("tiles", len(writer.finished), len(plan.tiles))

    def _stats(self) -> IntensityStats:
        """Intensity statistics; those of the run that is continued, so that its tiles are treated alike."""
        record = self.writer.record
        if record.get("intensity"):
            return IntensityStats.from_json(record["intensity"])
        self._tell("statistics", 0, 1)
        with self.stages.time("statistics"):
            stats = slide_stats(self.plan.slide)
        record["intensity"] = stats.to_json()
        self.writer.save()
        return stats

    def _finish(self) -> None:
        with self.stages.time("finish"):
            self.writer.finish(_covered(self.plan.tiles), progress=partial(self._tell, "finish"))
        notes = self.writer.record["notes"]
        if not self.writer.cells:
            notes.append("no cells were found")

    def _leave(self, state: str, error: str | None) -> None:
        """Close the record; whatever half a tile left behind is undone first."""
        writer, record = self.writer, self.writer.record
        if state != "done":
            try:
                writer.discard()
                if state == "interrupted":
                    writer.labels.build_pyramid(_covered(self.plan.tiles))
            except OSError as trouble:  # the disk is full or gone: what is finished is on it all the same
                error = f"{error or state}; and {trouble}"
        seconds = time.perf_counter() - self.begin
        total = self.seconds_before + seconds
        area = self.megapixels_before + self.megapixels
        stages = {
            name: round(self.stages_before.get(name, 0.0) + self.stages.seconds.get(name, 0.0), 3)
            for name in {**self.stages_before, **self.stages.seconds}
        }
        record.update(
            state=state,
            error=error,
            owner=None,
            finished=_now(),
            cells=writer.cells,
            tiles_done=len(writer.finished),
            tiles_empty=record.get("tiles_empty", 0) + self.skipped,
            seconds=round(total, 3),
            megapixels=round(area, 4),
            megapixels_per_second=round(area / total, 4) if total else 0.0,
            peak_memory_bytes=max(peak_memory_bytes(), record.get("peak_memory_bytes", 0)),
            stages=stages,
        )
        try:
            writer.save()
        except (OutputError, OSError):
            if state == "done":
                raise

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.progress is not None:
            seconds = time.perf_counter() - self.begin
            before = self.before if stage == "tiles" else 0
            cells = self.writer.cells
            self.progress(Progress(stage, done, total, cells, seconds, self.megapixels, before))


def _record(plan: Plan) -> dict[str, Any]:
    """What ``run.json`` says when a run begins."""
    slide, card = plan.slide, plan.card
    return {
        "kind": "napari-dama result",
        "format": 1,
        "state": "running",
        "created": _now(),
        "command": sys.argv,
        "versions": versions(),
        "slide": {
            "name": slide.name,
            "path": None if slide.path is None else str(Path(slide.path).absolute()),
            "shape": [int(size) for size in slide.shape],
            "dtype": str(slide.dtype),
            "markers": list(slide.markers),
            "pixel_um": slide.pixel_um,
        },
        "model": {
            "name": card.name,
            "version": card.version,
            "path": None if card.path is None else str(card.path),
            "classes": list(card.classes) if plan.types else [],
            "class_colours": list(card.class_colours) if plan.types else [],
        },
        "channel_map": plan.channels.to_json(),
        "channels": plan.channels.describe(),
        "settings": plan.settings(),
        "types": plan.types,
        "types_why": plan.types_why,
        "tiles": len(plan.tiles),
        "notes": list(slide.notes),
        "columns": plan.columns(),
    }


def _covered(tiles: list[WorkTile]) -> Region:
    """Smallest region with all tiles' outer regions."""
    outers = [work.tile.outer for work in tiles]
    return Region(
        min(outer.y0 for outer in outers),
        max(outer.y1 for outer in outers),
        min(outer.x0 for outer in outers),
        max(outer.x1 for outer in outers),
    )


def _space_needed(plan: Plan) -> int:
    """Bytes that the result may take: packed labels and the table of densely packed cells."""
    return int(plan.region.height * plan.region.width * 0.5) + 10_000_000


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
