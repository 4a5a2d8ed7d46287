"""Annotation in a real window: keys, boxes, classes, undo, what is saved, and what comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication
from tests.gui.made_result import make_result

from napari_dama.cells.corrections import read_corrections
from napari_dama.gui.place import bare, camera_of

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def window(make_napari_viewer: Any, on_shelf: Path, tmp_path: Path, wait_for: Wait) -> Iterator[Any]:
    """The dock in a window with a made result of 80 cells, at the tab Annotate."""
    from napari_dama.gui.dock import DamaDock

    slide, out = make_result(tmp_path)
    viewer = make_napari_viewer(show=True)
    dock = DamaDock(PublicOnlyProxy(viewer))  # as napari opens the widgets of plugins
    viewer.window.add_dock_widget(dock, name="DAMA")
    open_result(dock, out, wait_for)
    dock.slide, dock.out = slide, out
    yield dock
    dock.close_down()


def open_result(dock: Any, out: Path, wait_for: Wait) -> None:
    dock.results.open_folder(str(out))
    wait_for(lambda: dock.results.work is None and dock.annotate.work is None)
    dock.show_tab(dock.annotate)
    wait_for(lambda: dock.annotate.isVisible())


def canvas(dock: Any) -> Any:
    return bare(dock.viewer).window._qt_viewer.canvas.native


def press(dock: Any, qtbot: Any, key: Any, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
    qtbot.keyClick(canvas(dock), key, modifier)


def saved(dock: Any) -> Any:
    assert dock.session.annotator.journal.flush(5)
    return read_corrections(dock.slide)


def test_keys_give_types_and_recolour(window: Any, qtbot: Any) -> None:
    dock = window
    cells, layer = dock.session.cells, dock.results.layer
    assert bare(dock.viewer.layers.selection.active) is bare(layer)
    cells.select([3, 6])
    before = layer.colormap.map(6)
    press(dock, qtbot, Qt.Key.Key_3)
    assert [cells.type_of(label) for label in (3, 6)] == ["microglia"] * 2
    assert layer.mode == "pan_zoom"  # and not napari's polygon tool
    assert tuple(layer.colormap.map(6)) != tuple(before)
    assert tuple(np.round(layer.colormap.map(6)[:3] * 255)) == (0x43, 0x63, 0xD8)
    assert tuple(layer.colormap.map(9)[:3]) == tuple(before[:3])
    found = saved(dock)
    assert found.cells[["label", "type", "who"]].to_numpy().tolist() == [
        [3, "microglia", "box"],
        [6, "microglia", "box"],
    ]
    assert Path(found.path) == dock.slide.parent / "tissue.dama-corrections.jsonl"
    qtbot.wait(400)
    line = dock.annotate.classes.lines[2]
    assert line.row.reviewed == 2 and "2 ✓" in line.number.text()
    features = layer.features.set_index("index")
    assert features.loc[6, "type"] == "microglia" and features.loc[9, "type"] == "neuron"
    press(dock, qtbot, Qt.Key.Key_7)
    assert "no class with the key 7" in dock.message.text.text()


def test_undo_and_redo_by_keys_and_after_a_restart(window: Any, qtbot: Any, wait_for: Wait) -> None:
    dock = window
    cells = dock.session.cells
    cells.select([3])
    press(dock, qtbot, Qt.Key.Key_3)
    press(dock, qtbot, Qt.Key.Key_2)
    press(dock, qtbot, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert cells.type_of(3) == "microglia"
    press(dock, qtbot, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert cells.type_of(3) == "astrocyte"
    press(dock, qtbot, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    open_result(dock, dock.out, wait_for)
    assert cells.type_of(3) == "microglia" and cells.predicted[2] == "neuron"
    assert "1 cell reviewed earlier" in dock.message.text.text()
    press(dock, qtbot, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert cells.type_of(3) == "astrocyte"
    for _ in range(2):
        press(dock, qtbot, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert cells.type_of(3) == "neuron" and not dock.session.annotator.is_reviewed(3)
    assert not dock.annotate.undo.isEnabled()
    assert saved(dock).cells.empty


def test_confirm_and_no_type(window: Any, qtbot: Any) -> None:
    dock = window
    dock.session.cells.select([3])
    press(dock, qtbot, Qt.Key.Key_Return)
    dock.session.cells.select([4])
    press(dock, qtbot, Qt.Key.Key_0)
    found = saved(dock)
    assert found.cells[["label", "type", "who"]].to_numpy().tolist() == [
        [3, "neuron", "confirm"],
        [4, "cell", "click"],
    ]
    assert "reviewed" in dock.annotate.selected.text() or "no type" in dock.annotate.selected.text()


def test_keys_are_napari_s_again_in_other_tabs(window: Any, qtbot: Any) -> None:
    dock = window
    dock.session.cells.select([3])
    dock.show_tab(dock.results)
    press(dock, qtbot, Qt.Key.Key_3)
    assert dock.session.cells.type_of(3) == "neuron"
    dock.results.layer.mode = "pan_zoom"
    dock.annotate.everywhere.setChecked(True)
    press(dock, qtbot, Qt.Key.Key_3)
    assert dock.session.cells.type_of(3) == "microglia"
    dock.annotate.everywhere.setChecked(False)
    assert not dock.annotate.keys.held
    for keymap in (dock.viewer.keymap, dock.results.layer.keymap):  # markers have keys of their own there
        assert not {str(key) for key in keymap} & {"0", "1", "9", "N", "Enter", "Ctrl+Z"}


def test_a_layer_of_the_user_keeps_its_keys_and_that_is_said(window: Any, qtbot: Any) -> None:
    dock = window
    dock.session.cells.select([3])
    points = dock.viewer.add_points(np.zeros((1, 2)), name="mine")
    dock.viewer.layers.selection.active = points
    press(dock, qtbot, Qt.Key.Key_2)
    assert dock.session.cells.type_of(3) == "neuron" and points.mode == "add"
    assert "'mine' is active" in dock.annotate.keys_note.text()
    dock.viewer.layers.selection.active = dock.viewer.layers["NeuN"]
    press(dock, qtbot, Qt.Key.Key_2)
    assert dock.session.cells.type_of(3) == "astrocyte"
    assert dock.annotate.keys_note.text() == ""


def drag(dock: Any, qtbot: Any, begin: tuple[float, float], end: tuple[float, float], modifier: Any) -> None:
    """Drag with the mouse from one cell's place to another's (y, x in um)."""
    native = canvas(dock)
    camera = camera_of(dock.viewer)

    def at(place: tuple[float, float]) -> QPoint:
        middle = np.array([native.height(), native.width()]) / 2
        y, x = middle + (np.array(place) - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(float(x)), round(float(y)))

    qtbot.mousePress(native, Qt.MouseButton.LeftButton, modifier, at(begin))
    for share in (0.3, 0.7, 1.0):
        qtbot.wait(30)  # vispy passes over moves that come too quickly
        middle = np.array(begin) + share * (np.array(end) - np.array(begin))
        point = QPointF(at((middle[0], middle[1])))
        QApplication.sendEvent(
            native,
            QMouseEvent(
                QEvent.Type.MouseMove, point, native.mapToGlobal(point), Qt.MouseButton.LeftButton,
                Qt.MouseButton.LeftButton, modifier,
            ),
        )  # fmt: skip
    qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, modifier, at(end))
    qtbot.wait(150)  # the camera follows with the next frame


def test_a_box_selects_and_does_not_move_the_picture(window: Any, qtbot: Any) -> None:
    dock = window
    qtbot.wait(200)
    centre = camera_of(dock.viewer).center
    cells = dock.session.cells
    # cells lie 12 um apart, the first at (6, 6); a box over the first two rows and three columns
    drag(dock, qtbot, (0.5, 0.5), (22.0, 34.0), Qt.KeyboardModifier.ShiftModifier)
    assert sorted(cells.selected.tolist()) == [1, 2, 3, 11, 12, 13]
    assert camera_of(dock.viewer).center == centre
    both = Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.ControlModifier
    drag(dock, qtbot, (24.5, 0.5), (34.0, 10.0), both)
    assert sorted(cells.selected.tolist()) == [1, 2, 3, 11, 12, 13, 21]
    dock.annotate.box_button.setChecked(True)
    drag(dock, qtbot, (0.5, 0.5), (10.0, 10.0), Qt.KeyboardModifier.NoModifier)
    assert cells.selected.tolist() == [1]
    assert camera_of(dock.viewer).center == centre
    dock.annotate.box_button.setChecked(False)
    drag(dock, qtbot, (0.5, 0.5), (30.0, 30.0), Qt.KeyboardModifier.NoModifier)
    assert cells.selected.tolist() == [1]
    assert camera_of(dock.viewer).mouse_pan  # and the picture may be moved again


def test_clicks_select_and_control_adds(window: Any, qtbot: Any) -> None:
    dock = window
    qtbot.wait(200)
    cells = dock.session.cells
    none, more = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier
    for modifier, place, wanted in (
        (none, (6.0, 6.0), [1]),
        (more, (6.0, 18.0), [1, 2]),
        (more, (6.0, 6.0), [2]),
        (none, (18.0, 6.0), [11]),
    ):
        dock.results.select_at(place, more=modifier == more)
        assert cells.selected.tolist() == wanted
    dock.annotate.deselect.click()
    assert dock.annotate.selected.text() == "No cell."


def test_classes_are_made_renamed_coloured_and_deleted(window: Any, qtbot: Any) -> None:
    dock = window
    tab, cells = dock.annotate, dock.session.cells
    tab.add.setText("Tumour")
    tab.add.returnPressed.emit()
    assert [line.row.key for line in tab.classes.lines] == ["1", "2", "3", "4", "0"]
    cells.select([5])
    press(dock, qtbot, Qt.Key.Key_4)
    assert cells.type_of(5) == "Tumour"
    assert dock.results.layer.colormap.map(5)[3] == 1
    tab.classes.deleted.emit("Tumour")
    assert "1 cell is of class 'Tumour'" in dock.message.text.text()
    tab.classes.renamed.emit("Tumour", "Carcinoma")
    tab.classes.coloured.emit("Carcinoma", "#010203")
    assert tuple(np.round(dock.results.layer.colormap.map(5)[:3] * 255)) == (1, 2, 3)
    press(dock, qtbot, Qt.Key.Key_1)
    tab.classes.deleted.emit("Carcinoma")
    assert list(cells.classes) == ["neuron", "astrocyte", "microglia"]
    for _ in range(6):
        tab.undo.click()
    assert cells.type_of(5) == "microglia" and list(cells.classes) == ["neuron", "astrocyte", "microglia"]
    for _ in range(6):
        tab.redo.click()
    assert cells.type_of(5) == "neuron"
    assert saved(dock).deleted == ("Carcinoma",)


def test_corrections_are_carried_to_another_result_of_the_slide(
    window: Any, qtbot: Any, wait_for: Wait, tmp_path: Path
) -> None:
    dock = window
    dock.session.cells.select([3, 40])
    press(dock, qtbot, Qt.Key.Key_3)
    from tests.gui.made_result import draw, table_of, write_result

    labels, image = draw(8, 10)
    labels[labels > 0] += 100
    labels[labels == 140] = 0
    write_result(tmp_path / "second", dock.slide, labels, table_of(labels, image, 0.5), 0.5)
    open_result(dock, tmp_path / "second", wait_for)
    assert "1 of 2 corrections made on tissue_dama fit" in dock.message.text.text()
    assert dock.session.cells.type_of(103) == "microglia" and dock.session.annotator.is_reviewed(103)
    open_result(dock, dock.out, wait_for)
    assert dock.session.cells.type_of(40) == "microglia"
    assert "fit" not in dock.message.text.text()


def test_the_next_cell_is_doubtful_and_says_why(window: Any, qtbot: Any, wait_for: Wait) -> None:
    dock = window
    press(dock, qtbot, Qt.Key.Key_N)
    wait_for(lambda: dock.annotate.suggested > 0)
    first = dock.annotate.suggested
    assert first % 7 == 0 and dock.session.cells.selected.tolist() == [first]
    assert "The model hesitates" in dock.annotate.reason.text()
    dock.annotate.advance.setChecked(True)
    press(dock, qtbot, Qt.Key.Key_1)
    wait_for(lambda: dock.annotate.suggested != first)
    assert saved(dock).cells["who"].tolist() == ["next"]
    second = dock.annotate.suggested
    press(dock, qtbot, Qt.Key.Key_N)
    wait_for(lambda: dock.annotate.suggested not in (first, second))


def test_what_cannot_be_saved_is_said(window: Any, qtbot: Any) -> None:
    dock = window
    path = dock.session.annotator.found.path
    path.mkdir()
    dock.session.cells.select([3])
    dock.annotate.give("microglia")
    assert dock.session.cells.type_of(3) == "neuron"  # nothing is done that would not be recorded
    assert "changed in another window" in dock.message.text.text()
    path.rmdir()
    dock.annotate.give("microglia")
    assert dock.session.annotator.journal.flush(5)
    moved = path.with_name("moved")
    path.rename(moved)
    path.mkdir()
    dock.annotate.give("astrocyte")
    qtbot.wait(900)
    assert "NOT SAVED" in dock.annotate.saved.text() and "tried again" in dock.annotate.saved.text()
    path.rmdir()
    moved.rename(path)
    assert dock.session.annotator.journal.flush(8)
    qtbot.wait(700)
    assert "Saved" in dock.annotate.saved.text()
    assert read_corrections(dock.slide).cells["type"].tolist() == ["astrocyte"]


def test_it_fits_320_px_and_without_result_it_says_what_to_do(dock: Any) -> None:
    assert dock.annotate.minimumSizeHint().width() <= 320 - 26
    assert "Analyse a slide or open a result" in dock.annotate.hint.text()
    dock.annotate.give_key(0)
    dock.annotate.go_on()
    dock.annotate.undo_last()
    assert dock.message.text.text() == ""


VICTIM = """
import sys, time
import napari
from qtpy.QtCore import QTimer, Qt
from qtpy.QtTest import QTest
from napari_dama.gui.dock import DamaDock

viewer = napari.Viewer()
dock = DamaDock(viewer)
viewer.window.add_dock_widget(dock, name="DAMA")
dock.results.open_folder(sys.argv[1])
labels = []

def edit():
    if dock.results.work is not None or dock.annotate.work is not None or not dock.session.annotator.is_open:
        return
    if not labels:
        dock.show_tab(dock.annotate)
    label = 1 + len(labels) % 80
    kind = 1 + (len(labels) // 80) % 3
    dock.session.cells.select([label])
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, str(kind))
    labels.append(label)
    print(len(labels), flush=True)

timer = QTimer()
timer.timeout.connect(edit)
timer.start(15)
napari.run()
"""


@pytest.mark.slow
def test_a_killed_napari_loses_nothing_but_what_it_was_at(tmp_path: Path, on_shelf: Path) -> None:
    """kill -9 at random moments: every edit that was a moment old is in the journal, in order."""
    slide, out = make_result(tmp_path)
    random = np.random.default_rng(int(time.time()))
    before = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(out)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        until = int(random.integers(5, 60))
        told = 0
        while told < until:
            line = process.stdout.readline()
            assert line, "the window ended by itself"
            told = int(line)
        process.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        rest = process.communicate()[0].split()
        told = int(rest[-1]) if rest else told
        lines = slide.with_name("tissue.dama-corrections.jsonl").read_text(encoding="utf-8").splitlines()
        made = sum('"record":"type"' in line for line in lines) - before
        assert told - 1 <= made <= told + 1
        before += made
        found = read_corrections(slide)
        assert len(found.cells) >= min(80, told - 1)
