"""What an experiment leaves to read: tables, tests, a plot, and in words what may be concluded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from napari_dama.evaluate.compare.plot import plot_summary
from napari_dama.evaluate.compare.tables import results_table, summary_table, tests_table
from napari_dama.evaluate.compare.units import BOOSTING, RULE
from napari_dama.export.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from napari_dama.cells.store import CropStore
    from napari_dama.evaluate.compare.experiment import Experiment
    from napari_dama.evaluate.compare.splits import FoldPlan
    from napari_dama.evaluate.compare.units import Unit

SIGNIFICANT: Final = 0.05
_SHOWN: Final = {"balanced_accuracy": "Balanced accuracy", "accuracy": "Accuracy"}


def write_report(
    out: Path,
    experiment: Experiment,
    store: CropStore,
    plans: Sequence[FoldPlan],
    units: Sequence[Unit],
    results: Mapping[Unit, Mapping[str, Any]],
    *,
    record: Mapping[str, Any],
    seen: Mapping[str, Sequence[str]],
    why_no_rule: str,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Write every output, of what is done so far, and return summary, tests and results.

    Parameters
    ----------
    out
        Folder of the experiment.
    experiment, store, plans, units
        What was to be done.
    results
        What units came to.
    record
        What ``experiment.yaml`` says of machine and date.
    seen
        Of methods that start from a model, slides of the store that it was trained on.
    why_no_rule
        Why there is no mean-intensity rule, or "".
    """
    every = results_table(units, results)
    table = summary_table(every, experiment, len(plans))
    tests = tests_table(every, experiment, plans, out)
    for name, frame in (("results.csv", every), ("table.csv", table), ("tests.csv", tests)):
        with replacing(out / name, overwrite=True) as part:
            frame.to_csv(part, index=False, lineterminator="\n")
    simulated = is_simulated(store) if experiment.simulated is None else experiment.simulated
    words = _words(experiment, store, plans, every, tests, results, record, seen, why_no_rule, simulated)
    for name, lines in (("table.md", table_lines(table, len(plans), simulated)), ("README.md", words)):
        with replacing(out / name, overwrite=True) as part:
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if len(table):
        seeds = f"{len(experiment.seeds)} seed{'s' if len(experiment.seeds) > 1 else ''}"
        title = f"{store.path.name}{' (simulated)' if simulated else ''}: {len(plans)} folds x {seeds}"
        plot_summary(table, out / "plot.png", title=title)
    return table, tests, every


def is_simulated(store: CropStore) -> bool:
    """Whether a slide's name, file or notes say that it was simulated (`napari-dama simulate` names them ``sim_...``)."""
    return any(
        slide.name.startswith("sim_")
        or "simulat" in f"{slide.name} {slide.path} {' '.join(slide.notes)}".lower()
        for slide in store.slides
    )


def table_lines(table: pd.DataFrame, folds: int, simulated: bool) -> list[str]:
    """Tables in Markdown, in percent: methods as rows, folds as columns, as the paper prints them."""
    lines = ["# Test scores in percent", ""]
    if simulated:
        lines += ["**The pixels are simulated.**", ""]
    if not len(table):
        return [*lines, "Nothing is finished yet."]
    names = [
        "method",
        "mode",
        "labels",
        *(str(k + 1) for k in range(folds)),
        "mean",
        "error",
        "gain",
        "pretraining h",
    ]
    for metric, heading in _SHOWN.items():
        lines += [
            f"## {heading}",
            "",
            f"| {' | '.join([*names, 'images/s'])} |",
            "|---|---|" + "---:|" * (folds + 6),
        ]
        for row in table[table["metric"] == metric].to_dict("records"):
            share = f"{100 * row['label_share']:g} %" if row["label_share"] else "none"
            cells = [
                row["method"],
                row["mode"],
                share,
                *(_percent(row[f"fold_{k + 1}"]) for k in range(folds)),
            ]
            cells += [_percent(row["mean"]), _percent(row["error"]), _percent(row["gain"], sign=True)]
            cells += [_number(row["pretrain_hours"], ".3g"), _number(row["images_per_s"], ".0f")]
            lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
        lines.append("")
    return [
        *lines,
        "Numbered columns are folds (means over seeds), `error` is the standard error over folds, `gain` the difference to "
        "random initialisation with the same labels, mode and folds. `images/s` counts validation in. Macro-F1 is in "
        "`table.csv`.",
    ]


def _percent(value: float, *, sign: bool = False) -> str:
    return "" if math.isnan(value) else f"{100 * value:{'+' if sign else ''}.2f}"


def _number(value: float, how: str) -> str:
    return "" if math.isnan(value) else f"{value:{how}}"


def verdict(row: Mapping[Any, Any]) -> str:
    """One comparison in words, no stronger than its folds allow."""
    points, share = 100 * row["mean"], 100 * row["label_share"]
    head = f"{row['method']} against {row['reference']} ({row['mode']}, {share:g} % of labels): {points:+.2f} points"
    if row["folds"] < 2:
        return f"{head}. One fold: nothing can be said about other data."
    if math.isnan(row["p_holm"]) or math.isnan(row["corrected_low"]):
        return f"{head}, the same in all {row['folds']} folds: a t test has no spread to go by."
    low, high = 100 * row["corrected_low"], 100 * row["corrected_high"]
    head += f", 95 % interval {low:+.2f} to {high:+.2f}"
    if row["p_holm"] < SIGNIFICANT:
        return (
            f"{head}: {'better' if points > 0 else 'worse'} (p {row['p_holm']:.2g} after Holm's correction)."
        )
    return (
        f"{head}: within what {row['folds']} folds can show (p {row['p_holm']:.2g} after Holm's correction)."
    )


def _words(
    experiment: Experiment,
    store: CropStore,
    plans: Sequence[FoldPlan],
    every: pd.DataFrame,
    tests: pd.DataFrame,
    results: Mapping[Unit, Mapping[str, Any]],
    record: Mapping[str, Any],
    seen: Mapping[str, Sequence[str]],
    why_no_rule: str,
    simulated: bool,
) -> list[str]:
    """The README of an experiment."""
    done = int((every["state"] == "done").sum())
    lines = ["# A comparison by napari-dama", ""]
    if simulated:
        lines += ["**The pixels are simulated: nothing here is a claim about real tissue.**", ""]
    if done < len(every):
        lines += [f"**{done} of {len(every)} units are done; what follows rests on those.**", ""]
    lines += ["## What was done", "", *_protocol(experiment, store, plans, record), ""]
    lines += ["## What may be concluded", ""]
    main = tests[tests["metric"] == "balanced_accuracy"] if len(tests) else tests
    if len(main):
        k = int(main["folds"].max())
        lines += [
            f"Balanced accuracy on test cells, {len(main)} comparisons corrected together. Intervals and p values are of "
            "the corrected resampled t test, since folds share training data"
            + (
                f". A sign-flip test over {k} folds cannot go below p = {2 / 2**k:.2g}, so it can show nothing here."
                if 2 / 2**k > SIGNIFICANT
                else "."
            ),
            "",
            *(f"- {verdict(row)}" for row in main.to_dict("records")),
        ]
    else:
        lines.append("Nothing yet: no method and reference share a finished fold.")
    notes = _notes(experiment, plans, every, results, seen, why_no_rule)
    if notes:
        lines += ["", "## Read before you quote", "", *(f"- {note}" for note in notes)]
    lines += ["", "## Files", ""]
    lines += [
        "- `table.md`, `table.csv`: scores per method, label fraction and fold; `plot.png` the same as curves",
        "- `tests.csv`: every paired comparison, with all intervals and p values",
        "- `results.csv`: one row per unit of work; `units/`: its job, predictions and `result.json`",
        "- `experiment.yaml`: the experiment, its store, versions, machine and date",
    ]
    return lines


def _protocol(
    experiment: Experiment, store: CropStore, plans: Sequence[FoldPlan], record: Mapping[str, Any]
) -> list[str]:
    typed = int((store.table["type"] != "").sum())
    groups = sorted(
        {group for plan in plans for part in (plan.train, plan.validation, plan.test) for group in part}
    )
    by = "all fields of a slide" if experiment.group_by == "slide" else "a field of view"
    if experiment.test == "folds":
        turns = f"{len(plans)} folds take turns as the test part"
        chosen_by = f"about {100 * experiment.validation:g} % of the other groups"
    else:
        turns = f"The test part is the same {len(plans[0].test)} groups in all {len(plans)} runs"
        chosen_by = "the groups of the run's own fold"
    if experiment.pretrain_store is not None:
        saw = f"Pretraining saw {experiment.pretrain_store}, without slides that are also in the store, once per seed."
    elif experiment.pretrain_on == "train":
        saw = (
            "Pretraining saw the crops of the training groups, without labels; its checkpoint was chosen on validation "
            "groups."
        )
    else:
        saw = "Pretraining saw the crops of training and validation groups, without labels, and never test groups."
    machine = record.get("machine", {})
    versions = ", ".join(f"{name} {number}" for name, number in machine.get("versions", {}).items())
    return [
        f"- Store: {store.path}, {typed} typed of {len(store)} cells in {len(groups)} groups, {len(store.types)} types.",
        f"- Splits keep {by} on one side. {turns}; {chosen_by} choose the checkpoint.",
        f"- {saw}",
        "- Test cells were predicted once per run, by the checkpoint chosen on validation cells. Nothing that was chosen by "
        "is reported.",
        "- Label fractions are of the training cells of each class (at least one); the same cells for every method. "
        "Validation cells keep their labels at every fraction, so the true cost of labels is higher than the fraction says.",
        f"- Seeds: {', '.join(str(seed) for seed in experiment.seeds)}. A seed is of weights, batches and the labels drawn; "
        "folds are the same for all.",
        f"- Begun {record.get('begun', '?')} on {machine.get('name', '?')} ({machine.get('cores', '?')} cores): {versions}.",
    ]


def _notes(
    experiment: Experiment,
    plans: Sequence[FoldPlan],
    every: pd.DataFrame,
    results: Mapping[Unit, Mapping[str, Any]],
    seen: Mapping[str, Sequence[str]],
    why_no_rule: str,
) -> list[str]:
    """What limits the numbers."""
    notes = [note + "." for plan in plans for note in plan.notes]
    lacking = {
        f"seed {unit.seed}, fold {unit.fold + 1}, {100 * unit.label_share:g} % of labels: no label of {', '.join(missing)}."
        for unit, found in results.items()
        if (missing := found.get("classes_without_label"))
    }
    notes += sorted(lacking)
    for name, slides in seen.items():
        notes.append(
            f"The model that {name} starts from was made with slides of this store ({', '.join(list(slides)[:3])}"
            f"{', ...' if len(slides) > 3 else ''}), test parts among them: its scores are no test."
        )
    if experiment.baselines and why_no_rule:
        notes.append(f"There is no mean-intensity rule: {why_no_rule}.")
    if experiment.baselines:
        notes.append(
            f"`{RULE}` takes the brightest marker and learns nothing; `{BOOSTING}` is gradient boosting on intensities and "
            "shape measured in the crop, with fixed settings, on the same labels. Where they come near the networks, the "
            "labels follow from intensities."
        )
    if isinstance(experiment.test, list | float):
        notes.append(
            "All runs are tested on the same cells, so the spread over runs says nothing about other test cells."
        )
    for row in every[every["state"].isin(["failed", "skipped"])].itertuples():
        notes.append(f"{row.state}: {row.folder}: {row.error}")
    return notes
