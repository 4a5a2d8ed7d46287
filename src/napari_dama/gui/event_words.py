"""A job's events as lines that a person reads. No Qt."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def words_of_event(record: Mapping[str, Any]) -> str:
    """Return an event as ``HH:MM:SS what happened``, in local time; kinds that are not known keep their own words."""
    when = record.get("time")
    clock = time.strftime("%H:%M:%S ", time.localtime(when)) if isinstance(when, int | float) else ""
    return clock + _said(record)


def _said(record: Mapping[str, Any]) -> str:
    kind, step = str(record.get("kind", "")), record.get("step")
    if kind == "started":
        how = f" on {record.get('device')} in {record.get('precision')}"
        return (f"Went on at step {step}" if step else "Began") + f" of {record.get('steps')} steps{how}."
    if kind == "tried":
        return f"Tried a validation on a few cells: {_numbers(record)}"
    if kind == "validated":
        return f"Step {step}: {_numbers(record)}"
    if kind == "parent":
        return f"The parent {record.get('name')} on the same data: {_numbers(record)}"
    if kind == "analysing":
        done, notes = record.get("tiles_done"), [f"{note}." for note in record.get("notes") or ()]
        how = f"{record.get('tiles')} tiles with {record.get('model')} on {record.get('device')}."
        return " ".join([f"Went on after {done} of {how}" if done else f"Began with {how}", *notes])
    if "tiles" in record and kind in ("stopped", "finished"):
        return _end_of_analysis(kind, record)
    if kind == "improving":
        return f"Improves {record.get('model')} on {record.get('device')}."
    if kind == "finished" and record.get("words"):
        return f"Finished. {record['words']}"
    if kind == "stopped":
        return f"Stopped at step {step}; a checkpoint is kept."
    if kind == "finished":
        return f"Finished after {step} steps."
    if kind == "failed":
        return f"Failed: {record.get('why')}"
    if kind == "waiting":
        return f"Waits: {record.get('why')}"
    if kind == "submitted":
        return f"Submitted to SLURM as job {record.get('slurm')}."
    if kind == "prepared":
        return "Made ready to be submitted on the cluster."
    if kind == "memory":
        return f"{str(record.get('text', '')).capitalize()}."
    if kind == "checked":
        return _findings(record.get("findings"))
    if kind == "cropping":
        return f"Cuts crops of {len(record.get('slides') or ())} slides."
    if kind == "cropped":
        types = record.get("types") or {}
        each = ", ".join(f"{count} {name}" for name, count in types.items())
        return f"Cut {record.get('crops')} crops{f' ({each})' if each else ''}."
    if kind == "data":
        notes = [str(note) for note in record.get("notes") or ()]
        counts = f"{record.get('training', record.get('samples'))} to train on"
        held = record.get("validation")
        return " ".join([f"Data: {counts}{f', {held} to validate' if held else ''}.", *notes])
    rest = {key: value for key, value in record.items() if key not in ("time", "kind")}
    return " ".join([kind, *(f"{key}={value}" for key, value in rest.items())])


def _end_of_analysis(kind: str, record: Mapping[str, Any]) -> str:
    cells = f"{record.get('cells')} cells"
    if kind == "stopped":
        return f"Stopped after {record.get('step')} of {record.get('tiles')} tiles; {cells} are kept."
    notes = [f"{note}." for note in record.get("notes") or ()]
    seconds = float(record.get("seconds") or 0)
    return " ".join([f"Finished: {cells} in {record.get('tiles')} tiles, {seconds:.0f} s of work.", *notes])


def _findings(found: object) -> str:
    rows = found if isinstance(found, list) else []
    lines = [f"{row.get('level')}: {row.get('text')}" for row in rows if isinstance(row, dict)]
    return "\n".join(["Checked the data.", *(f"  {line}" for line in lines)])


def _numbers(record: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.4g}"
        for key, value in record.items()
        if key not in ("time", "step")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
