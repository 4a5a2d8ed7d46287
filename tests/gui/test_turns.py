"""Work of Qt's thread comes in turns: what is made within one of them is counted, not timed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gui.conftest import small_slide
from tests.gui.made_result import make_result

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]
LARGE = ("dask", "matplotlib", "pandas", "pyqtgraph", "scipy", "skimage", "sklearn", "torch")


@pytest.fixture
def made_per_turn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Of every step: how many tabs were made, layers came, and layers were shown."""
    from napari_dama.gui.dock import TITLES, DamaDock
    from napari_dama.gui.turns import Turns

    seen: dict[str, list[int]] = {"tabs": [], "layers": [], "shown": []}
    real = Turns._step

    def count(turns: Any) -> tuple[int, int, int]:
        place = turns.parent()
        dock = place if isinstance(place, DamaDock) else None
        viewer = getattr(place, "viewer", None)
        layers = [] if viewer is None else list(viewer.layers)
        tabs = 0 if dock is None else sum(name in dock.__dict__ for name in TITLES)
        return tabs, len(layers), sum(layer.visible for layer in layers)

    def step(turns: Any) -> None:
        before = count(turns)
        real(turns)
        for name, more, less in zip(seen, count(turns), before, strict=True):
            seen[name].append(more - less)

    monkeypatch.setattr(Turns, "_step", step)
    return seen


def test_a_step_for_each_turn_and_the_rest_at_once(qtbot: Any) -> None:
    from qtpy.QtCore import QTimer

    from napari_dama.gui.turns import Turns

    done: list[str] = []
    free = threading.Event()
    thread = threading.Thread(target=free.wait)

    def steps() -> Iterator[threading.Thread | None]:
        done.append("one")
        QTimer.singleShot(0, lambda: done.append("another's turn"))
        yield
        done.append("two")
        thread.start()
        yield thread
        done.append("after the thread")
        yield
        turns.finish()  # by a step itself: nothing
        done.append("last")

    turns = Turns(steps())
    turns.finished.connect(lambda: done.append("finished"))
    turns.start()
    assert done == []
    qtbot.waitUntil(lambda: "two" in done)
    assert done == ["one", "another's turn", "two"]
    qtbot.wait(60)
    assert done[-1] == "two"  # the thread is still at it
    free.set()
    turns.finish()
    assert done[3:] == ["after the thread", "last", "finished"]
    assert not turns.going
    turns.finish()
    assert done[-2:] == ["last", "finished"]


def test_an_error_ends_it_and_what_is_let_go_stays_silent(qtbot: Any) -> None:
    from napari_dama.gui.turns import Turns

    done: list[object] = []

    def steps() -> Iterator[None]:
        yield
        raise ValueError("no")

    turns = Turns(steps())
    turns.failed.connect(done.append)
    turns.finished.connect(lambda: done.append("finished"))
    turns.start()
    qtbot.waitUntil(lambda: bool(done))
    assert [str(error) for error in done] == ["no"]
    assert not turns.going
    with pytest.raises(ValueError, match="no"):
        Turns(steps()).finish()

    gone = Turns(iter([None, None]))
    gone.finished.connect(lambda: done.append("finished"))
    gone.start()
    gone.let_go()
    qtbot.wait(20)
    assert len(done) == 1


def test_the_docks_module_loads_nothing_large() -> None:
    """napari imports it in Qt's thread; what is large comes in a thread afterwards."""
    code = "import sys, napari_dama.gui.dock; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(LARGE) == set()


def test_what_is_loaded_in_a_thread_makes_no_qt_objects() -> None:
    code = (
        "import gc\n"
        "from qtpy.QtCore import QObject, QThread\n"
        "from qtpy.QtWidgets import QApplication\n"
        "app = QApplication(['-platform', 'offscreen'])\n"
        "from napari_dama.gui.dock import MODULES\n"
        "from napari_dama.gui.quiet import load_in_thread\n"
        "gc.freeze = lambda: None\n"
        "load_in_thread(MODULES).join()\n"
        "assert load_in_thread(MODULES) is None\n"
        "mine = QThread.currentThread()\n"
        "print([o for o in gc.get_objects() if isinstance(o, QObject) and o.thread() != mine])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_dock_makes_one_tab_in_a_turn(
    make_napari_viewer: Any, on_shelf: Path, wait_for: Wait, made_per_turn: dict[str, list[int]]
) -> None:
    from napari_dama.gui.dock import DamaDock

    viewer = make_napari_viewer()
    dock = DamaDock(viewer)
    later: list[str] = []
    dock.when_made(lambda: later.append(dock.rows.facts.text()))
    assert [dock.tabs.tabText(place) for place in range(6)][::5] == ["Channels", "Train"]
    assert "channels" not in dock.__dict__
    dock.show_title("Train")
    wait_for(lambda: not dock.turns.going)
    assert sum(made_per_turn["tabs"]) == 6
    assert max(made_per_turn["tabs"]) == 1
    assert dock.tabs.currentIndex() == 5
    assert len(later) == 1
    assert "Open a slide" in later[0]
    assert dock.rows.open_button.isVisibleTo(dock)
    dock.close_down()


def test_a_part_that_is_asked_for_early_is_there_and_a_dock_closed_early_lets_go(
    make_napari_viewer: Any, on_shelf: Path
) -> None:
    from napari_dama.gui.dock import DamaDock

    viewer = make_napari_viewer()
    dock = DamaDock(viewer)
    assert dock.channels is dock.named_tabs["Channels"]
    assert not dock.turns.going
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = dock.no_such_thing
    dock.close_down()
    early = DamaDock(viewer)
    early.close_down()
    early.close_down()
    assert not early.turns.going
    with pytest.raises(AttributeError):
        _ = early.channels


def test_a_slide_comes_one_layer_in_a_turn(
    dock: Any, wait_for: Wait, tmp_path: Path, made_per_turn: dict[str, list[int]]
) -> None:
    dock.viewer.layers.clear()
    wait_for(lambda: dock.channels.rows == [])
    path = small_slide(tmp_path, "other", markers=["DAPI", "CH_2", "CH_3", "CH_4", "CH_5"], seed=5)
    opened: list[str] = []
    dock.opener.opened.connect(opened.append)
    dock.open_slide(str(path))
    assert len(dock.viewer.layers) == 0
    wait_for(lambda: not dock.opener.busy)
    assert opened == [str(path)]
    assert sum(made_per_turn["layers"]) == 5
    assert max(made_per_turn["layers"]) == 1
    assert max(made_per_turn["shown"]) == 1
    assert not any(
        come and shown for come, shown in zip(made_per_turn["layers"], made_per_turn["shown"], strict=True)
    )
    assert [layer.visible for layer in dock.viewer.layers] == [True, True, True, False, False]
    assert dock.state.slide == str(path.absolute())
    wait_for(lambda: len(dock.channels.rows) == 5)
    dock.open_slide(str(tmp_path / "nothing.txt"))
    wait_for(lambda: not dock.opener.busy)
    assert "no slide" in dock.message.text.text()
    assert dock.session.slide is not None


def test_a_result_opens_its_slide_and_shows_its_cells_in_turns(
    dock: Any, wait_for: Wait, tmp_path: Path, made_per_turn: dict[str, list[int]]
) -> None:
    dock.viewer.layers.clear()
    (tmp_path / "made").mkdir()
    slide, out = make_result(tmp_path / "made")
    dock.results.open_folder(str(out))
    wait_for(lambda: dock.results.work is None and dock.annotate.work is None)
    assert dock.state.slide == str(slide)
    assert dock.results.layer.visible
    assert dock.viewer.layers[-1] == dock.results.layer
    assert max(made_per_turn["layers"]) == 1
    assert not any(
        come and shown for come, shown in zip(made_per_turn["layers"], made_per_turn["shown"], strict=True)
    )
    dock.session.cells.select([3])
    rings = dock.viewer.layers[-1]
    assert not rings.visible  # drawn in the next turn
    wait_for(lambda: rings.visible)
