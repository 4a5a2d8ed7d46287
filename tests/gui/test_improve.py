"""*Improve the model* in a real window: cells corrected by keys, a job, before and after, accepted, told anew, exported."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import Qt
from skimage.segmentation import expand_labels
from tests.corrected_outlines import Outlined, correct_outlines, read_labels
from tests.corrected_slide import Corrected, make_slide
from tests.gui.conftest import add_slide

from napari_dama.cells.corrections import read_corrections
from napari_dama.gui.improve_plan import outcome_of, resolve_start, running_of
from napari_dama.gui.place import bare
from napari_dama.jobs import improvement
from napari_dama.jobs.folder import JobView
from napari_dama.models.shelf import load_card, load_model
from napari_dama.predict.record import RUN_FILE, read_run, write_json

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]
KEYS = [getattr(Qt.Key, f"Key_{number}") for number in range(1, 10)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Corrected:
    """A slide on which two markers are exchanged, so that the bundled model errs."""
    return make_slide(
        tmp_path_factory.mktemp("exchanged"), load_model("dama-brain7"), seed=501, size=512, shift="exchanged"
    )


@pytest.fixture
def window(
    make_napari_viewer: Any, monkeypatch: pytest.MonkeyPatch, made: Corrected, tmp_path: Path, wait_for: Wait
) -> Iterator[Any]:
    """The dock with the slide and its result, at the tab Annotate."""
    from napari_dama.gui.dock import DamaDock

    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(tmp_path / "shelf"))
    for journal in made.slide.parent.glob("*.jsonl"):
        journal.unlink()
    viewer = make_napari_viewer(show=True)
    add_slide(viewer, made.slide)
    dock = DamaDock(PublicOnlyProxy(viewer))
    viewer.window.add_dock_widget(dock, name="DAMA")
    open_result(dock, made, wait_for)
    yield dock
    dock.close_down()


def open_result(dock: Any, made: Corrected, wait_for: Wait) -> None:
    dock.results.open_folder(str(made.result))
    wait_for(lambda: dock.results.work is None and dock.annotate.work is None)
    dock.show_tab(dock.annotate)
    wait_for(lambda: dock.annotate.isVisible() and dock.session.annotator.is_open)
    wait_for(lambda: dock.annotate.improve.work is None and not dock.annotate.improve.soon.isActive())


def correct_by_keys(dock: Any, made: Corrected, qtbot: Any, count: int) -> pd.DataFrame:
    """Select cells one by one and press the key of their true type."""
    native = bare(dock.viewer).window._qt_viewer.canvas.native
    rows = made.truth.sample(count, random_state=0)
    names = list(dock.session.cells.classes)
    for label, kind in zip(rows["label"], rows["type"], strict=True):
        dock.session.cells.select([label])
        qtbot.keyClick(native, KEYS[names.index(kind)])
    return rows


def test_correct_improve_accept_and_export(
    window: Any, made: Corrected, qtbot: Any, wait_for: Wait, tmp_path: Path
) -> None:
    dock, panel = window, window.annotate.improve
    cells, annotator = dock.session.cells, dock.session.annotator
    assert "0 corrected" in panel.counts.text() and "20 more corrected" in panel.blocker.text()
    assert not panel.start.isEnabled() and panel.accept.isHidden()
    correct_by_keys(dock, made, qtbot, 15)
    wait_for(lambda: "15 corrected" in panel.counts.text())
    assert "5 more corrected or confirmed cells (15 of at least 20)" in panel.blocker.text()
    rows = correct_by_keys(dock, made, qtbot, 90)
    wait_for(lambda: panel.start.isEnabled())
    assert "A copy of dama-brain7 learns" in panel.hint.text()
    qtbot.mouseClick(panel.start, Qt.MouseButton.LeftButton)
    wait_for(lambda: panel.job is not None)
    assert panel.start.isHidden() and not panel.cancel.isHidden()
    wait_for(lambda: panel.look is not None and panel.look.outcome is not None)
    outcome = panel.look.outcome
    assert "before" in panel.headline.text() and "held-out cells" in panel.sentence.text()
    assert "no random sample" in panel.sampling.text() and "microglia" in panel.table.text()
    assert outcome.outlines is None and panel.outlines.isHidden() and panel.take_types.isHidden()
    matrices = (outcome.types.before, outcome.types.after)
    assert np.sum(matrices[1].counts) == np.sum(matrices[0].counts) > 10
    right = [sum(m.counts[i][i] for i in range(len(m.classes))) for m in matrices]
    assert right[1] > right[0]
    job = panel.job
    before = cells.types.copy()
    panel.name.setText("mine")
    qtbot.mouseClick(panel.accept, Qt.MouseButton.LeftButton)
    wait_for(lambda: dock.model_box.currentText() == "mine")
    assert dock.session.card.parent == "dama-brain7" and load_card("mine").classes
    wait_for(lambda: panel.work is None and not panel.doing)
    assert improvement.read_decision(job) == "accepted" and panel.job is None
    # the unreviewed cells were told anew, better than before; what the hand said stays
    truth = made.truth.set_index("label")["type"].reindex(cells.labels).to_numpy()
    free = ~np.isin(cells.labels, annotator.reviewed)
    assert (cells.types[free] == truth[free]).mean() > (before[free] == truth[free]).mean()
    assert (cells.types[~free] == before[~free]).all() and len(annotator.reviewed) == len(rows)
    assert "told anew by mine" in annotator.undo_text
    told = cells.types.copy()
    annotator.undo()
    assert (cells.types == before).all()
    annotator.redo()
    assert (cells.types == told).all()
    # it is in the journal, so that a window opened later and an export have it, too
    assert annotator.journal.flush(5)
    assert len(read_corrections(made.slide).typed) == len(rows)
    from napari_dama.export.csv import to_csv

    to_csv(made.result, tmp_path / "cells.csv")
    table = pd.read_csv(tmp_path / "cells.csv").set_index("label")["type"]
    assert (table.reindex(cells.labels).to_numpy() == told).all()
    open_result(dock, made, wait_for)
    assert (cells.types == told).all()
    assert panel.job is None and not panel.start.isHidden()


def test_a_job_is_found_again_after_the_window_was_closed_and_discarded(
    window: Any, made: Corrected, qtbot: Any, wait_for: Wait
) -> None:
    dock, panel = window, window.annotate.improve
    correct_by_keys(dock, made, qtbot, 30)
    wait_for(lambda: panel.start.isEnabled())
    types = dock.session.cells.types.copy()
    panel.improve()
    wait_for(lambda: panel.job is not None)
    job = panel.job
    dock.results.open_folder(str(made.result))  # as a window that is opened anew
    wait_for(lambda: dock.results.work is None and dock.annotate.work is None)
    wait_for(lambda: panel.look is not None and panel.look.outcome is not None)
    assert panel.job == job and not panel.discard.isHidden() and not panel.accept.isHidden()
    qtbot.mouseClick(panel.discard, Qt.MouseButton.LeftButton)
    wait_for(lambda: panel.job is None and panel.work is None)
    assert not job.exists() and (dock.session.cells.types == types).all()
    assert dock.model_box.currentText() == "dama-brain7" and not panel.start.isHidden()


def test_a_job_can_be_cancelled(window: Any, made: Corrected, qtbot: Any, wait_for: Wait) -> None:
    dock, panel = window, window.annotate.improve
    correct_by_keys(dock, made, qtbot, 25)
    wait_for(lambda: panel.start.isEnabled())
    panel.improve()
    wait_for(lambda: panel.job is not None)
    qtbot.mouseClick(panel.cancel, Qt.MouseButton.LeftButton)
    wait_for(lambda: panel.look is not None and panel.look.running.state in ("stopped", "finished"))
    assert panel.look.running.state == "stopped" and "stopped" in panel.state.text()
    assert not panel.discard.isHidden() and panel.accept.isHidden()
    panel.leave()
    wait_for(lambda: panel.job is None and panel.work is None)


def test_what_is_shown_follows_from_plain_facts() -> None:
    card = load_card("dama-brain7")
    assert resolve_start({}, card, is_open=False).blocker == "Correct cells of a result first."
    few = resolve_start({"neuron": 12, "cell": 5, "odd": 2}, card, is_open=True)
    assert few.counts == "14 corrected or confirmed cells: 12 neuron, 2 odd."
    assert "6 more corrected" in few.blocker and "2 more of the new class odd" in few.blocker
    enough = resolve_start({"nerve": 30, "astrocyte": 9}, card, is_open=True, renamed={"neuron": "nerve"})
    assert not enough.blocker and "microglia has none" in enough.hint and "nerve" not in enough.hint
    view = JobView(Path("x"), "x", "improve", "", "running", step=30, steps=120, eta_s=40.0)
    text = running_of(view, {"doing": "Looking at the cells", "share": 0.25})
    assert text.text == "Looking at the cells: 30 of 120, about 40 s left" and text.share == 0.25
    side = {
        "recall": [1.0, None, 0.5],
        "balanced_accuracy": 0.75,
        "confusion": [[2, 0, 0], [0, 0, 0], [1, 0, 1]],
    }
    report = {"classes": ["a", "b", "c"], "before": side, "after": side, "verdict": "open", "sentence": "s"}
    outcome = outcome_of({**report, "sampling": "How.", "untested": ["b"]}, "name")
    shown = outcome.types
    assert shown is not None and outcome.outlines is None
    assert "75 %" in shown.headline and "<td>b</td>" not in shown.table
    assert shown.sampling == "How. Not tested, having too few cells: b."


def test_outlines_in_plain_facts() -> None:
    card = load_card("dama-brain7")
    few = resolve_start({"neuron": 3}, card, is_open=True, outlines=5)
    assert few.counts == "3 corrected or confirmed cells: 3 neuron. 5 corrected outlines."
    assert "For types: still needed: 17 more" in few.blocker
    assert "For outlines: still needed: 7 more corrected outlines (5 of at least 12" in few.blocker
    drawn = resolve_start({"neuron": 3}, card, is_open=True, outlines=12)
    assert not drawn.blocker and "learns outlines from them" in drawn.hint
    assert "Outlines within 8 µm of the ones you corrected are taken as right." in drawn.hint
    assert "Types are not learned yet. Still needed: 17 more" in drawn.hint
    both = resolve_start({"neuron": 30, "astrocyte": 9}, card, is_open=True, outlines=40)
    assert "learns types and outlines" in both.hint
    types = resolve_start({"neuron": 30, "astrocyte": 9}, card, is_open=True, outlines=1)
    assert "learns types from them" in types.hint and "Outlines are not learned yet" in types.hint
    side = {"f1": 0.7, "overlap": None, "found_corrected": 2, "found_near": 30, "false": 4}
    report = {"n": 44, "corrected": 12, "verdict": "open", "sentence": "s", "sampling": "How."}
    sides = {"before": side, "after": {**side, "f1": 0.8, "false": 1}}
    shown = outcome_of({"improved": ["outlines"], "outlines": {**report, **sides}}, "name")
    assert shown.types is None and shown.improved == ("outlines",) and shown.outlines is not None
    assert "70 % before, 80 % after" in shown.outlines.headline
    assert "overlap" not in shown.outlines.table and "1 ▼" in shown.outlines.table


def test_types_and_outlines_in_one_press(
    window: Any, made: Corrected, qtbot: Any, wait_for: Wait, tmp_path: Path
) -> None:
    """Cells typed by keys, outlines corrected earlier: one job learns both, and the outlines alone are taken."""
    dock, panel = window, window.annotate.improve
    labels = read_labels(made.result)
    chosen = made.truth["label"].sample(20, random_state=5).tolist()
    acts: list[tuple[set[int], set[int]]] = [({label}, {label}) for label in chosen[:16]]
    acts += [({label}, set()) for label in chosen[16:]]
    own = tmp_path / made.result.name
    shutil.copytree(made.result, own)  # its outlines will change
    slide = Path(shutil.copy(made.slide, tmp_path))
    record = read_run(own)
    write_json(own / RUN_FILE, {**record, "slide": {**record["slide"], "path": str(slide)}})
    correct_outlines(Outlined(slide, own, expand_labels(labels, 2)), acts, write=False)
    dock.session.annotator.close()
    copy = Corrected(slide, own, made.truth[~made.truth["label"].isin(chosen)])
    bare(dock.viewer).layers.clear()
    add_slide(bare(dock.viewer), slide)
    open_result(dock, copy, wait_for)
    wait_for(lambda: "20 corrected outlines" in panel.counts.text())
    assert "learns outlines" in panel.hint.text() and panel.start.isEnabled()
    correct_by_keys(dock, copy, qtbot, 60)
    wait_for(lambda: "learns types and outlines" in panel.hint.text())
    panel.options = {"outline_steps": 2, "outline_batch": 1}
    qtbot.mouseClick(panel.start, Qt.MouseButton.LeftButton)
    wait_for(lambda: panel.job is not None)
    wait_for(lambda: panel.look is not None and panel.look.outcome is not None)
    outcome = panel.look.outcome
    assert outcome.types is not None and outcome.outlines is not None
    assert not panel.outlines.isHidden() and not panel.take_types.isHidden()
    assert "Outlines found (F1)" in panel.outlines.headline.text()
    assert "taken as right" in panel.outlines.sampling.text()
    assert panel.take_types.isChecked() == ("types" in outcome.improved)
    assert panel.outlines.take.isChecked() == ("outlines" in outcome.improved)
    panel.take_types.setChecked(False)
    panel.outlines.take.setChecked(False)
    assert not panel.accept.isEnabled()
    panel.outlines.take.setChecked(True)
    assert panel.accept.isEnabled() and not panel.anew.isEnabled()
    panel.name.setText("drawn")
    types = dock.session.cells.types.copy()
    job = panel.job
    qtbot.mouseClick(panel.accept, Qt.MouseButton.LeftButton)
    wait_for(lambda: dock.model_box.currentText() == "drawn")
    wait_for(lambda: panel.work is None and not panel.doing)
    assert improvement.decision_of(job)["parts"] == ["outlines"]
    parent, taken = load_model("dama-brain7").state(), load_model("drawn").state()
    assert {k.split(".")[0] for k in parent if not torch.equal(parent[k], taken[k])} == {"segments"}
    assert (dock.session.cells.types == types).all()
    assert dock.state.model == "drawn"  # the next analysis uses it
