"""The list of jobs and the job from near: real widgets, on folders made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gui.fake_jobs import add_confusion, add_previews, add_rows, fake_job

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def panel(qtbot: Any) -> Iterator[Callable[[], Any]]:
    """Makes a panel 320 px wide and shows it."""
    from napari_dama.gui.jobs_panel import JobsPanel
    from napari_dama.gui.state import JobsState

    made = []

    def make() -> Any:
        widget = JobsPanel(JobsState())
        qtbot.addWidget(widget)
        widget.resize(308, 900)
        widget.show()
        made.append(widget)
        return widget

    yield make
    for widget in made:
        widget.close_down()
        for work in (widget.reading, widget.acting):
            if work is not None:
                work.wait(10)


def ready(panel: Any) -> bool:
    return panel.reading is None and panel.detail.data is not None


def test_no_jobs_is_said(panel: Any, wait_for: Wait) -> None:
    widget = panel()
    wait_for(lambda: widget.reading is None)
    assert "No jobs yet" in widget.list.empty.text()
    assert not widget.detail.isVisible()


def test_every_state_has_its_badge_and_buttons(panel: Any, wait_for: Wait, tmp_path: Path) -> None:
    expected = {  # state: stop, resume, delete
        "running": (True, False, False),
        "stopping": (False, False, False),
        "waiting": (True, False, False),
        "stopped": (False, True, True),
        "failed": (False, True, True),
        "dead": (False, True, True),
        "finished": (False, False, True),
    }
    for state in expected:
        fake_job(
            tmp_path / state, state, why="cuda:0 is held by job other" if state == "waiting" else "it broke"
        )
    widget = panel()
    wait_for(lambda: ready(widget))
    assert widget.list.list.count() == len(expected)
    assert {Path(path).name for path in widget.list.paths()[:3]} == {"running", "stopping", "waiting"}
    for state, (stop, resume, delete) in expected.items():
        path = str(tmp_path / state)
        row = widget.list.row_at(widget.list.paths().index(path))
        assert row.badge.text() == state
        widget.state.selected = path
        wait_for(lambda: ready(widget) and str(widget.detail.data.path) == widget.state.selected)
        buttons = widget.detail.buttons
        assert (buttons["stop"].isEnabled(), buttons["resume"].isEnabled(), buttons["delete"].isEnabled()) == (
            stop, resume, delete,
        )  # fmt: skip
        assert not buttons["use"].isVisible()  # there is no model in any of them
        if state == "waiting":
            assert "held by job other" in row.line.whole
        if state == "failed":
            assert "it broke" in widget.detail.words.text()
        if state == "dead":
            assert "gone without a word" in row.badge.toolTip()
    running = widget.list.row_at(widget.list.paths().index(str(tmp_path / "running")))
    for words in ("20 of 40 steps", "123 images/s", "3 min left", "cpu"):
        assert words in running.line.whole


def test_curves_grow_and_follow_a_job_begun_anew(panel: Any, wait_for: Wait, tmp_path: Path) -> None:
    job = fake_job(tmp_path / "job")
    widget = panel()
    wait_for(lambda: ready(widget))
    drawn = widget.detail.losses.curves
    assert [curve.title for curve in drawn] == [
        "total", "reconstruction, random mask", "reconstruction, adaptive mask", "feature regression",
    ]  # fmt: skip
    assert len(drawn[0].x) == 20 and len(widget.detail.scores.curves[0].x) == 1
    add_rows(job, 21, 30)
    wait_for(lambda: len(widget.detail.losses.curves[0].x) == 30)
    assert widget.detail.scores.curves[0].x.tolist() == [20, 30]
    (x, y) = widget.detail.losses.items["loss"].getData()
    assert (x[-1], y[-1]) == (30, 3 / 30)
    widget.detail.log_box.click()
    (_, y) = widget.detail.losses.items["loss"].getData()
    assert y[-1] == pytest.approx(-1)  # log10 of 0.1
    (job / "metrics.csv").unlink()
    add_rows(job, 1, 3)
    wait_for(lambda: len(widget.detail.losses.curves[0].x) == 3)


def test_pictures_follow_the_newest_until_one_looks_back(panel: Any, wait_for: Wait, tmp_path: Path) -> None:
    job = fake_job(tmp_path / "job")
    widget = panel()
    widget.state.page = "pictures"
    wait_for(lambda: ready(widget))
    pane = widget.detail.previews
    assert "first validation" in pane.hint.text()
    add_previews(job, 10, 20)
    wait_for(lambda: pane.shown is not None)
    assert pane.shown.name == "step_00000020.png" and "Step 20. Validation cells." in pane.hint.text()
    assert pane.picture.pixmap().width() <= pane.width()
    add_previews(job, 30)
    wait_for(lambda: pane.shown.name == "step_00000030.png")
    pane.slider.setValue(0)
    assert pane.shown.name == "step_00000010.png"
    add_previews(job, 40)
    wait_for(lambda: len(pane.files) == 4)
    assert pane.shown.name == "step_00000010.png"
    add_confusion(job)
    wait_for(lambda: pane.matrix.matrix is not None)
    assert pane.matrix.matrix.share(0, 0) == 0.8 and "step 20" in pane.matrix_hint.text()
    assert "true neuron: 8 as neuron, 1 as astrocyte" in pane.matrix.toolTip()


def test_a_model_worse_than_its_parent_says_so(panel: Any, wait_for: Wait, tmp_path: Path) -> None:
    best = {"accuracy": 0.7, "score": 0.7, "step": 20}
    job = fake_job(tmp_path / "job", "finished", kind="finetune", best=best)
    parent = {"kind": "parent", "name": "old", "accuracy": 0.9, "score": 0.9}
    with (job / "events.jsonl").open("a") as events:
        events.write(json.dumps(parent) + "\n" + '{"kind": "validated", "step": 30')  # cut in the middle
    (job / "log.txt").write_text("a line\nprogress 1\rprogress 2\n")
    widget = panel()
    wait_for(lambda: ready(widget))
    assert "Worse than its parent old" in widget.detail.verdict.text()
    assert "0.9" in widget.detail.about.text() and "worse" in widget.detail.about.text()
    assert widget.detail.scores.curves[-1].name == "parent"
    assert (
        "progress 2" in widget.detail.log.toPlainText()
        and "progress 1" not in widget.detail.log.toPlainText()
    )
    assert "The parent old on the same data: accuracy 0.9" in widget.detail.log.toPlainText()


def test_stop_and_delete(panel: Any, wait_for: Wait, tmp_path: Path, monkeypatch: Any) -> None:
    from qtpy.QtWidgets import QMessageBox

    running, ended = fake_job(tmp_path / "one"), fake_job(tmp_path / "two", "stopped")
    widget = panel()
    wait_for(lambda: ready(widget))
    assert widget.state.selected == str(running)
    widget.detail.buttons["stop"].click()
    wait_for(lambda: widget.view.state == "stopping")
    assert (running / "stop").exists()

    widget.state.selected = str(ended)
    wait_for(lambda: ready(widget) and widget.detail.buttons["delete"].isEnabled())
    monkeypatch.setattr(QMessageBox, "question", lambda *a: QMessageBox.StandardButton.No)
    widget.detail.buttons["delete"].click()
    assert ended.exists() and widget.acting is None
    monkeypatch.setattr(QMessageBox, "question", lambda *a: QMessageBox.StandardButton.Yes)
    widget.detail.buttons["delete"].click()
    wait_for(lambda: widget.list.paths() == [str(running)] and widget.state.selected == str(running))
    assert not ended.exists()


def test_what_fails_is_told(panel: Any, wait_for: Wait, tmp_path: Path) -> None:
    widget = panel()
    errors: list[Exception] = []
    widget.failed.connect(errors.append)
    widget.add(tmp_path)
    wait_for(lambda: bool(errors))
    assert "is no job" in str(errors[0])
    job = fake_job(tmp_path / "result" / "analysis_job", "finished")
    widget.add(job.parent)
    wait_for(lambda: widget.acting is None and widget.list.paths() == [str(job)])
    assert widget.list.row_at(0).name.whole == "result"


def test_nothing_is_wider_than_a_narrow_dock(panel: Any, wait_for: Wait, qtbot: Any, tmp_path: Path) -> None:
    from qtpy.QtWidgets import QLabel, QPushButton, QWidget

    job = fake_job(
        tmp_path / ("a_rather_long_name_for_a_job_" * 3), "failed", why="something long happened " * 8
    )
    add_previews(job, 10)
    add_confusion(job)
    for number in range(5):
        fake_job(tmp_path / f"other_{number}", "finished")
    widget = panel()
    widget.state.selected = str(job)
    widget.resize(420, 900)
    wait_for(lambda: ready(widget))
    qtbot.wait(50)
    widget.resize(308, 900)
    qtbot.wait(50)
    room = widget.list.list.viewport()
    for index in range(6):
        badge = widget.list.row_at(index).badge
        corner = badge.mapTo(room, badge.rect().topRight())
        if 0 <= corner.y() < room.height():  # Qt lays the others out when they are scrolled to
            assert corner.x() < room.width()
    for page in ("curves", "pictures", "log", "about"):
        widget.state.page = page
        wait_for(lambda: ready(widget))
        qtbot.wait(50)
        assert widget.width() == 308
        for child in widget.findChildren(QWidget):
            if child.isVisible() and isinstance(child, QLabel | QPushButton):
                left = child.mapTo(widget, child.rect().topLeft()).x()
                assert left >= 0 and left + child.width() <= 308, (page, child, child.width())
            if child.isVisible() and isinstance(child, QPushButton):
                assert child.sizeHint().width() <= child.width() + 1, child.text()


def test_a_long_job_is_drawn_with_few_points(tmp_path: Path) -> None:
    from napari_dama.gui.job_reader import JobReader

    job = fake_job(tmp_path / "job")
    with (job / "metrics.csv").open("w") as rows:
        rows.write("step,epoch,loss,lr\n")
        rows.writelines(f"{step},0,{1 / step},0.1\n" for step in range(1, 20_001))
    reader = JobReader(job)
    for _ in range(2):
        data = reader.read()
        assert len(data.losses[0].x) <= 2000 and data.losses[0].x[-1] == 20_000


def test_places_in_the_line_are_changed_from_the_list(panel: Any, wait_for: Wait, tmp_path: Path) -> None:
    from napari_dama.jobs.tickets import Place

    fake_job(tmp_path / "busy")
    Place(tmp_path / "busy", "cpu", since=0).claim()
    waiting = []
    for number, name in enumerate(("one", "two", "three")):
        waiting.append(Place(tmp_path / name, "cpu", since=number + 1.0))
        why = waiting[-1].claim()
        fake_job(tmp_path / name, "waiting", why=why)
    widget = panel()
    wait_for(lambda: ready(widget))

    def line() -> list[str]:
        return [Path(path).name for path in widget.list.paths()]

    assert line() == ["busy", "one", "two", "three"]
    assert "cpu is used by busy" in widget.list.row_at(1).line.whole
    buttons = widget.detail.buttons
    assert not buttons["earlier"].isVisible() and buttons["stop"].text() == "Stop"
    widget.state.selected = str(tmp_path / "three")
    wait_for(lambda: ready(widget) and buttons["earlier"].isVisible())
    assert buttons["earlier"].isEnabled() and not buttons["later"].isEnabled()
    assert buttons["stop"].text() == "Cancel"
    buttons["earlier"].click()
    wait_for(lambda: line() == ["busy", "one", "three", "two"] and widget.acting is None)
    wait_for(lambda: buttons["later"].isEnabled())
    buttons["earlier"].click()
    wait_for(lambda: line() == ["busy", "three", "one", "two"] and widget.acting is None)
    wait_for(lambda: not buttons["earlier"].isEnabled())
    buttons["later"].click()
    wait_for(lambda: line() == ["busy", "one", "three", "two"] and widget.acting is None)
    for place in waiting:
        place.leave()
