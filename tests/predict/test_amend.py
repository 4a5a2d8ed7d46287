"""A result's files follow outlines changed by hand, also when the program died in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.gui.made_result import MARKERS, draw, make_result

from napari_dama.cells.correction_records import header, mark_record
from napari_dama.cells.corrections import read_corrections, read_sections
from napari_dama.cells.measure import measure
from napari_dama.errors import OutputError, SettingsError
from napari_dama.gui.outline_edit import Known, begin, outcome_of
from napari_dama.predict.amend import Amendment, amend, catch_up
from napari_dama.predict.result import ResultFolder
from napari_dama.slides.region import Region
from napari_dama.slides.slide import open_slide


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    # 60 x 60 cells are 1440 px: the label image has two levels
    return make_result(tmp_path, 60, 60)


def known(out: Path, reviewed: tuple[int, ...] = ()) -> Known:
    table = ResultFolder.open(out).cells()
    return Known(table, dict(zip(table["label"], table["type"], strict=True)), frozenset(reviewed))


def edit(
    made: tuple[Path, Path], region: Region, change: Any, number: int = 1, **more: Any
) -> dict[str, Any]:
    slide, out = made
    part = begin(out, region)
    edited = part.before.copy()
    change(edited, part.region)
    with open_slide(slide) as image:
        record = outcome_of(
            part, edited, out, known(out, **more), number=number, next_label=5000, slide=image, pixel_um=0.5
        )
    assert record is not None
    return json.loads(json.dumps(record, allow_nan=False))  # as the journal gives it back


def check(out: Path) -> pd.DataFrame:
    """Labels, all levels and the table agree; returns the table."""
    result = ResultFolder.open(out)
    levels = [np.asarray(level) for level in result.label_levels]
    assert len(levels) == 2
    assert np.array_equal(levels[1], levels[0][::2, ::2])
    cells = result.cells()
    _, image = draw(60, 60)
    slow = measure(levels[0], image, MARKERS, 0.5)
    assert cells["label"].tolist() == slow["label"].tolist()
    for column in ("y", "x", "area_um2", "mean_NeuN"):
        np.testing.assert_allclose(cells[column], slow[column], atol=0.01)
    again = pd.read_csv(out / "cells.csv")
    assert again["label"].tolist() == cells["label"].tolist()
    return cells


def test_cells_are_deleted_joined_split_and_drawn(made: tuple[Path, Path]) -> None:
    _, out = made
    first = check(out)

    def change(labels: Any, region: Region) -> None:
        labels[labels == 1] = 0
        labels[:, 12 - region.x0 + 24][labels[:, 12 - region.x0 + 24] == 2] = (
            0  # an eraser down through cell 2
        )
        labels[labels == 62] = 61
        labels[12 + 24 - 2 : 12 + 24 + 3, 18:30][labels[12 + 24 - 2 : 12 + 24 + 3, 18:30] == 0] = (
            61  # a bridge
        )
        labels[100:112, 100:112][labels[100:112, 100:112] == 0] = 4000

    record = edit(made, Region(0, 130, 0, 130), change, reviewed=(2, 5))
    amend(out, [Amendment(1, record, back=False)])
    cells = check(out).set_index("label")
    assert 1 not in cells.index and 62 not in cells.index
    halves = cells.loc[[2, 5000]]
    assert (halves["type"] == first.set_index("label").loc[2, "type"]).all()
    assert halves["p_neuron"].nunique() == 1
    assert cells.loc[61, "area_um2"] > 1.9 * first.set_index("label").loc[61, "area_um2"]
    assert np.isnan(cells.loc[4000, "score"]) and cells.loc[4000, "type"] == "cell"
    come = {entry["label"]: entry for entry in record["come"]}
    assert come[2]["reviewed"] and come[5000]["reviewed"] and not come[4000]["reviewed"]
    run = json.loads((out / "run.json").read_text())
    assert run["cells"] == len(cells) and run["corrections"]["applied"] == 1
    assert "corrected by hand" in run["corrections"]["note"]
    amend(out, [Amendment(2, record, back=True)])
    pd.testing.assert_frame_equal(check(out), first, check_dtype=False, rtol=1e-6)
    amend(out, [Amendment(3, record, back=False), Amendment(4, record, back=True)])
    assert len(check(out)) == len(first)


def test_cells_across_the_border_of_the_part_go_as_a_whole(made: tuple[Path, Path]) -> None:
    _, out = made
    part = begin(out, Region(0, 105, 0, 105))
    edge = part.region.y1  # through the seventh row of cells, whose centres are at 156
    cut = [int(v) for v in np.unique(part.before[-1]) if v]
    assert edge == 153 and cut

    def change(labels: Any, region: Region) -> None:
        labels[labels == cut[0]] = 0

    record = edit(made, Region(0, 105, 0, 105), change)
    assert record["box"][1] > edge
    amend(out, [Amendment(1, record, back=False)])
    assert cut[0] not in check(out)["label"].to_numpy()


def test_joined_cells_take_the_type_of_most_of_their_area(made: tuple[Path, Path]) -> None:
    def change(labels: Any, region: Region) -> None:
        labels[4:20, 4:44] = 1  # over cells 1 and 2, and between them
        labels[labels == 2] = 1

    record = edit(made, Region(0, 60, 0, 60), change, reviewed=(1,))
    (entry,) = record["come"]
    assert entry["label"] == 1 and entry["type"] in ("astrocyte", "microglia") and not entry["reviewed"]
    assert {cell["label"] for cell in record["gone"]} == {1, 2}


def test_a_killed_program_is_made_good_from_the_journal(made: tuple[Path, Path], tmp_path: Path) -> None:
    slide, out = made

    def change(labels: Any, region: Region) -> None:
        labels[labels == 1] = 0

    record = edit(made, Region(0, 60, 0, 60), change)
    journal = tmp_path / "tissue.dama-corrections.jsonl"
    head = header(slide.name, ("tissue_dama", "2026-01-01T00:00:00+00:00"))
    journal.write_text("".join(json.dumps(line) + "\n" for line in (head, record)))
    (section,) = read_sections(journal)[0]
    assert catch_up(out, section)
    assert 1 not in check(out)["label"].to_numpy()
    assert not catch_up(out, section)
    assert read_corrections(slide).removed == (1,)
    with journal.open("a") as file:
        file.write(json.dumps(mark_record(2, 1, "undo")) + "\n")
    (section,) = read_sections(journal)[0]
    assert catch_up(out, section)
    assert 1 in check(out)["label"].to_numpy()


def test_nothing_changed_is_nothing_and_what_does_not_fit_is_refused(made: tuple[Path, Path]) -> None:
    _, out = made
    part = begin(out, Region(0, 60, 0, 60))
    same = outcome_of(part, part.before, out, known(out), number=1, next_label=9, slide=None, pixel_um=0.5)
    assert same is None
    with pytest.raises(SettingsError, match="zoom in"):
        begin(out, Region(0, 5000, 0, 60))
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**run, "state": "interrupted"}))
    with pytest.raises(SettingsError, match="not complete"):
        begin(out, Region(0, 60, 0, 60))
    record = {"box": [0, 9999, 0, 9999], "changes": [], "gone": [], "come": []}
    with pytest.raises(OutputError, match="another image"):
        amend(out, [Amendment(1, record, back=False)])
