"""Layers come without napari's side work, one in a turn of the event loop, and pictures are made outside Qt's thread."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gui.conftest import add_slide, small_slide

from napari_dama.gui.explain_layers import answer_layers
from napari_dama.gui.later import Later
from napari_dama.gui.layers import layers_of
from napari_dama.gui.put_layer import hide, put, quietly
from napari_dama.gui.quiet import window_first

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("one_thread")]
Wait = Callable[[Callable[[], bool]], None]
FINE = {"scale": (0.13, 0.13), "translate": (-3.1, 2.2), "units": ("um", "um"), "metadata": {}}


class TurnCount:
    """Counts turns of the event loop."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.now = 0
        self.timer = QTimer()
        self.timer.timeout.connect(self._on_turn)
        self.timer.start(0)

    def _on_turn(self) -> None:
        self.now += 1


def slices_counted(layers: list[Any], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often napari takes the pixels of layers."""
    counted: Counter[str] = Counter()
    for layer in layers:

        def count(layer: Any = layer, take: Any = layer._slicing_state.set_view_slice) -> None:
            counted[layer.name] += 1
            take()

        monkeypatch.setattr(layer._slicing_state, "set_view_slice", count)
    return counted


def test_steps_are_taken_one_in_a_turn_and_the_newest_of_a_key(qtbot: Any) -> None:
    later, turns = Later(), TurnCount()
    taken: list[tuple[str, int]] = []
    for key in ("a", "b", "c", "a", "gone"):
        later.then(key, lambda key=key: taken.append((key, turns.now)))
    later.drop("gone")
    assert later.waiting == 3 and not taken
    with qtbot.waitSignal(later.ended, timeout=5000):
        pass
    assert [key for key, _ in taken] == ["b", "c", "a"]
    assert len({turn for _, turn in taken}) == 3
    later.then("never", lambda: taken.append(("never", 0)))
    later.drop()
    qtbot.wait(30)
    assert len(taken) == 3 and not later.waiting
    turns.timer.stop()


def test_a_step_that_fails_holds_up_no_other(qtbot: Any) -> None:
    later, taken = Later(), []

    def fail() -> None:
        raise KeyError("an error in a step")

    later.then("fails", fail)
    later.then("follows", lambda: taken.append("follows"))
    with qtbot.captureExceptions() as errors:
        qtbot.waitUntil(lambda: bool(taken), timeout=5000)
    assert taken == ["follows"] and [error[0] for error in errors] == [KeyError]


def test_a_finer_layer_beyond_the_slide_slices_no_other(
    make_napari_viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    markers = add_slide(viewer, small_slide(tmp_path))
    viewer.layers.selection.active = markers[2]
    later, pixels = Later(), np.zeros((300, 300), np.float32)
    counted = slices_counted(markers, monkeypatch)
    chosen: list[Any] = []
    viewer.layers.selection.events.active.connect(chosen.append)

    made = put(viewer, later, "explain", "image", "made", pixels, {**FINE, "metadata": _about("explain")})
    assert not made.visible  # shown in the next turn
    qtbot.waitUntil(lambda: made.visible, timeout=5000)
    moved = {**FINE, "translate": (-9.0, 4.0), "metadata": _about("explain")}
    assert put(viewer, later, "explain", "image", "made", pixels + 1, moved) is made
    assert tuple(made.translate) == (-9, 4) and made.data[0, 0] == 1
    assert not counted and not chosen
    assert viewer.layers.selection.active is markers[2]
    assert viewer.dims.range[0].start == pytest.approx(-9)  # the model of the window knows of it all the same

    viewer.add_image(pixels, scale=(0.11, 0.11), translate=(-20, 0), units=("um", "um"))
    assert counted and chosen  # what napari does of its own accord


def test_after_quiet_layers_a_stack_has_its_slider(make_napari_viewer: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer()
    add_slide(viewer, small_slide(tmp_path))
    with quietly(viewer):
        viewer.add_image(np.zeros((20, 20)), **{**FINE, "translate": (-50, 0)})
    viewer.add_image(np.zeros((5, 192, 224)))
    slider = viewer.window._qt_viewer.dims.slider_widgets[0].slider
    assert (slider.minimum(), slider.maximum()) == (0, 4)
    viewer.dims.set_current_step(0, 3)
    assert slider.value() == 3


def test_quietly_keeps_several_chosen_layers(make_napari_viewer: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer()
    markers = add_slide(viewer, small_slide(tmp_path))
    viewer.layers.selection = set(markers[:2])
    with quietly(viewer):
        viewer.add_points([(1, 1)])
    assert set(viewer.layers.selection) == set(markers[:2]) and viewer.layers.selection.active is None


def test_a_layer_that_is_hidden_before_it_was_shown_stays_hidden(
    make_napari_viewer: Any, tmp_path: Path, qtbot: Any
) -> None:
    viewer, later = make_napari_viewer(), Later()
    add_slide(viewer, small_slide(tmp_path))
    made = put(viewer, later, "explain", "points", "made", [(1, 1)], {"metadata": _about("explain")})
    hide(later, [made])
    qtbot.wait(40)
    assert not made.visible and not later.waiting
    made = put(viewer, later, "other", "points", "taken out", [(1, 1)], {"metadata": _about("other")})
    viewer.layers.remove(made)
    qtbot.waitUntil(lambda: not later.waiting, timeout=5000)
    assert not made.visible


def test_answers_put_one_layer_in_a_turn_and_make_pictures_in_their_thread(
    dock: Any, wait_for: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_dama.gui import explain_pictures, explain_plan

    dock.state.model = "random"
    viewer, explain, state = dock.viewer, dock.explain, dock.state.explain
    dock.show_tab(explain)
    wait_for(lambda: explain.work is None)
    turns, made, shown = TurnCount(), Counter[int](), Counter[int]()
    here, threads = threading.get_ident(), []

    def on_layer(event: Any) -> None:
        made[turns.now] += 1
        event.value.events.visible.connect(on_visible)

    def on_visible(event: Any) -> None:
        shown[turns.now] += 1

    for module in (explain_pictures, explain_plan):
        linear = module.linear

        def watched(pixels: Any, linear: Any = linear) -> Any:
            threads.append(threading.get_ident() == here)
            return linear(pixels)

        monkeypatch.setattr(module, "linear", watched)
    viewer.layers.events.inserted.connect(on_layer)
    at = (96.0, 112.0)
    for question in ("fill", "type", "missing", "fill"):
        state.question = question
        state.at = at
        explain.compute()
        wait_for(lambda: explain.work is None)
    viewer.layers.events.inserted.disconnect(on_layer)
    turns.timer.stop()

    assert not dock.message.text.text()
    kinds = {layer.name for layer in answer_layers(viewer)}
    assert kinds == {"Explain: square", "Explain: filled in", "Explain: where it looks", "NeuN, predicted"}
    assert sum(made.values()) == len(kinds)  # the second answer of a kind makes none
    assert max(made.values()) == 1 and not set(made) & set(shown)
    assert threads and not any(threads)
    assert all(layer.visible for layer in layers_of(viewer.layers, "explain"))


def test_other_threads_hand_on_the_lock_more_often_while_one_answers() -> None:
    before = sys.getswitchinterval()
    with window_first():
        assert sys.getswitchinterval() == pytest.approx(0.0005)
        with pytest.raises(KeyError), window_first():
            raise KeyError("an error in the block")
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert sys.getswitchinterval() == pytest.approx(before)


def _about(role: str) -> dict[str, Any]:
    return {"napari_dama": {"role": role, "slide": "none"}}
