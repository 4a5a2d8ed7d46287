"""Running an experiment: unit after unit, resumable, with what fails recorded and the rest going on."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dama.cells.store import CropStore
from napari_dama.errors import Interrupted, SettingsError
from napari_dama.evaluate.compare.experiment import Experiment
from napari_dama.evaluate.compare.record import begin, write_whole
from napari_dama.evaluate.compare.report import write_report
from napari_dama.evaluate.compare.splits import plan_folds
from napari_dama.evaluate.compare.units import (
    RESULT,
    TRACE,
    Unit,
    all_units,
    pretraining_of,
    read_result,
)
from napari_dama.evaluate.crop_baselines import rule_for

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from napari_dama.evaluate.compare.work import Bench
    from napari_dama.training.loop import RunProgress


@dataclass(frozen=True, slots=True)
class CompareProgress:
    """Where an experiment stands: units done of all, the present one with its own step, and the time left if known."""

    done: int
    units: int
    unit: str
    step: int
    steps: int
    images_per_s: float
    eta_s: float | None


@dataclass(frozen=True)
class Comparison:
    """What an experiment came to.

    Attributes
    ----------
    out
        Its folder, with ``table.md``, ``table.csv``, ``tests.csv``, ``results.csv``, ``plot.png`` and ``README.md``.
    table, tests, results
        The same as tables.
    failed
        Units that failed, with the reason.
    """

    out: Path
    table: pd.DataFrame
    tests: pd.DataFrame
    results: pd.DataFrame
    failed: dict[str, str]


@dataclass
class _Pace:
    """Seconds that units of each kind took, to tell the time left."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, unit: Unit, seconds: float) -> None:
        self.seconds.setdefault(unit.kind, []).append(seconds)

    def left(self, units: list[Unit], spent: float, share: float) -> float | None:
        """Time for these units, of which the first has run for ``spent`` seconds and stands at ``share``."""
        means = {kind: sum(values) / len(values) for kind, values in self.seconds.items()}
        if units and share > 0.05:
            means.setdefault(units[0].kind, spent / share)
        if not means:
            return None
        usual = sum(means.values()) / len(means)
        whole = [means.get(unit.kind, usual) for unit in units]
        return max(0.0, sum(whole) - (min(spent, whole[0]) if whole else 0.0))


def compare(
    experiment: Experiment | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[CompareProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Comparison:
    """Run methods x folds x label fractions x seeds, and write tables, tests and a plot.

    Checkpoints are chosen on a fold's validation groups; its test cells are predicted once, by the model that was chosen,
    and only that is reported. A unit that is finished is never done again; one that was cut short goes on from its
    checkpoint; one that failed is tried again the next time.

    Parameters
    ----------
    experiment
        An experiment, or its file.
    out
        Folder of the experiment.
    resume
        Go on with the experiment that stands there.
    overwrite
        Replace it.
    progress
        Called with a `CompareProgress` before each unit and at its logged steps.
    stop
        Asked before each step; True ends with what is finished kept and reported.

    Returns
    -------
    Comparison
        Units that failed are in ``failed``; the others are compared all the same.

    Raises
    ------
    SettingsError
        The file has a mistake, there are too few groups, or a resumed experiment differs from the one that began.
    StoreError, ModelError
        The store or a starting model cannot be read.
    OutputError
        The folder holds something, or cannot be written.
    Interrupted
        ``stop`` said so; resume goes on.
    """
    plan = experiment if isinstance(experiment, Experiment) else Experiment.from_file(experiment)
    plan.check_runs()
    folder = Path(out)
    store = CropStore.open(plan.store)
    folds = len(plan_folds(store, plan))
    why_no_rule = _why_no_rule(plan, store)
    units = all_units(plan, folds, with_rule=not why_no_rule)
    record = begin(plan, store, folder, resume=resume, overwrite=overwrite)

    from napari_dama.evaluate.compare.work import Bench, slides_seen

    bench = Bench(plan, store, folder)
    seen = slides_seen(plan, store)
    results: dict[Unit, dict[str, Any]] = {}

    def report() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        return write_report(
            folder,
            plan,
            store,
            bench.plans,
            units,
            results,
            record=record,
            seen=seen,
            why_no_rule=why_no_rule,
        )

    try:
        _run_units(bench, units, results, progress=progress, stop=stop)
    except Interrupted as error:
        report()
        raise Interrupted(
            f"stopped with {len(results)} of {len(units)} units done in {folder}; --resume goes on"
        ) from error
    table, tests, every = report()
    failed = {unit.place: str(found["error"]) for unit, found in results.items() if found["state"] != "done"}
    return Comparison(folder, table, tests, every, failed)


def _run_units(
    bench: Bench,
    units: list[Unit],
    results: dict[Unit, dict[str, Any]],
    *,
    progress: Callable[[CompareProgress], None] | None,
    stop: Callable[[], bool] | None,
) -> None:
    """Do every unit that is not done; ``results`` fills as they end."""
    pace = _Pace()
    before = {unit: read_result(bench.out / unit.place) for unit in units}
    for unit, found in before.items():
        if found is not None and found["state"] == "done":
            results[unit] = found
            pace.add(unit, float(found["wall_s"]))
    waiting = [unit for unit in units if unit not in results]
    for place, unit in enumerate(waiting):
        rest = waiting[place:]
        began = time.monotonic()

        def tell(now: RunProgress | None, rest: list[Unit] = rest, began: float = began) -> None:
            if progress is None:
                return
            step, steps, rate = (0, 0, 0.0) if now is None else (now.step, now.steps, now.images_per_s)
            left = pace.left(rest, time.monotonic() - began, step / steps if steps else 0.0)
            progress(
                CompareProgress(
                    len(units) - len(rest), len(units), rest[0].describe(), step, steps, rate, left
                )
            )

        tell(None)
        if stop is not None and stop():
            raise Interrupted("stopped")
        old = before[unit]
        results[unit] = _one(bench, unit, results, anew=old is not None, progress=tell, stop=stop)
        pace.add(unit, time.monotonic() - began)
    if progress is not None:
        progress(CompareProgress(len(units), len(units), "all", 0, 0, 0.0, 0.0))


def _one(
    bench: Bench,
    unit: Unit,
    results: dict[Unit, dict[str, Any]],
    *,
    anew: bool,
    progress: Callable[[RunProgress], None],
    stop: Callable[[], bool] | None,
) -> dict[str, Any]:
    """Do a unit and write its ``result.json``, whatever it came to."""
    folder, began = bench.out / unit.place, time.monotonic()
    facts: dict[str, Any]
    needs = None
    if unit.kind == "types":
        entry = next(entry for entry in bench.experiment.methods if entry.name == unit.method)
        needs = pretraining_of(bench.experiment, entry, unit.fold, unit.seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TRACE).unlink(missing_ok=True)
        if needs is not None and results[needs]["state"] != "done":
            facts = {"state": "skipped", "error": f"its pretraining failed: {results[needs]['error']}"}
        else:
            facts = {"state": "done", **bench.do(unit, anew=anew, progress=progress, stop=stop)}
    except (Interrupted, OSError):
        raise
    except (
        Exception
    ) as error:  # one unit's trouble is not the others': it is written down, and reported at the end
        (folder / TRACE).write_text(traceback.format_exc(), encoding="utf-8")
        facts = {"state": "failed", "error": " ".join(f"{type(error).__name__}: {error}".split())}
    named = {name: getattr(unit, name) for name in ("kind", "method", "mode", "label_share", "fold", "seed")}
    facts = {
        **named,
        **facts,
        "wall_s": time.monotonic() - began,
        "ended": datetime.now(UTC).isoformat("T", "seconds"),
    }
    write_whole(folder / RESULT, facts)
    if facts["state"] == "done":
        bench.tidy(unit)
    return facts


def _why_no_rule(plan: Experiment, store: CropStore) -> str:
    """Why there is no mean-intensity rule for this store, or "". A rule that the file gives must fit."""
    if not plan.baselines:
        return ""
    try:
        rule_for(store.markers, store.types, plan.rule)
    except SettingsError as error:
        if plan.rule is not None:
            raise
        return str(error)
    return ""
