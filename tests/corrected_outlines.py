"""Simulated slides whose cells a model outlines wrongly, its real result, and a journal in which they are corrected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_dama.cells.correction_records import header, outline_record
from napari_dama.cells.corrections import journal_path, result_key
from napari_dama.cells.outlines import changed_box, changes_between
from napari_dama.evaluate.match import iou_table
from napari_dama.models.model import Model
from napari_dama.predict.amend import Amendment, amend
from napari_dama.predict.labels import LabelImage
from napari_dama.predict.record import LABELS, read_run
from napari_dama.slides.region import Region

OUTLINE_SHIFTS = ("dim", "large", "small")


class Outlined(NamedTuple):
    """A slide, its result, and the true outlines (Y, X)."""

    slide: Path
    result: Path
    truth: np.ndarray  # type: ignore[type-arg]


def make_outlined(
    folder: Path, model: Model | str, *, seed: int, size: int = 512, shift: str = "dim", run: bool = True
) -> Outlined:
    """Write a slide of a kind and (``run``) find its outlines: ``dim`` has another intensity scale, others another size."""
    import tifffile

    from napari_dama import analyse
    from napari_dama.simulate import simulate_tissue

    tissue = simulate_tissue(size, seed=seed)
    image, um = tissue.image.astype(np.float32), tissue.pixel_um
    if shift == "dim":
        top = np.percentile(image, 99.9, axis=(1, 2), keepdims=True)
        image = np.clip(image / top, 0, 1.3) ** 3 * top
    um *= {"large": 2.3, "small": 0.55}.get(shift, 1.0)
    path, out = folder / f"{shift}_{seed}.ome.tif", folder / f"{shift}_{seed}_dama"
    meta: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": list(tissue.markers)}}
    meta |= {"PhysicalSizeX": um, "PhysicalSizeY": um}
    tifffile.imwrite(path, np.clip(image, 0, 65535).astype(np.uint16), ome=True, metadata=meta)
    if run:
        analyse(path, out, model=model, types=False, device="cpu")
    return Outlined(path, out, tissue.labels.astype(np.int64))


def read_labels(result: Path) -> np.ndarray:  # type: ignore[type-arg]
    """All labels (Y, X) of a result, as they are on the disk."""
    picture = LabelImage.open(result / LABELS, mode="r")
    return picture.read(Region.whole(picture.shape)).astype(np.int64)


def mistakes(found: np.ndarray, truth: np.ndarray) -> list[tuple[set[int], set[int]]]:  # type: ignore[type-arg]
    """What a person would correct, one act each: wrong cells and the true ones that belong there; in random order."""
    table = iou_table(truth, found)
    hit_truth, hit_found, _ = table.matches(0.5)
    n, m = len(table.truth), len(table.pred)
    bad_truth, bad_found = np.ones(n, bool), np.ones(m, bool)
    bad_truth[hit_truth], bad_found[hit_found] = False, False
    both = bad_truth[table.truth_index] & bad_found[table.pred_index]
    links = coo_array(
        (np.ones(both.sum()), (table.truth_index[both], n + table.pred_index[both])), shape=(n + m, n + m)
    )
    _, group = connected_components(links, directed=False)
    groups: dict[int, tuple[set[int], set[int]]] = {}
    for i in np.flatnonzero(bad_truth):
        groups.setdefault(int(group[i]), (set(), set()))[1].add(int(table.truth.ids[i]))
    for i in np.flatnonzero(bad_found):
        groups.setdefault(int(group[n + i]), (set(), set()))[0].add(int(table.pred.ids[i]))
    acts = list(groups.values())
    return [acts[i] for i in np.random.default_rng(0).permutation(len(acts))]


def correct_outlines(
    made: Outlined,
    acts: list[tuple[set[int], set[int]]],
    *,
    before: list[dict[str, Any]] | None = None,
    write: bool = True,
) -> Path:
    """Write a journal in which mistakes are put right, and (``write``) bring the result after it; returns the journal.

    ``before``: records of the journal that come first, without a header.
    """
    run = read_run(made.result)
    journal = journal_path(made.slide)
    labels = read_labels(made.result)
    top = int(labels.max()) + int(made.truth.max())
    records = [
        header(made.slide.name, result_key(journal, made.result, str(run["created"]))),
        *(before or []),
    ]
    n = 1 + max([int(record["n"]) for record in before or []], default=0)
    edits = []
    for wrong, right in acts:
        after = np.where(np.isin(labels, list(wrong)), 0, labels)
        for label in sorted(right):
            top += 1
            after[(made.truth == label) & (after == 0)] = top
        box = changed_box(labels.astype(np.uint32), after.astype(np.uint32))
        if box is None:
            continue
        y0, y1, x0, x1 = box
        one, other = labels[y0:y1, x0:x1], after[y0:y1, x0:x1]
        gone = [_entry(labels, label) for label in sorted(wrong)]
        come = [
            _entry(after, label) for label in range(top - len(right) + 1, top + 1) if (after == label).any()
        ]
        changes = changes_between(one.astype(np.uint32), other.astype(np.uint32))
        record = outline_record(n, box, changes, gone=gone, come=come, what="paint")
        records.append(record)
        edits.append(Amendment(n, record, back=False))
        labels, n = after, n + 1
    journal.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    if write:
        amend(made.result, edits)
    return journal


def _entry(labels: np.ndarray, label: int) -> dict[str, Any]:  # type: ignore[type-arg]
    rows, columns = np.nonzero(labels == label)
    y, x = float(rows.mean()), float(columns.mean())
    row = {"label": int(label), "y": y, "x": x}
    return {"label": int(label), "y": y, "x": x, "type": "cell", "reviewed": False, "row": row}
