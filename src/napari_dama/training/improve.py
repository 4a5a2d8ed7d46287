"""Improve a model with what people corrected, and measure it beside its parent on what was held out.

Types are learned from corrected cells (`napari_dama.training.improve_types`), outlines from areas around corrected ones
(`napari_dama.training.improve_outlines`); each is a network of its own, so that one may be taken without the other. The
finished models and ``improvement.json`` lie in the job's folder; nothing else is changed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from napari_dama.errors import Interrupted, SettingsError
from napari_dama.models.build import save_model
from napari_dama.models.shelf import load_model
from napari_dama.predict.device import pick_device
from napari_dama.training.files import ANNOTATIONS, read_json, write_json
from napari_dama.training.folder import RunFolder, opened
from napari_dama.training.held_out import BETWEEN, HELD
from napari_dama.training.improve_card import (
    assembled,
    outlines_sampling,
    outlines_scores,
    types_improved,
    types_scores,
)
from napari_dama.training.improve_data import SPLIT, gone
from napari_dama.training.improve_outlines import TILE_PX, OutlineLesson, load_areas
from napari_dama.training.improve_types import TypesLesson
from napari_dama.training.telling import Telling

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch import nn

    from napari_dama.evaluate.before_after import BeforeAfter
    from napari_dama.evaluate.outline_change import OutlineChange
    from napari_dama.training.improve_settings import ImproveSettings

REPORT: Final = "improvement.json"
_CELL_S: Final = 0.1
"""A guess at how long a cell's type takes, for the time that is left while outlines are learned."""


@dataclass(frozen=True, slots=True)
class Improvement:
    """Parent and improved model on what was held out; None for what was not learned."""

    types: BeforeAfter | None
    outlines: OutlineChange | None

    @property
    def improved(self) -> list[str]:
        """What became better on the held-out part, as measured: ``types``, ``outlines``."""
        found = []
        if self.types is not None and types_improved(self.types):
            found.append("types")
        if self.outlines is not None and self.outlines.improved:
            found.append("outlines")
        return found

    @property
    def sentence(self) -> str:
        """What can be said of both, for people."""
        return " ".join(each.sentence for each in (self.types, self.outlines) if each is not None)


def improve(
    settings: ImproveSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    stop: Callable[[], bool] | None = None,
    folder: RunFolder | None = None,
) -> Improvement:
    """Run an improvement that `napari_dama.training.improve_data.prepare` made ready.

    Parameters
    ----------
    settings
        Of the job; the corrected cells and outlines lie in its folder.
    resume, overwrite, stop, folder
        As in `napari_dama.training.pretrain.pretrain`. A run that was stopped goes on where its outlines were, and learns
        types, which takes a minute, anew.
    progress
        Called with (done, in all, what is being done).

    Returns
    -------
    Improvement
        Parent and improved model on what was held out; also in ``improvement.json``, beside ``model``.

    Raises
    ------
    Interrupted
        ``stop`` returned True, or the folder was asked to stop.
    DamaError
        Slides, results or model do not fit, or are gone.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    with opened(folder, settings, resume=resume, overwrite=overwrite) as run, run.failures_told():
        telling = Telling(run, progress, stop)
        try:
            return _Run(settings, run, telling).go()
        except Interrupted:
            telling.ended("stopped")
            raise


class _Run:
    """One run, from what was corrected to the report."""

    def __init__(self, settings: ImproveSettings, run: RunFolder, telling: Telling) -> None:
        if trouble := gone(settings):
            raise SettingsError(trouble)
        self.settings, self.run, self.telling = settings, run, telling
        self.facts = read_json(run.path / ANNOTATIONS / SPLIT)
        self.parent = load_model(settings.init, device=pick_device(settings.device))
        for lesson, task, words in (
            ("types", "types", "tells no types"),
            ("outlines", "segments", "finds no outlines"),
        ):
            if lesson in settings.learn and task not in self.parent.card.tasks:
                raise SettingsError(f"{settings.init} {words}: it is another model by now")
        self.types = TypesLesson(settings, run, telling, self.parent) if "types" in settings.learn else None

    def go(self) -> Improvement:
        """Learn outlines, then types; compare, write."""
        begun = time.perf_counter()
        device = str(self.parent.device)
        self.telling.facts["device"] = device
        self.run.event("improving", model=self.parent.card.name, device=device)
        kept = self.run.load_checkpoint("last")
        self.run.forget_after(int(kept[1]["step"]) if kept else 0)
        parts: dict[str, nn.Module] = {}
        types = outlines = None
        if "outlines" in self.settings.learn:
            parts["outlines"], outlines = self._outlines()
        if self.types is not None:
            parts["types"], types = self.types.go()
        found = Improvement(types, outlines)
        self._write(parts, found, time.perf_counter() - begun)
        return found

    def _outlines(self) -> tuple[nn.Module, OutlineChange]:
        self.telling.say("Reading the corrected outlines", 0, len(self.settings.areas))
        fields = load_areas(self.settings, self.run.path, self.parent)
        lesson = OutlineLesson(self.settings, self.parent, fields)
        later = _CELL_S * len(self.types.reviewed) if self.types is not None else 0.0
        held_px = sum(field.labels.size for field in fields if field.part == HELD)
        step_px = self.settings.outline_batch * TILE_PX**2
        facts = self.facts.get("outlines", {})
        self.run.event(
            "data", samples=int(facts.get("learned", 0)), notes=[outlines_sampling(self.facts, self.settings)]
        )
        begun = time.monotonic()
        started: list[int] = []

        def learned(done: int, total: int, loss: float) -> None:
            started.append(done)
            self.run.metrics({"step": done, "epoch": done, "loss": loss})
            per_step = (time.monotonic() - begun) / (done - started[0] + 1)
            compare_s = 0.7 * per_step * held_px / step_px  # both networks, without gradients
            self.telling.say("Learning outlines", done, total, rest_s=compare_s + later, first=started[0] - 1)

        def compared(done: int, total: int) -> None:
            self.telling.say("Comparing outlines", done, total, rest_s=later)

        lesson.fit(self.run, tell=learned, stop=self.telling.stop)
        return lesson.part, lesson.compare(compared, self.telling.stop)

    def _write(self, parts: dict[str, nn.Module], found: Improvement, seconds: float) -> None:
        """Write the improved model (and each of its networks in a model of its own), and the report."""
        wanted = {"model": list(parts)}
        if len(parts) > 1:
            wanted |= {f"model-{name}": [name] for name in parts}
        for folder, names in wanted.items():
            chosen = {name: parts[name] for name in names}
            model = assembled(
                self.settings, self.parent, chosen, found.types, found.outlines, self.types, self.facts
            )
            save_model(model, self.run.path / folder, overwrite=True)
        report: dict[str, Any] = {
            "parent": self.parent.card.name,
            "model": self.settings.name or self.settings.out.name,
            "learn": list(self.settings.learn),
            "improved": found.improved,
            "hints": list(self.facts.get("hints", [])),
            "seconds": round(seconds, 2),
        }
        own: dict[str, float] = {}
        if found.outlines is not None:
            facts = self.facts.get("outlines", {})
            report["outlines"] = {
                **found.outlines.to_json(),
                "sampling": outlines_sampling(self.facts, self.settings),
                "learned": {
                    key: int(facts.get(key, 0)) for key in ("learned", "held", "between", "areas_learned")
                },
                "near_um": self.settings.near_um,
            }
            own = outlines_scores(found.outlines)[0]
        if found.types is not None and self.types is not None:
            report |= {
                **found.types.to_json(),
                "sampling": self.types.sampling,
                "how": self.facts.get("how", ""),
                "untested": list(self.facts.get("untested", [])),
                "learned": self.types.learned,
                "between": int((self.types.reviewed["part"] == BETWEEN).sum()),
            }
            own = types_scores(found.types)[0]
        write_json(self.run.path / REPORT, report)
        self.run.log(found.sentence)
        best = {"step": self.telling.facts.get("step", 0), **own}
        self.telling.ended("finished", best=best, words=found.sentence)
