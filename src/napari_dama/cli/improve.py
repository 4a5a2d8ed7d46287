"""improve: a model learns from what was corrected, is compared with its parent, and goes on the shelf or not."""

from __future__ import annotations

import shlex
from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_dama.cli.console import (
    GreedyCommand,
    Json,
    Overwrite,
    Reporter,
    print_facts,
    print_json,
    print_table,
    stop_on_interrupt,
)
from napari_dama.errors import SettingsError

if TYPE_CHECKING:
    from napari_dama.training.improve_settings import ImproveSettings


FIXED = ("out", "init", "learn", "slides", "areas", "classes", "class_colours", "parent_classes")
"""Settings that follow from the corrections, or have an option of their own."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=GreedyCommand)(improve)


def improve(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the job.")],
    sources: Annotated[
        list[Path] | None, typer.Argument(help="Corrected slides, or their .dama-corrections.jsonl.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model to improve; by default the one that made the result.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="types or outlines: learn, or with --accept take, that alone. By default, what can be or improved."
        ),
    ] = None,
    encoder: Annotated[
        bool, typer.Option("--encoder", help="Let the whole network learn, and not its last layer only.")
    ] = False,
    pseudo_labels: Annotated[
        bool,
        typer.Option("--pseudo-labels", help="Learn from unreviewed cells of which the model is sure, too."),
    ] = False,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--set", help="Settings as key=value: seed, device, validation_share, hold, ..."),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Run in a process of its own that outlives this terminal.")
    ] = False,
    accept: Annotated[
        str | None, typer.Option(help="Put the improved model on the shelf under this name.")
    ] = None,
    discard: Annotated[bool, typer.Option("--discard", help="Delete the job; nothing else changes.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Improve a model with corrected types and outlines; before and after, on what was held out.

    Without slides, show a job that has finished, accept it or discard it.

    For example:

      napari-dama improve tissue.ome.tif -o better

      napari-dama improve a.ome.tif b.ome.tif --model dama-brain7 -o better --detach

      napari-dama improve -o better --accept my-brain7

      napari-dama improve -o better --accept my-brain7 --only outlines

      napari-dama improve -o better --discard
    """
    from napari_dama.jobs import improvement
    from napari_dama.training.improve_data import LESSONS

    if only not in (None, *LESSONS):
        raise SettingsError(f"--only is types or outlines, got {only!r}")
    lessons = None if only is None else [only]
    if discard:
        if sources or accept:
            raise SettingsError("--discard is for a job that stands: leave slides and --accept out")
        improvement.discard(out)
        print_facts({"discarded": str(out)})
        return
    if sources:
        settings = _prepared(sources, out, model, lessons, encoder, pseudo_labels, pairs, overwrite=overwrite)
        if detach:
            if accept:
                raise SettingsError("--detach comes back before the job has ended: accept it later")
            _detach(settings, overwrite=overwrite, as_json=as_json)
            return
        _run(settings, overwrite=overwrite)
    report = improvement.read_report(out)
    if not report:
        raise SettingsError(f"{out} holds no finished improvement; give the corrected slides to make one")
    facts = {"job": str(out), **report, "decision": improvement.read_decision(out) or None}
    if accept:
        taken = improvement.accept(out, accept, parts=lessons, overwrite=overwrite)
        facts |= {"accepted": taken, **improvement.decision_of(out)}
    print_json(facts) if as_json else _tell(facts)


def _prepared(
    sources: list[Path],
    out: Path,
    model: str | None,
    lessons: list[Any] | None,
    encoder: bool,
    pseudo_labels: bool,
    pairs: list[str] | None,
    *,
    overwrite: bool,
) -> ImproveSettings:
    from napari_dama.errors import JobError
    from napari_dama.jobs.folder import read_job
    from napari_dama.training.improve_data import find_corrected, prepare

    if overwrite and (out / "job.yaml").is_file() and (view := read_job(out)).going:
        raise JobError(f"{view.name} is {view.state} ({view.place}): stop it first")
    given = {key: True for key, on in (("encoder", encoder), ("pseudo_labels", pseudo_labels)) if on}
    options: dict[str, Any] = dict(given)
    for pair in pairs or []:
        key, sign, text = pair.partition("=")
        if not sign or key.strip() in FIXED:
            raise SettingsError(f"--set takes key=value of a setting that is free, got {pair!r}")
        options[key.strip()] = _value(text)
    return prepare(
        [find_corrected(source) for source in sources],
        out,
        model=model,
        learn=lessons,
        overwrite=overwrite,
        **options,
    )


def _value(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set: {text!r} is no valid YAML") from error


def _run(settings: ImproveSettings, *, overwrite: bool) -> None:
    from napari_dama.training.improve import improve as run

    with Reporter() as reporter, stop_on_interrupt() as stop:

        def tell(done: int, total: int, doing: str) -> None:
            reporter.show(doing, done, total)

        run(settings, overwrite=overwrite, progress=tell, stop=stop)


def _detach(settings: ImproveSettings, *, overwrite: bool, as_json: bool) -> None:
    from napari_dama.jobs.process import start
    from napari_dama.training.improve_data import discard_prepared

    try:
        view = start(settings, overwrite=overwrite)
    except Exception:
        discard_prepared(settings.out)
        raise
    place = shlex.quote(str(view.path))
    facts = {
        "job": str(view.path),
        "state": view.state,
        "process": view.pid,
        "log": str(view.path / "log.txt"),
        "watch": f"napari-dama jobs watch {place}",
        "then": f"napari-dama improve -o {place} --accept NAME",
    }
    print_json(facts) if as_json else print_facts(facts)


def _tell(facts: dict[str, Any]) -> None:
    """The comparisons as tables, and what can be said of them."""
    if "before" in facts:
        _tell_types(facts)
    if "outlines" in facts:
        _tell_outlines(facts["outlines"])
    for hint in facts.get("hints", []):
        typer.echo(hint)
    if facts.get("accepted"):
        typer.echo(f"on the shelf: {facts['accepted']}, with its {' and '.join(facts['parts'])}")
    elif facts["decision"]:
        typer.echo(f"decided: {facts['decision']}")
    else:
        improved = facts.get("improved", [])
        typer.echo(f"improved on the held-out part: {' and '.join(improved) or 'nothing'}")
        place = shlex.quote(facts["job"])
        typer.echo(f"to take it: napari-dama improve -o {place} --accept NAME; to drop it: --discard")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _tell_types(facts: dict[str, Any]) -> None:
    before, after = facts["before"], facts["after"]
    rows = [
        {"class": name, "held out": sum(before["confusion"][i]), "before": _share(before["recall"][i])}
        | {"after": _share(after["recall"][i])}
        for i, name in enumerate(facts["classes"])
    ]
    rows.append(
        {
            "class": "mean of the classes",
            "held out": facts["n"],
            "before": _share(before["balanced_accuracy"]),
            "after": _share(after["balanced_accuracy"]),
        }
    )
    print_table(rows)
    typer.echo(facts["sentence"])
    typer.echo(facts["sampling"])


def _tell_outlines(facts: dict[str, Any]) -> None:
    before, after = facts["before"], facts["after"]
    near = facts["n"] - facts["corrected"]
    lines: list[tuple[str, Any, str, Any]] = [
        ("outlines found (F1 at IoU 0.5)", facts["n"], "f1", _share),
        ("overlap of the corrected (mean IoU)", facts["corrected"], "overlap", _share),
        ("found, of the corrected", facts["corrected"], "found_corrected", str),
        ("found, of those near", near, "found_near", str),
        ("false finds", "", "false", str),
    ]
    print_table(
        [
            {"outlines": title, "held out": n, "before": words(before[key]), "after": words(after[key])}
            for title, n, key, words in lines
        ]
    )
    typer.echo(facts["sentence"])
    typer.echo(facts["sampling"])
