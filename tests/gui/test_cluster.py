"""A SLURM cluster from the window: its settings and script are looked at, runs are sent, seen and stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.fake_slurm import Slurm
from napari_dama.errors import SettingsError
from napari_dama.gui.cluster_form import FIELDS, ClusterWishes
from napari_dama.gui.jobs_plan import actions_of, badge_of, progress_words, settings_rows
from napari_dama.gui.run_choice import RUNS, cluster_hint, launcher, why_off
from napari_dama.jobs import scheduler
from napari_dama.jobs.cluster import ClusterSettings, default_settings, keep_as_defaults
from napari_dama.jobs.folder import JobView, read_job

Wait = Callable[[Callable[[], bool]], None]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stand-ins are shell scripts")


@pytest.fixture(autouse=True)
def needs_submitit() -> None:
    pytest.importorskip("submitit")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    made = Slurm(tmp_path / "programs-of-slurm")
    monkeypatch.setenv("PATH", f"{made.folder}{os.pathsep}{os.environ['PATH']}")
    yield made
    scheduler.look_again()


def test_texts_of_the_dialog_are_settings_and_back() -> None:
    assert [field.key for field in FIELDS] == list(ClusterWishes.model_fields)
    assert set(ClusterWishes.model_fields) == set(ClusterSettings.model_fields)
    chosen = ClusterSettings().with_overrides(
        ["setup=a", "setup=b c", "memory_gb=1.5", "gpus=0", "extra=--exclusive"]
    )
    wishes = ClusterWishes.of(chosen)
    assert (wishes.setup, wishes.memory_gb, wishes.partition) == ("a\nb c", "1.5", "")
    assert wishes.resolve() == chosen
    for key, text, said in (
        ("nodes", "", "Nodes must be a whole number, got nothing."),
        ("time", "soon", "Time limit: a time limit is written as"),
        ("memory_gb", "-1", "Memory per node, GB: Input should be greater than 0"),
        ("extra", "--mem=1", "Further options: --mem follows from the other settings"),
    ):
        bad = ClusterWishes.of(chosen)
        setattr(bad, key, text)
        with pytest.raises(SettingsError, match=said):
            bad.resolve()


def test_a_cluster_is_offered_where_there_is_one_or_where_it_was_set_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAPARI_DAMA_JOBS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert next(choice.key for choice in RUNS) == "now" and "cluster" in [choice.key for choice in RUNS]
    assert why_off("now") == "" and "no sbatch" in why_off("cluster")
    keep_as_defaults(ClusterSettings(partition="gpu", gpus=2, nodes=2))
    assert why_off("cluster") == ""
    text = cluster_hint(None)
    assert "4 GPUs on partition gpu" in text and "only makes the job's folder ready" in text
    assert "no GPU on the cluster's own partition" in cluster_hint(ClusterSettings(gpus=0))
    assert launcher("now", None).__name__ == "start"


def test_words_and_buttons_of_a_job_on_a_cluster() -> None:
    running = JobView(
        Path("/j"), "j", "pretrain", "dama", "running", 4, 9, device="cuda:0", slurm="7", host="n1", pid=5
    )
    assert progress_words(running).endswith("cuda:0, SLURM job 7 on n1")
    assert ("Runs on", "SLURM job 7 on n1") in settings_rows({}, running)
    waiting = JobView(Path("/j"), "j", "pretrain", "dama", "waiting", why="no node is free", slurm="7")
    assert "SLURM gives it a node" in badge_of(waiting).tip and progress_words(waiting) == "no node is free"
    stopping = JobView(Path("/j"), "j", "pretrain", "dama", "stopping", 4, 9, slurm="7")
    assert actions_of(stopping, has_model=False).now and actions_of(stopping, has_model=False).stop
    assert not actions_of(running, has_model=False).now
    here = JobView(Path("/j"), "j", "pretrain", "dama", "stopping", 4, 9)
    assert not actions_of(here, has_model=False).stop


@pytest.mark.gui
def test_the_dialog_shows_the_script_as_one_types(qtbot: Any, wait_for: Wait, tmp_path: Path) -> None:
    from napari_dama.gui.cluster_dialog import ClusterDialog
    from napari_dama.jobs.submission import script_text

    job = tmp_path / "dama_job"
    dialog = ClusterDialog(ClusterSettings(), job, "Not from here.")
    qtbot.addWidget(dialog)
    dialog.show()
    wait_for(lambda: "#SBATCH --time=240" in dialog.script.toPlainText())
    dialog.edits["partition"].setText("gpu")  # type: ignore[attr-defined]
    dialog.edits["gpus"].setValue(2)  # type: ignore[attr-defined]
    dialog.edits["setup"].setPlainText("module load cuda")  # type: ignore[attr-defined]
    wait_for(lambda: "module load cuda" in dialog.script.toPlainText())
    wait_for(lambda: dialog.work is None)
    assert dialog.settings is not None and dialog.settings.gpus == 2
    assert dialog.script.toPlainText() == script_text(job, dialog.settings, "dama_job")
    dialog.save(tmp_path / "look.sh")
    assert (tmp_path / "look.sh").read_text() == script_text(job, dialog.settings, "dama_job") + "\n"

    dialog.edits["time"].setText("soon")  # type: ignore[attr-defined]
    wait_for(lambda: "Time limit" in dialog.problem.text())
    ok = dialog.buttons.buttons()[0]
    assert not ok.isEnabled() and not dialog.save_button.isEnabled() and not dialog.script.isEnabled()
    dialog.accept()
    assert dialog.isVisible()
    dialog.edits["time"].setText("30")  # type: ignore[attr-defined]
    wait_for(lambda: ok.isEnabled() and "--time=30" in dialog.script.toPlainText())
    dialog.keep_box.setChecked(True)
    dialog.accept()
    assert not dialog.isVisible() and dialog.settings.partition == "gpu"
    assert default_settings() == dialog.settings


@pytest.mark.gui
def test_a_run_is_sent_seen_and_stopped(dock: Any, wait_for: Wait, slurm: Slurm) -> None:
    form = dock.train.form
    form.run_box.sync()
    index = form.run_box.box.findData("cluster")
    assert form.run_box.box.model().item(index).isEnabled()
    form.run_box.box.setCurrentIndex(index)
    form.run_box.box.activated.emit(index)
    assert (
        dock.state.train.run == "cluster"
        and "1 GPU on the cluster's own partition" in form.run_box.hint.text()
    )
    dock.state.train.cluster = ClusterSettings(partition="gpu")
    assert "partition gpu" in form.run_box.hint.text()
    slurm.says("4711|PENDING|Resources|N/A|\n")
    form.start_button.click()
    jobs = dock.train.jobs
    wait_for(lambda: jobs.view is not None and "no node is free yet" in jobs.view.why)
    job = jobs.view.path
    assert "#SBATCH --partition=gpu" in (slurm.folder / "script").read_text()
    wait_for(lambda: jobs.list.row_at(0) is not None)
    wait_for(lambda: "no node is free yet" in jobs.list.row_at(0).line.whole)
    assert jobs.list.row_at(0).badge.text() == "waiting" and dock.message.text.text() == ""
    jobs.detail.buttons["stop"].click()
    wait_for(lambda: jobs.view.state == "stopped")
    assert slurm.calls("scancel") == ["scancel 4711"]
    (slurm.folder / "number").write_text("4712")
    wait_for(lambda: jobs.acting is None and jobs.detail.buttons["resume"].isEnabled())
    jobs.detail.buttons["resume"].click()
    wait_for(lambda: jobs.view.slurm == "4712")
    slurm.program("scancel", "echo 'scancel: error: nothing doing' >&2; exit 1")
    slurm.says("4712|PENDING|Priority|N/A|\n")
    wait_for(lambda: jobs.acting is None and "other jobs" in jobs.view.why)
    jobs.detail.buttons["stop"].click()
    wait_for(lambda: "nothing doing" in dock.message.text.text())
    wait_for(
        lambda: jobs.detail.buttons["stop"].text() == "End now" and jobs.detail.buttons["stop"].isEnabled()
    )
    assert read_job(job).state == "stopping"


@pytest.mark.gui
def test_without_slurm_it_is_explained_and_a_folder_can_be_made_ready(dock: Any, wait_for: Wait) -> None:
    box = dock.train.form.run_box
    item = box.box.model().item(box.box.findData("cluster"))
    assert not item.isEnabled() and "no sbatch" in item.toolTip()
    keep_as_defaults(ClusterSettings(partition="gpu"))
    dock.state.train.run = "cluster"
    assert item.isEnabled() and "only makes the job's folder ready" in box.hint.text()
    dock.train.form.start_button.click()
    wait_for(lambda: "napari-dama jobs submit" in dock.message.text.text())
    view = dock.train.jobs.view
    assert (
        view.state == "stopped"
        and (view.path / "cluster.yaml").is_file()
        and view.name in dock.message.text.text()
    )
