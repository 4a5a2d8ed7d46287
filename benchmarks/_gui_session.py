"""What the person in `gui.py` does: one method for each step, in a real window with the dock."""

from __future__ import annotations

import os
import time
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from _ticks import StallWatch, spin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WAIT_S = 300.0
Step = tuple[str, "Callable[[], None]"]


class Person:
    """Works in one window; every method is a step, and leaves the window fit for the next one.

    Parameters
    ----------
    folder : Path
        For what is written.
    tissue, many, result : Path
        A slide of simulated tissue; a slide of very many cells, and its result.
    watch : StallWatch
        Books stalls and answers.
    """

    def __init__(self, folder: Path, tissue: Path, many: Path, result: Path, watch: StallWatch) -> None:
        import napari

        self.folder, self.tissue, self.many, self.many_result, self.watch = (
            folder,
            tissue,
            many,
            result,
            watch,
        )
        self.number = count()
        self.random = np.random.default_rng(0)
        watch.begin("a new window (napari)")
        self.viewer = napari.Viewer(show=True)
        self.viewer.window._qt_window.resize(1500, 950)
        spin(1)
        watch.begin("open the dock")
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-dama", "DAMA")
        self.wait(lambda: not self.dock.turns.going)
        spin(1)
        self.result: Any = None
        canvas = self.viewer.window._qt_viewer.canvas
        self.native = canvas.native
        self.drawn: list[float] = []
        canvas._scene_canvas.events.draw.connect(self._on_draw, position="last")

    def _on_draw(self, event: Any) -> None:
        self.drawn.append(time.perf_counter())

    def steps(self) -> tuple[list[Step], list[Step]]:
        """Return the steps on the tissue, and those on very many cells."""
        small: list[Step] = [
            ("open a slide with napari's File > Open", self.open_by_napari),
            ("open a slide", self.open_tissue),
            ("channels: solo, next, histogram, preset", self.markers),
            ("analyse in the window", self.analyse),
            ("analyse as a job", self.analyse_job),
            ("results: click cells", self.click_cells),
            ("explain: type of clicked cells", self.explain_types),
            ("explain: fill in", self.explain_fill),
            ("explain: follow the cursor", self.follow),
            ("explain: a marker is missing", self.missing),
            ("explain: more like this", self.alike),
            ("improve the model", self.improve),
            ("train: list of jobs while a job trains", self.jobs),
            ("close the slide", self.close_layers),
        ]
        large: list[Step] = [
            ("many cells: open slide and result", self.open_many),
            ("many cells: click cells", self.click_cells),
            ("many cells: colour by columns", self.colours),
            ("many cells: hide types", self.hide),
            ("many cells: plots", self.plots),
            ("many cells: annotate by keys", self.keys),
            ("many cells: a box of cells, undo, redo", self.box),
            ("many cells: next cell", self.next_cells),
            ("many cells: gallery", self.gallery),
            ("many cells: edit outlines", self.outlines),
            ("many cells: export", self.export),
            ("many cells: close", self.close_layers),
        ]
        return small, large

    def wait(self, done: Callable[[], bool], seconds: float = WAIT_S) -> None:
        """Let the window work until something is so.

        Raises
        ------
        TimeoutError
            When it does not come.
        """
        if not done():
            spin(seconds, done, every_ms=10)
        if not done():
            raise TimeoutError(f"{self.watch.step}: nothing after {seconds:.0f} s")

    def answer(self, what: str, ask: Callable[[], object], done: Callable[[], bool]) -> None:
        """Time from a wish until it is so."""
        begin = time.perf_counter()
        ask()
        self.wait(done)
        self.watch.answer(what, 1000 * (time.perf_counter() - begin))

    def look(self, seconds: float = 0.4) -> None:
        """Look at the window for a moment."""
        spin(seconds)

    def idle(self) -> bool:
        """Whether the dock waits for nothing that was read."""
        dock = self.dock
        return dock.results.work is None and dock.annotate.work is None and dock.analyse.work is None

    # -- on tissue ---------------------------------------------------------------------------------------------

    def open_by_napari(self) -> None:
        """Open the slide as napari does, all layers in one turn, and take it out again."""
        self.dock.show_tab(self.dock.channels)
        self.viewer.open(str(self.tissue), plugin="napari-dama")
        self.look(1)
        self.viewer.layers.clear()
        self.look(0.5)

    def open_tissue(self) -> None:
        """Open the slide with the dock's button, and turn to Channels."""
        dock = self.dock
        dock.show_tab(dock.channels)
        dock.open_slide(str(self.tissue))
        self.wait(lambda: not dock.opener.busy)
        self.wait(lambda: dock.channels.histogram.histogram is not None and not dock.channels.check.busy)
        self.look(1)

    def markers(self) -> None:
        """Look at one marker after the other, and at what the model makes of it; keep the colours, and take them back."""
        tab = self.dock.channels
        for _ in range(7):
            begin = time.perf_counter()
            tab.step(1)
            self.watch.answer("next marker", 1000 * (time.perf_counter() - begin))
            self.look()
        tab.toggle_solo()
        self.look()
        tab.tools.presets.save(f"mine {next(self.number)}", True, False)
        self.wait(lambda: not tab.tools.presets.works)
        self.look()

    def analyse(self) -> None:
        """Find the cells in a thread of the window."""
        dock = self.dock
        dock.show_tab(dock.analyse)
        dock.state.analyse.run = "window"
        dock.state.analyse.out = str(self.folder / f"analysed_{next(self.number)}")
        dock.analyse.start()
        self.wait(lambda: self.idle() and dock.results.result is not None)
        self.result = dock.results.result.path
        self.look(1)

    def analyse_job(self) -> None:
        """Find the cells in a process of its own."""
        dock = self.dock
        dock.show_tab(dock.analyse)
        dock.state.analyse.run = "now"
        out = self.folder / f"analysed_{next(self.number)}"
        dock.state.analyse.out = str(out)
        dock.analyse.start()
        self.wait(lambda: self.idle() and dock.results.result is not None and dock.results.result.path == out)
        dock.state.analyse.run = "window"
        self.look(1)

    def some(self, number: int) -> list[int]:
        """Labels of some cells."""
        return [int(label) for label in self.random.choice(self.dock.session.cells.labels, number)]

    def click_cells(self) -> None:
        """Click cells, in Results."""
        dock = self.dock
        dock.show_tab(dock.results)
        layer, cells = dock.results.layer, dock.session.cells
        for label in self.some(8):
            one = cells.table.iloc[int(cells.rows_of(label)[0])]
            dock.annotate.show_cell(label)
            self.look(0.3)
            place = layer.data_to_world((float(one["y"]), float(one["x"])))
            begin = time.perf_counter()
            dock.results.select_at(tuple(place))
            self.watch.answer("click: the cell's types", 1000 * (time.perf_counter() - begin))
            self.look(0.3)

    def _ask(self, question: str, what: str) -> None:
        dock = self.dock
        dock.show_tab(dock.explain)
        self.wait(lambda: dock.explain.asker.loaded_once or not dock.explain.asker.busy)
        dock.state.explain.question = question
        for turn, label in enumerate(self.some(6)):
            self.look(0.2)
            dock.session.cells.select([label])
            answered: list[float] = []

            def on_answer(kind: str, value: object, to: list[float] = answered) -> None:
                to.append(time.perf_counter())

            dock.explain.asker.answered.connect(on_answer)
            begin = time.perf_counter()
            dock.explain.explain_cell()
            self.wait(lambda to=answered: bool(to))  # type: ignore[misc]
            dock.explain.asker.answered.disconnect(on_answer)
            first = " (model just loaded)" if turn == 0 else ""
            self.watch.answer(f"{what}{first}", 1000 * (answered[0] - begin))
            self.wait(lambda: dock.explain.work is None)

    def explain_types(self) -> None:
        """Ask what types rest on."""
        self._ask("type", "click: what the type rests on")

    def explain_fill(self) -> None:
        """Ask what the model fills in."""
        self._ask("fill", "click: what the model fills in")
        self.dock.explain.forget()

    def follow(self) -> None:
        """Move the cursor over the slide while the answers follow."""
        dock = self.dock
        dock.state.explain.follow = True
        layer = dock.explain._markers()[0]
        height, width = self.dock.session.slide.shape[1:]
        answered: list[float] = []

        def on_answer(kind: str, value: object) -> None:
            answered.append(time.perf_counter())

        class Move:
            position: tuple[float, ...] = ()

        dock.explain.asker.answered.connect(on_answer)
        for turn in range(60):
            move = Move()
            at = (height * (0.3 + 0.4 * turn / 60), width * (0.5 + 0.2 * np.sin(turn / 8)))
            move.position = tuple(layer.data_to_world(at))
            dock.explain.follower.on_move(self.viewer, move)
            self.look(0.05)
        dock.explain.asker.answered.disconnect(on_answer)
        dock.state.explain.follow = False
        for before, after in pairwise(answered):
            self.watch.answer("from one followed answer to the next", 1000 * (after - before))
        self.wait(lambda: dock.explain.work is None)
        dock.explain.forget()

    def missing(self) -> None:
        """Ask for a marker that is taken away."""
        dock = self.dock
        dock.state.explain.question = "missing"
        dock.state.explain.missing = "NeuN"
        self._ask("missing", "click: a missing marker")
        dock.explain.forget()

    def alike(self) -> None:
        """Ask for cells that are alike."""
        dock = self.dock
        dock.state.explain.question = "like"
        if not dock.explain.like.ready:
            dock.explain.like.embed()
            self.wait(lambda: dock.explain.work is None)
        self._ask("like", "click: more like this")
        dock.state.explain.question = "fill"

    def improve(self) -> None:
        """Open what is offered to improve the model, where this version has it."""
        panel = getattr(self.dock, "improve", None) or getattr(self.dock.annotate, "improve", None)
        if panel is None:
            return
        self.dock.show_tab(self.dock.annotate)
        self.look(0.5)

    def jobs(self) -> None:
        """Start a training, and watch its curves, pictures and facts."""
        from napari_dama.gui.train_plan import TrainPlan, begin, resolve_train
        from napari_dama.jobs.process import request_stop

        dock = self.dock
        dock.show_tab(dock.train)
        panel = dock.train.jobs
        state = dock.state.train
        state.max_steps, state.epochs, state.batch_size = 100_000, 100_000, 8
        plan = resolve_train(state, [str(self.tissue)], {}, None, self.folder)
        changed = plan.settings.model_copy(
            update={"validate_every": 20, "checkpoint_seconds": 5.0, "log_every": 1, "threads": 1}
        )
        view = begin(TrainPlan(changed), None)
        panel.show_started(view)
        self.wait(lambda: panel.view is not None and panel.view.step > 0)
        for page in ("curves", "pictures", "about", "curves"):
            dock.state.jobs.page = page
            self.look(2)
        request_stop(view.path)
        self.wait(lambda: panel.view is not None and not panel.view.going)

    def close_layers(self) -> None:
        """Take everything out of the window."""
        self.dock.show_tab(self.dock.channels)
        self.viewer.layers.clear()
        self.look(0.5)

    # -- on very many cells ------------------------------------------------------------------------------------

    def open_many(self) -> None:
        """Open the large slide and its result."""
        dock = self.dock
        dock.open_slide(str(self.many))
        self.wait(lambda: not dock.opener.busy)
        self.look(1)
        dock.show_tab(dock.results)
        self.answer("result on the slide", lambda: dock.results.open_folder(str(self.many_result)), self.idle)
        self.look(1)

    def colours(self) -> None:
        """Colour by what stands in the table."""
        state = self.dock.state.results
        self.dock.show_tab(self.dock.results)
        for column in ("mean_DAPI", "area_um2", "doubt", "instance", "type"):
            self.drawn.clear()
            begin = time.perf_counter()
            state.colour_by = column
            self.watch.answer("colour by a column", 1000 * (time.perf_counter() - begin))
            self.look(0.6)

    def hide(self) -> None:
        """Hide one type after the other, and show them again."""
        state = self.dock.state.results
        for name in list(self.dock.session.cells.classes)[:3]:
            for hidden in (frozenset({name}), frozenset()):
                begin = time.perf_counter()
                state.hidden = hidden
                self.watch.answer("hide or show a type", 1000 * (time.perf_counter() - begin))
                self.look(0.4)

    def plots(self) -> None:
        """Open the plots, look at every page, and colour by a column with them open."""
        dock = self.dock
        dock.results.plots_button.click()
        panel = dock.results.plots
        for page in panel.pages:
            panel.tabs.setCurrentIndex(panel.pages.index(page))
            self.wait(lambda page=page: page.work is None)  # type: ignore[misc]
            self.look(0.6)
        panel.tabs.setCurrentIndex(0)
        dock.state.results.colour_by = "mean_NeuN"
        self.look(0.6)
        dock.state.results.colour_by = "type"
        dock.session.cells.select(self.some(200))
        self.look(0.6)
        dock.session.cells.select([])
        self.viewer.window.remove_dock_widget(panel)
        self.look(0.3)

    def key(self, text: str) -> None:
        """Press a key over the canvas; the answer is the cell's new colour."""
        from qtpy.QtTest import QTest

        self.drawn.clear()
        begin = time.perf_counter()
        QTest.keyClick(self.native, text)
        self.watch.answer("key: cell recoloured", 1000 * (time.perf_counter() - begin))
        self.wait(lambda: bool(self.drawn), 5)
        self.watch.answer("key: frame painted", 1000 * (self.drawn[0] - begin))

    def keys(self) -> None:
        """Give twenty cells a type by keys."""
        dock = self.dock
        dock.show_tab(dock.annotate)
        cells = dock.session.cells
        dock.annotate.show_cell(self.some(1)[0])
        self.look(0.6)
        for label in self.some(20):
            cells.select([label])
            self.look(0.3)
            kind = list(cells.classes).index(cells.type_of(label))
            self.key(str(1 + (kind + 1) % 3))
            self.look(0.1)

    def box(self) -> None:
        """Select cells in boxes, give a type, and take it back."""
        dock = self.dock
        layer, table = dock.results.layer, dock.session.cells.table
        for label in self.some(4):
            one = table.iloc[int(dock.session.cells.rows_of(label)[0])]
            low, high = (
                tuple(layer.data_to_world((float(one["y"]) + by, float(one["x"]) + by))) for by in (-150, 150)
            )
            begin = time.perf_counter()
            dock.annotate.box.select(layer, low, high)
            self.watch.answer("box: cells selected", 1000 * (time.perf_counter() - begin))
            self.look()
            self.key("1")
            self.look()
            for back in (
                dock.session.annotator.undo,
                dock.session.annotator.redo,
                dock.session.annotator.undo,
            ):
                begin = time.perf_counter()
                back()
                self.watch.answer("undo or redo", 1000 * (time.perf_counter() - begin))
                self.look(0.3)
        dock.session.cells.select([])

    def next_cells(self) -> None:
        """Go from one suggested cell to the next."""
        tab = self.dock.annotate
        for turn in range(6):
            before = tab.suggested
            what = "first next cell" if turn == 0 else "next cell"
            self.answer(what, tab.go_on, lambda before=before: tab.suggested != before)  # type: ignore[misc]
            self.look(0.3)
            tab.confirm_selected()
            self.look(0.2)

    def gallery(self) -> None:
        """Open the gallery, scroll, and reclassify."""
        dock = self.dock
        gallery: Any = None

        def opened() -> bool:
            return gallery is not None and gallery.work is None

        gallery = dock.show_gallery()
        self.wait(opened)
        for name in list(dock.session.cells.classes)[:3]:
            self.answer(
                "gallery of 500 crops",
                lambda name=name: gallery.show_type(name),  # type: ignore[misc]
                lambda: gallery.work is None,
            )
            bar = gallery.list.verticalScrollBar()
            for share in np.linspace(0, 1, 8):
                bar.setValue(round(share * bar.maximum()))
                self.look(0.1)
        gallery.select(gallery.model.labels[:5])
        gallery._on_key("1")
        self.look()
        dock.session.annotator.undo()
        self.viewer.window.remove_dock_widget(gallery)
        self.look(0.3)

    def outlines(self) -> None:
        """Edit outlines in view: delete one, keep, take back."""
        dock = self.dock
        dock.show_tab(dock.annotate)
        panel, label = dock.annotate.outlines, self.some(1)[0]
        dock.annotate.show_cell(label)
        self.look()
        panel.begin()
        if not panel.editing:
            raise RuntimeError(f"outlines are not edited: {dock.message.text.text()}")
        self.look()
        one = dock.session.cells.table.iloc[int(dock.session.cells.rows_of(label)[0])]
        panel.click((float(one["y"]) - panel.part.region.y0, float(one["x"]) - panel.part.region.x0))
        panel.delete_chosen()
        self.look()
        panel.keep_all()
        self.wait(lambda: not panel.editing and panel.work is None and not panel.files.waiting)
        self.look()
        dock.session.annotator.undo()
        self.wait(lambda: not panel.files.waiting)
        self.look()

    def export(self) -> None:
        """Write a table and outlines."""
        from napari_dama.export import FORMATS
        from napari_dama.gui.export_plan import ExportPlan

        menu = self.dock.results.export
        for name, ending in (("csv", "csv"), ("geojson", "geojson")):
            file = self.folder / f"export_{next(self.number)}.{ending}"
            menu.start(ExportPlan(self.dock.results.result.path, FORMATS[name], file, {}, True))
            self.wait(lambda: menu.work is None)
            if not file.exists():
                raise RuntimeError(f"{file.name} was not written: {self.dock.message.text.text()}")

    def close(self) -> None:
        """Close the window."""
        from napari_dama.gui.place import bare

        self.dock.close_down()
        bare(self.viewer).close()


def plain_napari(tissue: Path, many_labels: np.ndarray[Any, Any], watch: StallWatch) -> None:
    """Do in a window without the plugin what napari itself does for it: layers of pixels and labels, colours, zoom."""
    import napari
    import tifffile
    from napari.utils.colormaps import label_colormap

    from napari_dama.gui.place import camera_of

    watch.begin("napari alone: a new window")
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1500, 950)
    spin(1)
    image = tifffile.imread(tissue)
    watch.begin("napari alone: add seven images, zoom")
    viewer.add_image(image, channel_axis=0)
    spin(1)
    for zoom in (1.0, 2.0, 4.0, 1.0):
        camera_of(viewer).zoom = zoom
        spin(0.4)
    viewer.layers.clear()
    watch.begin("napari alone: add labels of many cells, colour them")
    layer = viewer.add_labels([many_labels, many_labels[::2, ::2], many_labels[::4, ::4]], multiscale=True)
    spin(1)
    for seed in (0.2, 0.7):  # a colour of its own for each of so many labels napari refuses without numba
        layer.colormap = label_colormap(49, seed=seed)
        spin(0.6)
    watch.begin("napari alone: click (get_value), a points layer")
    for place in range(6):
        layer.get_value((10.0 * place, 20.0), world=True)
        viewer.add_points(np.array([[10.0 * place, 20.0]]), size=20)
        spin(0.3)
    viewer.close()


def environment() -> str:
    """Say what draws the window."""
    return "1500 x 950 px, drawn by " + (
        "Mesa's software renderer" if os.environ.get("LIBGL_ALWAYS_SOFTWARE") else "the machine's OpenGL"
    )
