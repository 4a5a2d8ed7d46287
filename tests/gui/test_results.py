"""The Results tab on a drawn result: colours, legend, selection, and napari's own features table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.gui.result_folder import CLASSES, PIXEL_UM, grid_labels, make_cells, write_result

from napari_dama.gui.layers import layers_of

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def shown(
    make_napari_viewer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wait_for: Wait
) -> Iterator[Any]:
    """The dock with a result of 12 x 15 cells open."""
    from napari_dama.gui.dock import DamaDock

    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(tmp_path / "no models"))
    labels = grid_labels(12, 15)
    folder = write_result(tmp_path / "tissue_dama", labels, make_cells(labels))
    viewer = make_napari_viewer()
    dock = DamaDock(viewer)
    viewer.window.add_dock_widget(dock, name="DAMA")
    dock.results.open_folder(str(folder))
    wait_for(lambda: dock.results.work is None)
    yield dock
    dock.close_down()


def colour(dock: Any, label: int) -> list[int]:
    return (np.asarray(dock.results.layer.colormap.map(label)) * 255).round().astype(int).tolist()


def test_colour_by_a_column_with_its_bar(shown: Any) -> None:
    tab = shown.results
    assert not tab.colour_bar.isVisibleTo(tab)
    index = tab.colour_box.findData("mean_NeuN")
    tab.colour_box.setCurrentIndex(index)
    tab.colour_box.activated.emit(index)
    assert shown.state.results.colour_by == "mean_NeuN" and tab.colour_bar.isVisibleTo(tab)
    assert "NeuN" in tab.colour_bar.title.text() and "intensity" in tab.colour_bar.title.text()
    values = tab.cells.table["mean_NeuN"]
    dim, bright = int(values.idxmin()) + 1, int(values.idxmax()) + 1
    assert colour(shown, dim) == [68, 1, 84, 255] and colour(shown, bright) == [253, 231, 37, 255]  # viridis
    tab.colour_bar.colormap_box.textActivated.emit("gray")
    assert colour(shown, dim) == [0, 0, 0, 255] and colour(shown, bright) == [255] * 4
    tab.colour_bar.slider.setValue((0.0, 50.0))
    assert (shown.state.results.low, shown.state.results.high) == (0, 50)
    above = int(values.sort_values().index[100]) + 1
    assert colour(shown, above) == [255] * 4
    assert tab.colour_bar.reset.isVisibleTo(tab)
    tab.colour_bar.reset.click()
    assert (shown.state.results.low, shown.state.results.high) == (2, 98)
    shown.state.results.colour_by = "ghost"
    assert "ghost" in tab.colour_problem.text()


def test_the_legend_counts_hides_and_shows_alone(shown: Any, qtbot: Any) -> None:
    tab = shown.results
    lines = {line.name: line for line in tab.legend.lines}
    assert list(lines) == list(CLASSES)
    before = list(tab.legend.lines)
    neurons = tab.cells.labels[tab.cells.types == "neuron"]
    tab.cells.set_types(neurons[:5], "microglia")
    assert colour(shown, int(neurons[0])) == colour(
        shown, int(tab.cells.labels[tab.cells.predicted == "microglia"][0])
    )
    tab.later.now()
    assert tab.legend.lines == before  # the same widgets, new counts
    assert int(lines["neuron"].number.text()) == len(neurons) - 5
    qtbot.mouseClick(lines["astrocyte"], Qt.MouseButton.LeftButton)
    assert shown.state.results.hidden == {"astrocyte"} and tab.legend.all_button.isVisibleTo(tab)
    keys = Qt.KeyboardModifier
    qtbot.mouseClick(lines["neuron"], Qt.MouseButton.LeftButton, keys.AltModifier)
    assert shown.state.results.hidden == {"astrocyte", "microglia"}
    assert colour(shown, int(neurons[9]))[3] == 255
    assert colour(shown, int(neurons[0]))[3] == 0  # a microglia cell now
    qtbot.mouseClick(lines["neuron"], Qt.MouseButton.LeftButton, keys.ControlModifier)
    assert shown.state.results.hidden == frozenset()
    qtbot.mouseClick(lines["neuron"], Qt.MouseButton.LeftButton, keys.ControlModifier)
    tab.legend.all_button.click()
    assert shown.state.results.hidden == frozenset() and lines["microglia"].isChecked()


def test_a_colour_is_changed_by_its_square(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from qtpy.QtGui import QColor
    from qtpy.QtWidgets import QColorDialog

    monkeypatch.setattr(QColorDialog, "getColor", lambda *given: QColor("#0a141e"))
    shown.results.legend.lines[0].swatch.click()
    assert shown.session.cells.classes["neuron"] == "#0a141e"
    neuron = int(shown.session.cells.labels[shown.session.cells.types == "neuron"][0])
    assert colour(shown, neuron) == [10, 20, 30, 255]
    assert "#0a141e" in shown.results.legend.lines[0].swatch.styleSheet()


def test_words_have_a_legend_of_their_own(shown: Any) -> None:
    tab = shown.results
    tab.cells.set_columns({"batch": np.array(["one", "two"] * 90)})
    shown.state.results.colour_by = "batch"
    assert [line.name for line in tab.legend.lines] == ["one", "two"]
    tab.legend.lines[1].click()
    assert shown.state.results.hidden_values == {"two"} and shown.state.results.hidden == frozenset()
    assert colour(shown, 2)[3] == 0 and colour(shown, 1)[3] == 255
    shown.state.results.colour_by = "type"
    assert [line.name for line in tab.legend.lines] == list(CLASSES)
    assert "batch" in tab.layer.features


def test_many_selected_cells_are_one_layer_and_a_summary(shown: Any) -> None:
    tab = shown.results
    tab.cells.select([3, 4, 50])
    marks = layers_of(shown.viewer.layers, "mark")
    assert len(marks) == 1 and len(marks[0].data) == 3
    assert marks[0].data[2].tolist() == tab.cells.table.iloc[49][["y", "x"]].tolist()
    assert tuple(marks[0].scale) == (PIXEL_UM, PIXEL_UM)
    assert tab.card.title.text() == "3 cells selected"
    means = {bar[0]: bar[2] for bar in tab.card.means.bars}
    assert float(means["NeuN"]) == pytest.approx(
        tab.cells.table.iloc[[2, 3, 49]]["mean_NeuN"].mean(), rel=0.01
    )
    assert sum(int(bar[2]) for bar in tab.card.types.bars) == 3
    tab.cells.select([5, 6, 7])
    assert layers_of(shown.viewer.layers, "mark") == marks  # moved, not made anew
    assert shown.viewer.layers.selection.active is not marks[0]
    tab.card.deselect.click()
    assert len(tab.cells.selected) == 0 and [len(mark.data) for mark in marks] == [0]
    tab.cells.select([9])
    assert tab.card.title.text().startswith("Cell 9")
    assert marks[0].data.tolist() == tab.cells.table.iloc[[8]][["y", "x"]].to_numpy().tolist()
    assert tuple(marks[0].border_color[0]) == (1, 1, 1, 1) and marks[0].face_color[0][3] == 0


def test_naparis_own_table_is_linked_both_ways(shown: Any, qtbot: Any) -> None:
    tab = shown.results
    tab.table_button.click()
    view = tab.features_link.view
    assert view is not None and view.model().rowCount() == 180
    tab.cells.select([7, 20])
    rows = {index.row() for index in view.selectionModel().selectedRows()}
    assert {view.model().mapToSource(view.model().index(row, 0)).row() for row in rows} == {6, 19}
    view.sortByColumn(3, Qt.SortOrder.DescendingOrder)
    qtbot.mouseClick(
        view.viewport(),
        Qt.MouseButton.LeftButton,
        pos=view.visualRect(view.model().index(view.rowAt(5), 1)).center(),
    )
    label = int(tab.cells.labels[tab.features_link.rows()[0]])
    assert tab.cells.selected.tolist() == [label]
    assert shown.state.results.selected == label
    tab.cells.select([30, 31])
    qtbot.wait(20)
    tab.cells.set_types([40], "neuron")
    tab.later.now()  # napari fills its table anew and selects a row of its own
    assert tab.cells.selected.tolist() == [30, 31]
    qtbot.wait(50)
    assert sorted(tab.features_link.rows()) == [29, 30]
    tab.table_button.click()
    assert tab.features_link.view is view  # shown again, no second one


def test_a_result_without_types_is_coloured_cell_by_cell(shown: Any, tmp_path: Path, wait_for: Wait) -> None:
    labels = grid_labels(4, 5)
    folder = write_result(tmp_path / "plain", labels, make_cells(labels, typed=False), classes={})
    shown.results.open_folder(str(folder))
    wait_for(lambda: shown.results.work is None)
    assert shown.state.results.colour_by == "instance"
    assert shown.results.colour_box.findData("type") == -1
    assert [line.title.text() for line in shown.results.legend.lines] == ["no type"]


def test_removing_the_layer_empties_the_tab(shown: Any) -> None:
    shown.viewer.layers.remove(shown.results.layer)
    assert not shown.session.cells.is_open and not shown.results.plots_button.isEnabled()
    assert shown.results.legend.lines == [] or not shown.results.legend.isVisibleTo(shown.results)
