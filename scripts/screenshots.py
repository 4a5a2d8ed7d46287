"""Take the pictures of the tutorials: every tab on simulated tissue, and a breast tumour from the development images.

Run it on a screen, or without one: ``bash scripts/with_display.sh python scripts/screenshots.py``. With ``--only results``
those of some sections only. The images of breast tissue are left out when ``NAPARI_DAMA_DATA`` (or ``../shared/data``) is
not there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import napari
import numpy as np
import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QScrollArea

from napari_dama.export import FORMATS
from napari_dama.gui.dock import DamaDock
from napari_dama.gui.export_plan import ExportPlan
from napari_dama.gui.layers import layers_of
from napari_dama.gui.place import camera_of
from napari_dama.gui.sample_data import write_sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dama.gui.state import JobPage

REPOSITORY = Path(__file__).resolve().parents[1]
SIZE = (1240, 800)
LIMIT_BYTES = 400_000
NEED_CELLS = frozenset({"analyse", "results", "export", "annotate", "improve", "explain"})
SECTIONS = ("markers", *sorted(NEED_CELLS), "train", "breast")


def settle(seconds: float = 0.6) -> None:
    """Let Qt and napari draw."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.02)


def wait_for(done: Callable[[], bool], seconds: float = 600) -> None:
    """Let the window work until something is done."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing after {seconds} s")
        settle(0.1)


class Window:
    """A napari window with the dock, and a slide."""

    def __init__(self, slide: Path, theme: str) -> None:
        self.viewer = napari.Viewer(show=True)
        self.viewer.theme = theme
        self.qt = self.viewer.window._qt_window
        self.qt.resize(*SIZE)
        self.viewer.open(str(slide), plugin="napari-dama")
        area, dock = self.viewer.window.add_plugin_dock_widget("napari-dama", "DAMA")
        assert isinstance(dock, DamaDock)
        self.dock = dock
        self.qt.resizeDocks([area], [330], Qt.Orientation.Horizontal)
        self.viewer.canvas.overlays.scale_bar.visible = True
        settle()
        self.viewer.reset_view()

    def show(self, tab: str) -> None:
        """Turn to a tab."""
        self.dock.show_tab(self.dock.named_tabs[tab.capitalize()])
        settle()

    def save(self, file: Path) -> None:
        """Save a picture of the window, in fewer shades when it is large."""
        settle()
        self.qt.grab().save(str(file))
        if file.stat().st_size > LIMIT_BYTES:
            from PIL import Image, ImageOps

            picture = Image.open(file).convert("RGB")
            for bits in (6, 5, 4, 3):  # fewer shades of camera noise; the widgets look the same
                ImageOps.posterize(picture, bits).save(file, optimize=True)
                if file.stat().st_size <= LIMIT_BYTES:
                    break
        print(f"{file}  {file.stat().st_size // 1024} kB", flush=True)

    def say(self) -> None:
        """Print what the message area says, so that a picture of an error is noticed."""
        if self.dock.message.isVisible():
            print("message:", self.dock.message.text.text(), flush=True)

    def analyse(self, out: Path) -> None:
        """Find the cells and show them."""
        self.dock.state.analyse.out = str(out)
        self.dock.analyse.start()
        wait_for(lambda: self.dock.analyse.work is None)
        wait_for(lambda: self.dock.results.work is None)
        self.say()

    def click_cell(self, near: tuple[float, float]) -> None:
        """Select the cell whose centre is nearest to a place (y, x in px)."""
        result = self.dock.results.result
        assert result is not None
        cells = result.cells
        nearest = ((cells["y"] - near[0]) ** 2 + (cells["x"] - near[1]) ** 2).idxmin()
        y, x = float(cells.loc[nearest, "y"]), float(cells.loc[nearest, "x"])
        camera_of(self.viewer).center = (0, y * result.pixel_um, x * result.pixel_um)
        camera_of(self.viewer).zoom = 6 / result.pixel_um * 0.5
        settle()
        self.dock.results.select_at((y * result.pixel_um, x * result.pixel_um))
        settle()

    def annotate(self, images: Path) -> None:
        """Correct a cell, go to the next one, and look at the gallery; save pictures of both."""
        tab = self.dock.annotate
        wait_for(lambda: tab.work is None)
        self.show("annotate")
        for _ in range(2):
            before = tab.suggested
            tab.go_on()
            wait_for(lambda before=before: tab.suggested != before)  # type: ignore[misc]
            tab.give_key(1)
        self.save(images / "dock_annotate.png")
        gallery = self.dock.show_gallery()
        wait_for(lambda: gallery.work is None)
        gallery.select(gallery.model.labels[3:6])
        self.save(images / "gallery.png")
        self.viewer.window.remove_dock_widget(gallery)
        settle()
        self.qt.resize(*SIZE)  # the gallery made it taller

    def improve(self, images: Path, cells: Path) -> None:
        """Correct cells as the truth has them, improve the model, and save before and after."""
        from scipy.spatial import cKDTree

        tab, panel = self.dock.annotate, self.dock.annotate.improve
        self.show("annotate")
        wait_for(lambda: tab.work is None)
        truth = pd.read_csv(cells)
        found = self.dock.session.cells
        result = self.dock.results.result
        assert result is not None
        chosen = result.cells.sample(160, random_state=0)
        far, nearest = cKDTree(truth[["y", "x"]]).query(chosen[["y", "x"]])
        types = truth["type"].to_numpy()[nearest]
        for label, kind, away in zip(chosen["label"], types, far, strict=True):
            if away < 8:
                found.select([int(label)])
                tab.give_key(list(found.classes).index(kind))
        wait_for(lambda: panel.start.isEnabled())
        panel.start.click()
        wait_for(lambda: panel.look is not None and panel.look.outcome is not None)
        self.scroll_down()
        self.save(images / "dock_improve.png")
        self.say()
        panel.leave()
        settle()

    def plots(self, images: Path) -> None:
        """Save a picture of each page of the plots, and of the slide coloured by a marker."""
        self.dock.state.results.colour_by = "mean_NeuN"
        self.save(images / "results_colour.png")
        self.dock.state.results.colour_by = "type"
        self.dock.results.plots_button.click()
        panel = self.dock.results.plots
        assert panel is not None
        settle()
        wait_for(lambda: panel.map.work is None)
        if panel.map.embed.isVisible():
            panel.map.embed.click()
            settle()
        for page in panel.pages[:4]:
            panel.tabs.setCurrentIndex(panel.pages.index(page))
            settle()
            wait_for(lambda page=page: page.work is None)
            settle()
            file = images / f"plots_{page.title.lower()}.png"
            panel.grab().save(str(file))
            print(f"{file}  {file.stat().st_size // 1024} kB", flush=True)
        self.viewer.window.remove_dock_widget(panel)

    def explain(self) -> None:
        """Explain the clicked cell."""
        self.dock.explain.explain_cell()
        wait_for(lambda: self.dock.explain.work is None)
        for layer in layers_of(self.viewer.layers, "cells"):
            layer.visible = False
        settle()
        self.say()

    def explanations(self, images: Path) -> None:
        """Ask each of the four questions about the clicked cell; save a picture of each answer."""
        tab, state = self.dock.explain, self.dock.state.explain
        self.show("explain")
        for layer in layers_of(self.viewer.layers, "cells"):
            layer.visible = False
        for question, name in (("fill", ""), ("type", "_type"), ("missing", "_missing")):
            state.question = question  # type: ignore[assignment]
            tab.explain_cell()
            wait_for(lambda: tab.work is None and (state.question != "type" or tab.type.map is not None))
            self.save(images / f"dock_explain{name}.png")
            tab.forget()
        state.question = "like"
        tab.like.embed()
        wait_for(lambda: tab.like.work is None and tab.like.ready)
        tab.explain_cell()
        wait_for(lambda: tab.work is None)
        self.viewer.reset_view()  # the rings lie all over the slide
        self.save(images / "dock_explain_like.png")
        tab.forget()
        self.say()

    @property
    def job(self) -> str:
        """State of the chosen job."""
        view = self.dock.train.jobs.view
        return "" if view is None else view.state

    def look_at_job(self, page: JobPage, down: int = 10_000) -> None:
        """Turn to a page of the job, and scroll the tab down to it."""
        self.dock.state.jobs.page = page
        settle(1.5)
        self.scroll_down(down)

    def scroll_down(self, down: int = 10_000) -> None:
        """Scroll the tab down to a place, by default its end."""
        settle()
        area = self.dock.tabs.currentWidget()
        if isinstance(area, QScrollArea) and (bar := area.verticalScrollBar()) is not None:
            bar.setValue(min(down, bar.maximum()))
        settle()

    def markers(self, images: Path) -> None:
        """Save pictures of one marker alone, of the names' dialog, and of matching with a warning of swapped channels."""
        tab = self.dock.channels
        wait_for(lambda: tab.histogram.histogram is not None and not tab.check.busy)
        self.save(images / "dock_channels.png")
        tab.step(1)
        tab.step(1)
        wait_for(lambda: tab.histogram.histogram is not None)
        self.save(images / "dock_marker_alone.png")
        tab.toggle_solo()
        tab.deeds.ask_names()
        names = tab.deeds.rename_dialog
        assert names is not None
        names.text.setPlainText("Hoechst\nHH3\nRBFOX3\nGFAP\nOLIG2\nAIF1\nCD31")
        settle()
        names.grab().save(str(images / "dialog_names.png"))
        names.close()
        self.dock.state.channels.chosen = {"NeuN": "Iba1", "Iba1": "NeuN"}
        wait_for(lambda: bool(tab.check.findings))
        tab.deeds.show_mapping()
        settle()
        matching = tab.deeds.mapping_dialog
        assert matching is not None
        matching.grab().save(str(images / "dialog_matching.png"))
        matching.close()
        self.dock.state.channels.chosen = {}
        settle()

    def train(self, images: Path, name: str, *, steps: int = 60) -> None:
        """Pretrain on the open slide for a moment; save pictures of the form, and of the job's curves and pictures."""
        train = self.dock.state.train
        train.max_steps, train.batch_size = steps, 8
        self.show("train")
        self.save(images / f"{name}_train.png")
        self.dock.train.start()
        shown = self.dock.train.jobs.detail
        wait_for(lambda: bool(shown.losses.curves) and len(shown.losses.curves[0].x) > steps // 10)
        wait_for(lambda: len(shown.previews.files) > 2)
        self.look_at_job("curves", 0)
        self.save(images / f"{name}_jobs.png")
        self.look_at_job("pictures", 0)
        self.save(images / f"{name}_previews.png")
        wait_for(lambda: self.job in ("finished", "failed", "stopped"))
        self.say()

    def train_types(self, images: Path, cells: Path) -> None:
        """Fine-tune types on points with a class, as a biologist would set them; save the counts by class."""
        table = pd.read_csv(cells)
        layer = layers_of(self.viewer.layers, "marker")[0]
        world = np.array([layer.data_to_world(place) for place in table[["y", "x"]].to_numpy(float)])
        features = {"class": table["type"].to_numpy()}
        self.viewer.add_points(
            world, features=features, name="my classes", size=6, face_color="class", units=("um", "um")
        )
        state = self.dock.state.train
        state.kind, state.init, state.max_steps, state.batch_size = "types", "dama-brain7", 30, 8
        self.dock.train.form.sync_annotations()
        state.annotation = "my classes"
        self.dock.train.fold.expand(animate=False)
        self.look_at_job("pictures", 0)
        self.save(images / "dock_train_types.png")
        before = self.dock.state.jobs.selected
        self.dock.train.start()
        wait_for(lambda: self.dock.state.jobs.selected != before)
        wait_for(lambda: self.job in ("finished", "failed", "stopped"))
        wait_for(lambda: self.dock.train.jobs.detail.previews.matrix.matrix is not None)
        self.dock.train.fold.collapse(animate=False)
        self.look_at_job("pictures", 0)
        self.save(images / "dock_confusion.png")
        self.look_at_job("about", 0)
        self.save(images / "dock_about.png")
        self.say()

    def export(self, images: Path) -> None:
        """Open the export menu for a picture, and draw a part of the slide as the export does."""
        menu = self.dock.results.export
        assert self.dock.results.result is not None
        file = images / "export_picture.png"
        plan = ExportPlan(
            self.dock.results.result.path,
            FORMATS["picture"],
            file,
            {"region": "330:600,300:600", "max_px": 700},
            overwrite=True,
        )
        menu.start(plan)
        wait_for(lambda: menu.work is None)
        self.scroll_down()
        self.save(images / "dock_export.png")
        self.say()

    def close(self) -> None:
        """Close the window."""
        self.dock.close_down()
        self.viewer.close()


def simulated(folder: Path, images: Path, theme: str, wanted: frozenset[str]) -> None:
    """Take the pictures of the wanted sections on simulated tissue, in one window."""
    slide = write_sample(folder)
    window = Window(slide, theme)
    if "markers" in wanted:
        window.show("channels")
        window.markers(images)
    if wanted & NEED_CELLS:
        window.show("analyse")
        if "analyse" in wanted:
            window.save(images / "dock_analyse.png")
        window.analyse(folder / "simulated_dama")
        window.show("results")
        window.click_cell((500, 500))
    if "results" in wanted:
        window.save(images / "dock_results.png")
        window.plots(images)
    if "export" in wanted:
        window.export(images)
    if "annotate" in wanted:
        window.annotate(images)
    if "improve" in wanted:
        window.improve(images, folder / f"{slide.name.split('.')[0]}_cells.csv")
    if "explain" in wanted:
        window.click_cell((500, 500))
        window.explanations(images)
    if "train" in wanted:
        window.train(images, "dock")
        window.train_types(images, folder / f"{slide.name.split('.')[0]}_cells.csv")
    window.close()


def breast(slide: Path, folder: Path, images: Path, theme: str) -> None:
    """Take the five pictures on real breast tissue, whose file says no pixel size: 0.5 um is typed."""
    window = Window(slide, theme)
    window.show("channels")
    window.dock.channels.pixel_edit.setText("0.5")
    window.dock.channels.pixel_edit.editingFinished.emit()
    settle()
    window.save(images / "breast_channels.png")
    window.show("analyse")
    window.save(images / "breast_analyse.png")
    window.analyse(folder / "breast_dama")
    window.show("results")
    window.click_cell((250, 250))
    window.save(images / "breast_results.png")
    window.show("explain")
    window.explain()
    window.save(images / "breast_explain.png")
    window.dock.explain.forget()
    window.train(images, "breast")
    (images / "breast_train.png").unlink()  # the form is that of the simulated slide
    (images / "breast_previews.png").unlink()  # and so are the previews
    window.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "images")
    parser.add_argument("--theme", default="dark", choices=["dark", "light"])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ.get("NAPARI_DAMA_DATA", REPOSITORY.parent / "shared" / "data")) / "mif_breast"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["NAPARI_DAMA_JOBS"] = str(folder / "jobs")  # the user's own jobs stay out of the pictures
        os.environ["NAPARI_DAMA_PRESETS"] = str(folder / "presets")
        wanted = frozenset(options.only)
        if wanted - {"breast"}:
            simulated(folder, options.out, options.theme, wanted)
        slides = sorted(data.glob("*.ome.tif"))
        if "breast" in wanted and slides:
            slide = Path(shutil.copy(slides[0], folder))  # corrections and jobs lie beside a slide
            breast(slide, folder, options.out, options.theme)
        elif "breast" in wanted:
            print(f"no images in {data}: the breast pictures are left as they are")


if __name__ == "__main__":
    main()
