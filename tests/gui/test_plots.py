"""The window *DAMA plots* on a drawn result: every page, its link with the slide, and what it saves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QPoint, QPointF, QSizeF, Qt
from qtpy.QtGui import QImage
from tests.gui.result_folder import CLASSES, PIXEL_UM, grid_labels, make_cells, write_result

from napari_dama.errors import OutputError, SettingsError
from napari_dama.gui.painted import nice_ticks

pytestmark = pytest.mark.gui
Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def dock(
    make_napari_viewer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wait_for: Wait
) -> Iterator[Any]:
    from napari_dama.gui.dock import DamaDock

    monkeypatch.setenv("NAPARI_DAMA_MODELS", str(tmp_path / "no models"))
    labels = grid_labels(12, 15)
    folder = write_result(tmp_path / "tissue_dama", labels, make_cells(labels))
    viewer = make_napari_viewer(show=True)
    dock = DamaDock(viewer)
    viewer.window.add_dock_widget(dock, name="DAMA")
    dock.results.open_folder(str(folder))
    wait_for(lambda: dock.results.work is None)
    dock.results.plots_button.click()
    yield dock
    dock.close_down()


def look(dock: Any, page: Any, wait_for: Wait) -> Any:
    """Turn to a page and wait until it shows what the cells are now."""
    panel = dock.results.plots
    panel.tabs.setCurrentIndex(panel.pages.index(page))
    wait_for(
        lambda: page.isVisible() and not page._stale and not page._timer.isActive() and page.work is None
    )
    page.plot.repaint()
    return page


def write_features(folder: Path, vectors: np.ndarray) -> None:
    """Keep vectors beside a result as `napari-dama embed` does."""
    import json

    np.save(folder / "embeddings.npy", vectors.astype(np.float16))
    np.save(folder / "embeddings_labels.npy", np.arange(1, len(vectors) + 1))
    record = json.loads((folder / "run.json").read_text())
    record["embeddings"] = {"shape": list(vectors.shape), "model": "drawn"}
    (folder / "run.json").write_text(json.dumps(record))


def drag(qtbot: Any, widget: Any, corners: np.ndarray, keys: Any = Qt.KeyboardModifier.NoModifier) -> None:
    """Draw a line with the left button held."""
    points = [QPoint(round(x), round(y)) for x, y in corners]
    qtbot.mousePress(widget, Qt.MouseButton.LeftButton, keys, points[0])
    for point in points[1:]:
        qtbot.mouseMove(widget, point)
    qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, keys, points[-1])


def test_the_map_is_linked_with_the_slide_both_ways(dock: Any, wait_for: Wait, qtbot: Any) -> None:
    cells, panel = dock.session.cells, dock.results.plots
    page = look(dock, panel.map, wait_for)
    assert (
        "no features of the network yet" in page.note.text()
        and "z-scored: DAPI, NeuN, GFAP" in page.note.text()
    )
    assert page.embed.isVisible()
    assert np.isfinite(page.plot.points).all() and len(page.plot.points) == 180
    assert (page.plot.rgba == dock.results.shown.colours.rgba).all()
    places = page.plot.to_pixels(QSizeF(page.plot.size()))
    neurons = cells.types == "neuron"
    low, high = np.floor(places[neurons].min(axis=0)) - 4, np.ceil(places[neurons].max(axis=0)) + 4
    inside = ((places > low) & (places < high)).all(axis=1)
    corners = np.array([low, (high[0], low[1]), high, (low[0], high[1]), low])
    drag(qtbot, page.plot, corners)
    assert set(cells.selected) == set(cells.labels[inside])
    assert set(page.plot.selected) == set(np.flatnonzero(inside))
    other = int(np.flatnonzero(~inside)[np.argmax(np.abs(places[~inside] - low).sum(axis=1))])
    at = QPoint(*(int(v) for v in places[other]))
    qtbot.mouseClick(page.plot, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier, at)
    assert set(cells.selected) == set(cells.labels[inside]) | {cells.labels[other]}
    cells.select([3, 9])
    assert page.plot.selected.tolist() == [2, 8]
    shown = dock.state.results
    shown.hidden = frozenset({"neuron"})
    drag(qtbot, page.plot, corners)
    assert not np.isin(cells.labels[neurons], cells.selected).any()  # hidden dots are not there
    shown.hidden = frozenset()
    shown.colour_by = "mean_GFAP"
    assert (page.plot.rgba == dock.results.shown.colours.rgba).all()


def test_the_map_zooms_moves_and_keeps_its_places(dock: Any, wait_for: Wait, qtbot: Any) -> None:
    page = look(dock, dock.results.plots.map, wait_for)
    whole = page.plot.view
    before = page.plot.to_pixels(QSizeF(page.plot.size()))[5]

    class Wheel:
        def angleDelta(self) -> QPoint:
            return QPoint(0, 240)

        def position(self) -> QPointF:
            return QPointF(*before)

        def accept(self) -> None: ...

    page.plot.wheelEvent(Wheel())
    assert page.plot.view.width() == pytest.approx(whole.width() * 0.64)
    assert page.plot.to_pixels(QSizeF(page.plot.size()))[5] == pytest.approx(before, abs=0.01)
    qtbot.mousePress(page.plot, Qt.MouseButton.RightButton, pos=QPoint(100, 100))
    qtbot.mouseMove(page.plot, QPoint(130, 90))
    qtbot.mouseRelease(page.plot, Qt.MouseButton.RightButton, pos=QPoint(130, 90))
    moved = page.plot.to_pixels(QSizeF(page.plot.size()))[5] - before
    assert moved == pytest.approx([30, -10], abs=1.5)
    qtbot.mouseDClick(page.plot, Qt.MouseButton.LeftButton, pos=QPoint(60, 60))
    assert page.plot.view == whole
    page.keep.click()
    assert dock.session.cells.table["pca_1"].to_numpy() == pytest.approx(page.plot.points[:, 0])
    dock.state.results.colour_by = "pca_1"
    assert dock.results.shown.colours.kind == "number"


def test_features_of_the_network_are_taken_where_they_are(dock: Any, wait_for: Wait) -> None:
    page = dock.results.plots.map
    vectors = np.random.default_rng(0).normal(0, 1, (170, 12))
    write_features(Path(dock.state.results.path), vectors)
    page.mark_stale()
    look(dock, page, wait_for)
    assert "features (12 numbers per cell)" in page.note.text() and "10 cells have none" in page.note.text()
    assert not page.embed.isVisible() and np.isnan(page.plot.points[170:]).all()
    page.state.vectors = "markers"
    page.freshen()
    look(dock, page, wait_for)
    assert np.isfinite(page.plot.points).all()


def test_umap_says_how_to_install_it_where_it_is_not(dock: Any, wait_for: Wait) -> None:
    from napari_dama.evaluate.projection import umap_installed

    page = look(dock, dock.results.plots.map, wait_for)
    if umap_installed():
        pytest.skip("umap-learn is here")
    page.state.method = "umap"
    page.freshen()
    assert "pip install" in page.plot.placeholder and page.work is None


def test_heat_map_and_violins_follow_corrections(dock: Any, wait_for: Wait, qtbot: Any) -> None:
    cells, panel = dock.session.cells, dock.results.plots
    page = look(dock, panel.markers, wait_for)
    assert page.plot.matrix.rows == tuple(CLASSES) and page.plot.matrix.columns == ("DAPI", "NeuN", "GFAP")
    assert (np.argmax(page.profile.z, axis=1) == [0, 1, 2]).all()
    at = page.plot.field_centre(1, 0).toPoint()
    qtbot.mouseClick(page.plot, Qt.MouseButton.LeftButton, pos=at)
    assert set(cells.selected) == set(cells.labels[cells.types == "astrocyte"])
    page.likeness.click()
    page.values_box.activated.emit(page.values_box.findData("mean"))
    look(dock, page, wait_for)
    assert page.plot.matrix.colormap == "viridis" and page.plot.matrix.limits == (0, 1)
    before = int(page.profile.n_cells.sum())
    cells.set_types(cells.labels[cells.types == "astrocyte"], "microglia")
    look(dock, page, wait_for)
    assert "astrocyte" not in page.plot.matrix.rows and int(page.profile.n_cells.sum()) == before

    page = look(dock, panel.spread, wait_for)
    assert page.state.column == "mean_DAPI" and page.spread.types == ("neuron", "microglia")
    index = page.column_box.findData("doubt")
    page.column_box.activated.emit(index)
    look(dock, page, wait_for)
    assert page.spread.column == "doubt" and page.spread.quantiles[0, 2] < 1
    place = QPoint(int(page.plot._grid.left() + 10), int(page.plot._grid.center().y()))
    qtbot.mouseClick(page.plot, Qt.MouseButton.LeftButton, pos=place)
    assert set(cells.selected) == set(cells.labels[cells.types == "neuron"])


def test_neighbours_are_counted_kept_and_selected(dock: Any, wait_for: Wait, qtbot: Any) -> None:
    cells, panel = dock.session.cells, dock.results.plots
    panel.neighbours.state.radius_um = 12 * PIXEL_UM * 1.1  # the four beside it on the grid
    page = look(dock, panel.neighbours, wait_for)
    assert page.found.per_cell.sum(axis=1).max() == 4
    assert page.found.z[0, 0] > 3 > -3 > page.found.z[0, 2]  # stripes
    assert "200 random deals" in page.note.text() and "seed 0" in page.note.text()
    qtbot.mouseClick(page.plot, Qt.MouseButton.LeftButton, pos=page.plot.field_centre(0, 1).toPoint())
    wanted = (cells.types == "neuron") & (page.found.per_cell[:, 1] > 0)
    assert 0 < wanted.sum() < (cells.types == "neuron").sum()
    assert set(cells.selected) == set(cells.labels[wanted])
    page.keep.click()
    column = f"near_astrocyte_{page.state.radius_um:g}um"
    assert cells.table[column].tolist() == page.found.per_cell[:, 1].tolist()
    assert dock.results.colour_box.findData(column) >= 0
    page.state.reach = "nearest"
    page.state.nearest = 3
    page.freshen()
    look(dock, page, wait_for)
    assert (
        (page.found.per_cell.sum(axis=1) == 3).all()
        and page.nearest.isVisible()
        and not page.radius.isVisible()
    )


def test_agreement_with_a_layer_a_table_and_corrections(
    dock: Any, wait_for: Wait, qtbot: Any, tmp_path: Path
) -> None:
    cells, panel = dock.session.cells, dock.results.plots
    page = look(dock, panel.agreement, wait_for)
    assert "No cell of this result was corrected or confirmed" in page.plot.placeholder
    table = cells.table
    truth = np.array(["neuron", "astrocyte", "microglia"])[np.minimum((table["x"] / 180 * 3).astype(int), 2)]
    dock.viewer.add_points(
        table[["y", "x"]].to_numpy()[:90],
        features={"class": truth[:90]},
        name="truth",
        scale=(PIXEL_UM, PIXEL_UM),
    )
    index = page.truth_box.findData("layer:truth")
    assert index >= 0
    page.truth_box.activated.emit(index)
    look(dock, page, wait_for)
    right = (truth == table["type"].to_numpy())[:90]
    assert page.found.scores.accuracy == pytest.approx(right.mean()) and page.found.scores.n_matched == 90
    assert f"accuracy {right.mean():.1%}" in page.note.text() and "in doubt" in page.note.text()
    names = page.found.scores.types
    i, j = 0, 0
    qtbot.mouseClick(page.plot, Qt.MouseButton.LeftButton, pos=page.plot.field_centre(i, j).toPoint())
    wanted = (truth[:90] == names[i]) & (table["type"].to_numpy()[:90] == names[j])
    assert set(cells.selected) == set(cells.labels[:90][wanted])
    cells.set_types(cells.labels[:90], "neuron")  # what was corrected does not make the model better
    look(dock, page, wait_for)
    assert page.found.scores.accuracy == pytest.approx(right.mean())

    page.truth_box.activated.emit(page.truth_box.findData("corrections"))
    annotator = dock.session.annotator
    annotator.give(cells.labels[100:104], "neuron", "click")
    annotator.confirm(cells.labels[104:110])
    look(dock, page, wait_for)
    assert page.found.scores.n_matched == 10
    kept = [*(cells.predicted[100:104] == "neuron"), *[True] * 6]
    assert page.found.scores.accuracy == pytest.approx(np.mean(kept))
    assert "Few cells" in page.note.text()

    file = tmp_path / "truth.csv"
    pd.DataFrame({"label": table["label"], "y": table["y"], "x": table["x"], "type": truth}).to_csv(
        file, index=False
    )
    page.state.truth = f"file:{file}"
    page.freshen()
    look(dock, page, wait_for)
    assert page.found.scores.n_matched == 180
    dock.viewer.layers.remove("truth")
    assert page.truth_box.findData("layer:truth") < 0


def test_every_plot_is_saved_as_picture_and_numbers(dock: Any, wait_for: Wait, tmp_path: Path) -> None:
    panel = dock.results.plots
    for page in panel.pages[:4]:
        look(dock, page, wait_for)
        picture, vector, numbers = (tmp_path / f"{page.title}{end}" for end in (".png", ".svg", ".csv"))
        panel.save_picture(picture)
        panel.save_picture(vector)
        panel.save_numbers(numbers)
        image = QImage(str(picture))
        assert image.width() == page.plot.saved_size().width() * 3 >= page.plot.width() * 3
        assert image.pixelColor(2, 2).name() == "#ffffff"
        colours = {
            image.pixelColor(x, y).name()
            for x in range(0, image.width(), 9)
            for y in range(0, image.height(), 9)
        }
        assert len(colours) > 5, page.title
        assert "<svg" in vector.read_text() and len(pd.read_csv(numbers)) >= 3
        assert not list(tmp_path.glob("*.part*"))
    with pytest.raises(OutputError, match=r"\.png or \.svg"):
        panel.save_picture(tmp_path / "x.jpg")
    with pytest.raises(OutputError, match="cannot be written"):
        panel.save_picture(picture / "x.png")
    look(dock, panel.agreement, wait_for)
    with pytest.raises(SettingsError, match="shows nothing yet"):
        panel.save_numbers(tmp_path / "x.csv")


def test_the_window_is_narrow_comes_back_and_follows_the_result(
    dock: Any, wait_for: Wait, tmp_path: Path
) -> None:
    panel = dock.results.plots
    assert panel.minimumSizeHint().width() <= 320
    docked = panel.window()
    dock.results.plots_button.click()
    assert dock.results.plots is panel and panel.isVisible()
    dock.viewer.window.remove_dock_widget(panel)
    dock.results.plots_button.click()
    assert dock.results.plots is panel and panel.isVisible() and panel.window() is not docked
    page = look(dock, panel.markers, wait_for)
    labels = grid_labels(4, 5)
    plain = write_result(tmp_path / "plain", labels, make_cells(labels, typed=False), classes={})
    dock.results.open_folder(str(plain))
    wait_for(lambda: dock.results.work is None)
    look(dock, page, wait_for)
    assert "no types" in page.plot.placeholder and page.plot.matrix is None
    look(dock, panel.map, wait_for)
    assert len(panel.map.plot.points) == 20
    dock.viewer.layers.remove(dock.results.layer)
    look(dock, panel.map, wait_for)
    assert "Open a result" in panel.map.plot.placeholder


def test_ticks_are_round() -> None:
    assert nice_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert nice_ticks(-0.31, 0.42, 4) == [-0.2, 0.0, 0.2, 0.4]
    assert nice_ticks(1, 1, 5) == [] and nice_ticks(float("nan"), 1, 5) == []
