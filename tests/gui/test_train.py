"""Training from the window, in real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gui.conftest import add_slide, small_slide

pytestmark = [pytest.mark.gui, pytest.mark.slow]
Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def dock(make_napari_viewer: Any, on_shelf: Path, tmp_path: Path) -> Iterator[Any]:
    """The dock with two slides: one to train on, one to validate on."""
    from napari_dama.gui.dock import DamaDock

    viewer = make_napari_viewer()
    for name in ("first", "second"):
        add_slide(viewer, small_slide(tmp_path, name))
    widget = DamaDock(viewer)
    yield widget
    widget.close_down()


def test_train_stop_and_failure(dock: Any, wait_for: Wait, tmp_path: Path) -> None:
    tab, state = dock.train, dock.state.train
    state.max_steps, state.batch_size, state.epochs = 10_000, 4, 10_000
    tab.start_button.click()
    assert tab.chain is not None
    wait_for(lambda: tab.view is not None and tab.view.state == "running")
    assert not tab.start_button.isEnabled()
    tab.stop_button.click()
    wait_for(lambda: not tab.timer.isActive())
    assert tab.view.state == "stopped"
    assert "checkpoint" in tab.job_text.text()
    assert dock.message.text.text() == ""
    assert tab.start_button.isEnabled()

    state.data = str(tmp_path / "nowhere")
    tab.start_button.click()
    wait_for(lambda: not tab.timer.isActive())
    assert "nowhere" in dock.message.text.text()


def test_finished_model_is_put_on_the_shelf(
    dock: Any, wait_for: Wait, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(tmp_path / "mine"))
    tab, state = dock.train, dock.state.train
    state.max_steps, state.batch_size = 2, 4
    tab.start_button.click()
    wait_for(lambda: tab.view is not None and tab.view.state == "finished" and not tab.timer.isActive())
    tab.use_button.click()
    assert dock.state.model == "dama_pretrain"
    assert dock.session.card.tasks == ["reconstruct"]
    assert "cannot outline" in dock.analyse.blocker.text()
    tab.use_button.click()
    assert "already" in dock.message.text.text()
