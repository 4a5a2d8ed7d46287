"""The Explain tab in a real window: fill in, follow the cursor, what a type rests on, a missing marker, like cells."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gui.conftest import add_slide

from napari_dama.errors import SettingsError
from napari_dama.gui.explain_ask import Asker, Bench
from napari_dama.gui.explain_layers import answer_layers
from napari_dama.gui.explain_pictures import TITLES, heat, middle, two_sided
from napari_dama.gui.filling import Filling
from napari_dama.gui.layers import about, layers_of

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("one_thread")]
Wait = Callable[[Callable[[], bool]], None]
AT = (300.0, 400.0)


class Event:
    """A mouse event over the canvas at a pixel of the slide (0.325 um)."""

    type = "mouse_press"

    def __init__(self, y: float, x: float) -> None:
        self.position = (y * 0.325, x * 0.325)


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn slide with an analysed corner beside it: ``(slide, result)``."""
    import tifffile

    from napari_dama.predict.analyse import analyse
    from napari_dama.slides.region import Region
    from stand_in import MARKERS, NucleusModel, draw_cells

    folder = tmp_path_factory.mktemp("tissue")
    meta = {"axes": "CYX", "Channel": {"Name": list(MARKERS)}, "PhysicalSizeX": 0.325, "PhysicalSizeY": 0.325}
    tifffile.imwrite(folder / "drawn.ome.tif", draw_cells(512, 600), ome=True, metadata=meta)
    place = Region(200, 420, 300, 520)
    analyse(folder / "drawn.ome.tif", folder / "result", model=NucleusModel(), region=place, tile_px=256)  # type: ignore[arg-type]
    return folder


@pytest.fixture
def dock(make_napari_viewer: Any, on_shelf: Path, tissue: Path) -> Iterator[Any]:
    """The dock in a window, with the Explain tab in front and a model of random weights."""
    from napari_dama.gui.dock import DamaDock

    viewer = make_napari_viewer(show=True)
    add_slide(viewer, tissue / "drawn.ome.tif")
    widget = DamaDock(viewer)
    viewer.window.add_dock_widget(widget, name="DAMA", area="right")
    widget.state.model = "random"
    widget.show_tab(widget.explain)
    yield widget
    widget.close_down()


def idle(dock: Any, wait_for: Wait) -> None:
    wait_for(lambda: dock.explain.work is None, 90)
    assert dock.message.text.text() == ""


def test_fill_in_look_at_a_marker_and_save(dock: Any, wait_for: Wait, tmp_path: Path) -> None:
    explain, state = dock.explain, dock.state.explain
    idle(dock, wait_for)  # the tab loads the model when it is shown
    assert explain.asker.loaded_once and explain.explanation is None
    state.at = AT
    explain.compute()
    idle(dock, wait_for)
    made = explain.explanation
    assert made.hidden_random.sum() == 52 and state.seed == 0

    for show in ("seen", "difference", "error", "overlap", "filled", "slide"):
        state.show = show
        idle(dock, wait_for)
        shown = [about(layer)["show"] for layer in layers_of(dock.viewer.layers, "explain") if layer.visible]
        assert shown == ([] if show == "slide" else [show])
        assert explain.fill.show_box.currentData() == show
    explain.fill.pictures.pictures["error"].clicked.emit("error")
    assert state.show == "error"
    layer = next(x for x in layers_of(dock.viewer.layers, "explain") if about(x)["show"] == "error")
    np.testing.assert_allclose(layer.data, np.where(made.hidden_random, made.error_random, 0))
    world = layer.data_to_world((3.5, 3.5))  # the middle of the square
    assert np.asarray(world[-2:]) / 0.325 == pytest.approx(AT, abs=1)
    state.mask = "adaptive"
    np.testing.assert_allclose(layer.data, np.where(made.hidden_adaptive, made.error_adaptive, 0))

    before = explain.fill.pictures.pictures["slide"].shown
    state.marker = "NeuN"
    after = explain.fill.pictures.pictures["slide"].shown
    assert (before != after).any() and (after[..., 0] == after[..., 2]).all()  # grey
    explain.fill.another.click()
    idle(dock, wait_for)
    assert state.seed == 1 and (explain.explanation.hidden_random != made.hidden_random).any()
    state.seed = 0
    idle(dock, wait_for)
    assert (explain.explanation.hidden_random == made.hidden_random).all()  # the number decides

    explain.fill.save_to(tmp_path / "place.png")
    wait_for(lambda: explain.fill.saving is None)
    explain.fill.save_to(tmp_path / "place.tif")
    wait_for(lambda: explain.fill.saving is None)
    assert (tmp_path / "place.png").stat().st_size > 10_000 and (tmp_path / "place.tif").exists()
    explain.fill.save_to(tmp_path / "place.jpg")
    wait_for(lambda: explain.fill.saving is None)
    assert ".png" in dock.message.text.text()
    kept = answer_layers(dock.viewer)
    explain.clear.click()
    assert kept and not [layer for layer in answer_layers(dock.viewer) if layer.visible]
    assert explain.explanation is None and not explain.clear.isEnabled()
    state.at = AT
    explain.compute()
    wait_for(lambda: explain.work is None, 90)
    assert answer_layers(dock.viewer) == kept  # the next answer takes the same layers
    assert [layer.name for layer in kept if layer.visible] == ["Explain: square", "Explain: error"]


def test_the_cursor_is_followed_one_question_at_a_time(dock: Any, wait_for: Wait) -> None:
    explain, state = dock.explain, dock.state.explain
    idle(dock, wait_for)
    asked: list[Any] = []
    ask = explain.asker.ask

    def counted(kind: str, *args: Any, **options: Any) -> None:
        assert not explain.asker.busy  # never more than one in flight
        asked.append(kind)
        ask(kind, *args, **options)

    explain.asker.ask = counted
    explain.follow.click()
    assert state.follow
    for step in range(30):
        explain.follower.on_move(dock.viewer, Event(200 + step, 250 + step))
    wait_for(lambda: explain.explanation is not None)
    idle(dock, wait_for)
    assert asked == ["fill"]  # thirty moves within a beat are one question, about the newest place
    assert state.at == pytest.approx((229, 279))
    assert layers_of(dock.viewer.layers, "explain") == []  # in the dock only while the cursor moves
    explain.follower.on_move(dock.viewer, Event(100, 100))
    wait_for(lambda: len(asked) == 2 and not explain.asker.busy)
    explain.follower.on_move(dock.viewer, Event(-50, 100))  # off the slide
    assert explain.follower.cursor is None

    press = explain.follower.on_mouse(dock.viewer, Event(150, 160))
    next(press)
    release = Event(150, 160)
    release.type = "mouse_release"
    with pytest.raises(StopIteration):
        press.send(None)
    idle(dock, wait_for)
    assert not state.follow and not explain.follow.isChecked() and state.at == pytest.approx((150, 160))
    assert [about(layer)["show"] for layer in layers_of(dock.viewer.layers, "explain")] == ["filled"]


def test_what_a_type_rests_on(dock: Any, wait_for: Wait) -> None:
    explain, state = dock.explain, dock.state.explain
    idle(dock, wait_for)
    state.question = "type"
    assert explain.type.isVisible() and not explain.fill.isVisible()
    state.at = AT
    explain.compute()
    idle(dock, wait_for)

    effects = explain.type.effects
    assert [bar[0] for bar in explain.type.sure.bars] == list(effects.classes)
    assert [bar[0] for bar in explain.type.drops.bars] == list(effects.drops)
    assert explain.type.text.text() == effects.sentence()
    (layer,) = layers_of(dock.viewer.layers, "explain map")
    assert layer.visible and layer.data.shape == (8, 8)
    assert np.asarray(layer.data_to_world((3.5, 3.5))[-2:]) / 0.325 == pytest.approx(AT, abs=1)
    for kind in ("pooled", "class", "rollout"):
        state.map = kind
        idle(dock, wait_for)
        assert layer.data.sum() == pytest.approx(1, abs=1e-3)
    assert "no proof" in explain.type.note.text()
    dock.state.channels.chosen = {"NeuN": "", "S100": ""}
    assert "types cannot be told" in explain.text.text().lower() and not explain.type.isVisible()
    assert not layer.visible
    idle(dock, wait_for)
    assert answer_layers(dock.viewer) == []  # what was answered with other channels does not hold any more


def test_a_missing_marker_becomes_a_layer_with_a_word_on_its_quality(dock: Any, wait_for: Wait) -> None:
    explain, state = dock.explain, dock.state.explain
    idle(dock, wait_for)
    state.question = "missing"
    assert state.missing == "NeuN" and not explain.follow.isVisible()
    state.at = AT
    explain.compute()
    idle(dock, wait_for)

    layer = next(entry for entry in dock.viewer.layers if entry.name == "NeuN, predicted")
    assert layer.units[0] == "micrometer" and layer.scale[0] == pytest.approx(32.5 / 128)
    assert "regression" in explain.missing.text.text() and explain.missing.truth.shown is not None
    state.missing = "Iba1"
    idle(dock, wait_for)
    assert [entry.name for entry in dock.viewer.layers if "predicted" in entry.name] == [
        "NeuN, predicted",
        "Iba1, predicted",
    ]
    explain.missing.remove.click()
    idle(dock, wait_for)
    assert not [entry for entry in dock.viewer.layers if "predicted" in entry.name]


def test_like_cells_are_found_shown_and_gone_to(dock: Any, wait_for: Wait, tissue: Path) -> None:
    explain, state = dock.explain, dock.state.explain
    idle(dock, wait_for)
    state.question = "like"
    assert "open a result" in explain.text.text()
    dock.results.open_folder(str(tissue / "result"))
    wait_for(lambda: dock.results.work is None)
    explain._on_result()
    cells = dock.results.result.cells
    label = int(cells["label"].iloc[5])
    assert explain.like.compute.isVisible()
    dock.state.results.selected = label
    explain.like.embed()
    wait_for(lambda: explain.like.alike is not None or bool(dock.message.text.text()), 60)
    idle(dock, wait_for)

    from napari_dama.predict.embeddings import read_embeddings
    from napari_dama.predict.similar import Neighbours

    expected = Neighbours(*read_embeddings(tissue / "result")).of(label, 12)
    assert [(cell.label, cell.distance) for cell in explain.like.alike.cells] == expected
    (rings,) = layers_of(dock.viewer.layers, "alike")
    assert rings.features["label"].tolist() == [near for near, _ in expected]
    third = explain.like.alike.cells[2]
    assert rings.data[2] == pytest.approx((third.y, third.x))
    explain.like.pictures[2].clicked.emit(2)
    assert dock.state.results.selected == third.label and explain.like.alike.label == label
    idle(dock, wait_for)
    assert explain.like.alike.label == label  # the list stays while one looks at its cells
    explain.like.search_button.click()
    idle(dock, wait_for)
    assert explain.like.alike.label == third.label


def test_the_latest_question_wins(qtbot: Any) -> None:
    asker = Asker()
    bench = Bench(Path("none"), (), None, "none", {})
    gate, seen = threading.Event(), []
    asker.answered.connect(lambda kind, value: seen.append((kind, value)))

    def slow(loaded: Any, progress: Any, stop: Any) -> str:
        gate.wait(10)
        return "old"

    asker.ask("a", bench, slow)
    for number in range(5):
        asker.ask("a", bench, lambda loaded, progress, stop, number=number: f"answer {number}")
    asker.ask("b", bench, lambda loaded, progress, stop: "other")
    gate.set()
    qtbot.waitUntil(lambda: not asker.busy, timeout=20_000)
    assert seen == [("a", "answer 4"), ("b", "other")]

    failed: list[Any] = []
    asker.failed.connect(lambda kind, error: failed.append(str(error)))

    def wrong(loaded: Any, progress: Any, stop: Any) -> None:
        raise SettingsError("no such place")

    asker.ask("a", bench, wrong)
    qtbot.waitUntil(lambda: bool(failed), timeout=20_000)
    assert failed == ["no such place"] and not asker.busy
    asker.ask("a", bench, lambda loaded, progress, stop: loaded)
    qtbot.waitUntil(lambda: len(seen) == 3, timeout=20_000)
    loaded, closed = seen[2][1], []
    loaded.close = lambda: closed.append(True)
    asker.release()  # the slide may be moved or deleted now
    qtbot.waitUntil(lambda: bool(closed), timeout=20_000)
    work = asker._work
    asker.close()
    assert work is not None and work.wait(10)


def test_pictures_say_what_they_should() -> None:
    from napari_dama.predict.explanation import CropPlace, Explanation

    random = np.random.default_rng(0)
    hidden = np.zeros((8, 8), bool)
    hidden[0, 0] = True
    image = random.random((2, 128, 128), dtype=np.float32)
    made = Explanation(
        CropPlace(0, 0, 1), image, hidden, hidden, ~hidden, hidden * np.float32(2), hidden * np.float32(1),
        image + np.float32(0.2), image, ("A", "B"), (True, True), 0.25, "model",
    )  # fmt: skip
    pictures = Filling(made).pictures("random", 0, {0: "#ff0000"})

    assert set(pictures) == set(TITLES)
    assert (pictures["seen"][:16, :16] == 70).all() and (pictures["seen"] != 70).any()
    difference = pictures["difference"].astype(int)
    assert (difference[:16, :16, 0] > difference[:16, :16, 2]).all()  # too bright: red
    assert (difference[20:, 20:, 0] == 15).all() and (pictures["overlap"][:16, :16] <= 85).all()
    assert pictures["error"][0, 0, 0] > 200 and (pictures["error"][20, 20] <= 4).all()
    assert heat(np.array([[0.0, 1.0]]))[0, 1].tolist() == [252, 253, 191]
    assert two_sided(np.array([[-1.0, 0.0, 1.0]]))[0].tolist() == [
        [60, 120, 255],
        [15, 15, 15],
        [255, 90, 60],
    ]
    assert middle(pictures["slide"], 2.0).shape == (64, 64, 3)
